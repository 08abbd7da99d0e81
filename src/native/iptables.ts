import { iptablesAddon } from './iptables-addon.ts';
import { decodeIptables } from './iptables-listing.ts';
import { checkChainPrefix, encodeIptables } from './iptables-program.ts';
import type { IptablesFamily, IptablesListing, IptablesOutcome, IptablesPort, IptablesProgram } from './iptables-types.ts';
import { type Netns, netnsHandle } from './netns.ts';
import { show } from './nftables-elements.ts';

interface IptablesHandle {
  list(prefix: string): Promise<ArrayBuffer>;
  commit(program: Uint8Array, lockTimeoutMs: number): Promise<IptablesOutcome>;
  close(): Promise<void>;
}

interface IptablesExports {
  iptablesOpen(netnsFd: number, family: number, lockFile: string): Promise<IptablesHandle>;
}

export interface IptablesOptions {
  readonly family: IptablesFamily;
  /** Our chains are this one and those that begin with it and a hyphen. Default `RAVEL`. */
  readonly chainPrefix?: string;
  /** The lock that every program which changes legacy tables takes. Default `/run/xtables.lock`. */
  readonly lockFile?: string;
  /** Longest wait for the lock in one commit, milliseconds. Default 5,000. */
  readonly lockTimeoutMs?: number;
  /** Default: the namespace of the process. */
  readonly netns?: Netns;
}

/** Proof that a constructor call comes from this file. */
const internal = Symbol('internal');

/**
 * The nat table of legacy iptables in one network namespace: our chains, and nothing else in it. Calls of one
 * handle run in the order in which they are made, on a thread that no other interface shares, because a commit
 * waits for a lock that others hold.
 */
export class Iptables implements IptablesPort {
  readonly #handle: IptablesHandle;
  readonly #family: IptablesFamily;
  readonly #prefix: string;
  readonly #lockTimeoutMs: number;
  #closing: Promise<void> | undefined;

  /** Not for callers: use open(). */
  constructor(key: symbol, handle: IptablesHandle, options: { family: IptablesFamily; prefix: string; lockTimeoutMs: number }) {
    if (key !== internal) throw new TypeError('Iptables is not constructible; use Iptables.open()');
    this.#handle = handle;
    this.#family = options.family;
    this.#prefix = options.prefix;
    this.#lockTimeoutMs = options.lockTimeoutMs;
  }

  /**
   * UnsupportedError where the addon was not built, the kernel has no legacy tables (a host with only the nft
   * variant of iptables) or lacks an extension, with what to do about it; KernelError EPERM without CAP_NET_ADMIN
   * and CAP_NET_RAW, EACCES or ENOENT for a lock file that cannot be opened. The table is neither made nor read.
   */
  static async open(options: IptablesOptions): Promise<Iptables> {
    const { family, chainPrefix: prefix = 'RAVEL', lockFile = '/run/xtables.lock', lockTimeoutMs = 5000, netns } = options;
    if (!['ip', 'ip6'].includes(family)) throw new TypeError(`family: expected ip or ip6, got ${show(family)}`);
    checkChainPrefix(prefix);
    if (typeof lockFile !== 'string' || !lockFile.startsWith('/') || lockFile.includes('\0')) {
      throw new TypeError(`lockFile: expected an absolute path, got ${show(lockFile)}`);
    }
    if (!Number.isInteger(lockTimeoutMs) || lockTimeoutMs < 0 || lockTimeoutMs > 600_000) {
      throw new RangeError(`lockTimeoutMs: expected an integer from 0 to 600000, got ${show(lockTimeoutMs)}`);
    }
    const fd = netns === undefined ? -1 : netnsHandle(netns).fd();
    const exports = iptablesAddon() as unknown as IptablesExports;
    const handle = await exports.iptablesOpen(fd, family === 'ip' ? 4 : 6, lockFile);
    return new Iptables(internal, handle, { family, prefix, lockTimeoutMs });
  }

  /** Our chains and the jumps to them, as of one moment. Takes no lock, and does not make a table that is not there. */
  async list(): Promise<IptablesListing> {
    return decodeIptables(this.#family, await this.#handle.list(this.#prefix));
  }

  /**
   * Makes our chains and jumps what the program says, all at once: what is ours and not in it goes, what is as
   * wanted keeps its counters, and rules of others stay as they are. Writes nothing when nothing differs. One call
   * holds the lock from reading the table to the kernel's answer.
   *
   * TimeoutError names the holder of the lock; KernelError when the kernel refuses the table (EINVAL, ELOOP), or
   * somebody without the lock changes it every time (EAGAIN). Bad input is a TypeError or RangeError that begins
   * with its path. After each of these the table is as it was.
   */
  async commit(program: IptablesProgram): Promise<IptablesOutcome> {
    return this.#handle.commit(encodeIptables(this.#family, this.#prefix, program), this.#lockTimeoutMs);
  }

  /** Removes everything that is ours. */
  async remove(): Promise<IptablesOutcome> {
    return this.commit({ jumps: [], chains: [] });
  }

  /** After the calls made before; one that waits for the lock gives up with ClosedError. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#handle.close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
