/** IPVS services and destinations: observed once, then known; a change costs what it changes. */
import { setImmediate as pause } from 'node:timers/promises';
import type { DesiredIpvsService } from '../desired/types.ts';
import { isOrdered } from '../diff/ipvs-order.ts';
import {
  ipvsDiffSteps,
  type ForeignIpvsService,
  type IpvsDiffInput,
  type IpvsOwnership,
  type IpvsPlan,
  type Placement,
  type PlannedIpvsOperation,
} from '../diff/ipvs.ts';
import { rankOf, type Rank } from '../diff/ipvs-rank.ts';
import { runSliced, runThrough } from '../model/slices.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import { destinationKey, NO_STATISTICS, serviceKey, snapshotFromObjects } from '../native/ipvs-columns.ts';
import type { KernelError } from '../native/errors.ts';
import type { IpvsOperation, IpvsPort, IpvsSnapshot, Service } from '../native/ipvs-types.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';
import { ConnectionKeeper } from './ipvs-keeper.ts';
import { Lingering, LingeringRecord } from './ipvs-lingering.ts';
import type { SysctlJournal } from './journal.ts';
import type { SysctlPort } from './proc-sysctls.ts';

export interface IpvsTarget {
  readonly services: ReadonlyMap<VirtualServiceKey, DesiredIpvsService>;
  readonly ownership: IpvsOwnership;
}

interface FailedIpvsOperation extends PlannedIpvsOperation {
  /** The destination that takes no connections for it. */
  readonly idle: Rank | undefined;
}

interface Written extends DriverOutcome {
  readonly failed: readonly FailedIpvsOperation[];
}

/** Longest stretch of comparing without letting other work in, milliseconds. */
export const sliceMilliseconds = 4;

const noCounters = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0, statistics: NO_STATISTICS };

function asObserved(service: DesiredIpvsService): Service {
  const destinations = service.destinations.map(({ id, spec }) => ({ id, spec, ...noCounters }));
  return { id: service.id, spec: service.spec, statistics: NO_STATISTICS, destinations };
}

/** Address of a virtual service operation; undefined for a fwmark service, which is never ours. */
export function addressOf(operation: IpvsOperation): Address | undefined {
  return 'address' in operation.service ? operation.service.address : undefined;
}

export function operationSubject(operation: IpvsOperation): string {
  const service = serviceKey(operation.service);
  return 'destination' in operation ? `${service} -> ${destinationKey(operation.destination)}` : service;
}

/** What it takes to put destinations in order. */
export interface IpvsOrdering {
  readonly sysctls: SysctlPort;
  readonly journal: Pick<SysctlJournal, 'loadLingering' | 'saveLingering' | 'path'>;
}

export class IpvsDriver {
  readonly #port: IpvsPort;
  readonly #keeper: ConnectionKeeper | undefined;
  readonly #record: LingeringRecord | undefined;
  /** What the kernel holds of ours, service by service, in its order where that matters; undefined when that is in doubt. */
  #known: Map<VirtualServiceKey, DesiredIpvsService> | undefined;
  /** Services on which an operation failed: unknown until the next full look. */
  readonly #doubtful = new Set<VirtualServiceKey>();
  /** Destinations that take no connections although they are known, since the kernel refused them. */
  readonly #refused = new Map<VirtualServiceKey, Set<Rank>>();
  readonly #recreate = new Set<VirtualServiceKey>();
  readonly #lingering = new Lingering();
  #foreign: readonly ForeignIpvsService[] = [];
  #foreignByKey: ReadonlyMap<VirtualServiceKey, ForeignIpvsService> = new Map();

  /** Without `order` the order of destinations is left as it is found. */
  constructor(port: IpvsPort, order?: IpvsOrdering) {
    this.#port = port;
    this.#keeper = order && new ConnectionKeeper(order.sysctls);
    this.#record = order && new LingeringRecord(order.journal);
  }

  /** Why destinations are not in the order that other directors have them in. */
  get warnings(): readonly string[] {
    return [...(this.#keeper?.warnings ?? []), ...(this.#record?.warnings ?? [])];
  }

  /** Services of others on our VIPs, as of the last full look. */
  get foreign(): readonly ForeignIpvsService[] {
    return this.#foreign;
  }

  foreignAt(key: VirtualServiceKey): ForeignIpvsService | undefined {
    return this.#foreignByKey.get(key);
  }

  /** Virtual services of ours, as far as known. */
  get size(): number {
    return this.#known?.size ?? 0;
  }

  forget(): void {
    this.#known = undefined;
  }

  /** These were not written as planned: they are looked at again in the next full pass. */
  doubt(keys: Iterable<VirtualServiceKey>): void {
    for (const key of keys) this.#doubtful.add(key);
  }

  /** Whether new connections find a destination, whatever else of the service the kernel refused. */
  forwards(key: VirtualServiceKey): boolean {
    const refused = this.#refused.get(key);
    return this.#known?.get(key)?.destinations.some(({ id, spec }) => spec.weight > 0 && refused?.has(rankOf(id)) !== true) ?? false;
  }

  /** What the kernel holds of a service, as far as known. */
  known(key: VirtualServiceKey): DesiredIpvsService | undefined {
    return this.#known?.get(key);
  }

  /** Whether a change of these can be planned without reading the kernel. */
  knows(keys: Iterable<VirtualServiceKey>): boolean {
    if (this.#known === undefined) return false;
    for (const key of keys) if (this.#doubtful.has(key)) return false;
    return true;
  }

  observe(): Promise<IpvsSnapshot> {
    return this.#port.snapshot();
  }

  /** The difference to the kernel as it is now, or as the caller observed it. */
  async plan(target: IpvsTarget, snapshot?: IpvsSnapshot): Promise<IpvsPlan> {
    const observed = snapshot ?? (await this.observe());
    await this.#record?.load();
    const steps = ipvsDiffSteps(this.#input(target, observed));
    return runSliced(steps, { budget: sliceMilliseconds, now: () => performance.now(), pause });
  }

  /** The difference of some services to what is known; {@link knows} must hold. */
  planKeys(target: IpvsTarget, keys: ReadonlySet<VirtualServiceKey>): IpvsPlan {
    const known = [...keys].flatMap((key) => this.#known?.get(key) ?? []);
    const observed = snapshotFromObjects(known.map(asObserved));
    return runThrough(ipvsDiffSteps({ ...this.#input(target, observed), keys, counted: false }));
  }

  #input({ services, ownership }: IpvsTarget, observed: IpvsSnapshot): IpvsDiffInput {
    const reorder = this.#keeper?.isPossible ?? false;
    return {
      desired: services,
      observed,
      ownership,
      recreate: this.#recreate,
      lingering: this.#lingering.known,
      doubtful: this.#record?.inherited === true,
      reorder,
    };
  }

  /** Applies a plan of {@link plan} or {@link planKeys}; `keys` are what the plan was about, absent for all. */
  async apply(
    target: IpvsTarget,
    plan: Pick<IpvsPlan, 'operations' | 'foreign' | 'placements'>,
    keys?: ReadonlySet<VirtualServiceKey>,
  ): Promise<DriverOutcome> {
    const placements = plan.placements ?? new Map<VirtualServiceKey, Placement>();
    this.#lingering.expect(placements);
    if (this.#lingering.any) await this.#record?.save(true);
    const { written, failures, failed } = await this.#write(plan.operations);
    if (keys === undefined) {
      this.#foreign = plan.foreign;
      this.#foreignByKey = new Map(plan.foreign.map((service) => [service.key, service]));
      this.#known = new Map();
      this.#doubtful.clear();
      this.#refused.clear();
    }
    for (const key of keys ?? target.services.keys()) {
      this.#refused.delete(key);
      this.#know(key, target.services.get(key), placements.get(key));
    }
    for (const { operation, key } of plan.operations) if (operation.op === 'addService') this.#recreate.delete(key);
    for (const { operation, key, idle } of failed) {
      this.#doubtful.add(key);
      if (idle !== undefined) this.#refused.set(key, (this.#refused.get(key) ?? new Set()).add(idle));
      // The kernel may refuse an edit that it would take as a new service (another scheduler's flags).
      if (operation.op === 'setService') this.#recreate.add(key);
    }
    const refused = new Set(failed.map(({ key }) => key));
    this.#lingering.settle(placements, refused, keys === undefined);
    // What an earlier process left is known once everything was looked at, and nothing was refused.
    if (!this.#lingering.any && failed.length === 0 && (keys === undefined || this.#record?.inherited === false))
      await this.#record?.save(false);
    return { written, failures };
  }

  #know(key: VirtualServiceKey, service: DesiredIpvsService | undefined, placement: Placement | undefined): void {
    const before = this.#known?.get(key);
    if (service === undefined) {
      this.#known?.delete(key);
      this.#lingering.forget(key);
      return;
    }
    this.#known?.set(key, placement === undefined ? service : { ...service, destinations: placement.destinations });
    if (!isOrdered(service.spec)) return;
    // Planned without its order: it was of a scheduler that minds none.
    if (placement === undefined || (before !== undefined && !isOrdered(before.spec))) this.#doubtful.add(key);
  }

  async #write(planned: readonly PlannedIpvsOperation[]): Promise<Written> {
    if (planned.length === 0) return { ...nothingDone, failed: [] };
    const keeper = planned.some(({ phase }) => phase === 'place') ? this.#keeper : undefined;
    try {
      return await (keeper?.keeping(() => this.#send(planned)) ?? this.#send(planned));
    } catch (error) {
      // The transport broke: nobody knows how far the batch came.
      this.forget();
      throw error;
    }
  }

  async #send(planned: readonly PlannedIpvsOperation[]): Promise<Written> {
    const failed: FailedIpvsOperation[] = [];
    const failures: DriverFailure[] = [];
    for (const part of partsOf(planned)) {
      const result = await this.#port.apply(part.map(({ operation }) => operation));
      for (const { index, operation, error } of result.failed) {
        const one = part[index];
        if (one !== undefined) failed.push({ ...one, idle: idleAfter(one, error) });
        failures.push(failureOf(error, `ipvs.${operation.op}`, operationSubject(operation), about(one)));
      }
    }
    return { written: planned.length - failed.length, failures, failed };
  }
}

/** A destination that is taken out and put in again is 2 operations of one send, which no signal divides: 192 KiB hold 1,000. */
const placedAtOnce = 1000;

function partsOf(planned: readonly PlannedIpvsOperation[]): (readonly PlannedIpvsOperation[])[] {
  const from = planned.findIndex(({ phase }) => phase === 'place');
  if (from < 0) return [planned];
  const to = planned.findLastIndex(({ phase }) => phase === 'place') + 1;
  const parts = [planned.slice(0, from)];
  for (let at = from; at < to;) {
    // Not between the two.
    const end = Math.min(to, at + placedAtOnce);
    const next = end < to && planned[end - 1]?.operation.op === 'deleteDestination' ? end - 1 : end;
    parts.push(planned.slice(at, next));
    at = next;
  }
  return [...parts, planned.slice(to)].filter((part) => part.length > 0);
}

/** One that could not be added, or given a weight when it had none. Any other edit that is refused leaves it with the weight that it had. */
function idleAfter({ operation, phase }: PlannedIpvsOperation, error: KernelError): Rank | undefined {
  if (!('destination' in operation)) return undefined;
  const absent = operation.op === 'addDestination' && error.code !== 'EEXIST';
  return absent || phase === 'raiseFromZero' ? rankOf(operation.destination) : undefined;
}

function about(planned: PlannedIpvsOperation | undefined): Pick<DriverFailure, 'key' | 'address'> {
  if (planned === undefined) return {};
  const address = addressOf(planned.operation);
  return address === undefined ? { key: planned.key } : { key: planned.key, address };
}
