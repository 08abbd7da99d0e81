import { addon } from './addon.ts';
import { formatAddressBytes, writeAddress } from './address-bytes.ts';
import type { EventIterator } from './event-iterator.ts';
import { HandleLife } from './handle-life.ts';
import { formatMac } from './links-records.ts';
import type { ArpPacket, ArpPort } from './link-types.ts';
import { checkedOpenOptions, netnsHandle } from './netns.ts';
import type { NetnsHandle, OpenOptions } from './netns.ts';

type RawEvent = Uint8Array | { readonly type: 'overrun' };

interface ArpHandle {
  announce(interfaceName: string, addresses: Uint8Array, forms: number): Promise<number>;
  watch(interfaceName: string, deliver: (event: RawEvent | Error | null) => void): Promise<() => void>;
  close(): Promise<void>;
}

interface ArpExports {
  arpOpen(netns: NetnsHandle, timeoutMs: number, receiveBufferBytes: number): Promise<ArpHandle>;
}

/** What watch() gives. */
export type ArpEvent = ArpPacket | { readonly type: 'overrun' };

/** kRequestForm and kReplyForm of native/packet.h. */
const forms = { request: 1, reply: 2, both: 3 } as const;

/** PacketValue() of native/packet_binding.cc. */
function packetOf(bytes: Uint8Array): ArpPacket {
  return {
    operation: bytes[1] === 1 ? 'request' : 'reply',
    senderMac: formatMac(bytes.subarray(2, 8)),
    senderAddress: formatAddressBytes(bytes, 4, 8),
    targetMac: formatMac(bytes.subarray(12, 18)),
    targetAddress: formatAddressBytes(bytes, 4, 18),
  };
}

function packedAddresses(addresses: readonly string[]): Uint8Array {
  const bytes = new Uint8Array(addresses.length * 4);
  const one = new Uint8Array(16);
  addresses.forEach((address, i) => {
    if (typeof address !== 'string' || writeAddress(address, one) !== 4) {
      throw new RangeError(`addresses[${i}]: not an IPv4 address: ${JSON.stringify(address)}`);
    }
    bytes.set(one.subarray(0, 4), i * 4);
  });
  return bytes;
}

/** ARP on the Ethernet devices of one network namespace (packet sockets). */
export class Arp implements ArpPort {
  readonly #handle: ArpHandle;
  readonly #life: HandleLife<ArpEvent>;

  private constructor(handle: ArpHandle) {
    this.#handle = handle;
    this.#life = new HandleLife(handle);
  }

  /** Needs no right by itself; announce() and watch() need CAP_NET_RAW. */
  static async open(options: OpenOptions = {}): Promise<Arp> {
    const { timeoutMs, receiveBufferBytes } = checkedOpenOptions(options);
    const exports = addon() as unknown as ArpExports;
    return new Arp(await exports.arpOpen(netnsHandle(options.netns), timeoutMs, receiveBufferBytes));
  }

  /**
   * Broadcasts gratuitous ARP for each IPv4 address with the interface's own hardware address (RFC
   * 5944 section 4.6): the request form, the reply form, or both, request first. Up to 1,024 frames
   * go in one system call. Resolves to the number of frames sent.
   *
   * KernelError ENODEV: no such interface; EAFNOSUPPORT: not Ethernet; ENETDOWN: the interface is
   * down; EPERM: no CAP_NET_RAW; ENOBUFS: its queue is full. TimeoutError when the interface does not
   * take all frames within `timeoutMs`. RangeError for an address that is none.
   */
  async announce(interfaceName: string, addresses: readonly string[], form: 'request' | 'reply' | 'both' = 'both'): Promise<number> {
    if (!Object.hasOwn(forms, form)) throw new RangeError(`form: expected "request", "reply" or "both", got ${JSON.stringify(form)}`);
    return this.#handle.announce(interfaceName, packedAddresses(addresses), forms[form]);
  }

  /**
   * ARP requests and replies that others send, from now on; frames of other VLANs, other protocols
   * and wrong lengths never leave the kernel. After `{ type: 'overrun' }` packets were lost. Ends
   * when the signal aborts or the handle or its namespace closes; next() throws KernelError as for
   * announce(), ENETDOWN also when the interface goes down or away later.
   */
  watch(interfaceName: string, options: { signal?: AbortSignal } = {}): EventIterator<ArpEvent> {
    return this.#life.watch(
      async (deliver) => this.#handle.watch(interfaceName, (raw) => deliver(raw instanceof Uint8Array ? packetOf(raw) : raw)),
      options.signal,
    );
  }

  /** Ends the watches and closes the socket after the calls that were made before. Idempotent. */
  close(): Promise<void> {
    return this.#life.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
