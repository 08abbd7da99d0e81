import { addon } from './addon.ts';
import { formatAddressBytes, writeAddress } from './address-bytes.ts';
import type { EventIterator } from './event-iterator.ts';
import { HandleLife } from './handle-life.ts';
import { formatMac } from './links-records.ts';
import type { NdpPacket, NdpPort } from './link-types.ts';
import { checkedOpenOptions, netnsHandle } from './netns.ts';
import type { NetnsHandle, OpenOptions } from './netns.ts';

type RawEvent = Uint8Array | { readonly type: 'overrun' };

interface NdpHandle {
  announce(interfaceName: string, addresses: Uint8Array): Promise<number>;
  watch(interfaceName: string, deliver: (event: RawEvent | Error | null) => void): Promise<() => void>;
  close(): Promise<void>;
}

interface NdpExports {
  ndpOpen(netns: NetnsHandle, timeoutMs: number, receiveBufferBytes: number): Promise<NdpHandle>;
}

/** What watch() gives. */
export type NdpEvent = NdpPacket | { readonly type: 'overrun' };

/** Flags of an advertisement (RFC 4861 section 4.4), first byte after the checksum. */
const ROUTER = 0x80;
const SOLICITED = 0x40;
const OVERRIDE = 0x20;

/** PacketValue() of native/ndp_binding.cc. */
function packetOf(bytes: Uint8Array): NdpPacket {
  const flags = bytes[1] ?? 0;
  return {
    kind: bytes[0] === 1 ? 'advertisement' : 'solicitation',
    senderMac: formatMac(bytes.subarray(3, 9)),
    senderAddress: formatAddressBytes(bytes, 6, 9),
    targetAddress: formatAddressBytes(bytes, 6, 25),
    linkLayerAddress: bytes[2] === 1 ? formatMac(bytes.subarray(41, 47)) : undefined,
    router: (flags & ROUTER) !== 0,
    solicited: (flags & SOLICITED) !== 0,
    override: (flags & OVERRIDE) !== 0,
  };
}

function packedAddresses(addresses: readonly string[]): Uint8Array {
  const bytes = new Uint8Array(addresses.length * 16);
  addresses.forEach((address, i) => {
    // A sender's address is a unicast one (RFC 4861 section 7.1.2 has receivers throw others away): no group, and not "none".
    if (typeof address !== 'string' || !address.includes(':') || writeAddress(address, bytes, i * 16) !== 6) {
      throw new RangeError(`addresses[${i}]: not an IPv6 address: ${JSON.stringify(address)}`);
    }
    const one = bytes.subarray(i * 16, i * 16 + 16);
    if (one[0] === 0xff || one.every((byte) => byte === 0)) throw new RangeError(`addresses[${i}]: not a unicast address: ${address}`);
  });
  return bytes;
}

/** Neighbour discovery on the Ethernet devices of one network namespace (packet sockets, RFC 4861). */
export class Ndp implements NdpPort {
  readonly #handle: NdpHandle;
  readonly #life: HandleLife<NdpEvent>;

  private constructor(handle: NdpHandle) {
    this.#handle = handle;
    this.#life = new HandleLife(handle);
  }

  /** Needs no right by itself; announce() and watch() need CAP_NET_RAW. */
  static async open(options: OpenOptions = {}): Promise<Ndp> {
    const { timeoutMs, receiveBufferBytes } = checkedOpenOptions(options);
    const exports = addon() as unknown as NdpExports;
    return new Ndp(await exports.ndpOpen(netnsHandle(options.netns), timeoutMs, receiveBufferBytes));
  }

  /**
   * Sends an unsolicited neighbour advertisement for each IPv6 address to all nodes of the segment (RFC 4861 section
   * 7.2.6): override flag set, the address itself as source, the interface's own hardware address as target. Up to 1,024
   * frames go in one system call. The address need not be on the interface, and nothing answers solicitations for one that
   * is not: see `addAddress` of {@link Links}. Resolves to the number of frames sent.
   *
   * KernelError ENODEV: no such interface; EAFNOSUPPORT: not Ethernet; ENETDOWN: the interface is down; EPERM: no
   * CAP_NET_RAW; ENOBUFS: its queue is full. TimeoutError when the interface does not take all frames within `timeoutMs`.
   * RangeError for what is no unicast IPv6 address.
   */
  async announce(interfaceName: string, addresses: readonly string[]): Promise<number> {
    return this.#handle.announce(interfaceName, packedAddresses(addresses));
  }

  /**
   * Neighbour advertisements and solicitations that others send, from now on. Those that RFC 4861 sections 7.1.1 and 7.1.2
   * have a receiver throw away (hop limit below 255, wrong checksum, lengths that do not add up, a group as target) are not
   * among them. After `{ type: 'overrun' }` packets were lost. Ends when the signal aborts or the handle or its namespace
   * closes; next() throws KernelError as for announce(), ENETDOWN also when the interface goes down or away later.
   */
  watch(interfaceName: string, options: { signal?: AbortSignal } = {}): EventIterator<NdpEvent> {
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
