import { addon } from './addon.ts';
import { ClosedError, KernelError, UnsupportedError } from './errors.ts';
import { EventIterator } from './event-iterator.ts';
import { checkedOpenOptions, netnsHandle, type NetnsHandle, type OpenOptions } from './netns.ts';
import { decodeTables, decodeTableState, type NativeTable, type NativeTableState } from './nftables-decode.ts';
import { checkName, show } from './nftables-elements.ts';
import { encodeProgram } from './nftables-encode.ts';
import { elementSubject, operationText } from './nftables-text.ts';
import type { CommitOptions, ElementColumns, NftablesPort, NftEvent, NftOperation, TableId, TableState } from './nftables-types.ts';
import { FAMILIES } from './nftables-vocabulary.ts';

/** What the kernel refused (native/nftables_program.h, struct Refusal). */
interface NativeRefusal {
  readonly operation: number;
  readonly element: number;
  readonly errno: number;
  readonly code: string;
  readonly message: string;
  readonly offset: number;
  readonly feature: string;
  readonly module: string;
}

type NativeColumns = Omit<ElementColumns, 'comments'> & { readonly comments: string };

interface NftablesHandle {
  generation(): Promise<number>;
  tables(): Promise<readonly NativeTable[]>;
  list(family: number, table: string): Promise<NativeTableState>;
  elements(family: number, table: string, set: string): Promise<NativeColumns>;
  commit(program: Uint8Array, generation: number | undefined, apply: boolean): Promise<NativeRefusal | undefined>;
  watch(callback: (event: NftEvent | { type: 'closed' }) => void, receiveBufferBytes: number): Promise<() => void>;
  close(): Promise<void>;
}

interface NftablesExports {
  nftablesOpen(netns: NetnsHandle, timeoutMs: number, receiveBufferBytes: number): Promise<NftablesHandle>;
}

/** Longest time that encoding holds the event loop before it gives way, milliseconds. */
const SLICE_MS = 4;

/** Proof that a constructor call comes from this file. */
const internal = Symbol('internal');

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Encodes for at most about SLICE_MS. */
function encodeSlice(steps: Generator<void, Uint8Array>): IteratorResult<void, Uint8Array> {
  const end = performance.now() + SLICE_MS;
  let step = steps.next();
  while (step.done !== true && performance.now() < end) step = steps.next();
  return step;
}

function familyOf(table: TableId): number {
  const family = (FAMILIES as Readonly<Record<string, number>>)[table.family];
  if (family === undefined) throw new TypeError(`table.family: expected ip, ip6 or inet, got ${show(table.family)}`);
  checkName(table.name, 'table.name');
  return family;
}

function checkGeneration(generation: number | undefined): void {
  if (generation === undefined || (Number.isInteger(generation) && generation >= 0 && generation <= 0xffffffff)) return;
  throw new RangeError(`ifGeneration: expected a generation, got ${show(generation)}`);
}

function refusalError(
  op: string,
  operations: readonly NftOperation[],
  generation: number | undefined,
  refusal: NativeRefusal,
): KernelError | UnsupportedError {
  if (refusal.module !== '') return new UnsupportedError(refusal.feature, `modprobe ${refusal.module}`);
  const operation = operations[refusal.operation];
  let subject = `transaction of ${operations.length} operations`;
  // nfnetlink_rcv_batch() says so of the batch as a whole and only when the generation is another.
  if (refusal.code === 'ERESTART' && generation !== undefined) subject += ` on generation ${generation}`;
  if (operation !== undefined) {
    subject = refusal.element >= 0 ? elementSubject(operation, refusal.element) : operationText(operation, { maxElements: 3 });
  }
  const { errno, code, message, offset } = refusal;
  const extack = { ...(message !== '' && { message }), ...(offset !== 0 && { offset }) };
  const index = operation === undefined ? undefined : refusal.operation;
  return new KernelError({ op, subject, errno, code, index, extack: Object.keys(extack).length === 0 ? undefined : extack });
}

/**
 * The nftables of one network namespace, over a socket that stays open: closing one costs an RCU grace
 * period. Calls run in the order in which they are made; a transaction is one system call and is applied
 * whole or not at all.
 */
export class Nftables implements NftablesPort {
  readonly #handle: NftablesHandle;
  readonly #receiveBufferBytes: number;
  readonly #watches = new Set<EventIterator<NftEvent>>();
  /** The encoding that is giving way to other work; calls made meanwhile wait for it, so that they stay in order. */
  #encoding: Promise<undefined> | undefined;

  /** Not for callers: use open(). */
  constructor(key: symbol, handle: NftablesHandle, receiveBufferBytes: number) {
    if (key !== internal) throw new TypeError('Nftables is not constructible; use Nftables.open()');
    this.#handle = handle;
    this.#receiveBufferBytes = receiveBufferBytes;
  }

  /**
   * Opens the socket. UnsupportedError where the kernel has no nf_tables, KernelError EPERM without
   * CAP_NET_ADMIN, RangeError for an option out of range.
   */
  static async open(options: OpenOptions = {}): Promise<Nftables> {
    const { timeoutMs, receiveBufferBytes } = checkedOpenOptions(options);
    const exports = addon() as unknown as NftablesExports;
    const handle = await exports.nftablesOpen(netnsHandle(options.netns), timeoutMs, receiveBufferBytes);
    return new Nftables(internal, handle, receiveBufferBytes);
  }

  /** Number of the ruleset: changes with every transaction in the namespace, whoever commits it. */
  async generation(): Promise<number> {
    return this.#inTurn(() => this.#handle.generation());
  }

  /** The tables of families ip, ip6 and inet, whoever made them. */
  async tables(): Promise<readonly TableId[]> {
    return decodeTables(await this.#inTurn(() => this.#handle.tables()));
  }

  /**
   * Chains, rules and sets of one table, without elements, all of one generation. KernelError ENOENT
   * without the table; DumpInterruptedError when the ruleset changes during each of four readings.
   */
  async list(table: TableId): Promise<TableState> {
    const family = familyOf(table);
    return decodeTableState(await this.#inTurn(() => this.#handle.list(family, table.name)));
  }

  /** All elements of one set as columns. KernelError ENOENT without the table or the set. */
  async elements(table: TableId, set: string): Promise<ElementColumns> {
    const family = familyOf(table);
    checkName(set, 'set');
    const columns = await this.#inTurn(() => this.#handle.elements(family, table.name, set));
    return { ...columns, comments: columns.comments.split('\0') };
  }

  /**
   * Applies the operations in one transaction: all, or none. KernelError of the first operation at fault,
   * with its index; ERESTART when `ifGeneration` is not the current one; UnsupportedError when the kernel
   * lacks a module that a rule needs. Bad input is a TypeError or RangeError that begins with its path
   * and reaches the kernel in no part. The operations must not change until the promise settles.
   */
  async commit(operations: readonly NftOperation[], options: CommitOptions = {}): Promise<void> {
    checkGeneration(options.ifGeneration);
    await this.#inTurn(() => this.#transact('nftables.commit', operations, options.ifGeneration, true));
  }

  /** Has the kernel judge the operations as commit() would, without effect. Errors as for commit(). */
  async check(operations: readonly NftOperation[]): Promise<void> {
    await this.#inTurn(() => this.#transact('nftables.check', operations, undefined, false));
  }

  /**
   * Changes to any table in the namespace as the kernel announces them, one's own too. An `overrun` event
   * says that some were lost: read the tables again. What happens after the promise `started` of the
   * iterator is seen. Ends with return(), with the signal, and when the handle or its namespace is closed.
   */
  watch(options: { signal?: AbortSignal; receiveBufferBytes?: number } = {}): EventIterator<NftEvent> {
    const bytes = options.receiveBufferBytes ?? this.#receiveBufferBytes;
    checkedOpenOptions({ receiveBufferBytes: bytes });
    const watches = this.#watches;
    let iterator: EventIterator<NftEvent> | undefined = undefined;
    const forget = (): void => {
      if (iterator !== undefined) watches.delete(iterator);
    };
    const started = new EventIterator<NftEvent>(
      (deliver) => this.#handle.watch((event) => (event.type === 'closed' ? started.end() : deliver(event)), bytes),
      { signal: options.signal, onEnd: forget },
    );
    if (options.signal?.aborted !== true) watches.add((iterator = started));
    return started;
  }

  /** Ends the watches and closes the socket after the calls made before; later calls reject with ClosedError. Idempotent. */
  async close(): Promise<void> {
    for (const watch of [...this.#watches]) watch.end();
    try {
      await this.#inTurn(() => this.#handle.close());
    } catch (error) {
      // The namespace went first, and the socket with it.
      if (!(error instanceof ClosedError)) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Runs `work` at once, or after what is being encoded. No await between the check and the work: another call would slip in. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    while (this.#encoding !== undefined) await this.#encoding;
    return work();
  }

  async #transact(op: string, operations: readonly NftOperation[], generation: number | undefined, apply: boolean): Promise<void> {
    const steps = encodeProgram(operations);
    const first = encodeSlice(steps);
    const refusal = await (first.done === true
      ? this.#handle.commit(first.value, generation, apply)
      : this.#transactInSlices(steps, generation, apply));
    if (refusal !== undefined) throw refusalError(op, operations, generation, refusal);
  }

  /** Gives way between slices, but lets no later call of this handle pass. */
  async #transactInSlices(
    steps: Generator<void, Uint8Array>,
    generation: number | undefined,
    apply: boolean,
  ): Promise<NativeRefusal | undefined> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#encoding = promise;
    let answer: Promise<NativeRefusal | undefined>;
    try {
      let step: IteratorResult<void, Uint8Array>;
      do {
        await nextTurn();
        step = encodeSlice(steps);
      } while (step.done !== true);
      answer = this.#handle.commit(step.value, generation, apply);
    } finally {
      this.#encoding = undefined;
      resolve(undefined);
    }
    return answer;
  }
}
