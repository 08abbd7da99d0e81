/**
 * One pass of a director. Per VIP, on the way up: address, rules, IPVS, announcement; on the way down the
 * reverse. Everything is read and planned before anything is written, so that a machine that cannot
 * be read is left as it is.
 */
import { masqueradedId } from '../desired/colocation.ts';
import type { IpvsOwnership, IpvsPlan } from '../diff/ipvs.ts';
import { isOrdered } from '../diff/ipvs-order.ts';
import { asWritten, ObservedServices } from '../diff/ipvs-observed.ts';
import { deviceMtu } from '../diff/path-mtu.ts';
import type { AddressDriver, ObservedAddresses } from '../drivers/addresses.ts';
import { addressOf, type IpvsDriver } from '../drivers/ipvs.ts';
import { merge, type DriverOutcome } from '../drivers/outcome.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { Announcing } from './announcing.ts';
import type { DirectorRules, RulesAsked } from './colocation.ts';
import type { ConntrackSweeper } from './conntrack-sweeper.ts';
import { describeIpvs, describeLink, describeNat } from './describe.ts';
import type { DirectorHost } from './director-host.ts';
import { DirectorTarget, type Look, type TargetOptions, type Unconfirmed } from './director-target.ts';
import { DirectorVips } from './director-vips.ts';
import type { Work } from './gate.ts';
import { addressesOf, guardDirector, type Guarded } from './director-guard.ts';
import type { GuardOptions, Held } from './guard.ts';
import { missingInterface, type PassOutcome, type Plane, type PlaneStatus, type Preview, type VipStatus } from './plane.ts';

export interface DirectorPlaneOptions {
  readonly ipvs: IpvsDriver;
  readonly addresses: AddressDriver;
  readonly rules: DirectorRules;
  readonly host: DirectorHost;
  readonly sweeper: ConntrackSweeper;
  readonly announcing: Announcing;
  /** Where the VIPs are announced. */
  readonly interface: string;
  readonly desired: TargetOptions;
  readonly guard: GuardOptions;
  /** Milliseconds, on the loop's clock. */
  readonly now: () => number;
  /** Nodes that get connections although their realserver did not confirm their pods in time. */
  readonly onUnconfirmed?: (nodes: readonly Unconfirmed[]) => void;
}

type Keys = ReadonlySet<VirtualServiceKey>;

export class DirectorPlane implements Plane {
  readonly #options: DirectorPlaneOptions;
  readonly #target: DirectorTarget;
  readonly #vips: DirectorVips;
  #state: ClusterState | undefined;
  #held: Held | undefined;
  /** IPVS lets its connections be seen. */
  #tracked = false;
  /** {@link DirectorTarget.flowChanges} when flows were last looked at. */
  #flowsSeen = -1;
  #retired = false;

  constructor(options: DirectorPlaneOptions) {
    this.#options = options;
    this.#target = new DirectorTarget(options.desired, options.now);
    this.#vips = new DirectorVips({ ...options, target: this.#target });
  }

  forget(): void {
    const { ipvs, addresses, rules, announcing } = this.#options;
    for (const part of [ipvs, addresses, rules, announcing]) part.forget();
    this.#options.sweeper.stop();
  }

  /** Whether a VIP is to be on our device, as of the last pass. */
  wants(address: Address): boolean {
    return this.#vips.held.has(address);
  }

  /** True of a virtual service that has pods on this machine. */
  serves(key: VirtualServiceKey): boolean {
    return this.#target.local.has(key);
  }

  async pass(work: Work): Promise<PassOutcome> {
    const { state, change } = work;
    this.#state = state;
    return change.all || !this.#knows(state, change.virtualServices) ? this.#passAll(state) : this.#passKeys(state, change.virtualServices);
  }

  /** A pass over these alone is possible. */
  #knows(state: ClusterState, keys: Keys): boolean {
    const { ipvs, addresses, rules } = this.#options;
    if (addresses.state === undefined || !ipvs.knows(keys) || !rules.known) return false;
    for (const key of keys) if ((!rules.inUse && needsRules(state, key)) || this.#becomesOrdered(state, key)) return false;
    return true;
  }

  /** Destinations of a scheduler that minds no order are known without it, and are to have one now. */
  #becomesOrdered(state: ClusterState, key: VirtualServiceKey): boolean {
    const [known, next] = [this.#options.ipvs.known(key), state.virtualServices.get(key)];
    return known !== undefined && next !== undefined && isOrdered(next) && !isOrdered(known.spec);
  }

  async #update(work: Work, look: Look): Promise<void> {
    await this.#target.update(work, look);
    const { unconfirmed } = this.#target;
    if (unconfirmed.length > 0) this.#options.onUnconfirmed?.(unconfirmed);
  }

  /** Everything that is looked at before anything is decided. */
  async #observe(
    needed: boolean,
  ): Promise<{ before: ObservedAddresses; services: ObservedServices; look: Look; plan: () => Promise<IpvsPlan> }> {
    const { ipvs, addresses, announcing, rules } = this.#options;
    const before = await addresses.observe();
    await announcing.observe(before);
    await rules.observe(needed);
    const observed = await ipvs.observe();
    const services = new ObservedServices(observed);
    const look: Look = (key) => ({ ...services.sight(key), local: rules.holds(key) });
    return { before, services, look, plan: () => ipvs.plan(this.#ipvsTarget(), observed) };
  }

  async #passAll(state: ClusterState): Promise<PassOutcome> {
    const { ipvs, addresses, host, rules, announcing } = this.#options;
    announcing.configure(state);
    const needed = anyNeedsRules(state);
    const { before, look, plan: planIpvs } = await this.#observe(needed);
    await this.#update({ state, change: { all: true } }, look);
    const { plan, held, keptAddresses, rules: heldRules } = this.#guard(await planIpvs(), state, look);
    this.#held = held;
    this.#vips.settle(state.addresses, keptAddresses);
    const wanted = await addresses.plan([...this.#vips.held], deviceMtu(this.#vips.held, state.mtu));
    const tunnelling = await host.planTunnels(state);

    const withdrawn = await announcing.withdrawOthers((address) => this.#vips.mayAnnounce(address));
    const opened = await host.applyTunnels(tunnelling);
    // A device has settings once it is there.
    if (opened.written > 0) addresses.forget();
    const tuning = await host.planSettings(state, needed, (await addresses.observe()).links);
    const tuned = await host.applySettings(tuning);
    const synchronized = await host.synchronize();
    this.#tracked = host.isTracked(needed, [...tuning.failures, ...tuned.failures]);
    const asked: RulesAsked = { target: this.#target, addresses: this.#vips.held, needed, ...heldRules };
    const ruling = await rules.plan(asked, this.#tracked);
    const raised = await addresses.apply(wanted.up);
    // What the kernel refused tells nothing of what it took: look again.
    const placed = raised.failures.length === 0 ? new Set(state.addresses) : (await addresses.observe().catch(() => before)).placed;
    const { possible, blocked } = split(plan, placed);
    const early = await rules.applyBefore(ruling);
    const programmed = await ipvs.apply(this.#ipvsTarget(), possible);
    ipvs.doubt([...blocked, ...(held?.keys ?? [])]);
    const late = await rules.applyAfter(ruling, asked, early);
    await this.#sweep(true);
    const stuck = new Set(programmed.failures.map(({ address }) => address));
    const lowered = await addresses.apply(wanted.down.filter((operation) => !('address' in operation && stuck.has(operation.address))));
    // Read again now, so that the next change of an endpoint need not.
    const after = await addresses.observe();
    const silenced = await announcing.withdraw(this.#vips.refused(this.#target.backed, placed));
    const announced = await announcing.announce(this.#vips.ready(this.#target.backed, placed));
    const other = [...tuning.failures, ...tunnelling.failures, ...missingInterface(this.#options.interface, after.links)];
    const outcomes: DriverOutcome[] = [
      withdrawn,
      opened,
      tuned,
      synchronized,
      raised,
      early,
      programmed,
      late,
      lowered,
      silenced,
      announced,
      { written: 0, failures: other },
    ];
    return { ...merge(outcomes), held, full: true, ...this.#later() };
  }

  /** The same order for a few virtual services; the set of VIPs does not change without a full pass. */
  async #passKeys(state: ClusterState, keys: Keys): Promise<PassOutcome> {
    const { ipvs, addresses, rules, announcing } = this.#options;
    const look = await this.#lookAt(keys);
    await this.#update({ state, change: { all: false, virtualServices: keys } }, look);
    const planned = ipvs.planKeys(this.#ipvsTarget(), keys);
    const { plan, held, keptAddresses, rules: heldRules } = this.#guard(planned, state, look, keys);
    this.#held = held ?? this.#held;
    this.#vips.keep(keptAddresses);
    const touched = new Set([...addressesOf(planned, keys), ...[...keys].flatMap((key) => state.virtualServices.get(key)?.address ?? [])]);
    const asked: RulesAsked = { target: this.#target, addresses: this.#vips.held, needed: rules.inUse, keys, ...heldRules };
    const ruling = await rules.plan(asked, this.#tracked);
    const withdrawn = await announcing.withdraw([...touched].filter((address) => !this.#vips.mayAnnounce(address)));
    const placed = addresses.state?.placed ?? new Set<Address>();
    const { possible, blocked } = split(plan, placed);
    const early = await rules.applyBefore(ruling);
    const outcome = await ipvs.apply(this.#ipvsTarget(), possible, keys);
    ipvs.doubt([...blocked, ...(held?.keys ?? [])]);
    const late = await rules.applyAfter(ruling, asked, early);
    await this.#sweep(false);
    const silenced = await announcing.withdraw(this.#vips.refused(touched, placed));
    const fresh = this.#vips.ready(touched, placed).filter((address) => !announcing.has(address));
    const announced = await announcing.announce(fresh);
    return { ...merge([withdrawn, early, outcome, late, silenced, announced]), held: this.#held, full: false, ...this.#later() };
  }

  /** Flows follow the rules. */
  async #sweep(full: boolean): Promise<void> {
    const { rules, sweeper } = this.#options;
    if (!rules.colocated || (!full && this.#target.flowChanges === this.#flowsSeen)) return;
    if (!this.#retired) sweeper.retire(rules.former(this.#target.flows));
    this.#retired = true;
    this.#flowsSeen = this.#target.flowChanges;
    await sweeper.after(this.#target.flows);
  }

  #later(): Pick<PassOutcome, 'due' | 'awaiting'> {
    return { due: this.#target.due, awaiting: this.#target.awaiting };
  }

  #ipvsTarget(): { services: DirectorTarget['services']; ownership: IpvsOwnership } {
    return { services: this.#target.services, ownership: this.#ownership(this.#state) };
  }

  /** Connections matter only to what is on its way down; else what was written last is what is there. */
  async #lookAt(keys: Keys): Promise<Look> {
    const { ipvs, rules } = this.#options;
    const services = this.#target.drains(keys) ? new ObservedServices(await ipvs.observe()) : undefined;
    return (key) => ({ ...(services?.sight(key) ?? asWritten(ipvs.known(key))), local: rules.holds(key) });
  }

  async preview(state: ClusterState): Promise<Preview> {
    const { addresses, rules, host, announcing } = this.#options;
    this.forget();
    this.#state = state;
    announcing.configure(state);
    const needed = anyNeedsRules(state);
    const { before, look, plan: planIpvs } = await this.#observe(needed);
    await this.#target.update({ state, change: { all: true } }, look);
    const { plan, held, keptAddresses, rules: heldRules } = this.#guard(await planIpvs(), state, look);
    this.#vips.settle(state.addresses, keptAddresses);
    const { up, down } = await addresses.plan([...this.#vips.held], deviceMtu(this.#vips.held, state.mtu));
    const settled = await host.preview(state, needed, before.links);
    const ruling = await rules.preview({ target: this.#target, addresses: this.#vips.held, needed, ...heldRules });
    const silent = await announcing.goingDown(new Set([...this.#vips.held].filter((address) => this.#vips.mayAnnounce(address))));
    const spoken = await announcing.goingUp(new Set(this.#target.backed));
    return {
      changes: [
        ...silent,
        ...settled,
        ...up.map(describeLink),
        ...(ruling === undefined ? [] : describeNat(rules.kind, ruling)),
        ...plan.operations.map(({ operation }) => describeIpvs(operation)),
        ...down.map(describeLink),
        ...spoken,
      ],
      held,
      ...(announcing.unseen === undefined ? {} : { unseen: announcing.unseen }),
    };
  }

  status(): PlaneStatus {
    const { ipvs, host, rules, sweeper, announcing } = this.#options;
    const { foreign } = ipvs;
    const keys = [...this.#target.reasons.keys(), ...(this.#held?.keys ?? []), ...foreign.map(({ key }) => key)];
    const reasons = new Map<VirtualServiceKey, Reason>();
    for (const key of keys) {
      const reason = this.reason(key);
      if (reason !== undefined) reasons.set(key, reason);
    }
    const vips = (this.#state?.addresses ?? []).map((address) => this.vip(address));
    return {
      ...{ reasons, vips, foreign: foreign.map(({ key, message }) => ({ key, message })) },
      warnings: [...ipvs.warnings, ...host.warnings, ...rules.warnings, ...sweeper.warnings, ...announcing.warnings],
      ...(rules.chosen === undefined ? {} : { nat: rules.chosen }),
      ...(rules.colocated ? { local: rules.shares } : {}),
    };
  }

  reason(key: VirtualServiceKey): Reason | undefined {
    const foreign = this.#options.ipvs.foreignAt(key);
    if (foreign?.adopted === false && this.#state?.virtualServices.has(key) === true)
      return { code: 'ForeignService', message: foreign.message };
    if (this.#held?.keys.has(key) === true) return { code: 'GuardHeld', message: this.#held.message };
    return this.#target.reasons.get(key);
  }

  vip(address: Address): VipStatus {
    return this.#vips.status(address, this.#state);
  }

  #guard(planned: IpvsPlan, state: ClusterState, look: Look, keys?: Keys): Guarded {
    const { rules, guard } = this.#options;
    const guarded = guardDirector({ planned, state, look, rules, keys, target: this.#target }, guard);
    if (guarded.held !== undefined) this.#target.suspend(guarded.held.keys);
    return guarded;
  }

  #ownership(state: ClusterState | undefined): IpvsOwnership {
    const vips = new Set(state?.addresses);
    const placed = this.#options.addresses.state?.placed ?? new Set();
    return {
      configured: (key) => state?.virtualServices.has(key) === true,
      placed: (address) => placed.has(address),
      vip: (address) => vips.has(address),
    };
  }
}

const needsRules = (state: ClusterState, key: VirtualServiceKey): boolean => {
  const virtualService = state.virtualServices.get(key);
  return virtualService !== undefined && masqueradedId(virtualService) !== undefined;
};

function anyNeedsRules({ virtualServices }: ClusterState): boolean {
  for (const virtualService of virtualServices.values()) if (masqueradedId(virtualService) !== undefined) return true;
  return false;
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
