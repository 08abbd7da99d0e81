import { addon } from './addon.ts';
import { ClosedError } from './errors.ts';
import type { FouPort, FouPortEntry } from './link-types.ts';
import { checkedOpenOptions, netnsHandle } from './netns.ts';
import type { NetnsHandle, OpenOptions } from './netns.ts';

/** One entry as the addon knows it; numbers of linux/fou.h. */
interface RawEntry {
  readonly port: number;
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
}

interface FouHandle {
  list(): Promise<RawEntry[]>;
  add(port: number, family: number, type: number, protocol: number): Promise<void>;
  remove(port: number, family: number): Promise<void>;
  close(): Promise<void>;
}

interface FouExports {
  fouOpen(netns: NetnsHandle, timeoutMs: number, receiveBufferBytes: number): Promise<FouHandle>;
}

/** FOU_ENCAP_DIRECT and FOU_ENCAP_GUE. */
const types = { fou: 1, gue: 2 } as const;
const families = { ipv4: 4, ipv6: 6 } as const;

function checkedInteger(value: number, least: number, most: number, field: string): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${field}: expected an integer from ${least} to ${most}, got ${String(value)}`);
  }
  return value;
}

function checkedWord<Word extends string>(words: Readonly<Record<Word, number>>, word: Word, field: string): number {
  if (!Object.hasOwn(words, word))
    throw new RangeError(`${field}: expected ${Object.keys(words).join(' or ')}, got ${JSON.stringify(word)}`);
  return words[word];
}

/** UDP ports on which the kernel takes packets out of UDP, in one network namespace (foo-over-UDP, linux/fou.h). */
export class Fou implements FouPort {
  readonly #handle: FouHandle;
  #closing: Promise<void> | undefined;

  private constructor(handle: FouHandle) {
    this.#handle = handle;
  }

  /**
   * UnsupportedError where the module `fou` is not loaded: unlike others it has no alias by which the kernel would find it,
   * so that the machine has to load it when it starts (modules-load.d(5)).
   */
  static async open(options: OpenOptions = {}): Promise<Fou> {
    const { timeoutMs, receiveBufferBytes } = checkedOpenOptions(options);
    const exports = addon() as unknown as FouExports;
    return new Fou(await exports.fouOpen(netnsHandle(options.netns), timeoutMs, receiveBufferBytes));
  }

  /** All receive ports of the namespace. */
  async list(): Promise<readonly FouPortEntry[]> {
    return (await this.#handle.list()).map(({ port, family, type, protocol }) => ({
      port,
      family: family === 4 ? 'ipv4' : 'ipv6',
      encapsulation: type === types.gue ? 'gue' : 'fou',
      protocol,
    }));
  }

  /** Opens a port. KernelError EADDRINUSE when a socket or another entry holds it, EPERM without CAP_NET_ADMIN; RangeError for a field that is wrong. */
  async add({ port, family, encapsulation, protocol }: FouPortEntry): Promise<void> {
    const number = checkedInteger(protocol, encapsulation === 'fou' ? 1 : 0, encapsulation === 'fou' ? 255 : 0, 'protocol');
    return this.#handle.add(
      checkedInteger(port, 1, 65535, 'port'),
      checkedWord(families, family, 'family'),
      checkedWord(types, encapsulation, 'encapsulation'),
      number,
    );
  }

  /** Closes a port. KernelError EINVAL when no entry has it. */
  async delete({ port, family }: Pick<FouPortEntry, 'port' | 'family'>): Promise<void> {
    return this.#handle.remove(checkedInteger(port, 1, 65535, 'port'), checkedWord(families, family, 'family'));
  }

  /** Closes the socket after the calls that were made before. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#handle.close().catch((error: unknown) => {
      // The namespace went first, and the socket with it.
      if (!(error instanceof ClosedError)) throw error;
    });
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
