/**
 * One pass of a director. Per VIP, on the way up: address, IPVS, announcement; on the way down the
 * reverse. Everything is read and planned before anything is written, so that a machine that cannot
 * be read is left as it is.
 */
import type { ArpAnnouncer } from '../announce/arp.ts';
import type { DrainOptions } from '../desired/drain.ts';
import { familyOf } from '../desired/eligibility.ts';
import type { IpvsOwnership, IpvsPlan } from '../diff/ipvs.ts';
import { asWritten, ObservedServices } from '../diff/ipvs-observed.ts';
import type { AddressDriver } from '../drivers/addresses.ts';
import { addressOf, type IpvsDriver } from '../drivers/ipvs.ts';
import { merge, type DriverOutcome } from '../drivers/outcome.ts';
import type { SysctlDriver, SysctlRequirement } from '../drivers/sysctls.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import { describeIpvs, describeLink, describeSysctl } from './describe.ts';
import { DirectorTarget, type Look, type Unconfirmed } from './director-target.ts';
import type { Work } from './gate.ts';
import { guardRemovals, type GuardOptions, type Held } from './guard.ts';
import { missingInterface, type PassOutcome, type Plane, type PlaneStatus, type Preview, type VipStatus } from './plane.ts';

export interface DirectorPlaneOptions {
  readonly ipvs: IpvsDriver;
  readonly addresses: AddressDriver;
  readonly sysctls: SysctlDriver;
  readonly settings: readonly SysctlRequirement[];
  readonly announcer: ArpAnnouncer;
  /** Where the VIPs are announced. */
  readonly interface: string;
  readonly desired: DrainOptions;
  readonly guard: GuardOptions;
  /** Milliseconds, on the loop's clock. */
  readonly now: () => number;
  /** Nodes that get connections although their realserver did not confirm their pods in time. */
  readonly onUnconfirmed?: (nodes: readonly Unconfirmed[]) => void;
}

type Keys = ReadonlySet<VirtualServiceKey>;

/** Virtual services that a plan takes away for good. */
function removals({ operations }: Pick<IpvsPlan, 'operations'>): Set<VirtualServiceKey> {
  const keys = new Set<VirtualServiceKey>();
  for (const { operation, key } of operations) {
    if (operation.op === 'deleteService') keys.add(key);
    if (operation.op === 'addService') keys.delete(key);
  }
  return keys;
}

const addressesOf = (plan: Pick<IpvsPlan, 'operations'>, keys: Keys): Set<Address> =>
  new Set(plan.operations.filter(({ key }) => keys.has(key)).flatMap(({ operation }) => addressOf(operation) ?? []));

export class DirectorPlane implements Plane {
  readonly #options: DirectorPlaneOptions;
  readonly #target: DirectorTarget;
  #state: ClusterState | undefined;
  #held: Held | undefined;
  #addresses: ReadonlySet<Address> = new Set();
  /** VIPs of virtual services whose removal is held: they stay as they are. */
  #kept: ReadonlySet<Address> = new Set();

  constructor(options: DirectorPlaneOptions) {
    this.#options = options;
    this.#target = new DirectorTarget(options.desired, options.now);
  }

  forget(): void {
    this.#options.ipvs.forget();
    this.#options.addresses.forget();
  }

  /** Whether a VIP is to be on our device, as of the last pass. */
  wants(address: Address): boolean {
    return this.#addresses.has(address);
  }

  async pass(work: Work): Promise<PassOutcome> {
    const { ipvs, addresses } = this.#options;
    const { state, change } = work;
    this.#state = state;
    if (change.all || addresses.state === undefined || !ipvs.knows(change.virtualServices)) return this.#passAll(state);
    return this.#passKeys(state, change.virtualServices);
  }

  async #update(work: Work, look: Look): Promise<void> {
    await this.#target.update(work, look);
    const { unconfirmed } = this.#target;
    if (unconfirmed.length > 0) this.#options.onUnconfirmed?.(unconfirmed);
  }

  async #passAll(state: ClusterState): Promise<PassOutcome> {
    const { ipvs, addresses, sysctls, settings } = this.#options;
    const before = await addresses.observe();
    const observed = await ipvs.observe();
    const services = new ObservedServices(observed);
    await this.#update({ state, change: { all: true } }, (key) => services.sight(key));
    const target = { services: this.#target.services, ownership: this.#ownership(state) };
    const planned = await ipvs.plan(target, observed);
    const { plan, held, keptAddresses } = this.#guard(planned, state);
    this.#held = held;
    this.#kept = keptAddresses;
    this.#addresses = new Set([...state.addresses, ...keptAddresses]);
    const wanted = await addresses.plan([...this.#addresses]);
    const tuning = await sysctls.plan(settings);

    this.#withdraw(this.#options.announcer.addresses, keptAddresses);
    const tuned = await sysctls.apply(tuning.operations);
    const raised = await addresses.apply(wanted.up);
    // What the kernel refused tells nothing of what it took: look again.
    const placed = raised.failures.length === 0 ? new Set(state.addresses) : (await addresses.observe().catch(() => before)).placed;
    const { possible, blocked } = split(plan, placed);
    const programmed = await ipvs.apply(target, possible);
    ipvs.doubt([...blocked, ...(held?.keys ?? [])]);
    const stuck = new Set(programmed.failures.map(({ address }) => address));
    const lowered = await addresses.apply(wanted.down.filter((operation) => !('address' in operation && stuck.has(operation.address))));
    // Read again now, so that the next change of an endpoint need not.
    const after = await addresses.observe();
    this.#announce(this.#target.backed, placed);
    const missing = missingInterface(this.#options.interface, after.links);
    const outcomes: DriverOutcome[] = [tuned, raised, programmed, lowered, { written: 0, failures: [...tuning.failures, ...missing] }];
    return { ...merge(outcomes), held, full: true, ...this.#later() };
  }

  /** The same order for a few virtual services; the set of VIPs does not change without a full pass. */
  async #passKeys(state: ClusterState, keys: Keys): Promise<PassOutcome> {
    const { ipvs, addresses } = this.#options;
    await this.#update({ state, change: { all: false, virtualServices: keys } }, await this.#lookAt(keys));
    const target = { services: this.#target.services, ownership: this.#ownership(state) };
    const planned = ipvs.planKeys(target, keys);
    const { plan, held, keptAddresses } = this.#guard(planned, state);
    this.#held = held ?? this.#held;
    this.#kept = new Set([...this.#kept, ...keptAddresses]);
    const touched = new Set([...addressesOf(planned, keys), ...[...keys].flatMap((key) => state.virtualServices.get(key)?.address ?? [])]);
    this.#withdraw(touched, this.#kept);
    const placed = addresses.state?.placed ?? new Set<Address>();
    const { possible, blocked } = split(plan, placed);
    const outcome = await ipvs.apply(target, possible, keys);
    ipvs.doubt([...blocked, ...(held?.keys ?? [])]);
    this.#announce(touched, placed);
    return { ...outcome, held: this.#held, full: false, ...this.#later() };
  }

  #later(): Pick<PassOutcome, 'due' | 'awaiting'> {
    return { due: this.#target.due, awaiting: this.#target.awaiting };
  }

  /** Connections matter only to what is on its way down; else what was written last is what is there. */
  async #lookAt(keys: Keys): Promise<Look> {
    const { ipvs } = this.#options;
    if (!this.#target.drains(keys)) return (key) => asWritten(ipvs.known(key));
    const services = new ObservedServices(await ipvs.observe());
    return (key) => services.sight(key);
  }

  async preview(state: ClusterState): Promise<Preview> {
    const { ipvs, addresses, sysctls, settings } = this.#options;
    this.forget();
    await addresses.observe();
    const observed = await ipvs.observe();
    const services = new ObservedServices(observed);
    await this.#target.update({ state, change: { all: true } }, (key) => services.sight(key));
    const planned = await ipvs.plan({ services: this.#target.services, ownership: this.#ownership(state) }, observed);
    const { plan, held, keptAddresses } = this.#guard(planned, state);
    const { up, down } = await addresses.plan([...state.addresses, ...keptAddresses]);
    const { operations } = await sysctls.plan(settings);
    return {
      changes: [
        ...operations.map(describeSysctl),
        ...up.map(describeLink),
        ...plan.operations.map(({ operation }) => describeIpvs(operation)),
        ...down.map(describeLink),
      ],
      held,
    };
  }

  status(): PlaneStatus {
    const { ipvs, sysctls } = this.#options;
    const { foreign } = ipvs;
    const keys = [...this.#target.reasons.keys(), ...(this.#held?.keys ?? []), ...foreign.map(({ key }) => key)];
    const reasons = new Map<VirtualServiceKey, Reason>();
    for (const key of keys) {
      const reason = this.reason(key);
      if (reason !== undefined) reasons.set(key, reason);
    }
    const vips = (this.#state?.addresses ?? []).map((address) => this.vip(address));
    return { reasons, vips, foreign: foreign.map(({ key, message }) => ({ key, message })), warnings: sysctls.warnings };
  }

  reason(key: VirtualServiceKey): Reason | undefined {
    const foreign = this.#options.ipvs.foreignAt(key);
    if (foreign?.adopted === false && this.#state?.virtualServices.has(key) === true)
      return { code: 'ForeignService', message: foreign.message };
    if (this.#held?.keys.has(key) === true) return { code: 'GuardHeld', message: this.#held.message };
    return this.#target.reasons.get(key);
  }

  vip(address: Address): VipStatus {
    const status = this.#options.announcer.status(address);
    const conflicts = status?.conflicts ?? 0;
    if (status !== undefined) return { address, announced: status.announced, reason: status.reason, conflicts };
    return { address, announced: false, reason: this.#whySilent(address), conflicts };
  }

  #whySilent(address: Address): Reason {
    if (familyOf(address) === 6) return { code: 'AddressFamilyUnsupported', message: 'only IPv4 VIPs are announced' };
    if (this.#target.backends(address).size > 0)
      return { code: 'NotProgrammed', message: 'its address or virtual services are not in the kernel' };
    for (const key of this.#target.awaiting) {
      const reason = this.#state?.virtualServices.get(key)?.address === address ? this.#target.reasons.get(key) : undefined;
      if (reason !== undefined) return reason;
    }
    return { code: 'NoEndpoints', message: 'none of its virtual services has a ready endpoint on an eligible node' };
  }

  /**
   * What is guarded is the step that takes the last backend of a virtual service: after it nothing is left to save. So a
   * service that is still configured and ends its drain is no removal any more (docs/drain.md).
   */
  #guard(planned: IpvsPlan, state: ClusterState): { plan: IpvsPlan; held: Held | undefined; keptAddresses: ReadonlySet<Address> } {
    const removed = removals(planned);
    const gone = new Set([...removed].filter((key) => !state.virtualServices.has(key)));
    for (const key of this.#target.lost) gone.add(key);
    const added = planned.operations.filter(({ operation }) => operation.op === 'addService').length;
    const held = guardRemovals(gone, removed.size + this.#target.services.size - added, this.#options.guard);
    if (held === undefined) return { plan: planned, held, keptAddresses: new Set() };
    this.#target.suspend(held.keys);
    const operations = planned.operations.filter(({ key }) => !held.keys.has(key));
    return { plan: { ...planned, operations }, held, keptAddresses: addressesOf(planned, held.keys) };
  }

  #ownership(state: ClusterState): IpvsOwnership {
    const vips = new Set(state.addresses);
    const placed = this.#options.addresses.state?.placed ?? new Set();
    return {
      configured: (key) => state.virtualServices.has(key),
      placed: (address) => placed.has(address),
      vip: (address) => vips.has(address),
    };
  }

  /** Silences those without a backend; `kept` are VIPs whose removal is held. */
  #withdraw(addresses: Iterable<Address>, kept: ReadonlySet<Address>): void {
    const silent = [...addresses].filter((address) => !kept.has(address) && this.#target.backends(address).size === 0);
    this.#options.announcer.withdraw(silent);
  }

  /** Speaks up for those that have their address and a programmed backend. */
  #announce(addresses: Iterable<Address>, placed: ReadonlySet<Address>): void {
    const { announcer, ipvs } = this.#options;
    const ready: Address[] = [];
    for (const address of addresses) {
      if (announcer.has(address) || !placed.has(address) || familyOf(address) === 6) continue;
      for (const key of this.#target.backends(address)) {
        if (ipvs.programmed(key) === undefined) continue;
        ready.push(address);
        break;
      }
    }
    announcer.announce(ready);
  }
}

/** Nothing is added on a VIP whose address is not there: a packet would find half of it. */
function split(plan: IpvsPlan, placed: ReadonlySet<Address>): { possible: IpvsPlan; blocked: Set<VirtualServiceKey> } {
  const blocked = new Set<VirtualServiceKey>();
  for (const { operation, key } of plan.operations) {
    const address = addressOf(operation);
    if (operation.op === 'addService' && address !== undefined && !placed.has(address)) blocked.add(key);
  }
  if (blocked.size === 0) return { possible: plan, blocked };
  return { possible: { ...plan, operations: plan.operations.filter(({ key }) => !blocked.has(key)) }, blocked };
}
