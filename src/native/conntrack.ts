import { addon } from './addon.ts';
import { blockOf, conntrackEntryAt, conntrackText, cutColumns, packDestinations } from './conntrack-columns.ts';
import type {
  ConntrackColumns,
  ConntrackFailure,
  ConntrackFilter,
  ConntrackPort,
  ConntrackRemoval,
  ConntrackUsage,
} from './conntrack-types.ts';
import { ClosedError, KernelError } from './errors.ts';
import { PROTOCOL_NUMBER } from './ipvs-constants.ts';
import { checkedOpenOptions, netnsHandle } from './netns.ts';
import type { NetnsHandle, OpenOptions } from './netns.ts';

/** One refused deletion as the addon reports it; `index` is its place in the call. */
interface RawFailure {
  readonly index: number;
  readonly errno: number;
  readonly code: string;
  readonly message?: string;
  readonly offset?: number;
}

interface ConntrackHandle {
  usage(): Promise<ConntrackUsage>;
  entries(family: number, protocol: number, destinations: ArrayBuffer | undefined): Promise<ArrayBuffer>;
  remove(columns: ArrayBuffer, count: number, rows: Uint32Array): Promise<{ gone: Uint32Array; refused: readonly RawFailure[] }>;
  close(): Promise<void>;
}

interface ConntrackExports {
  conntrackOpen(netns: NetnsHandle, timeoutMs: number, receiveBufferBytes: number): Promise<ConntrackHandle>;
}

/** Deletions per call of the addon: what is copied on the event loop at once, about a millisecond. */
const SLICE = 8192;

/** Proof that a constructor call comes from this file. */
const internal = Symbol('internal');

function familyNumber(family: ConntrackFilter['family']): number {
  if (family === undefined) return 0;
  if (family !== 'ipv4' && (family as string) !== 'ipv6')
    throw new RangeError(`family: expected ipv4 or ipv6, got ${JSON.stringify(family)}`);
  return family === 'ipv4' ? 4 : 6;
}

function protocolNumber(protocol: ConntrackFilter['protocol']): number {
  if (protocol === undefined) return 0;
  if (!Object.hasOwn(PROTOCOL_NUMBER, protocol))
    throw new RangeError(`protocol: expected tcp, udp or sctp, got ${JSON.stringify(protocol)}`);
  return PROTOCOL_NUMBER[protocol];
}

function checkedRows(rows: Iterable<number> | undefined, count: number): Uint32Array {
  if (rows === undefined) return Uint32Array.from({ length: count }, (_, row) => row);
  if (typeof (rows as Partial<Iterable<number>> | null)?.[Symbol.iterator] !== 'function') {
    throw new TypeError('rows: expected row numbers');
  }
  const list = [...rows];
  const wrong = list.find((row) => !Number.isInteger(row) || row < 0 || row >= count);
  if (wrong !== undefined) throw new RangeError(`rows: ${String(wrong)} is not in 0..${String(count - 1)}`);
  return Uint32Array.from(list);
}

function failureOf(entries: ConntrackColumns, row: number, position: number, raw: RawFailure): ConntrackFailure {
  const error = new KernelError({
    op: 'conntrack.remove',
    subject: conntrackText(conntrackEntryAt(entries, row)),
    errno: raw.errno,
    code: raw.code,
    index: position,
    ...((raw.message !== undefined || raw.offset !== undefined) && {
      extack: {
        ...(raw.message !== undefined && { message: raw.message }),
        ...(raw.offset !== undefined && { offset: raw.offset }),
      },
    }),
  });
  return { row, error };
}

/**
 * The connection tracking table of one network namespace, over ctnetlink: what flows there are, and the
 * deletion of single ones. Entries of TCP, UDP and SCTP; others (ICMP, GRE) are neither read nor touched.
 *
 * There is no flush(): it would end the translation of every flow of the machine; delete what is yours.
 *
 * ```js
 * import { Conntrack, conntrackEntryAt } from 'ravel-agent/native';
 *
 * const conntrack = await Conntrack.open();
 * const entries = await conntrack.entries({ protocol: 'udp', destinations: [{ address: '192.0.2.10', port: 53 }] });
 * const stale = [...entries.id.keys()].filter((row) => conntrackEntryAt(entries, row).reply.source.address === '10.1.2.3');
 * const { removed, gone, failed } = await conntrack.remove(entries, stale);
 * await conntrack.close();
 * ```
 */
export class Conntrack implements ConntrackPort {
  readonly #handle: ConntrackHandle;
  #closing: Promise<void> | undefined;

  /** Not for callers: use open(). */
  constructor(key: symbol, handle: ConntrackHandle) {
    if (key !== internal) throw new TypeError('Conntrack is not constructible; use Conntrack.open()');
    this.#handle = handle;
  }

  /**
   * Opens a socket in a namespace (default: that of the process). UnsupportedError, with the module to load,
   * where the kernel has no ctnetlink; KernelError EPERM without CAP_NET_ADMIN.
   */
  static async open(options: OpenOptions = {}): Promise<Conntrack> {
    const { timeoutMs, receiveBufferBytes } = checkedOpenOptions(options);
    const exports = addon() as unknown as ConntrackExports;
    return new Conntrack(internal, await exports.conntrackOpen(netnsHandle(options.netns), timeoutMs, receiveBufferBytes));
  }

  /** How many entries of all protocols there are, and how many there may be. */
  async usage(): Promise<ConntrackUsage> {
    return this.#handle.usage();
  }

  /**
   * The entries that the filter wants, none twice, read and filtered off the event loop: what is foreign
   * never reaches JavaScript. The kernel does not say when the table changes while it is read: an entry
   * made meanwhile may be missing. RangeError or TypeError names the part of the filter that is wrong.
   */
  async entries(filter: ConntrackFilter = {}): Promise<ConntrackColumns> {
    const { family, protocol, destinations } = filter;
    const packed = destinations === undefined ? undefined : packDestinations(destinations);
    return cutColumns(await this.#handle.entries(familyNumber(family), protocolNumber(protocol), packed));
  }

  /**
   * Deletes entries by their reply tuple, zone and id, so that a flow of the same client that began meanwhile
   * and is translated otherwise is left alone (the id does not tell the two apart). Default: all rows. The
   * columns must not change until the promise settles.
   *
   * TypeError or RangeError, before anything is sent, for other columns than entries() or
   * conntrackColumns() gave, and for rows that are not there. Any other rejection is of the transport:
   * what was deleted is unknown, read the table again.
   */
  async remove(entries: ConntrackColumns, rows?: Iterable<number>): Promise<ConntrackRemoval> {
    const block = blockOf(entries);
    const wanted = checkedRows(rows, entries.count);
    const gone: number[] = [];
    const failed: ConntrackFailure[] = [];
    let first = 0;
    do {
      const slice = wanted.subarray(first, first + SLICE);
      const answer = await this.#handle.remove(block, entries.count, slice);
      for (const index of answer.gone) gone.push(slice[index] ?? 0);
      for (const raw of answer.refused) failed.push(failureOf(entries, slice[raw.index] ?? 0, first + raw.index, raw));
      first += SLICE;
    } while (first < wanted.length);
    return { removed: wanted.length - gone.length - failed.length, gone, failed };
  }

  /** Closes the socket after the calls made before. Later calls reject with ClosedError. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#handle.close();
    } catch (error) {
      // The namespace went first, and the socket with it.
      if (!(error instanceof ClosedError)) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
