/**
 * What `table ip ravel` holds, as a structure that a plan can be made from and that follows each
 * committed transaction, so that the kernel is read once and then again only on doubt.
 *
 * It understands the operations that {@link file://./nat.ts} plans, nothing else. The reference counts (which pods
 * are in use, which chains are gone to) are what makes a plan for one virtual service cost what that
 * service costs, not what the table costs.
 */
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import type {
  ChainHook,
  Element,
  ElementColumns,
  FieldValue,
  NftOperation,
  SetSpec,
  TableState,
  Verdict,
} from '../native/nftables-types.ts';
import { forEachElement } from '../native/nftables-columns.ts';
import type { ObservedRule } from './nat-equal.ts';
import { sameHook, sameSet } from './nat-equal.ts';
import { ADDRESSES, baseChains, ENDPOINTS, HAIRPIN, NAT_SETS, protocolName, SERVICES } from './nat-layout.ts';

/** The key fields of a virtual service in the maps. */
export interface NatServiceId {
  readonly address: Address;
  /** IPPROTO number. */
  readonly protocol: number;
  readonly port: number;
}

export interface NatPod {
  readonly address: Address;
  readonly port: number;
}

/** What the maps hold for one virtual service. */
export interface NatEntry {
  readonly id: NatServiceId;
  /** Of its element in `services`; undefined when only endpoints are there. */
  verdict: Verdict | undefined;
  comment: string | undefined;
  readonly slots: Map<number, NatPod>;
}

interface ObservedChain {
  readonly hook: ChainHook | undefined;
  readonly rules: ObservedRule[];
}

export function natKey({ address, protocol, port }: NatServiceId): VirtualServiceKey {
  return `${protocolName(protocol)} ${address}:${port}`;
}

/** A set element's identity among those of its set. */
export function elementText(key: readonly FieldValue[]): string {
  return key.join(' ');
}

export class NatState {
  /** Whether the table is there. */
  exists = false;
  /** What cannot be changed in place, in words: the table has to be built anew. */
  readonly incompatible: string[] = [];
  readonly entries = new Map<VirtualServiceKey, NatEntry>();
  readonly chains = new Map<string, ObservedChain>();
  /** Names of the sets that are there, with what they are. */
  readonly sets = new Map<string, SetSpec>();
  /** Elements of the set `hairpin` by {@link elementText}. */
  readonly hairpin = new Map<string, readonly FieldValue[]>();
  readonly addresses = new Set<Address>();
  /** Slots, over all virtual services, that hold a pod address. */
  readonly podUses = new Map<Address, number>();
  /** Elements of `services` that go to a chain. */
  readonly chainUses = new Map<string, number>();

  /** Follows a transaction that the kernel has accepted. Throws on an operation that no plan contains. */
  apply(operations: readonly NftOperation[]): void {
    for (const operation of operations) this.#applyOne(operation);
  }

  #applyOne(operation: NftOperation): void {
    switch (operation.op) {
      case 'addTable':
        this.exists = true;
        return;
      case 'deleteTable':
        this.#clear();
        return;
      case 'addSet':
        this.sets.set(operation.set.name, operation.set);
        return;
      case 'deleteSet':
        this.sets.delete(operation.set.name);
        return;
      case 'createChain':
        this.chains.set(operation.chain.name, { hook: operation.chain.hook, rules: [] });
        return;
      case 'flushChain':
        this.#chain(operation.chain.name).rules.length = 0;
        return;
      case 'deleteChain':
        this.chains.delete(operation.chain.name);
        return;
      case 'addRule':
        this.#chain(operation.rule.chain).rules.push({ statements: operation.rule.statements, comment: operation.rule.comment });
        return;
      case 'createElements':
        for (const element of operation.elements) this.addElement(operation.set.name, element);
        return;
      case 'deleteElements':
        for (const element of operation.elements) this.#deleteElement(operation.set.name, element.key);
        return;
      default:
        throw new Error(`no plan contains ${operation.op}`);
    }
  }

  #clear(): void {
    this.exists = false;
    this.incompatible.length = 0;
    for (const part of [this.entries, this.chains, this.sets, this.hairpin, this.addresses, this.podUses, this.chainUses]) part.clear();
  }

  #chain(name: string): ObservedChain {
    const chain = this.chains.get(name);
    if (chain === undefined) throw new Error(`chain ${name} is not there`);
    return chain;
  }

  #entry(key: readonly FieldValue[]): NatEntry {
    const id = { address: String(key[0]), protocol: Number(key[1]), port: Number(key[2]) };
    const name = natKey(id);
    let entry = this.entries.get(name);
    if (entry === undefined) this.entries.set(name, (entry = { id, verdict: undefined, comment: undefined, slots: new Map() }));
    return entry;
  }

  #dropIfEmpty(entry: NatEntry): void {
    if (entry.verdict === undefined && entry.slots.size === 0) this.entries.delete(natKey(entry.id));
  }

  /** Takes in one element of one of our sets. */
  addElement(set: string, element: Element): void {
    const { key, value } = element;
    if (set === HAIRPIN.name) this.hairpin.set(elementText(key), key);
    else if (set === ADDRESSES.name) this.addresses.add(String(key[0]));
    else if (set === SERVICES.name && value !== undefined && 'verdict' in value) {
      const entry = this.#entry(key);
      entry.verdict = value;
      entry.comment = element.comment;
      if ('chain' in value) count(this.chainUses, value.chain, 1);
    } else if (set === ENDPOINTS.name && Array.isArray(value)) {
      const [address, port] = value as readonly FieldValue[];
      this.#entry(key).slots.set(Number(key[3]), { address: String(address), port: Number(port) });
      count(this.podUses, String(address), 1);
    }
  }

  #deleteElement(set: string, key: readonly FieldValue[]): void {
    if (set === HAIRPIN.name) this.hairpin.delete(elementText(key));
    else if (set === ADDRESSES.name) this.addresses.delete(String(key[0]));
    else {
      const entry = this.#entry(key);
      if (set === SERVICES.name) {
        if (entry.verdict !== undefined && 'chain' in entry.verdict) count(this.chainUses, entry.verdict.chain, -1);
        entry.verdict = undefined;
        entry.comment = undefined;
      } else {
        const pod = entry.slots.get(Number(key[3]));
        if (pod !== undefined) count(this.podUses, pod.address, -1);
        entry.slots.delete(Number(key[3]));
      }
      this.#dropIfEmpty(entry);
    }
  }
}

/** Adds `by` to a counter; counters at 0 are dropped, so that the map's size is what is in use. */
export function count<Key>(counters: Map<Key, number>, key: Key, by: number): void {
  const next = (counters.get(key) ?? 0) + by;
  if (next === 0) counters.delete(key);
  else counters.set(key, next);
}

/** The sets of the table that must be read for {@link natState}: those of ours that are there and as we make them. */
export function readableSets(table: TableState): SetSpec[] {
  return NAT_SETS.filter((set) => table.sets.some((listed) => listed.name === set.name && listed.known && sameSet(set, listed)));
}

/**
 * From what the kernel listed. `table` is undefined where there is none; `elements` has the columns of
 * {@link readableSets} by name.
 */
export function natState(table: TableState | undefined, elements: ReadonlyMap<string, ElementColumns>): NatState {
  const state = new NatState();
  if (table === undefined) return state;
  state.exists = true;
  // Both are switched off with one command, and then everything looks right and nothing works.
  if (table.dormant) state.incompatible.push('the table is dormant');
  for (const { name, hook, policy } of table.chains) {
    state.chains.set(name, { hook, rules: [] });
    if (policy === 'drop') state.incompatible.push(`chain ${name} drops what no rule matches`);
  }
  for (const rule of table.rules) state.chains.get(rule.chain)?.rules.push({ statements: rule.statements, comment: rule.comment });
  const readable = readableSets(table);
  for (const set of table.sets) {
    state.sets.set(set.name, set);
    const ours = NAT_SETS.some(({ name }) => name === set.name);
    if (ours && !readable.some(({ name }) => name === set.name)) state.incompatible.push(`set ${set.name} has other types`);
  }
  for (const { chain } of baseChains({ enabled: false })) {
    const observed = state.chains.get(chain.name);
    if (observed !== undefined && !sameHook(chain.hook, observed.hook)) state.incompatible.push(`chain ${chain.name} is hooked elsewhere`);
  }
  for (const [name, { hook }] of state.chains) {
    if (/^pods-/.test(name) && hook !== undefined) state.incompatible.push(`chain ${name} has a hook`);
  }
  for (const set of readable) {
    const columns = elements.get(set.name);
    if (columns !== undefined) forEachElement(set, columns, (element) => state.addElement(set.name, element));
  }
  return state;
}
