/**
 * From what `table ip ravel` holds to what it should hold, in transactions of bounded size. Every
 * committed prefix is safe for traffic: a verdict goes to a chain that exists, and a chain that
 * chooses among N pods finds all N endpoints of the service.
 *
 * Order: what others refer to, then services that appear or change, then services that go, then
 * what nothing refers to any more. A small plan is one transaction.
 */
import type { DesiredNatService, DesiredNat } from '../desired/types.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import type { Element, FieldValue, NftOperation, SetSpec } from '../native/nftables-types.ts';
import { sameRules } from './nat-equal.ts';
import type { NatChain } from './nat-layout.ts';
import { ADDRESSES, baseChains, ENDPOINTS, HAIRPIN, NAT_SETS, NAT_TABLE, podsChain, podsChainName, SERVICES } from './nat-layout.ts';
import type { NatEntry, NatServiceId } from './nat-state.ts';
import { elementText, NatState } from './nat-state.ts';
import type { NatChange } from './nat-transaction.ts';
import { chainChange, change, costOf, pack, TRANSACTION_LIMIT } from './nat-transaction.ts';

export interface NatPlan {
  /** To be committed one after another; each is atomic. */
  readonly transactions: readonly (readonly NftOperation[])[];
  /** Virtual services whose elements change, in order of their keys. */
  readonly services: readonly { readonly key: VirtualServiceKey; readonly change: 'add' | 'change' | 'remove' }[];
  /** What is wrong with the table itself, in words; empty in the usual case. */
  readonly repairs: readonly string[];
}

export interface NatDiffOptions {
  /** Plan these only; their cost, not the table's. Default: everything, and whatever else is in the table goes. */
  readonly keys?: Iterable<VirtualServiceKey>;
  /** Operations per transaction. Default {@link TRANSACTION_LIMIT}. */
  readonly limit?: number;
}

const serviceFields = ({ address, protocol, port }: NatServiceId) => [address, protocol, port] as const;

function serviceElement(service: DesiredNatService): Element {
  const value = { verdict: 'goto', chain: podsChainName(service.protocol, service.pods.length) } as const;
  return { key: serviceFields(service), value, comment: service.comment };
}

function endpointElement(id: NatServiceId, slot: number, pod: { address: Address; port: number }): Element {
  return { key: [...serviceFields(id), slot], value: [pod.address, pod.port] };
}

const hairpinElement = (pod: Address): Element => ({ key: [pod, pod] });

function sameVerdict(service: DesiredNatService, entry: NatEntry): boolean {
  const { verdict } = entry;
  return (
    verdict?.verdict === 'goto' &&
    verdict.chain === podsChainName(service.protocol, service.pods.length) &&
    entry.comment === (service.comment === '' ? undefined : service.comment)
  );
}

/** Parts of a service's change in the order in which they may be committed apart. */
interface ServiceChange {
  /** Slots that no verdict uses yet, and slots whose pod is replaced: a deletion and a creation together. */
  readonly slots: NatChange[];
  readonly verdict: NatChange;
  /** Slots that no verdict uses any more. */
  readonly surplus: NatChange[];
}

function replacement(set: SetSpec, created: Element | undefined, deleted: readonly (string | number)[] | undefined): NatChange {
  const item = change();
  if (deleted !== undefined) item.deleted.push({ set, element: { key: deleted } });
  if (created !== undefined) item.created.push({ set, element: created });
  return item;
}

function serviceChange(service: DesiredNatService | undefined, entry: NatEntry | undefined): ServiceChange {
  const pods = service?.pods ?? [];
  const slots: NatChange[] = [];
  if (service !== undefined) {
    for (const [slot, pod] of pods.entries()) {
      const have = entry?.slots.get(slot);
      if (have?.address === pod.address && have.port === pod.port) continue;
      const element = endpointElement(service, slot, pod);
      slots.push(replacement(ENDPOINTS, element, have === undefined ? undefined : element.key));
    }
  }
  const surplus: NatChange[] = [];
  if (entry !== undefined) {
    for (const slot of [...entry.slots.keys()].filter((key) => key >= pods.length).sort((a, b) => a - b)) {
      surplus.push(replacement(ENDPOINTS, undefined, [...serviceFields(entry.id), slot]));
    }
  }
  const same = service === undefined ? entry?.verdict === undefined : entry !== undefined && sameVerdict(service, entry);
  const verdict = same
    ? change()
    : replacement(
        SERVICES,
        service === undefined ? undefined : serviceElement(service),
        entry?.verdict === undefined ? undefined : serviceFields(entry.id),
      );
  return { slots, verdict, surplus };
}

function merged(parts: readonly NatChange[]): NatChange {
  const whole = change();
  for (const part of parts) {
    whole.first.push(...part.first);
    whole.deleted.push(...part.deleted);
    whole.created.push(...part.created);
    whole.last.push(...part.last);
  }
  return whole;
}

/** In one piece if it fits a transaction; a service with hundreds of pods in steps that are safe one by one. */
function unsplit({ slots, verdict, surplus }: ServiceChange, limit: number): NatChange[] {
  const parts = [...slots, verdict, ...surplus];
  const whole = merged(parts);
  return costOf(whole) <= limit ? [whole] : parts;
}

/** What is used by how many, after the plan: all of it, or the difference that some keys make. */
interface Uses {
  readonly pods: Map<Address, number>;
  readonly chains: Map<string, { by: number; readonly make: () => NatChain }>;
}

class Planner {
  readonly #state: NatState;
  readonly #desired: DesiredNat;
  readonly #limit: number;
  readonly #services: { key: VirtualServiceKey; change: 'add' | 'change' | 'remove' }[] = [];
  readonly #repairs: string[] = [];

  constructor(state: NatState, desired: DesiredNat, limit: number) {
    this.#state = state;
    this.#desired = desired;
    this.#limit = limit;
  }

  plan(keys: Iterable<VirtualServiceKey> | undefined): NatPlan {
    const state = this.#state;
    const whole = keys === undefined || !state.exists;
    const sorted = [...new Set(whole ? [...state.entries.keys(), ...this.#desired.services.keys()] : keys)].sort();
    const { upserts, removals } = this.#serviceChanges(sorted);
    const uses = this.#uses(sorted, whole);
    const chains = this.#chainChanges(uses, whole);
    const hairpin = this.#hairpinChanges(uses, whole);
    const addresses = whole ? this.#addressChanges() : { first: [], last: [] };
    const changes = [
      ...(whole ? this.#skeleton() : []),
      ...chains.first,
      ...hairpin.first,
      ...addresses.first,
      ...upserts,
      ...removals,
      ...hairpin.last,
      ...addresses.last,
      ...chains.last,
      ...(whole ? this.#surplusSets() : []),
    ];
    return { transactions: pack(changes, this.#limit), services: this.#services, repairs: this.#repairs };
  }

  #serviceChanges(keys: readonly VirtualServiceKey[]): { upserts: NatChange[]; removals: NatChange[] } {
    const upserts: NatChange[] = [];
    const removals: NatChange[] = [];
    for (const key of keys) {
      const service = this.#desired.services.get(key);
      const entry = this.#state.entries.get(key);
      if (service === undefined && entry === undefined) continue;
      const parts = serviceChange(service, entry);
      // A service that goes loses its verdict before the endpoints that its chain looks up.
      const changes = unsplit(parts, this.#limit);
      if (changes.every((item) => costOf(item) === 0)) continue;
      this.#services.push({ key, change: service === undefined ? 'remove' : entry === undefined ? 'add' : 'change' });
      (service === undefined ? removals : upserts).push(...changes);
    }
    return { upserts, removals };
  }

  #uses(keys: readonly VirtualServiceKey[], whole: boolean): Uses {
    const uses: Uses = { pods: new Map(), chains: new Map() };
    const chainUse = (name: string, by: number, make: () => NatChain): void => {
      const use = uses.chains.get(name);
      if (use === undefined) uses.chains.set(name, { by, make });
      else uses.chains.set(name, { by: use.by + by, make: by > 0 ? make : use.make });
    };
    const gone = (name: string) => (): NatChain => ({ chain: { name }, rules: [] });
    for (const key of keys) {
      const entry = this.#state.entries.get(key);
      if (!whole && entry !== undefined) {
        for (const pod of entry.slots.values()) uses.pods.set(pod.address, (uses.pods.get(pod.address) ?? 0) - 1);
        if (entry.verdict !== undefined && 'chain' in entry.verdict) chainUse(entry.verdict.chain, -1, gone(entry.verdict.chain));
      }
      const service = this.#desired.services.get(key);
      if (service === undefined) continue;
      for (const pod of service.pods) uses.pods.set(pod.address, (uses.pods.get(pod.address) ?? 0) + 1);
      const { protocol, pods } = service;
      chainUse(podsChainName(protocol, pods.length), 1, () => podsChain(protocol, pods.length, this.#desired.masquerade));
    }
    return uses;
  }

  #chainChanges(uses: Uses, whole: boolean): { first: NatChange[]; last: NatChange[] } {
    const { chains, chainUses } = this.#state;
    const wanted: NatChain[] = whole ? [...baseChains(this.#desired.masquerade)] : [];
    const unwanted: string[] = [];
    for (const [name, { by, make }] of [...uses.chains].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if ((whole ? 0 : (chainUses.get(name) ?? 0)) + by > 0) wanted.push(make());
      else unwanted.push(name);
    }
    if (whole) {
      const names = new Set(wanted.map(({ chain }) => chain.name));
      unwanted.push(...[...chains.keys()].filter((name) => !names.has(name)).sort());
    }
    const first: NatChange[] = [];
    for (const item of wanted) {
      const observed = chains.get(item.chain.name);
      const same = observed !== undefined && sameRules(item.rules, observed.rules);
      if (same) continue;
      if (observed !== undefined) this.#repairs.push(`chain ${item.chain.name} has other rules`);
      first.push(chainChange(item, observed !== undefined));
    }
    const present = unwanted.filter((name) => chains.has(name));
    for (const name of present) if (!/^pods-/.test(name)) this.#repairs.push(`chain ${name} does not belong to the table`);
    return { first, last: removalsOf(present, this.#state) };
  }

  #hairpinChanges(uses: Uses, whole: boolean): { first: NatChange[]; last: NatChange[] } {
    const { hairpin, podUses } = this.#state;
    const wanted = new Set<string>();
    const missing: Address[] = [];
    const surplus: (readonly FieldValue[])[] = [];
    for (const [pod, by] of uses.pods) {
      const text = elementText([pod, pod]);
      const used = (whole ? 0 : (podUses.get(pod) ?? 0)) + by > 0;
      if (used) wanted.add(text);
      if (used && !hairpin.has(text)) missing.push(pod);
      if (!used && !whole && hairpin.has(text)) surplus.push([pod, pod]);
    }
    if (whole) for (const [text, key] of hairpin) if (!wanted.has(text)) surplus.push(key);
    // Only what differs is put in order: sorting all pods would cost more than comparing them.
    const first = missing.sort().map((pod) => replacement(HAIRPIN, hairpinElement(pod), undefined));
    const byText = (a: readonly FieldValue[], b: readonly FieldValue[]): number => (elementText(a) < elementText(b) ? -1 : 1);
    const last = surplus.sort(byText).map((key) => replacement(HAIRPIN, undefined, key));
    return { first, last };
  }

  #addressChanges(): { first: NatChange[]; last: NatChange[] } {
    const { masquerade, addresses } = this.#desired;
    const wanted = new Set(masquerade.enabled ? addresses : []);
    const observed = this.#state.addresses;
    return {
      first: [...wanted]
        .filter((address) => !observed.has(address))
        .map((address) => replacement(ADDRESSES, { key: [address] }, undefined)),
      last: [...observed]
        .filter((address) => !wanted.has(address))
        .sort()
        .map((address) => replacement(ADDRESSES, undefined, [address])),
    };
  }

  #skeleton(): NatChange[] {
    const operations: NftOperation[] = this.#state.exists ? [] : [{ op: 'addTable', table: NAT_TABLE }];
    for (const set of NAT_SETS) if (!this.#state.sets.has(set.name)) operations.push({ op: 'addSet', table: NAT_TABLE, set });
    return operations.map((operation) => ({ ...change(), first: [operation] }));
  }

  #surplusSets(): NatChange[] {
    const surplus = [...this.#state.sets.values()].filter((set) => !NAT_SETS.some(({ name }) => name === set.name));
    return surplus.map((set) => {
      this.#repairs.push(`set ${set.name} does not belong to the table`);
      const item = change();
      item.last.push({ op: 'deleteSet', table: NAT_TABLE, set });
      return item;
    });
  }
}

/** Chains that nothing of ours refers to; they may refer to each other, so all are emptied before the first one goes. */
function removalsOf(names: readonly string[], state: NatState): NatChange[] {
  const operations = (op: 'flushChain' | 'deleteChain'): NatChange[] =>
    names.map((name) => {
      const hook = state.chains.get(name)?.hook;
      return { ...change(), last: [{ op, table: NAT_TABLE, chain: hook === undefined ? { name } : { name, hook } }] };
    });
  return [...operations('flushChain'), ...operations('deleteChain')];
}

/** The difference between the table and what is desired; empty when there is none. */
export function diffNat(state: NatState, desired: DesiredNat, options: NatDiffOptions = {}): NatPlan {
  const limit = options.limit ?? TRANSACTION_LIMIT;
  if (state.incompatible.length === 0) return new Planner(state, desired, limit).plan(options.keys);
  // Types of sets and hooks of chains cannot be changed: the whole table is replaced, at once if it fits a transaction.
  const { transactions, services } = new Planner(new NatState(), desired, limit - 1).plan(undefined);
  const [first = [], ...others] = transactions;
  return { transactions: [[{ op: 'deleteTable', table: NAT_TABLE }, ...first], ...others], services, repairs: state.incompatible };
}

/** Everything that is ours in nftables, gone in one operation. */
export function natRemoval(state: NatState): NatPlan {
  const services = [...state.entries.keys()].sort().map((key) => ({ key, change: 'remove' as const }));
  return { transactions: state.exists ? [[{ op: 'deleteTable', table: NAT_TABLE }]] : [], services, repairs: [] };
}
