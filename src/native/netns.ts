import { addon } from './addon.ts';

/** The addon's own handle; opaque outside src/native. */
export interface NetnsHandle {
  fd(): number;
  close(): Promise<void>;
}

interface NetnsExports {
  netnsCurrent(): NetnsHandle;
  netnsCreate(): Promise<NetnsHandle>;
  netnsFromPath(path: string): Promise<NetnsHandle>;
  netnsFromPid(pid: number): Promise<NetnsHandle>;
}

const exports = () => addon() as unknown as NetnsExports;

/** Proof that a constructor call comes from this file. */
const internal = Symbol('internal');

let handleInside: (netns: Netns) => NetnsHandle;

/**
 * A network namespace with one thread in it. Everything opened on one Netns shares that thread:
 * calls run first in, first out, so a dump never interleaves with a write. Different namespaces
 * run in parallel.
 */
export class Netns {
  readonly #handle: NetnsHandle;
  #closing: Promise<void> | undefined;

  static {
    handleInside = (netns) => {
      if (!(#handle in netns)) throw new TypeError('netns: expected a Netns');
      return netns.#handle;
    };
  }

  /** Not for callers: use current(), create(), fromPath() or fromPid(). */
  constructor(key: symbol, handle: NetnsHandle) {
    if (key !== internal) throw new TypeError('Netns is not constructible; use Netns.current(), create(), fromPath() or fromPid()');
    this.#handle = handle;
  }

  /** The namespace of the process. Every call shares one thread; closing one handle leaves the others. */
  static current(): Netns {
    return new Netns(internal, exports().netnsCurrent());
  }

  /**
   * A new namespace with `lo` up, which lasts as long as this handle or a socket in it.
   * KernelError EPERM without CAP_SYS_ADMIN.
   */
  static async create(): Promise<Netns> {
    return new Netns(internal, await exports().netnsCreate());
  }

  /**
   * The namespace a file stands for: `/run/netns/<name>`, `/proc/<pid>/ns/net`.
   * KernelError ENOENT when there is none, EINVAL when it is something else, EPERM without CAP_SYS_ADMIN.
   */
  static async fromPath(path: string): Promise<Netns> {
    return new Netns(internal, await exports().netnsFromPath(path));
  }

  /** The namespace of a process, by process id. Errors as for fromPath(). */
  static async fromPid(pid: number): Promise<Netns> {
    return new Netns(internal, await exports().netnsFromPid(pid));
  }

  /** Descriptor of the namespace, valid until close(). ClosedError after it. */
  get fd(): number {
    return this.#handle.fd();
  }

  /** Where other programs find the namespace while this handle is open: `nsenter --net=<path>`. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.#handle.fd()}`;
  }

  /**
   * Ends the thread after the running call; calls that had not begun, and later ones on anything
   * opened here, reject with ClosedError. Idempotent. The process's own namespace only loses this handle.
   */
  close(): Promise<void> {
    this.#closing ??= this.#handle.close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** For the other interfaces: the addon's handle of a namespace, by default that of the process. */
export function netnsHandle(netns?: Netns): NetnsHandle {
  if (netns === undefined) return handleInside(Netns.current());
  if (typeof netns !== 'object' || (netns as unknown) === null) throw new TypeError('netns: expected a Netns');
  return handleInside(netns);
}

/** What every interface's open() takes. */
export interface OpenOptions {
  /** Default: the namespace of the process. */
  readonly netns?: Netns;
  /** Milliseconds to wait for the kernel's answer to one request. Default 10,000. */
  readonly timeoutMs?: number;
  /** Bytes of socket receive buffer. Default 8 MiB; less where the process may not force it. */
  readonly receiveBufferBytes?: number;
}

/** Open options with defaults, checked: RangeError names the option. */
export function checkedOpenOptions(options: OpenOptions): { timeoutMs: number; receiveBufferBytes: number } {
  const { timeoutMs = 10_000, receiveBufferBytes = 8 << 20 } = options;
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > 3_600_000) {
    throw new RangeError(`timeoutMs: expected an integer from 1 to 3600000, got ${String(timeoutMs)}`);
  }
  if (!Number.isInteger(receiveBufferBytes) || receiveBufferBytes < 4096 || receiveBufferBytes > 1 << 30) {
    throw new RangeError(`receiveBufferBytes: expected an integer from 4096 to 1073741824, got ${String(receiveBufferBytes)}`);
  }
  return { timeoutMs, receiveBufferBytes };
}
