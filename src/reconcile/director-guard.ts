/** What of a director's plans is carried out, and what is held because it looks like a loss of configuration. */
import { isPod } from '../desired/backend.ts';
import { masqueradedId } from '../desired/colocation.ts';
import type { NatServiceId } from '../desired/types.ts';
import type { IpvsPlan } from '../diff/ipvs.ts';
import { addressOf } from '../drivers/ipvs.ts';
import type { Address, ClusterState, VirtualServiceKey } from '../model/cluster.ts';
import type { DirectorRules, RulesAsked } from './colocation.ts';
import type { DirectorTarget, Look } from './director-target.ts';
import { guardRemovals, type GuardOptions, type Held } from './guard.ts';

type Keys = ReadonlySet<VirtualServiceKey>;

/** What a pass is allowed to do. */
export interface Guarded {
  readonly plan: IpvsPlan;
  readonly held: Held | undefined;
  /** VIPs of what is held. */
  readonly keptAddresses: ReadonlySet<Address>;
  readonly rules: Pick<RulesAsked, 'held' | 'heldMasqueraded'>;
}

export interface ToGuard {
  readonly planned: IpvsPlan;
  readonly state: ClusterState;
  readonly look: Look;
  readonly rules: DirectorRules;
  readonly target: DirectorTarget;
  /** What the pass is about; absent: everything. */
  readonly keys?: Keys | undefined;
}

const nothingHeld: Guarded['rules'] = { held: new Set(), heldMasqueraded: new Map() };

/** Virtual services that a plan takes away for good. */
function removals({ operations }: Pick<IpvsPlan, 'operations'>): Set<VirtualServiceKey> {
  const keys = new Set<VirtualServiceKey>();
  for (const { operation, key } of operations) {
    if (operation.op === 'deleteService') keys.add(key);
    if (operation.op === 'addService') keys.delete(key);
  }
  return keys;
}

export const addressesOf = (plan: Pick<IpvsPlan, 'operations'>, keys: Keys): Set<Address> =>
  new Set(plan.operations.filter(({ key }) => keys.has(key)).flatMap(({ operation }) => addressOf(operation) ?? []));

/**
 * What is guarded is the step that takes the last backend of a virtual service: after it nothing is left to save. So a
 * service that is still configured and ends its drain is no removal any more (docs/drain.md).
 */
export function guardDirector({ planned, state, look, rules, target, keys }: ToGuard, options: GuardOptions): Guarded {
  const removed = removals(planned);
  const shared = keys === undefined ? rules.keys : [...keys].filter((key) => rules.holds(key));
  const gone = new Set([...removed, ...shared].filter((key) => !state.virtualServices.has(key)));
  for (const key of target.lost) gone.add(key);
  const added = planned.operations.filter(({ operation }) => operation.op === 'addService').length;
  const programmed = Math.max(removed.size + target.services.size - added, rules.size);
  const held = guardRemovals(gone, programmed, options);
  if (held === undefined) return { plan: planned, held, keptAddresses: new Set(), rules: nothingHeld };
  const operations = planned.operations.filter(({ key }) => !held.keys.has(key));
  const keptAddresses = addressesOf(planned, held.keys);
  for (const key of held.keys) for (const { address } of rules.shareOf(key)) keptAddresses.add(address);
  return {
    ...{ plan: { ...planned, operations }, held, keptAddresses },
    rules: { held: held.keys, heldMasqueraded: masqueradedOf(planned, state, held.keys, look) },
  };
}

/** What is held and goes to pods in the kernel, whether or not it is configured any more. */
function masqueradedOf(planned: IpvsPlan, state: ClusterState, held: Keys, look: Look): Map<VirtualServiceKey, NatServiceId> {
  const found = new Map<VirtualServiceKey, NatServiceId>();
  for (const { key, operation } of planned.operations) {
    if (!held.has(key) || found.has(key) || !('address' in operation.service)) continue;
    if (![...look(key).observed.keys()].some(isPod)) continue;
    const configured = state.virtualServices.get(key);
    const id = masqueradedId(configured ?? { ...operation.service, forward: 'masquerade' });
    if (id !== undefined) found.set(key, id);
  }
  return found;
}
