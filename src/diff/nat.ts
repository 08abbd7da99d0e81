/**
 * From what our table of one family holds to what it should hold, in transactions of bounded size. Every
 * committed prefix is safe for traffic: a verdict goes to a chain that exists, and a chain finds the
 * endpoints of all shares that have one.
 *
 * Order: what others refer to, then services that appear or change, then services that go, then
 * what nothing refers to any more. A small plan is one transaction.
 */
import type { DesiredNat, DesiredNatService, NatServiceId } from '../desired/types.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import type { NftOperation, SetSpec } from '../native/nftables-types.ts';
import { allChains, usedChains, usesOf, type Uses } from './nat-chains.ts';
import { baseChains, natLayout, natSets, segmentsChain, segmentsSet } from './nat-layout.ts';
import type { NatArea, NatChain, NatLayout } from './nat-layout.ts';
import {
  addressChanges,
  hairpinChanges,
  isSegmentsSet,
  masqueradedChanges,
  segmentChanges,
  segmentSizes,
  type MemberChanges,
  type SegmentSizes,
} from './nat-members.ts';
import { serviceChanges } from './nat-service.ts';
import { familyOfKey, NatState } from './nat-state.ts';
import { change, pack, TRANSACTION_LIMIT, type NatChange } from './nat-transaction.ts';

export interface NatPlan {
  /** To be committed one after another; each is atomic. */
  readonly transactions: readonly (readonly NftOperation[])[];
  /** Virtual services whose elements change, in order of their keys. */
  readonly services: readonly { readonly key: VirtualServiceKey; readonly change: 'add' | 'change' | 'remove' }[];
  /** What is wrong with the table itself, in words; empty in the usual case. */
  readonly repairs: readonly string[];
}

export interface NatDiffOptions {
  /**
   * Plan these only, whichever family they are of; their cost, not the table's. Policy, interfaces, VIPs and segments are
   * left as they are. Default: everything, and whatever else is in the table goes.
   */
  readonly keys?: Iterable<VirtualServiceKey>;
  /** Operations per transaction. Default {@link TRANSACTION_LIMIT}. */
  readonly limit?: number;
}

const noServices: ReadonlyMap<VirtualServiceKey, DesiredNatService> = new Map();
const nothing: NatPlan = { transactions: [], services: [], repairs: [] };

interface ServiceSteps {
  readonly upserts: NatChange[];
  readonly removals: NatChange[];
}

class Planner {
  readonly #state: NatState;
  readonly #desired: DesiredNat;
  readonly #layout: NatLayout;
  readonly #limit: number;
  readonly #repairs: string[] = [];

  constructor(state: NatState, desired: DesiredNat, limit: number) {
    this.#state = state;
    this.#desired = desired;
    this.#layout = natLayout(state.layout.family, desired.counters ?? true);
    this.#limit = limit;
  }

  #isOurs = (address: Address): boolean => address.includes(':') === (this.#layout.family === 6);

  #wanted(area: NatArea): ReadonlyMap<VirtualServiceKey, DesiredNatService> {
    return (area.kind === 'local' ? this.#desired.services : this.#desired.inside) ?? noServices;
  }

  #wantsKey(key: VirtualServiceKey): boolean {
    const { services, inside, masqueraded } = this.#desired;
    return services.has(key) || (inside?.has(key) ?? false) || (masqueraded?.has(key) ?? false);
  }

  #wantsAnything(): boolean {
    const { services, inside, masqueraded, addresses, segments } = this.#desired;
    for (const keys of [services.keys(), inside?.keys() ?? [], masqueraded?.keys() ?? []]) {
      for (const key of keys) if (familyOfKey(key) === this.#layout.family) return true;
    }
    for (const address of segments?.keys() ?? []) if (this.#isOurs(address)) return true;
    return addresses.some(this.#isOurs);
  }

  plan(keys: Iterable<VirtualServiceKey> | undefined): NatPlan {
    const { family } = this.#layout;
    const asked = keys === undefined ? undefined : [...new Set(keys)].filter((key) => familyOfKey(key) === family).sort();
    if (asked !== undefined && this.#state.exists) return this.#planKeys(asked);
    if (asked !== undefined && !asked.some((key) => this.#wantsKey(key))) return nothing;
    return this.#wantsAnything() ? this.#planAll() : natRemoval(this.#state);
  }

  #planKeys(keys: readonly VirtualServiceKey[]): NatPlan {
    const steps = this.#areas().map((area) => this.#serviceSteps(area, keys));
    const uses = this.#uses(keys, false);
    const members = [
      hairpinChanges(this.#state, uses.pods, false),
      masqueradedChanges(this.#state, this.#desired.masqueraded ?? new Map(), keys),
    ];
    return this.#assembled([], usedChains(this.#state, this.#layout, uses, this.#repairs), members, steps, [], keys);
  }

  #planAll(): NatPlan {
    const { inside = noServices } = this.#desired;
    const masqueraded = this.#desired.masqueraded ?? new Map<VirtualServiceKey, NatServiceId>();
    const { entries, inside: held, masqueraded: ours } = this.#state;
    const all = [entries, held, ours, this.#desired.services, inside, masqueraded];
    const keys = [...new Set(all.flatMap((map) => [...map.keys()]))].filter((key) => familyOfKey(key) === this.#layout.family).sort();
    const sizes = segmentSizes(this.#desired.segments, this.#isOurs);
    const steps = this.#areas().map((area) => this.#serviceSteps(area, keys));
    const uses = this.#uses(keys, true);
    const members = [
      hairpinChanges(this.#state, uses.pods, true),
      addressChanges(this.#state, new Set(this.#desired.addresses.filter(this.#isOurs))),
      masqueradedChanges(this.#state, masqueraded, keys),
      segmentChanges(this.#state, sizes),
    ];
    const chains = allChains(this.#state, this.#layout, uses, this.#frameChains(sizes), this.#repairs);
    return this.#assembled(this.#skeleton(sizes), chains, members, steps, this.#surplusSets(sizes), keys);
  }

  #uses(keys: readonly VirtualServiceKey[], whole: boolean): Uses {
    return usesOf(this.#state, this.#layout, (area) => this.#wanted(area), keys, whole, this.#desired.openingOnly === true);
  }

  /** The chains that there are whatever the virtual services. */
  #frameChains(sizes: SegmentSizes): NatChain[] {
    const segments = sizes.size === 0 ? [] : [segmentsChain(this.#layout, [...sizes.keys()])];
    return [...baseChains(this.#layout, this.#desired), ...segments];
  }

  #areas(): readonly NatArea[] {
    return [this.#layout.local, this.#layout.inside];
  }

  #assembled(
    skeleton: readonly NatChange[],
    chains: MemberChanges,
    members: readonly MemberChanges[],
    steps: readonly ServiceSteps[],
    surplus: readonly NatChange[],
    keys: readonly VirtualServiceKey[],
  ): NatPlan {
    const changes = [
      ...skeleton,
      ...chains.first,
      ...members.flatMap(({ first }) => first),
      // What moves from one area to the other is in both for a moment, rather than in none.
      ...steps.flatMap(({ upserts }) => upserts),
      ...steps.flatMap(({ removals }) => removals),
      ...members.flatMap(({ last }) => last),
      ...chains.last,
      ...surplus,
    ];
    return { transactions: pack(this.#layout, changes, this.#limit), services: this.#changed(keys), repairs: this.#repairs };
  }

  readonly #touched = new Set<VirtualServiceKey>();

  /** Of each key once, whichever area it is in. */
  #changed(keys: readonly VirtualServiceKey[]): NatPlan['services'] {
    const { entries, inside } = this.#state;
    return keys
      .filter((key) => this.#touched.has(key))
      .map((key) => {
        const [before, after] = [entries.has(key) || inside.has(key), this.#areas().some((area) => this.#wanted(area).has(key))];
        return { key, change: after ? (before ? 'change' : 'add') : 'remove' };
      });
  }

  #serviceSteps(area: NatArea, keys: readonly VirtualServiceKey[]): ServiceSteps {
    const steps: ServiceSteps = { upserts: [], removals: [] };
    const wanted = this.#wanted(area);
    const entries = this.#state.entriesOf(area);
    for (const key of keys) {
      const [service, entry] = [wanted.get(key), entries.get(key)];
      if (service === undefined && entry === undefined) continue;
      // A service that goes loses its verdict before the endpoints that its chain looks up.
      const changes = serviceChanges(area, service, entry, this.#limit);
      if (changes.length === 0) continue;
      this.#touched.add(key);
      (service === undefined ? steps.removals : steps.upserts).push(...changes);
    }
    return steps;
  }

  #skeleton(sizes: SegmentSizes): NatChange[] {
    const { table } = this.#layout;
    const operations: NftOperation[] = this.#state.exists ? [] : [{ op: 'addTable', table }];
    for (const set of this.#sets(sizes)) if (!this.#state.sets.has(set.name)) operations.push({ op: 'addSet', table, set });
    return operations.map((operation) => ({ ...change(), first: [operation] }));
  }

  #sets(sizes: SegmentSizes): SetSpec[] {
    return [...natSets(this.#layout), ...[...sizes.keys()].map((bytes) => segmentsSet(this.#layout, bytes))];
  }

  #surplusSets(sizes: SegmentSizes): NatChange[] {
    const names = new Set(this.#sets(sizes).map(({ name }) => name));
    const surplus = [...this.#state.sets.values()].filter(({ name }) => !names.has(name));
    return surplus.map((set) => {
      if (!isSegmentsSet(set.name)) this.#repairs.push(`set ${set.name} does not belong to the table`);
      return { ...change(), last: [{ op: 'deleteSet', table: this.#layout.table, set }] };
    });
  }
}

/** Types of sets and hooks of chains cannot be changed: then the whole table is replaced. */
function obstacles({ incompatible, layout, sets }: NatState, { counters = true }: DesiredNat): readonly string[] {
  const services = sets.get(layout.local.services.name);
  if (incompatible.length > 0 || services === undefined || (services.counter ?? false) === counters) return incompatible;
  return [`set ${services.name} ${counters ? 'does not count' : 'counts'}`];
}

/** The difference between the table and what is desired of its family; empty when there is none. */
export function diffNat(state: NatState, desired: DesiredNat, options: NatDiffOptions = {}): NatPlan {
  const limit = options.limit ?? TRANSACTION_LIMIT;
  const repairs = obstacles(state, desired);
  if (repairs.length === 0) return new Planner(state, desired, limit).plan(options.keys);
  const { transactions, services } = new Planner(new NatState(state.layout), desired, limit - 1).plan(undefined);
  // At once, if it fits a transaction.
  const [first = [], ...others] = transactions;
  return { transactions: [[{ op: 'deleteTable', table: state.layout.table }, ...first], ...others], services, repairs };
}

/** Everything of the family that is ours in nftables, gone in one operation. */
export function natRemoval({ exists, layout, entries, inside }: NatState): NatPlan {
  const keys = [...new Set([...entries.keys(), ...inside.keys()])].sort();
  const services = keys.map((key) => ({ key, change: 'remove' as const }));
  return { transactions: exists ? [[{ op: 'deleteTable', table: layout.table }]] : [], services, repairs: [] };
}
