/** nf_tables in memory: atomic transactions, a generation, events, elements as columns. */
import { KernelError } from '../../src/native/errors.ts';
import { EventIterator } from '../../src/native/event-iterator.ts';
import type {
  CommitOptions,
  ElementColumns,
  NftEvent,
  NftOperation,
  NftablesPort,
  TableId,
  TableState,
} from '../../src/native/nftables-types.ts';
import { kernelError } from './errors.ts';
import type { Faults } from './faults.ts';
import type { Journal } from './journal.ts';
import { elementColumns } from './nft-columns.ts';
import type { FakeTable } from './nft-tables.ts';
import { applyOperation, Refusal, tableText } from './nft-tables.ts';

const FAMILY_NUMBERS = { inet: 1, ip: 2, ip6: 10 } as const;

/** NFT_MSG_* by verb and object, as events name them. */
function messageOf({ op }: NftOperation): string {
  const object = /Table|Chain|Rule|Set|Element/.exec(op)?.[0] ?? '';
  const noun = object === 'Element' ? 'setelem' : object.toLowerCase();
  return `${/^(delete|flush)/.test(op) ? 'del' : 'new'}${noun}`;
}

export function operationCount(operation: NftOperation): number {
  if ('elements' in operation) return operation.elements.length;
  return 'batch' in operation ? operation.batch.count : 1;
}

export class FakeNftables implements NftablesPort {
  #tables = new Map<string, FakeTable>();
  #generation = 1;
  #handles = 1n;
  readonly #watchers = new Set<(event: NftEvent) => void>();
  readonly #faults: Faults;
  readonly #journal: Journal;
  /** Our pid in events. */
  readonly pid = 4242;
  /** Operations of each transaction that was committed by us. */
  readonly transactionSizes: number[] = [];

  constructor(faults: Faults, journal: Journal) {
    this.#faults = faults;
    this.#journal = journal;
  }

  table(id: TableId): FakeTable | undefined {
    return this.#tables.get(tableText(id));
  }

  /** Everything it holds, as data that compares. */
  dump(): unknown {
    return [...this.#tables.values()].map(({ id, chains, sets }) => ({
      table: tableText(id),
      chains: Object.fromEntries(
        [...chains].sort().map(([name, { chain, rules }]) => [name, { hook: chain.hook, rules: rules.map(({ rule }) => rule) }]),
      ),
      sets: Object.fromEntries(
        [...sets].sort().map(([name, { spec, elements }]) => [name, { spec, elements: Object.fromEntries([...elements].sort()) }]),
      ),
    }));
  }

  generation(): Promise<number> {
    return this.#reading('nftables.generation', 'generation', () => this.#generation);
  }

  tables(): Promise<readonly TableId[]> {
    return this.#reading('nftables.tables', 'tables', () => [...this.#tables.values()].map(({ id }) => id));
  }

  list(id: TableId): Promise<TableState> {
    return this.#reading('nftables.list', tableText(id), () => {
      const table = this.#existing('nftables.list', id);
      return {
        dormant: false,
        chains: [...table.chains.values()].map(({ chain, handle }) => ({ ...chain, handle })),
        rules: [...table.chains.values()].flatMap(({ rules }) =>
          rules.map(({ handle, rule }) => ({ chain: rule.chain, handle, comment: rule.comment, statements: rule.statements })),
        ),
        sets: [...table.sets.values()].map(({ spec, handle }) => ({ ...spec, handle, known: true })),
      };
    });
  }

  elements(id: TableId, name: string): Promise<ElementColumns> {
    return this.#reading('nftables.elements', `${tableText(id)} ${name}`, () => {
      const set = this.#existing('nftables.elements', id).sets.get(name);
      if (set === undefined) throw kernelError('nftables.elements', name, 'ENOENT');
      return elementColumns(set.spec, [...set.elements.values()]);
    });
  }

  async commit(operations: readonly NftOperation[], options: CommitOptions = {}): Promise<void> {
    await Promise.resolve();
    const count = operations.reduce((sum, operation) => sum + operationCount(operation), 0);
    try {
      if (options.ifGeneration !== undefined && options.ifGeneration !== this.#generation)
        throw kernelError('nftables.commit', 'batch', 'ERESTART');
      const families = [...new Set(operations.map(({ table }) => table.family))].join(' and ');
      this.#faults.throwNext('nftables.commit', `${count} operations on ${families}`);
      this.#tables = this.#transact(operations, 'nftables.commit');
    } catch (error) {
      this.#journal.write('nftables.commit', `${count} operations`, error instanceof KernelError ? error.code : String(error));
      throw error;
    }
    this.#journal.write('nftables.commit', `${count} operations`, undefined, count);
    this.transactionSizes.push(count);
    this.#announce(operations, this.pid, true);
  }

  async check(operations: readonly NftOperation[]): Promise<void> {
    await Promise.resolve();
    this.#faults.throwNext('nftables.check', `${operations.length} operations`);
    this.#transact(operations, 'nftables.check');
  }

  /** The same, done by somebody else: not in the journal, no fault, a pid that is not ours. */
  commitAsOther(operations: readonly NftOperation[], pid = 77): void {
    this.#tables = this.#transact(operations, 'nftables.commit');
    this.#announce(operations, pid, false);
  }

  watch(options: { signal?: AbortSignal } = {}): EventIterator<NftEvent> {
    return new EventIterator<NftEvent>((deliver) => {
      this.#watchers.add(deliver);
      return Promise.resolve(() => this.#watchers.delete(deliver));
    }, options);
  }

  /** ENOBUFS on the event socket. */
  overrun(): void {
    for (const deliver of this.#watchers) deliver({ type: 'overrun' });
  }

  #existing(op: string, id: TableId): FakeTable {
    const table = this.#tables.get(tableText(id));
    if (table === undefined) throw kernelError(op, tableText(id), 'ENOENT');
    return table;
  }

  async #reading<Result>(op: string, subject: string, read: () => Result): Promise<Result> {
    await Promise.resolve();
    this.#journal.read();
    this.#faults.throwNext(op, subject);
    return read();
  }

  #transact(operations: readonly NftOperation[], op: string): Map<string, FakeTable> {
    const tables = new Map(this.#tables);
    const copied = new Set<FakeTable>();
    const touched = (text: string): FakeTable => {
      const held = tables.get(text);
      if (held === undefined) throw new Refusal('ENOENT', `table ${text}`);
      if (copied.has(held)) return held;
      const copy = held.copy();
      copied.add(copy);
      tables.set(text, copy);
      return copy;
    };
    for (const [index, operation] of operations.entries()) {
      try {
        applyOperation(tables, touched, operation, this.#handles++);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        throw kernelError(op, `${operation.op} ${error.message}`, error.code, index);
      }
    }
    return tables;
  }

  #announce(operations: readonly NftOperation[], pid: number, own: boolean): void {
    const generation = ++this.#generation;
    for (const deliver of this.#watchers) {
      for (const operation of operations) {
        const { family, name } = operation.table;
        deliver({
          type: 'change',
          message: messageOf(operation),
          family: FAMILY_NUMBERS[family],
          table: name,
          own,
          pid: undefined,
          generation: undefined,
        });
      }
      deliver({ type: 'change', message: 'newgen', family: 0, table: undefined, own, pid, generation });
    }
  }
}
