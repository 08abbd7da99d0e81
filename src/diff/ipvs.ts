/**
 * From what IPVS holds to what it should hold, in an order that never takes more capacity away than
 * the target does, and never names a service that is not ours (docs/ownership.md).
 */
import type { DesiredDestination, DesiredIpvsService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import {
  destinationIdAt,
  destinationKey,
  destinationKeyAt,
  destinationNumber,
  destinationNumberAt,
  serviceIdAt,
  serviceKey,
} from '../native/ipvs-columns.ts';
import type { IpvsOperation, IpvsSnapshot, ServiceId } from '../native/ipvs-types.ts';
import { differsAt, foreignTraits, sameServiceAt } from './ipvs-compare.ts';

/**
 * A pass in order. What lowers load comes first, what raises it last. `raiseFromZero` is a phase of its
 * own: a node that had no pod may need a moment before it can take traffic, and the caller may wait.
 */
export const IPVS_PHASES = [
  'lower',
  'deleteDestination',
  'deleteService',
  'putService',
  'addDestination',
  'raise',
  'raiseFromZero',
] as const;

export type IpvsPhase = (typeof IPVS_PHASES)[number];

export interface PlannedIpvsOperation {
  readonly phase: IpvsPhase;
  readonly key: VirtualServiceKey;
  readonly operation: IpvsOperation;
}

/** A service that somebody else wrote where the agent would write. */
export interface ForeignIpvsService {
  readonly key: VirtualServiceKey;
  /** True when it is in the config, so that the agent takes it over; false when it is left alone. */
  readonly adopted: boolean;
  readonly message: string;
}

export interface IpvsPlan {
  /** Ordered: applying them one after another is always legal. */
  readonly operations: readonly PlannedIpvsOperation[];
  readonly foreign: readonly ForeignIpvsService[];
}

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
}

/** Services compared between two chances to pause: about a millisecond's work at 10 destinations each. */
const SERVICES_PER_STEP = 200;

/** Operations by service; put in order at the end, so that the result does not depend on the order of the input. */
class Plan {
  readonly #services = new Map<VirtualServiceKey, PlannedIpvsOperation[]>();
  readonly foreign: ForeignIpvsService[] = [];

  push(phase: IpvsPhase, key: VirtualServiceKey, operation: IpvsOperation): void {
    const operations = this.#services.get(key);
    if (operations === undefined) this.#services.set(key, [{ phase, key, operation }]);
    else operations.push({ phase, key, operation });
  }

  *finish(): Generator<undefined, IpvsPlan, undefined> {
    const phases = new Map<IpvsPhase, PlannedIpvsOperation[]>(IPVS_PHASES.map((phase) => [phase, []]));
    let done = 0;
    for (const key of [...this.#services.keys()].sort()) {
      const operations = this.#services.get(key) ?? [];
      operations.sort((a, b) => compareText(destinationText(a.operation), destinationText(b.operation)));
      for (const operation of operations) phases.get(operation.phase)?.push(operation);
      if (++done % SERVICES_PER_STEP === 0) yield undefined;
    }
    return { operations: [...phases.values()].flat(), foreign: this.foreign.sort((a, b) => compareText(a.key, b.key)) };
  }
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function destinationText(operation: IpvsOperation): string {
  return 'destination' in operation ? destinationKey(operation.destination) : '';
}

/**
 * A destination's identity for a lookup: a number for IPv4, which is cheaper than its text by half,
 * the text for IPv6.
 */
function handleOf(destination: DesiredDestination): number | string {
  const number = destinationNumber(destination.id);
  return number >= 0 ? number : destinationKey(destination.id);
}

function handleAt(snapshot: IpvsSnapshot, row: number): number | string {
  const number = destinationNumberAt(snapshot, row);
  return number >= 0 ? number : destinationKeyAt(snapshot, row);
}

function rowsOf(snapshot: IpvsSnapshot, row: number): { first: number; end: number } {
  const { firstDestination } = snapshot.services;
  return { first: firstDestination[row] ?? 0, end: firstDestination[row + 1] ?? 0 };
}

/**
 * Whether the destinations are as wanted and in the order, or the reverse order, of the target. That is the
 * usual case, since the kernel lists the newest first, and it needs no memory of what was seen.
 */
function isAsWanted({ destinations }: DesiredIpvsService, snapshot: IpvsSnapshot, first: number, end: number): boolean {
  const count = destinations.length;
  const [head] = destinations;
  if (end - first !== count || head === undefined) return end - first === count;
  const forwards = handleAt(snapshot, first) === handleOf(head);
  for (let k = 0; k < count; k++) {
    const destination = destinations[forwards ? k : count - 1 - k];
    if (destination === undefined || handleAt(snapshot, first + k) !== handleOf(destination)) return false;
    if (differsAt(snapshot, first + k, destination.spec)) return false;
  }
  return true;
}

function planEdit(plan: Plan, wanted: DesiredIpvsService, destination: DesiredDestination, observedWeight: number): void {
  const { weight } = destination.spec;
  const phase = weight <= observedWeight ? 'lower' : observedWeight === 0 ? 'raiseFromZero' : 'raise';
  plan.push(phase, wanted.key, { op: 'setDestination', service: wanted.id, destination: destination.id, spec: destination.spec });
}

function planDestinations(plan: Plan, wanted: DesiredIpvsService, snapshot: IpvsSnapshot, row: number): void {
  const { first, end } = rowsOf(snapshot, row);
  if (isAsWanted(wanted, snapshot, first, end)) return;
  const missing = new Map(wanted.destinations.map((destination) => [handleOf(destination), destination]));
  for (let at = first; at < end; at++) {
    const handle = handleAt(snapshot, at);
    const destination = missing.get(handle);
    if (destination === undefined) {
      plan.push('deleteDestination', wanted.key, {
        op: 'deleteDestination',
        service: wanted.id,
        destination: destinationIdAt(snapshot, at),
      });
      continue;
    }
    missing.delete(handle);
    if (differsAt(snapshot, at, destination.spec)) planEdit(plan, wanted, destination, snapshot.destinations.weight[at] ?? 0);
  }
  for (const destination of missing.values()) planAdd(plan, wanted, destination);
}

function planAdd(plan: Plan, wanted: DesiredIpvsService, destination: DesiredDestination): void {
  plan.push('addDestination', wanted.key, {
    op: 'addDestination',
    service: wanted.id,
    destination: destination.id,
    spec: destination.spec,
  });
}

function planCreation(plan: Plan, wanted: DesiredIpvsService): void {
  plan.push('putService', wanted.key, { op: 'addService', service: wanted.id, spec: wanted.spec });
  for (const destination of wanted.destinations) planAdd(plan, wanted, destination);
}

/** The kernel would drop the destinations with their service; removing them first gives each its own error. */
function planRemoval(plan: Plan, key: VirtualServiceKey, id: ServiceId, snapshot: IpvsSnapshot, row: number): void {
  const { first, end } = rowsOf(snapshot, row);
  for (let at = first; at < end; at++) {
    plan.push('deleteDestination', key, { op: 'deleteDestination', service: id, destination: destinationIdAt(snapshot, at) });
  }
  plan.push('deleteService', key, { op: 'deleteService', service: id });
}

function planWanted(plan: Plan, wanted: DesiredIpvsService, input: IpvsDiffInput, row: number): void {
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
  planDestinations(plan, wanted, snapshot, row);
}

/** A service that is not desired: removed when it is ours, else at most reported. */
function planUnwanted(plan: Plan, key: VirtualServiceKey, id: ServiceId, input: IpvsDiffInput, row: number): void {
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
  const plan = new Plan();
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
