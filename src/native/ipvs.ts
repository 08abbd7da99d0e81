import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { addon } from './addon.ts';
import { canonicalAddress } from './address-bytes.ts';
import { ClosedError, KernelError } from './errors.ts';
import { OperationColumns, cutSnapshot } from './ipvs-blocks.ts';
import type { SnapshotBlock } from './ipvs-blocks.ts';
import { checkDaemon, checkRole, checkTimeouts, isArray } from './ipvs-checks.ts';
import { destinationKey, serviceKey, toObjects } from './ipvs-columns.ts';
import type {
  ApplyResult,
  Destination,
  Failure,
  IpvsInfo,
  IpvsOperation,
  IpvsPort,
  IpvsSnapshot,
  IpvsSyncPort,
  IpvsTimeouts,
  Service,
  ServiceId,
  SyncDaemon,
} from './ipvs-types.ts';
import { checkedOpenOptions, netnsHandle } from './netns.ts';
import type { NetnsHandle, OpenOptions } from './netns.ts';

/** Refused operations as native/ipvs_binding.cc gives them: index, errno, offset, code, message per row. */
interface ErrorRows {
  readonly numbers: Float64Array;
  readonly texts: readonly string[];
}

interface DaemonFields {
  readonly state: number;
  readonly interface?: string;
  readonly syncId?: number;
  readonly maxLength?: number | undefined;
  readonly port?: number | undefined;
  readonly ttl?: number | undefined;
  readonly group?: Uint8Array | undefined;
}

interface IpvsHandle {
  info(): Promise<IpvsInfo>;
  timeouts(): Promise<IpvsTimeouts>;
  setTimeouts(timeouts: Partial<IpvsTimeouts>): Promise<void>;
  /** Sent in its turn; what comes of it is in the answer of the next apply(). */
  stage(bytes: ArrayBuffer, count: number, names: readonly string[], first: number): void;
  apply(bytes: ArrayBuffer, count: number, names: readonly string[], first: number): Promise<ErrorRows>;
  snapshot(): Promise<SnapshotBlock>;
  destinations(bytes: ArrayBuffer, count: number, names: readonly string[]): Promise<SnapshotBlock>;
  zero(bytes?: ArrayBuffer, count?: number, names?: readonly string[]): Promise<void>;
  daemons(): Promise<SyncDaemon[]>;
  startDaemon(daemon: DaemonFields): Promise<void>;
  stopDaemon(daemon: DaemonFields): Promise<void>;
  close(): Promise<void>;
}

interface IpvsExports {
  ipvsOpen(netns: NetnsHandle, timeoutMs: number, receiveBufferBytes: number): Promise<IpvsHandle>;
}

/** Operations put into columns, and failures made into errors, between two turns of the event loop. */
const SLICE = 2000;

/**
 * A batch of more than SLICE operations is handed over in slices, so that the kernel begins before
 * the last is in columns: a small one first, then four times as many (the kernel takes longer for an
 * operation than we do), up to what fills one send of 192 KiB (a new destination takes 140 bytes).
 */
const FIRST_SLICE = 90;
const FULL_SLICE = 1400;

/** IP_VS_STATE_MASTER, IP_VS_STATE_BACKUP. */
const ROLE_NUMBER = { master: 1, backup: 2 } as const;

function canonicalKey(id: ServiceId): string {
  return serviceKey('fwmark' in id ? id : { ...id, address: canonicalAddress(id.address) ?? id.address });
}

/** `tcp 10.0.0.1:80 -> 10.1.2.3:80` */
function subjectOf(operation: IpvsOperation): string {
  const service = canonicalKey(operation.service);
  if (!('destination' in operation)) return service;
  const { address, port } = operation.destination;
  return `${service} -> ${destinationKey({ address: canonicalAddress(address) ?? address, port })}`;
}

/** ENOENT for a service is never the service (that is ESRCH): it is the module of its scheduler or engine. */
function hintFor(operation: IpvsOperation, code: string): string | undefined {
  if (code !== 'ENOENT' || (operation.op !== 'addService' && operation.op !== 'setService')) return undefined;
  const { scheduler, persistenceEngine: engine = '' } = operation.spec;
  return engine === '' ? `modprobe ip_vs_${scheduler}` : `modprobe -a ip_vs_${scheduler} ip_vs_pe_${engine}`;
}

function failureAt(rows: ErrorRows, row: number, operations: readonly IpvsOperation[]): Failure<IpvsOperation> | undefined {
  const [index = 0, errno = 0, offset = 0, code = 0, message = 0] = rows.numbers.subarray(row * 5, row * 5 + 5);
  const operation = operations[index];
  if (operation === undefined) return undefined;
  const name = rows.texts[code] ?? '';
  const words = rows.texts[message] ?? '';
  const error = new KernelError({
    op: `ipvs.${operation.op}`,
    subject: subjectOf(operation),
    errno,
    code: name,
    index,
    ...(words !== '' || offset !== 0
      ? { extack: { ...(words !== '' ? { message: words } : {}), ...(offset !== 0 ? { offset } : {}) } }
      : {}),
    hint: hintFor(operation, name),
  });
  return { index, operation, error };
}

/** A call that the addon has: its answer is still to come. An object, so that awaiting it does not await the answer. */
interface Handed<T> {
  readonly answer: Promise<T>;
}

/** Puts operations `first` to `first + columns.count - 1` into columns. */
function fill(columns: OperationColumns, list: readonly IpvsOperation[], first: number): void {
  let row = 0;
  const path = (): string => `operations[${String(first + row)}]`;
  for (; row < columns.count; row++) {
    const operation = list[first + row];
    if (typeof operation !== 'object' || (operation as unknown) === null) throw new TypeError(`${path()}: expected an object`);
    columns.put(row, operation, path);
  }
}

function oneService(id: ServiceId): OperationColumns {
  const columns = new OperationColumns(1);
  columns.putService(0, id, () => 'ipvs');
  return columns;
}

/** Proof that a constructor call comes from this file. */
const internal = Symbol('internal');

/**
 * The kernel's load balancer (IPVS) of one network namespace, over generic netlink.
 *
 * Calls on one handle take effect in the order they were made. Needs CAP_NET_ADMIN in the initial
 * user namespace: without it calls fail with KernelError EPERM. There is no flush(): it would take
 * the services of every other user of the table with it; delete what is yours.
 *
 * ```js
 * import { Ipvs } from 'ravel-agent/native';
 *
 * const ipvs = await Ipvs.open();
 * const service = { protocol: 'tcp', address: '192.0.2.10', port: 80 };
 * const { failed } = await ipvs.apply([
 *   { op: 'addService', service, spec: { scheduler: 'wrr' } },
 *   { op: 'addDestination', service, destination: { address: '10.0.0.1', port: 80 }, spec: { forward: 'direct', weight: 1 } },
 * ]);
 * for (const { error } of failed) console.error(error.message);
 * for (const { id, destinations } of await ipvs.services()) console.log(id, destinations);
 * await ipvs.close();
 * ```
 */
export class Ipvs implements IpvsPort, IpvsSyncPort {
  readonly #handle: IpvsHandle;
  /** Settled when every earlier call has been handed to the addon, which keeps their order from there. */
  #turn: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  /** Not for callers: use open(). */
  constructor(key: symbol, handle: IpvsHandle) {
    if (key !== internal) throw new TypeError('Ipvs is not constructible; use Ipvs.open()');
    this.#handle = handle;
  }

  /**
   * Opens the interface in a namespace (default: that of the process). UnsupportedError, with the
   * module to load, where the kernel has no IPVS; TimeoutError when it does not answer in time.
   */
  static async open(options: OpenOptions = {}): Promise<Ipvs> {
    const { timeoutMs, receiveBufferBytes } = checkedOpenOptions(options);
    const exports = addon() as unknown as IpvsExports;
    return new Ipvs(internal, await exports.ipvsOpen(netnsHandle(options.netns), timeoutMs, receiveBufferBytes));
  }

  /** Version of IPVS and size of its connection table. */
  info(): Promise<IpvsInfo> {
    return this.#call(() => this.#handle.info());
  }

  /** Idle times after which connections are forgotten, in seconds. */
  timeouts(): Promise<IpvsTimeouts> {
    return this.#call(() => this.#handle.timeouts());
  }

  /** Sets the timeouts given (seconds, 1 to 2,147,483) and leaves the others. */
  async setTimeouts(timeouts: Partial<IpvsTimeouts>): Promise<void> {
    checkTimeouts(timeouts);
    await this.#call(() => this.#handle.setTimeouts(timeouts));
  }

  /**
   * The whole table as columns, read and decoded off the event loop. Reads again, at most 3 times,
   * when the kernel interrupts a read; then DumpInterruptedError. The kernel does not say when a
   * foreign writer changes the table meanwhile: an entry can then be missing until the next snapshot.
   */
  async snapshot(): Promise<IpvsSnapshot> {
    return cutSnapshot(await this.#call(() => this.#handle.snapshot()));
  }

  /** snapshot() as objects, for people and small tables: 100,000 destinations hold the event loop for a second. */
  async services(): Promise<Service[]> {
    return toObjects(await this.snapshot());
  }

  /**
   * The destinations of one service. [] also when the kernel does not have the service: its dump
   * does not tell (ip_vs_genl_dump_dests).
   */
  async destinations(id: ServiceId): Promise<readonly Destination[]> {
    const one = oneService(id);
    const block = await this.#call(() => this.#handle.destinations(one.bytes, one.count, one.names));
    return toObjects(cutSnapshot(block))[0]?.destinations ?? [];
  }

  /**
   * Carries out operations in order. Not atomic: those the kernel refused are in `failed`, each with
   * its KernelError (`op` ipvs.<operation>, `index`, errno name), and all the others took effect.
   * ESRCH: no such service; EEXIST: it is there already; ENOENT: no such destination, or for a
   * service no such scheduler (the message names the module to load).
   *
   * A TypeError or RangeError names the argument that is wrong; then nothing was sent, or, of a batch
   * of more than 2,000 operations, some of those before it. Any other rejection is of the transport:
   * what took effect is unknown, read the table again.
   */
  async apply(operations: readonly IpvsOperation[]): Promise<ApplyResult<IpvsOperation>> {
    if (!isArray(operations)) throw new TypeError('operations: expected an array');
    const list = [...operations];
    if (list.length === 0) return { applied: 0, failed: [] };
    const rows = await this.#inOrder(() => this.#hand(list));
    const failed: Failure<IpvsOperation>[] = [];
    for (let row = 0; row * 5 < rows.numbers.length; row++) {
      if (row > 0 && row % SLICE === 0) await yieldToEventLoop();
      const failure = failureAt(rows, row, list);
      if (failure !== undefined) failed.push(failure);
    }
    return { applied: list.length - failed.length, failed };
  }

  /** Sets the statistics of one service and its destinations to zero, or those of all. KernelError ESRCH: no such service. */
  async zero(id?: ServiceId): Promise<void> {
    if (id === undefined) return this.#call(() => this.#handle.zero());
    const one = oneService(id);
    await this.#call(() => this.#handle.zero(one.bytes, one.count, one.names));
  }

  /** The connection synchronization daemons that run: none, one or both roles. */
  syncDaemons(): Promise<SyncDaemon[]> {
    return this.#call(() => this.#handle.daemons());
  }

  /**
   * Starts sending (`master`) or receiving (`backup`) connection state. KernelError EEXIST when that
   * role runs already, ENODEV when the interface does not exist.
   */
  async startSyncDaemon(daemon: SyncDaemon): Promise<void> {
    const group = checkDaemon(daemon);
    const { role, interface: device, syncId, maxLength, port, ttl } = daemon;
    const fields: DaemonFields = { state: ROLE_NUMBER[role], interface: device, syncId, maxLength, port, ttl, group };
    await this.#call(() => this.#handle.startDaemon(fields));
  }

  /** KernelError ESRCH when that role does not run. */
  async stopSyncDaemon(role: SyncDaemon['role']): Promise<void> {
    checkRole(role);
    await this.#call(() => this.#handle.stopDaemon({ state: ROLE_NUMBER[role] }));
  }

  /** Closes the socket after the calls made before. Later calls reject with ClosedError. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#call(() => this.#handle.close());
    } catch (error) {
      // The namespace went first, and the socket with it.
      if (!(error instanceof ClosedError)) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Hands the operations to the addon, which sends them in its own thread; large batches slice by slice. */
  async #hand(list: readonly IpvsOperation[]): Promise<Handed<ErrorRows>> {
    let first = 0;
    let size = list.length <= SLICE ? SLICE : FIRST_SLICE;
    let columns = new OperationColumns(Math.min(size, list.length));
    try {
      while (list.length - first > size) {
        fill(columns, list, first);
        this.#handle.stage(columns.bytes, columns.count, columns.names, first);
        first += size;
        size = Math.min(size * 4, FULL_SLICE);
        const next = Math.min(size, list.length - first);
        if (next === columns.count) columns.reset();
        else columns = new OperationColumns(next);
        await yieldToEventLoop();
      }
      fill(columns, list, first);
      return { answer: this.#handle.apply(columns.bytes, columns.count, columns.names, first) };
    } catch (error) {
      // What was staged has an outcome, which is not the next batch's.
      if (first > 0) await this.#handle.apply(new ArrayBuffer(0), 0, [''], first).catch(() => undefined);
      throw error;
    }
  }

  /** Runs `hand` when every earlier call has been handed to the addon, which keeps their order from there. */
  async #inOrder<T>(hand: () => Handed<T> | Promise<Handed<T>>): Promise<T> {
    const before = this.#turn;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#turn = promise;
    let handed: Handed<T>;
    try {
      await before;
      handed = await hand();
    } finally {
      resolve(undefined);
    }
    return handed.answer;
  }

  #call<T>(call: () => Promise<T>): Promise<T> {
    return this.#inOrder(() => ({ answer: call() }));
  }
}
