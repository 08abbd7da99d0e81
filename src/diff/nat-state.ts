/**
 * What our table of one family holds, as a structure that a plan can be made from and that follows each
 * committed transaction, so that the kernel is read once and then again only on doubt.
 *
 * It understands the operations that {@link file://./nat.ts} plans, nothing else. The reference counts (which pods
 * are in use, which chains are gone to) are what makes a plan for one virtual service cost what that
 * service costs, not what the table costs.
 */
import type { NatServiceId } from '../desired/types.ts';
import type { AddressFamily } from '../model/address.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import { forEachElement } from '../native/nftables-columns.ts';
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
import type { ObservedRule } from './nat-equal.ts';
import { sameHook, sameSet } from './nat-equal.ts';
import {
  isPodsChain,
  NAT_HOOKS,
  NAT_LAYOUTS,
  natSets,
  protocolName,
  segmentsOf,
  segmentsSet,
  type NatArea,
  type NatLayout,
} from './nat-layout.ts';

export interface NatPod {
  readonly address: Address;
  readonly port: number;
}

/** What the maps of one area hold for one virtual service. */
export interface NatEntry {
  readonly id: NatServiceId;
  /** Of its element in the verdict map; undefined when only endpoints are there. */
  verdict: Verdict | undefined;
  comment: string | undefined;
  readonly slots: Map<number, NatPod>;
}

export type NatEntries = Map<VirtualServiceKey, NatEntry>;

interface ObservedChain {
  readonly hook: ChainHook | undefined;
  readonly rules: ObservedRule[];
}

/** The key of a virtual service, as model/keys.ts writes it, also for protocols that no configuration has. */
export function natKey({ address, protocol, port }: NatServiceId): VirtualServiceKey {
  return `${protocolName(protocol)} ${address.includes(':') ? `[${address}]` : address}:${port}`;
}

/** Which table a virtual service is in. */
export function familyOfKey(key: VirtualServiceKey): AddressFamily {
  return key.includes('[') ? 6 : 4;
}

/** The first three fields of a key in our maps. */
export function serviceId(key: readonly FieldValue[]): NatServiceId {
  return { address: String(key[0]), protocol: Number(key[1]), port: Number(key[2]) };
}

/** A set element's identity among those of its set. */
export function elementText(key: readonly FieldValue[]): string {
  return key.join(' ');
}

export class NatState {
  readonly layout: NatLayout;
  /** Whether the table is there. */
  exists = false;
  /** What cannot be changed in place, in words: the table has to be built anew. */
  readonly incompatible: string[] = [];
  /** Virtual services with pods of this machine. */
  readonly entries: NatEntries = new Map();
  /** Those for clients on this machine alone. */
  readonly inside: NatEntries = new Map();
  readonly chains = new Map<string, ObservedChain>();
  /** Names of the sets that are there, with what they are. */
  readonly sets = new Map<string, SetSpec>();
  /** Elements of the set `hairpin` by {@link elementText}. */
  readonly hairpin = new Map<string, readonly FieldValue[]>();
  readonly addresses = new Set<Address>();
  readonly masqueraded = new Map<VirtualServiceKey, NatServiceId>();
  /** Sizes of segments with the VIPs that have them. */
  readonly segments = new Map<number, Set<Address>>();
  /** Slots, over all virtual services of {@link entries}, that hold a pod address. */
  readonly podUses = new Map<Address, number>();
  /** Elements of verdict maps that go to a chain. */
  readonly chainUses = new Map<string, number>();

  constructor(layout: NatLayout = NAT_LAYOUTS[4]) {
    this.layout = layout;
  }

  entriesOf(area: NatArea): NatEntries {
    return area.kind === 'local' ? this.entries : this.inside;
  }

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
        this.#deleteSet(operation.set.name);
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
    const parts = [this.entries, this.inside, this.chains, this.sets, this.hairpin, this.addresses, this.masqueraded];
    for (const part of [...parts, this.segments, this.podUses, this.chainUses]) part.clear();
  }

  #deleteSet(name: string): void {
    this.sets.delete(name);
    const bytes = segmentsOf(name);
    if (bytes !== undefined) this.segments.delete(bytes);
  }

  #chain(name: string): ObservedChain {
    const chain = this.chains.get(name);
    if (chain === undefined) throw new Error(`chain ${name} is not there`);
    return chain;
  }

  #entry(area: NatArea, key: readonly FieldValue[]): NatEntry {
    const entries = this.entriesOf(area);
    const id = serviceId(key);
    const name = natKey(id);
    let entry = entries.get(name);
    if (entry === undefined) entries.set(name, (entry = { id, verdict: undefined, comment: undefined, slots: new Map() }));
    return entry;
  }

  #area(set: string): NatArea | undefined {
    const { local, inside } = this.layout;
    return [local, inside].find(({ services, endpoints }) => set === services.name || set === endpoints.name);
  }

  /** Takes in one element of one of our sets. */
  addElement(set: string, element: Element): void {
    const { key, value } = element;
    const area = this.#area(set);
    if (area !== undefined) {
      const entry = this.#entry(area, key);
      if (set === area.services.name && value !== undefined && 'verdict' in value) {
        entry.verdict = value;
        entry.comment = element.comment;
        if ('chain' in value) count(this.chainUses, value.chain, 1);
      } else if (set === area.endpoints.name && Array.isArray(value)) {
        const [address, port] = value as readonly FieldValue[];
        entry.slots.set(Number(key[3]), { address: String(address), port: Number(port) });
        this.#countPod(area, String(address), 1);
      }
      return;
    }
    const bytes = segmentsOf(set);
    if (set === this.layout.hairpin.name) this.hairpin.set(elementText(key), key);
    else if (set === this.layout.addresses.name) this.addresses.add(String(key[0]));
    else if (set === this.layout.masqueraded.name) this.masqueraded.set(natKey(serviceId(key)), serviceId(key));
    else if (bytes !== undefined) this.#addSegment(bytes, String(key[0]));
  }

  #addSegment(bytes: number, address: Address): void {
    const addresses = this.segments.get(bytes);
    if (addresses === undefined) this.segments.set(bytes, new Set([address]));
    else addresses.add(address);
  }

  #deleteSegment(bytes: number, address: Address): void {
    const addresses = this.segments.get(bytes);
    addresses?.delete(address);
    if (addresses?.size === 0) this.segments.delete(bytes);
  }

  /** A pod of another machine never calls a VIP through these rules, so it is no hairpin. */
  #countPod(area: NatArea, pod: Address, by: number): void {
    if (area.kind === 'local') count(this.podUses, pod, by);
  }

  #deleteElement(set: string, key: readonly FieldValue[]): void {
    const area = this.#area(set);
    if (area !== undefined) {
      this.#deleteEntry(area, set, key);
      return;
    }
    const bytes = segmentsOf(set);
    if (set === this.layout.hairpin.name) this.hairpin.delete(elementText(key));
    else if (set === this.layout.addresses.name) this.addresses.delete(String(key[0]));
    else if (set === this.layout.masqueraded.name) this.masqueraded.delete(natKey(serviceId(key)));
    else if (bytes !== undefined) this.#deleteSegment(bytes, String(key[0]));
  }

  #deleteEntry(area: NatArea, set: string, key: readonly FieldValue[]): void {
    const entry = this.#entry(area, key);
    if (set === area.services.name) {
      if (entry.verdict !== undefined && 'chain' in entry.verdict) count(this.chainUses, entry.verdict.chain, -1);
      entry.verdict = undefined;
      entry.comment = undefined;
    } else {
      const pod = entry.slots.get(Number(key[3]));
      if (pod !== undefined) this.#countPod(area, pod.address, -1);
      entry.slots.delete(Number(key[3]));
    }
    if (entry.verdict === undefined && entry.slots.size === 0) this.entriesOf(area).delete(natKey(entry.id));
  }
}

/** Adds `by` to a counter; counters at 0 are dropped, so that the map's size is what is in use. */
export function count<Key>(counters: Map<Key, number>, key: Key, by: number): void {
  const next = (counters.get(key) ?? 0) + by;
  if (next === 0) counters.delete(key);
  else counters.set(key, next);
}

/** The set of ours that has this name. */
function ours(layout: NatLayout, name: string): SetSpec | undefined {
  const bytes = segmentsOf(name);
  return bytes === undefined ? natSets(layout).find((set) => set.name === name) : segmentsSet(layout, bytes);
}

/** Whether it is one of ours and as we make it; the services count or not, as is wanted. */
function readable(layout: NatLayout, listed: TableState['sets'][number]): boolean {
  const set = ours(layout, listed.name);
  if (set === undefined || !listed.known) return false;
  const counter = set.name === layout.local.services.name ? (listed.counter ?? false) : (set.counter ?? false);
  return sameSet({ ...set, counter }, listed);
}

/** The sets of the table that must be read for {@link natState}: those of ours that are there and as we make them. */
export function readableSets(layout: NatLayout, table: TableState): SetSpec[] {
  return table.sets.filter((listed) => readable(layout, listed));
}

/**
 * From what the kernel listed. `table` is undefined where there is none; `elements` has the columns of
 * {@link readableSets} by name.
 */
export function natState(layout: NatLayout, table: TableState | undefined, elements: ReadonlyMap<string, ElementColumns>): NatState {
  const state = new NatState(layout);
  if (table === undefined) return state;
  state.exists = true;
  // Both are switched off with one command, and then everything looks right and nothing works.
  if (table.dormant) state.incompatible.push('the table is dormant');
  for (const { name, hook, policy } of table.chains) {
    state.chains.set(name, { hook, rules: [] });
    if (policy === 'drop') state.incompatible.push(`chain ${name} drops what no rule matches`);
    const wanted = NAT_HOOKS.get(name);
    if (wanted !== undefined && !sameHook(wanted, hook)) state.incompatible.push(`chain ${name} is hooked elsewhere`);
    if (isPodsChain(name) && hook !== undefined) state.incompatible.push(`chain ${name} has a hook`);
  }
  for (const rule of table.rules) state.chains.get(rule.chain)?.rules.push({ statements: rule.statements, comment: rule.comment });
  for (const set of table.sets) {
    state.sets.set(set.name, set);
    if (ours(layout, set.name) === undefined) continue;
    if (!readable(layout, set)) {
      state.incompatible.push(`set ${set.name} has other types`);
      continue;
    }
    const columns = elements.get(set.name);
    if (columns !== undefined) forEachElement(set, columns, (element) => state.addElement(set.name, element));
  }
  return state;
}
