/**
 * The rule set of the fake kernel and what one transaction does to it, in the order and with the
 * errno of nf_tables_api.c. A table is copied when a transaction first touches it, and so is each
 * set, so that a transaction that fails leaves nothing behind.
 */
import type { Chain, Element, NftOperation, Rule, SetSpec, Statement, TableId } from '../../src/native/nftables-types.ts';
import type { CountedElement } from './nft-columns.ts';
import { batchElements } from './nft-columns.ts';

/** Thrown inside a transaction; the port adds operation and index. */
export class Refusal extends Error {
  readonly code: string;
  constructor(code: string, subject: string) {
    super(subject);
    this.code = code;
  }
}

export interface FakeRule {
  readonly handle: bigint;
  readonly rule: Rule;
}

export interface FakeChain {
  readonly chain: Chain;
  readonly handle: bigint;
  readonly rules: readonly FakeRule[];
  /** Rules and elements that go or jump here. */
  readonly uses: number;
}

export interface FakeSet {
  readonly spec: SetSpec;
  readonly handle: bigint;
  readonly elements: ReadonlyMap<string, CountedElement>;
  /** Rules that look something up here. */
  readonly uses: number;
}

export const tableText = ({ family, name }: TableId): string => `${family} ${name}`;

const keyText = (element: Element): string => element.key.join(' . ');

const valueText = (element: Element): string => JSON.stringify(element.value ?? null);

export function setsOf(statements: readonly Statement[]): string[] {
  return statements.flatMap((statement) =>
    statement.kind === 'vmap' || statement.kind === 'dnatMap' ? [statement.map] : statement.kind === 'inSet' ? [statement.set] : [],
  );
}

function chainsOf(statements: readonly Statement[]): string[] {
  return statements.flatMap((statement) => (statement.kind === 'verdict' && 'chain' in statement.verdict ? [statement.verdict.chain] : []));
}

function targetOf(element: Element): string | undefined {
  return element.value !== undefined && 'verdict' in element.value && 'chain' in element.value ? element.value.chain : undefined;
}

const kindOf = ({ key, value, counter }: SetSpec): string => JSON.stringify([key, value ?? null, counter ?? false]);

export class FakeTable {
  readonly id: TableId;
  readonly chains: Map<string, FakeChain>;
  readonly sets: Map<string, FakeSet>;
  readonly #owned = new Set<string>();

  constructor(id: TableId, chains: ReadonlyMap<string, FakeChain> = new Map(), sets: ReadonlyMap<string, FakeSet> = new Map()) {
    this.id = id;
    this.chains = new Map(chains);
    this.sets = new Map(sets);
  }

  copy(): FakeTable {
    return new FakeTable(this.id, this.chains, this.sets);
  }

  chain(name: string): FakeChain {
    const chain = this.chains.get(name);
    if (chain === undefined) throw new Refusal('ENOENT', `chain ${name}`);
    return chain;
  }

  set(name: string): FakeSet {
    const set = this.sets.get(name);
    if (set === undefined) throw new Refusal('ENOENT', `set ${name}`);
    return set;
  }

  addChain(chain: Chain, exclusive: boolean, handle: bigint): void {
    const held = this.chains.get(chain.name);
    if (held === undefined) {
      this.chains.set(chain.name, { chain, handle, rules: [], uses: 0 });
      return;
    }
    if (exclusive) throw new Refusal('EEXIST', `chain ${chain.name}`);
    // nf_tables_updchain(): type and hook of a chain are for life.
    const { hook } = held.chain;
    if (chain.hook !== undefined && (hook?.type !== chain.hook.type || hook.hook !== chain.hook.hook))
      throw new Refusal('EEXIST', `chain ${chain.name}`);
  }

  deleteChain(name: string): void {
    const { uses } = this.chain(name);
    this.flushChain(name);
    if (uses > 0) throw new Refusal('EBUSY', `chain ${name}`);
    this.chains.delete(name);
  }

  flushChain(name: string): void {
    for (const { handle } of this.chain(name).rules) this.deleteRule(name, handle);
  }

  #use(statements: readonly Statement[], by: number): void {
    for (const name of setsOf(statements)) {
      const set = this.set(name);
      this.sets.set(name, { ...set, uses: set.uses + by });
    }
    for (const name of chainsOf(statements)) this.#useChain(name, by);
  }

  #useChain(name: string, by: number): void {
    const target = this.chain(name);
    // nft_verdict_init(): a base chain is no target.
    if (target.chain.hook !== undefined) throw new Refusal('EOPNOTSUPP', `chain ${name}`);
    this.chains.set(name, { ...target, uses: target.uses + by });
  }

  #check(statements: readonly Statement[]): void {
    for (const statement of statements) {
      if (statement.kind === 'vmap' && this.set(statement.map).spec.value !== 'verdict')
        throw new Refusal('EINVAL', `map ${statement.map}`);
      if (statement.kind === 'dnatMap' && typeof this.set(statement.map).spec.value !== 'object')
        throw new Refusal('EINVAL', `map ${statement.map}`);
    }
  }

  addRule(rule: Rule, handle: bigint, at: 'start' | 'end'): void {
    this.chain(rule.chain);
    this.#check(rule.statements);
    this.#use(rule.statements, 1);
    const chain = this.chain(rule.chain);
    const added = { handle, rule };
    this.chains.set(rule.chain, { ...chain, rules: at === 'start' ? [added, ...chain.rules] : [...chain.rules, added] });
  }

  replaceRule(rule: Rule, old: bigint, handle: bigint): void {
    const at = this.chain(rule.chain).rules.findIndex((held) => held.handle === old);
    if (at < 0) throw new Refusal('ENOENT', `rule ${old}`);
    this.deleteRule(rule.chain, old);
    this.#check(rule.statements);
    this.#use(rule.statements, 1);
    const chain = this.chain(rule.chain);
    this.chains.set(rule.chain, { ...chain, rules: chain.rules.toSpliced(at, 0, { handle, rule }) });
  }

  deleteRule(name: string, handle: bigint): void {
    const chain = this.chain(name);
    const found = chain.rules.find((held) => held.handle === handle);
    if (found === undefined) throw new Refusal('ENOENT', `rule ${handle}`);
    this.chains.set(name, { ...chain, rules: chain.rules.filter((held) => held !== found) });
    this.#use(found.rule.statements, -1);
  }

  addSet(spec: SetSpec, exclusive: boolean, handle: bigint): void {
    const held = this.sets.get(spec.name);
    if (held === undefined) this.sets.set(spec.name, { spec, handle, elements: new Map(), uses: 0 });
    else if (exclusive || kindOf(held.spec) !== kindOf(spec)) throw new Refusal('EEXIST', `set ${spec.name}`);
  }

  deleteSet(name: string): void {
    const { uses } = this.set(name);
    if (uses > 0) throw new Refusal('EBUSY', `set ${name}`);
    this.flushSet(name);
    this.sets.delete(name);
  }

  flushSet(name: string): void {
    const elements = this.#elements(name);
    for (const element of elements.values()) this.#release(element);
    elements.clear();
  }

  /** The set's elements, for writing: a copy of its own once per transaction. */
  #elements(name: string): Map<string, CountedElement> {
    const set = this.set(name);
    if (this.#owned.has(name)) return set.elements as Map<string, CountedElement>;
    const elements = new Map(set.elements);
    this.#owned.add(name);
    this.sets.set(name, { ...set, elements });
    return elements;
  }

  #release(element: Element): void {
    const target = targetOf(element);
    if (target !== undefined) this.#useChain(target, -1);
  }

  addElements(name: string, added: readonly Element[], exclusive: boolean): void {
    const elements = this.#elements(name);
    for (const element of added) {
      const text = keyText(element);
      const held = elements.get(text);
      // An element with another value clashes even when existing ones are tolerated.
      if (held !== undefined && (exclusive || valueText(held) !== valueText(element))) throw new Refusal('EEXIST', `element ${text}`);
      if (held !== undefined) continue;
      const target = targetOf(element);
      if (target !== undefined) this.#useChain(target, 1);
      elements.set(text, { ...element, packets: 0, bytes: 0 });
    }
  }

  deleteElements(name: string, deleted: readonly Element[]): void {
    const elements = this.#elements(name);
    for (const element of deleted) {
      const held = elements.get(keyText(element));
      if (held === undefined) throw new Refusal('ENOENT', `element ${keyText(element)}`);
      this.#release(held);
      elements.delete(keyText(element));
    }
  }
}

/** One operation on the tables of a transaction. `handle` names what it creates. */
export function applyOperation(
  tables: Map<string, FakeTable>,
  touched: (text: string) => FakeTable,
  operation: NftOperation,
  handle: bigint,
): void {
  const text = tableText(operation.table);
  switch (operation.op) {
    case 'addTable':
    case 'createTable':
      if (!tables.has(text)) tables.set(text, new FakeTable(operation.table));
      else if (operation.op === 'createTable') throw new Refusal('EEXIST', `table ${text}`);
      return;
    case 'deleteTable':
      touched(text);
      tables.delete(text);
      return;
    case 'flushTable': {
      const table = touched(text);
      for (const name of table.chains.keys()) table.flushChain(name);
      return;
    }
    case 'addChain':
    case 'createChain':
      touched(text).addChain(operation.chain, operation.op === 'createChain', handle);
      return;
    case 'deleteChain':
      touched(text).deleteChain(operation.chain.name);
      return;
    case 'flushChain':
      touched(text).flushChain(operation.chain.name);
      return;
    case 'addRule':
    case 'insertRule':
      touched(text).addRule(operation.rule, handle, operation.op === 'insertRule' ? 'start' : 'end');
      return;
    case 'replaceRule':
      touched(text).replaceRule(operation.rule, operation.handle, handle);
      return;
    case 'deleteRule':
      touched(text).deleteRule(operation.chain, operation.handle);
      return;
    case 'addSet':
    case 'createSet':
      touched(text).addSet(operation.set, operation.op === 'createSet', handle);
      return;
    case 'deleteSet':
      touched(text).deleteSet(operation.set.name);
      return;
    case 'flushSet':
      touched(text).flushSet(operation.set.name);
      return;
    case 'addElements':
    case 'createElements':
      touched(text).addElements(operation.set.name, operation.elements, operation.op === 'createElements');
      return;
    case 'deleteElements':
      touched(text).deleteElements(operation.set.name, operation.elements);
      return;
    case 'addElementBatch':
    case 'createElementBatch':
      touched(text).addElements(operation.set.name, batchElements(operation.set, operation.batch), operation.op === 'createElementBatch');
      return;
    case 'deleteElementBatch':
      touched(text).deleteElements(operation.set.name, batchElements(operation.set, operation.batch));
  }
}
