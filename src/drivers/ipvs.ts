/** IPVS services and destinations: observed once, then known; a change costs what it changes. */
import { setImmediate as pause } from 'node:timers/promises';
import type { DesiredIpvsService } from '../desired/types.ts';
import { ipvsDiffSteps, type ForeignIpvsService, type IpvsOwnership, type IpvsPlan, type PlannedIpvsOperation } from '../diff/ipvs.ts';
import { runSliced, runThrough } from '../model/slices.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import { destinationKey, NO_STATISTICS, serviceKey, snapshotFromObjects } from '../native/ipvs-columns.ts';
import type { IpvsOperation, IpvsPort, IpvsSnapshot, Service } from '../native/ipvs-types.ts';
import { failureOf, nothingDone, type DriverFailure, type DriverOutcome } from './outcome.ts';

export interface IpvsTarget {
  readonly services: ReadonlyMap<VirtualServiceKey, DesiredIpvsService>;
  readonly ownership: IpvsOwnership;
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

export class IpvsDriver {
  readonly #port: IpvsPort;
  /** What the kernel holds of ours, service by service; undefined when that is in doubt. */
  #known: Map<VirtualServiceKey, DesiredIpvsService> | undefined;
  /** Services on which an operation failed: unknown until the next full look. */
  readonly #doubtful = new Set<VirtualServiceKey>();
  readonly #recreate = new Set<VirtualServiceKey>();
  #foreign: readonly ForeignIpvsService[] = [];
  #foreignByKey: ReadonlyMap<VirtualServiceKey, ForeignIpvsService> = new Map();

  constructor(port: IpvsPort) {
    this.#port = port;
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

  /** In the kernel as last asked for. */
  programmed(key: VirtualServiceKey): DesiredIpvsService | undefined {
    return this.#doubtful.has(key) ? undefined : this.#known?.get(key);
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
    const steps = ipvsDiffSteps({ desired: target.services, observed, ownership: target.ownership, recreate: this.#recreate });
    return runSliced(steps, { budget: sliceMilliseconds, now: () => performance.now(), pause });
  }

  /** The difference of some services to what is known; {@link knows} must hold. */
  planKeys(target: IpvsTarget, keys: ReadonlySet<VirtualServiceKey>): IpvsPlan {
    const known = [...keys].flatMap((key) => this.#known?.get(key) ?? []);
    const observed = snapshotFromObjects(known.map(asObserved));
    return runThrough(ipvsDiffSteps({ desired: target.services, observed, ownership: target.ownership, keys, recreate: this.#recreate }));
  }

  /** Applies a plan of {@link plan} or {@link planKeys}; `keys` are what the plan was about, absent for all. */
  async apply(
    target: IpvsTarget,
    plan: Pick<IpvsPlan, 'operations' | 'foreign'>,
    keys?: ReadonlySet<VirtualServiceKey>,
  ): Promise<DriverOutcome> {
    const { written, failures, failed } = await this.#write(plan.operations);
    if (keys === undefined) {
      this.#foreign = plan.foreign;
      this.#foreignByKey = new Map(plan.foreign.map((service) => [service.key, service]));
      this.#known = new Map(target.services);
      this.#doubtful.clear();
    }
    for (const key of keys ?? []) {
      const service = target.services.get(key);
      if (service === undefined) this.#known?.delete(key);
      else this.#known?.set(key, service);
    }
    for (const { operation, key } of plan.operations) if (operation.op === 'addService') this.#recreate.delete(key);
    for (const { operation, key } of failed) {
      this.#doubtful.add(key);
      // The kernel may refuse an edit that it would take as a new service (another scheduler's flags).
      if (operation.op === 'setService') this.#recreate.add(key);
    }
    return { written, failures };
  }

  async #write(planned: readonly PlannedIpvsOperation[]): Promise<DriverOutcome & { readonly failed: readonly PlannedIpvsOperation[] }> {
    if (planned.length === 0) return { ...nothingDone, failed: [] };
    try {
      const result = await this.#port.apply(planned.map(({ operation }) => operation));
      const failed = result.failed.flatMap(({ index }) => planned[index] ?? []);
      const failures = result.failed.map(({ index, operation, error }) =>
        failureOf(error, `ipvs.${operation.op}`, operationSubject(operation), about(planned[index])),
      );
      return { written: planned.length - failed.length, failures, failed };
    } catch (error) {
      // The transport broke: nobody knows how far the batch came.
      this.forget();
      throw error;
    }
  }
}

function about(planned: PlannedIpvsOperation | undefined): Pick<DriverFailure, 'key' | 'address'> {
  if (planned === undefined) return {};
  const address = addressOf(planned.operation);
  return address === undefined ? { key: planned.key } : { key: planned.key, address };
}
