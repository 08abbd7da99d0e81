/** IPVS in memory, as strict as ip_vs_ctl.c; errno per operation as observed on Linux 6.1. */
import { KernelError } from '../../src/native/errors.ts';
import { checkDaemon, checkDestinationId, checkDestinationSpec, checkServiceId, checkServiceSpec } from '../../src/native/ipvs-checks.ts';
import { destinationKey, NO_STATISTICS, serviceKey, snapshotFromObjects } from '../../src/native/ipvs-columns.ts';
import type {
  ApplyResult,
  Destination,
  DestinationId,
  DestinationSpec,
  Failure,
  IpvsInfo,
  IpvsOperation,
  IpvsPort,
  IpvsSnapshot,
  IpvsSyncPort,
  Service,
  ServiceId,
  ServiceSpec,
  SyncDaemon,
} from '../../src/native/ipvs-types.ts';
import { kernelError } from './errors.ts';
import type { Faults } from './faults.ts';
import type { Journal } from './journal.ts';

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'mh', 'sed', 'nq', 'fo', 'ovf', 'twos'];

interface Held {
  readonly id: ServiceId;
  spec: ServiceSpec;
  readonly destinations: Map<string, Destination>;
  /** dest->last_weight: the weight it was added with, or the last one above zero since. */
  readonly lastWeights: Map<string, number>;
}

function subjectOf(operation: IpvsOperation): string {
  const service = serviceKey(operation.service);
  return 'destination' in operation ? `${service} -> ${destinationKey(operation.destination)}` : service;
}

/** ip_vs_new_dest() takes local and unicast addresses only. */
function isUnicast(address: string): boolean {
  if (address.includes(':')) return !address.startsWith('ff') && address !== '::';
  const first = Number(address.split('.')[0]);
  return first > 0 && first < 224;
}

export class FakeIpvs implements IpvsPort, IpvsSyncPort {
  readonly #services = new Map<string, Held>();
  readonly #daemons = new Map<SyncDaemon['role'], SyncDaemon>();
  readonly #hasDevice: (name: string) => boolean;
  readonly #faults: Faults;
  readonly #journal: Journal;

  constructor(faults: Faults, journal: Journal, hasDevice: (name: string) => boolean = () => true) {
    this.#faults = faults;
    this.#journal = journal;
    this.#hasDevice = hasDevice;
  }

  /** Everything it holds, in a stable order. */
  services(): Service[] {
    return [...this.#services.values()].map(({ id, spec, destinations }) => ({
      id,
      spec,
      statistics: NO_STATISTICS,
      // list_add(&dest->n_list, &svc->destinations): the newest is listed first.
      destinations: [...destinations.values()].reverse(),
    }));
  }

  /**
   * All that ip_vs_mh_populate() makes a table of: destinations in the order of the list, each with its last weight where that is above zero.
   * Services of two kernels that agree in it place connections alike.
   */
  turns(service: string): string[] {
    const held = this.#services.get(service);
    if (held === undefined) throw new Error(`no service ${service}`);
    return [...held.destinations.keys()].reverse().flatMap((key) => {
      const weight = held.lastWeights.get(key) ?? 0;
      return weight === 0 ? [] : [`${key} x${weight}`];
    });
  }

  /** Connections that a destination has; they stay until they are set again, or the destination is gone. */
  setConnections(service: string, destination: string, active: number, inactive = 0): void {
    const held = this.#services.get(service)?.destinations;
    const found = held?.get(destination);
    if (held === undefined || found === undefined) throw new Error(`no destination ${service} ${destination}`);
    held.set(destination, { ...found, activeConnections: active, inactiveConnections: inactive });
  }

  info(): Promise<IpvsInfo> {
    return this.#reading('ipvs.info', () => ({ version: '1.2.1', connectionTableSize: 4096 }));
  }

  snapshot(): Promise<IpvsSnapshot> {
    return this.#reading('ipvs.snapshot', () => snapshotFromObjects(this.services()));
  }

  async apply(operations: readonly IpvsOperation[]): Promise<ApplyResult<IpvsOperation>> {
    await Promise.resolve();
    // The same refusals as the addon's: a value that no kernel takes ends the call before it begins.
    for (const [index, operation] of operations.entries()) check(operation, () => `operations[${index}]`);
    this.#faults.throwNext('ipvs.apply', `${operations.length} operations`);
    const failed: Failure<IpvsOperation>[] = [];
    for (const [index, operation] of operations.entries()) {
      const error = this.#try(operation, index);
      this.#journal.write(`ipvs.${operation.op}`, subjectOf(operation), error?.code);
      if (error !== undefined) failed.push({ index, operation, error });
    }
    return { applied: operations.length - failed.length, failed };
  }

  syncDaemons(): Promise<readonly SyncDaemon[]> {
    return this.#reading('ipvs.syncDaemons', () => (['master', 'backup'] as const).flatMap((role) => this.#daemons.get(role) ?? []));
  }

  async startSyncDaemon(daemon: SyncDaemon): Promise<void> {
    await Promise.resolve();
    checkDaemon(daemon);
    const { role, interface: device } = daemon;
    // start_sync_thread(): the device first, then the role.
    const code = !this.#hasDevice(device) ? 'ENODEV' : this.#daemons.has(role) ? 'EEXIST' : undefined;
    this.#control('ipvs.startSyncDaemon', `${role} sync daemon on ${device}`, code);
    // What was not asked for, as the kernel fills it in.
    this.#daemons.set(role, { maxLength: 1472, group: '224.0.0.81', port: 8848, ttl: 1, ...daemon });
  }

  async stopSyncDaemon(role: SyncDaemon['role']): Promise<void> {
    await Promise.resolve();
    this.#control('ipvs.stopSyncDaemon', `${role} sync daemon`, this.#daemons.has(role) ? undefined : 'ESRCH');
    this.#daemons.delete(role);
  }

  #control(op: string, subject: string, code: string | undefined): void {
    const error = this.#faults.next(op, subject) ?? (code === undefined ? undefined : kernelError(op, subject, code));
    this.#journal.write(op, subject, error?.message);
    if (error !== undefined) throw error;
  }

  async #reading<Result>(op: string, read: () => Result): Promise<Result> {
    await Promise.resolve();
    this.#journal.read();
    this.#faults.throwNext(op, 'ipvs');
    return read();
  }

  #try(operation: IpvsOperation, index: number): KernelError | undefined {
    const op = `ipvs.${operation.op}`;
    const subject = subjectOf(operation);
    const injected = this.#faults.next(op, subject, index);
    if (injected !== undefined) {
      if (injected instanceof KernelError) return injected;
      throw injected;
    }
    const code = this.#apply(operation);
    return code === undefined ? undefined : kernelError(op, subject, code, index);
  }

  /** The errno name, or undefined when it took effect. */
  #apply(operation: IpvsOperation): string | undefined {
    const key = serviceKey(operation.service);
    const held = this.#services.get(key);
    switch (operation.op) {
      case 'addService':
        if (held !== undefined) return 'EEXIST';
        if (!SCHEDULERS.includes(operation.spec.scheduler)) return 'ENOENT';
        this.#services.set(key, { id: operation.service, spec: operation.spec, destinations: new Map(), lastWeights: new Map() });
        return undefined;
      case 'setService':
        if (held === undefined) return 'ESRCH';
        if (!SCHEDULERS.includes(operation.spec.scheduler)) return 'ENOENT';
        held.spec = operation.spec;
        return undefined;
      case 'deleteService':
        return this.#services.delete(key) ? undefined : 'ESRCH';
      case 'addDestination':
        return held === undefined ? 'ESRCH' : add(held, operation.destination, operation.spec);
      case 'setDestination':
        return held === undefined ? 'ESRCH' : edit(held, operation.destination, operation.spec);
      case 'deleteDestination':
        if (held === undefined) return 'ESRCH';
        held.lastWeights.delete(destinationKey(operation.destination));
        return held.destinations.delete(destinationKey(operation.destination)) ? undefined : 'ENOENT';
    }
  }
}

function check(operation: IpvsOperation, path: () => string): void {
  checkServiceId(operation.service, path);
  if (operation.op === 'addService' || operation.op === 'setService') {
    checkServiceSpec(operation.spec, 'address' in operation.service && operation.service.address.includes(':') ? 128 : 32, path);
  }
  if ('destination' in operation) checkDestinationId(operation.destination, path);
  if (operation.op === 'addDestination' || operation.op === 'setDestination') checkDestinationSpec(operation.spec, path);
}

/** ip_vs_add_dest() and ip_vs_edit_dest() look at this before anything else. */
function thresholdsFit({ lowerThreshold = 0, upperThreshold = 0 }: DestinationSpec): boolean {
  return lowerThreshold <= upperThreshold;
}

function add(held: Held, id: DestinationId, spec: DestinationSpec): string | undefined {
  if (!thresholdsFit(spec)) return 'ERANGE';
  const key = destinationKey(id);
  if (held.destinations.has(key)) return 'EEXIST';
  if (!isUnicast(id.address)) return 'EINVAL';
  held.lastWeights.set(key, spec.weight);
  held.destinations.set(key, {
    id,
    spec,
    activeConnections: 0,
    inactiveConnections: 0,
    persistentConnections: 0,
    statistics: NO_STATISTICS,
  });
  return undefined;
}

function edit(held: Held, id: DestinationId, spec: DestinationSpec): string | undefined {
  if (!thresholdsFit(spec)) return 'ERANGE';
  const key = destinationKey(id);
  const found = held.destinations.get(key);
  if (found === undefined) return 'ENOENT';
  if (spec.weight !== 0) held.lastWeights.set(key, spec.weight);
  held.destinations.set(key, { ...found, spec });
  return undefined;
}
