/**
 * From what IPVS holds to what it should hold, in an order that never takes more capacity away than
 * the target does, and never names a service that is not ours (docs/ownership.md).
 */
import type { DesiredIpvsService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { serviceIdAt, serviceKey } from '../native/ipvs-columns.ts';
import type { IpvsSnapshot, ServiceId } from '../native/ipvs-types.ts';
import { differsAt, foreignTraits, sameServiceAt } from './ipvs-compare.ts';
import { isOrdered, nothingToRenew, placementAsFound, placementAsMade, planOrdered, standInOrder, type OrderedLook } from './ipvs-order.ts';
import { PlanInProgress, SERVICES_PER_STEP, type IpvsPlan } from './ipvs-plan.ts';
import { rankAt, rankOf, type Rank } from './ipvs-rank.ts';

export { IPVS_PHASES } from './ipvs-plan.ts';
export type { ForeignIpvsService, IpvsPhase, IpvsPlan, Placement, PlannedIpvsOperation } from './ipvs-plan.ts';

/** What may be touched beyond the services that are desired. */
export interface IpvsOwnership {
  /** Virtual services of the current config, programmed or not. */
  readonly configured: (key: VirtualServiceKey) => boolean;
  /** VIPs held by our device: their services were written by us, now or before a restart. */
  readonly placed: (address: string) => boolean;
  /** VIPs of the current config; services on them that are not ours are reported. */
  readonly vip: (address: string) => boolean;
}

export interface IpvsDiffInput {
  readonly desired: ReadonlyMap<VirtualServiceKey, DesiredIpvsService>;
  readonly observed: IpvsSnapshot;
  readonly ownership: IpvsOwnership;
  /** Look at these only. Default: everything. */
  readonly keys?: ReadonlySet<VirtualServiceKey>;
  /** Services whose edit in place the kernel refused: they are replaced whole, destinations in the same pass. */
  readonly recreate?: ReadonlySet<VirtualServiceKey>;
  /** {@link Placement.lingering} of earlier plans, by service; a service without an entry was not looked at before. */
  readonly lingering?: ReadonlyMap<VirtualServiceKey, ReadonlySet<Rank>>;
  /** Services without such an entry may have destinations of weight 0 that linger. Default false. */
  readonly doubtful?: boolean;
  /** `observed` knows about connections. Default true. */
  readonly counted?: boolean;
  /** Destinations may be taken out and put in again for the sake of their order. Default true. */
  readonly reorder?: boolean;
}

function rowsOf(snapshot: IpvsSnapshot, row: number): { first: number; end: number } {
  const { firstDestination } = snapshot.services;
  return { first: firstDestination[row] ?? 0, end: firstDestination[row + 1] ?? 0 };
}

/**
 * Which way round the destinations are as wanted: in the order of the target, or in the reverse order. That is the
 * usual case, since the kernel lists the newest first, and it needs no memory of what was seen. Undefined: neither.
 */
function asWanted(
  { destinations }: DesiredIpvsService,
  snapshot: IpvsSnapshot,
  first: number,
  end: number,
): { forwards: boolean } | undefined {
  const count = destinations.length;
  const [head] = destinations;
  if (end - first !== count) return undefined;
  if (head === undefined) return { forwards: true };
  const forwards = rankAt(snapshot, first) === rankOf(head.id);
  for (let k = 0; k < count; k++) {
    const destination = destinations[forwards ? k : count - 1 - k];
    if (destination === undefined || rankAt(snapshot, first + k) !== rankOf(destination.id)) return undefined;
    if (differsAt(snapshot, first + k, destination.spec)) return undefined;
  }
  return { forwards };
}

function planDestinations(plan: PlanInProgress, wanted: DesiredIpvsService, input: IpvsDiffInput, row: number): void {
  const snapshot = input.observed;
  const { first, end } = rowsOf(snapshot, row);
  const found = asWanted(wanted, snapshot, first, end);
  if (isOrdered(wanted.spec)) {
    const { counted = true, reorder = true } = input;
    const converted = !wasOrdered(snapshot, row);
    const lingering = input.lingering?.get(wanted.key);
    const look: OrderedLook = {
      ...{ wanted, snapshot, first, end, lingering, counted },
      doubtful: converted || (lingering === undefined && input.doubtful === true),
      // What is known without a look at the kernel has the order of services where order matters, and of no others.
      reorder: reorder && (counted || !converted),
    };
    const settled = found !== undefined && (!look.reorder || standInOrder(snapshot, first, end)) && nothingToRenew(look);
    plan.placements.set(wanted.key, settled ? placementAsFound(look, found.forwards) : planOrdered(plan, look));
    return;
  }
  if (found !== undefined) return;
  const missing = new Map(wanted.destinations.map((destination) => [rankOf(destination.id), destination]));
  for (let at = first; at < end; at++) {
    const rank = rankAt(snapshot, at);
    const destination = missing.get(rank);
    if (destination === undefined) {
      plan.remove('deleteDestination', wanted, snapshot, at);
      continue;
    }
    missing.delete(rank);
    if (differsAt(snapshot, at, destination.spec)) plan.edit(wanted, destination, snapshot.destinations.weight[at] ?? 0);
  }
  for (const destination of missing.values()) plan.add('addDestination', wanted, destination);
}

const wasOrdered = ({ names, services }: IpvsSnapshot, row: number): boolean =>
  isOrdered({ scheduler: names[services.scheduler[row] ?? 0] ?? '' });

function planCreation(plan: PlanInProgress, wanted: DesiredIpvsService): void {
  plan.push('putService', wanted.key, { op: 'addService', service: wanted.id, spec: wanted.spec });
  for (const destination of wanted.destinations) plan.add('addDestination', wanted, destination);
  if (isOrdered(wanted.spec)) plan.placements.set(wanted.key, placementAsMade(wanted));
}

/** The kernel would drop the destinations with their service; removing them first gives each its own error. */
function planRemoval(plan: PlanInProgress, key: VirtualServiceKey, id: ServiceId, snapshot: IpvsSnapshot, row: number): void {
  const { first, end } = rowsOf(snapshot, row);
  for (let at = first; at < end; at++) {
    plan.remove('deleteDestination', { key, id }, snapshot, at);
  }
  plan.push('deleteService', key, { op: 'deleteService', service: id });
}

function planWanted(plan: PlanInProgress, wanted: DesiredIpvsService, input: IpvsDiffInput, row: number): void {
  const snapshot = input.observed;
  const { first, end } = rowsOf(snapshot, row);
  const traits = foreignTraits(snapshot, row, first, end);
  if (traits !== undefined) {
    plan.foreign.push({ key: wanted.key, adopted: true, message: `${traits}: written by somebody else, and overwritten` });
  }
  if (input.recreate?.has(wanted.key) === true) {
    plan.push('deleteService', wanted.key, { op: 'deleteService', service: wanted.id });
    planCreation(plan, wanted);
    return;
  }
  if (!sameServiceAt(snapshot, row, wanted.spec)) {
    plan.push('putService', wanted.key, { op: 'setService', service: wanted.id, spec: wanted.spec });
  }
  planDestinations(plan, wanted, input, row);
}

/** A service that is not desired: removed when it is ours, else at most reported. */
function planUnwanted(plan: PlanInProgress, key: VirtualServiceKey, id: ServiceId, input: IpvsDiffInput, row: number): void {
  if ('fwmark' in id) return;
  const { ownership, observed } = input;
  const placed = ownership.placed(id.address);
  if (!placed && !ownership.configured(key)) {
    if (!ownership.vip(id.address)) return;
    plan.foreign.push({ key, adopted: false, message: 'on a VIP of the config that our device does not hold: left alone' });
    return;
  }
  const { first, end } = rowsOf(observed, row);
  const traits = foreignTraits(observed, row, first, end);
  if (traits !== undefined) plan.foreign.push({ key, adopted: false, message: `${traits}: written by somebody else, and left alone` });
  else planRemoval(plan, key, id, observed, row);
}

/** The difference, as steps for {@link file://../model/slices.ts}: it may pause at every yield. */
export function* ipvsDiffSteps(input: IpvsDiffInput): Generator<undefined, IpvsPlan, undefined> {
  const { desired, observed, keys } = input;
  const plan = new PlanInProgress();
  const present = new Set<VirtualServiceKey>();
  for (let row = 0; row < observed.services.count; row++) {
    if (row % SERVICES_PER_STEP === SERVICES_PER_STEP - 1) yield undefined;
    const id = serviceIdAt(observed, row);
    const key = serviceKey(id);
    if (keys !== undefined && !keys.has(key)) continue;
    present.add(key);
    const wanted = desired.get(key);
    if (wanted === undefined) planUnwanted(plan, key, id, input, row);
    else planWanted(plan, wanted, input, row);
  }
  yield undefined;
  let created = 0;
  for (const key of keys ?? desired.keys()) {
    const wanted = present.has(key) ? undefined : desired.get(key);
    if (wanted === undefined) continue;
    planCreation(plan, wanted);
    if (++created % SERVICES_PER_STEP === 0) yield undefined;
  }
  return yield* plan.finish();
}
