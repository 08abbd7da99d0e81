/** A plan for IPVS on its way: operations by service and phase, put in order at the end. */
import type { DesiredDestination, DesiredIpvsService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import { destinationIdAt } from '../native/ipvs-columns.ts';
import type { IpvsOperation, IpvsSnapshot } from '../native/ipvs-types.ts';
import { compareRanks, rankOf, type Rank } from './ipvs-rank.ts';

/**
 * A pass in order. What lowers load comes first, what raises it last. `place` takes destinations out and puts them in
 * again, one at a time, where their order matters ({@link file://./ipvs-order.ts}). `raiseFromZero` is a phase of its
 * own: a node that had no pod may need a moment before it can take traffic, and the caller may wait.
 */
export const IPVS_PHASES = [
  'lower',
  'deleteDestination',
  'deleteService',
  'putService',
  'addDestination',
  'place',
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

/** What the kernel holds of a service whose order matters once the plan is carried out. */
export interface Placement {
  /** As the kernel lists them: the one added last comes first. */
  readonly destinations: readonly DesiredDestination[];
  /** Of weight 0, and yet in the scheduler's table, by a weight that they had before. */
  readonly lingering: ReadonlySet<Rank>;
  /** The same before the plan, also of destinations that it removes: what the kernel refuses leaves it so. */
  readonly lingered: ReadonlySet<Rank>;
}

export interface IpvsPlan {
  /** Ordered: applying them one after another is always legal. */
  readonly operations: readonly PlannedIpvsOperation[];
  readonly foreign: readonly ForeignIpvsService[];
  /** Of all desired services looked at whose order matters; absent when there is none. */
  readonly placements?: ReadonlyMap<VirtualServiceKey, Placement>;
}

/** Services compared between two chances to pause: about a millisecond's work at 10 destinations each. */
export const SERVICES_PER_STEP = 200;

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The service itself comes before its destinations; what concerns one destination stays in the order given. */
function inOrder(operations: readonly PlannedIpvsOperation[]): readonly PlannedIpvsOperation[] {
  if (operations.length < 2) return operations;
  return operations
    .map((planned) => ({ planned, rank: 'destination' in planned.operation ? rankOf(planned.operation.destination) : -1 }))
    .sort((a, b) => compareRanks(a.rank, b.rank))
    .map(({ planned }) => planned);
}

/** Operations by service; put in order at the end, so that the result does not depend on the order of the input. */
export class PlanInProgress {
  readonly #services = new Map<VirtualServiceKey, PlannedIpvsOperation[]>();
  readonly foreign: ForeignIpvsService[] = [];
  readonly placements = new Map<VirtualServiceKey, Placement>();

  push(phase: IpvsPhase, key: VirtualServiceKey, operation: IpvsOperation): void {
    const operations = this.#services.get(key);
    if (operations === undefined) this.#services.set(key, [{ phase, key, operation }]);
    else operations.push({ phase, key, operation });
  }

  add(phase: IpvsPhase, { key, id: service }: DesiredIpvsService, { id: destination, spec }: DesiredDestination): void {
    this.push(phase, key, { op: 'addDestination', service, destination, spec });
  }

  edit(wanted: DesiredIpvsService, { id: destination, spec }: DesiredDestination, observedWeight: number): void {
    const { weight } = spec;
    const phase = weight <= observedWeight ? 'lower' : observedWeight === 0 ? 'raiseFromZero' : 'raise';
    this.push(phase, wanted.key, { op: 'setDestination', service: wanted.id, destination, spec });
  }

  /** Takes out the destination of row `at`. */
  remove(phase: IpvsPhase, { key, id }: Pick<DesiredIpvsService, 'key' | 'id'>, snapshot: IpvsSnapshot, at: number): void {
    this.push(phase, key, { op: 'deleteDestination', service: id, destination: destinationIdAt(snapshot, at) });
  }

  *finish(): Generator<undefined, IpvsPlan, undefined> {
    const phases = new Map<IpvsPhase, PlannedIpvsOperation[]>(IPVS_PHASES.map((phase) => [phase, []]));
    let done = 0;
    for (const key of [...this.#services.keys()].sort()) {
      for (const operation of inOrder(this.#services.get(key) ?? [])) phases.get(operation.phase)?.push(operation);
      if (++done % SERVICES_PER_STEP === 0) yield undefined;
    }
    const foreign = this.foreign.sort((a, b) => compareText(a.key, b.key));
    const { placements } = this;
    return { operations: [...phases.values()].flat(), foreign, ...(placements.size === 0 ? {} : { placements }) };
  }
}
