/** Changes of chains: what elements will go to comes before them, what none goes to any more after them. */
import type { DesiredNatService } from '../desired/types.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import { sameRules } from './nat-equal.ts';
import { isPodsChain, podsChain, type NatArea, type NatChain, type NatLayout } from './nat-layout.ts';
import type { MemberChanges } from './nat-members.ts';
import { chainOf, slotCount } from './nat-service.ts';
import { count, type NatState } from './nat-state.ts';
import { chainChange, change, type NatChange } from './nat-transaction.ts';

/** What is used by how many, after the plan: all of it, or the difference that some keys make. */
export interface Uses {
  readonly pods: ReadonlyMap<Address, number>;
  /** `make` is absent when nothing of the plan goes there: then the chain is as it was, or nobody needs it any more. */
  readonly chains: ReadonlyMap<string, { readonly by: number; readonly make?: () => NatChain }>;
}

/** `whole`: of everything, else as the difference to what the state has for these keys. */
export function usesOf(
  state: NatState,
  layout: NatLayout,
  wanted: (area: NatArea) => ReadonlyMap<VirtualServiceKey, DesiredNatService>,
  keys: readonly VirtualServiceKey[],
  whole: boolean,
  openingOnly: boolean,
): Uses {
  const pods = new Map<Address, number>();
  const chains = new Map<string, { readonly by: number; readonly make?: () => NatChain }>();
  const chainUse = (name: string, by: number, make?: () => NatChain): void => {
    const use = chains.get(name);
    const made = make ?? use?.make;
    chains.set(name, { by: (use?.by ?? 0) + by, ...(made === undefined ? {} : { make: made }) });
  };
  for (const area of [layout.local, layout.inside]) {
    const podUse = (used: Iterable<{ address: Address }>, by: number): void => {
      if (area.kind === 'local') for (const { address } of used) count(pods, address, by);
    };
    for (const key of keys) {
      const entry = whole ? undefined : state.entriesOf(area).get(key);
      if (entry !== undefined) {
        podUse(entry.slots.values(), -1);
        if (entry.verdict !== undefined && 'chain' in entry.verdict) chainUse(entry.verdict.chain, -1);
      }
      const service = wanted(area).get(key);
      if (service === undefined) continue;
      podUse(service.pods, 1);
      chainUse(chainOf(area, service), 1, () => podsChain(layout, area, service.protocol, slotCount(service), openingOnly));
    }
  }
  return { pods, chains };
}

const byName = ({ chains }: Uses): [string, { readonly by: number; readonly make?: () => NatChain }][] =>
  [...chains].sort(([a], [b]) => (a < b ? -1 : 1));

/** Those that the keys of a plan begin or cease to use. One that others still use stays as it is. */
export function usedChains(state: NatState, layout: NatLayout, uses: Uses, repairs: string[]): MemberChanges {
  const wanted: NatChain[] = [];
  const unwanted: string[] = [];
  for (const [name, { by, make }] of byName(uses)) {
    if ((state.chainUses.get(name) ?? 0) + by === 0) unwanted.push(name);
    else if (make !== undefined) wanted.push(make());
  }
  return chainChanges(state, layout, wanted, unwanted, repairs);
}

/** All of the table: `frame`, and those that services use. Others go. */
export function allChains(state: NatState, layout: NatLayout, uses: Uses, frame: readonly NatChain[], repairs: string[]): MemberChanges {
  const wanted = [...frame, ...byName(uses).flatMap(([, { make }]) => make?.() ?? [])];
  const names = new Set(wanted.map(({ chain }) => chain.name));
  return chainChanges(state, layout, wanted, [...state.chains.keys()].filter((name) => !names.has(name)).sort(), repairs);
}

function chainChanges(
  { chains }: NatState,
  layout: NatLayout,
  wanted: readonly NatChain[],
  unwanted: readonly string[],
  repairs: string[],
): MemberChanges {
  const first: NatChange[] = [];
  for (const item of wanted) {
    const { name } = item.chain;
    const observed = chains.get(name);
    if (observed !== undefined && sameRules(item.rules, observed.rules)) continue;
    if (observed !== undefined && isPodsChain(name)) repairs.push(`chain ${name} has other rules`);
    first.push(chainChange(layout.table, item, observed !== undefined));
  }
  const present = unwanted.filter((name) => chains.has(name));
  for (const name of present) if (!isPodsChain(name) && name !== 'segments') repairs.push(`chain ${name} does not belong to the table`);
  return { first, last: removals(chains, layout, present) };
}

/** Chains that nothing of ours refers to; they may refer to each other, so all are emptied before the first one goes. */
function removals(chains: NatState['chains'], { table }: NatLayout, names: readonly string[]): NatChange[] {
  const operations = (op: 'flushChain' | 'deleteChain'): NatChange[] =>
    names.map((name) => {
      const hook = chains.get(name)?.hook;
      return { ...change(), last: [{ op, table, chain: hook === undefined ? { name } : { name, hook } }] };
    });
  return [...operations('flushChain'), ...operations('deleteChain')];
}
