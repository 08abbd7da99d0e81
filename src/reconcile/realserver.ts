/**
 * One pass of a realserver: first what keeps it from answering ARP, then the rules, then the VIPs; on the way down
 * the VIPs go before their rules. A packet that arrives meanwhile is translated or never was ours.
 */
import { familyOf } from '../desired/eligibility.ts';
import type { MasqueradePolicy } from '../desired/types.ts';
import type { AddressDriver } from '../drivers/addresses.ts';
import type { NatBackend, NatBackendPlan } from '../drivers/nat-backend.ts';
import { merge, nothingDone, type DriverFailure } from '../drivers/outcome.ts';
import { realserverRequirements, type SysctlDriver, type SysctlPlan } from '../drivers/sysctls.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { Link } from '../native/link-types.ts';
import { describeLink, describeNat, describeSysctl } from './describe.ts';
import type { Work } from './gate.ts';
import { guardRemovals, type GuardOptions, type Held } from './guard.ts';
import type { Waits } from './handover.ts';
import { missingInterface, type PassOutcome, type Plane, type PlaneStatus, type Preview, type VipStatus } from './plane.ts';
import { RealserverTarget } from './realserver-target.ts';

export interface RealserverPlaneOptions {
  readonly nat: NatBackend;
  readonly addresses: AddressDriver;
  readonly sysctls: SysctlDriver;
  /** Interface on which packets from the director arrive. */
  readonly interface: string;
  readonly node: string;
  readonly masquerade: MasqueradePolicy;
  readonly guard: GuardOptions;
  /** Bounded waits between this agent and the others; see handover.ts. */
  readonly waits: Waits;
}

/** The kernel's own device for IP-in-IP without a local endpoint address. */
const tunnelInterface = 'tunl0';

export class RealserverPlane implements Plane {
  readonly #options: RealserverPlaneOptions;
  readonly #target: RealserverTarget;
  #state: ClusterState | undefined;
  #held: Held | undefined;
  #addresses: ReadonlySet<Address> = new Set();

  constructor(options: RealserverPlaneOptions) {
    this.#options = options;
    this.#target = new RealserverTarget(options.node, options.masquerade, options.waits);
  }

  forget(): void {
    this.#options.nat.forget();
    this.#options.addresses.forget();
  }

  /** Whether a VIP is to be on our device, as of the last pass. */
  wants(address: Address): boolean {
    return this.#addresses.has(address);
  }

  async pass(work: Work): Promise<PassOutcome> {
    this.#state = work.state;
    await this.#target.update(work);
    if (work.change.all || !this.#options.nat.known) return this.#passAll(work.state);
    return this.#passKeys(work.change.virtualServices);
  }

  async #passAll(state: ClusterState): Promise<PassOutcome> {
    const { nat, addresses, sysctls } = this.#options;
    const { links } = await addresses.observe();
    const { plan, held, keptAddresses } = await this.#planNat();
    this.#held = held;
    this.#addresses = new Set([...this.#target.addresses, ...keptAddresses]);
    const wanted = await addresses.plan([...this.#addresses]);
    const tuning = await this.#planSysctls(state, links);

    const tuned = await sysctls.apply(tuning.operations);
    const lowered = await addresses.apply(wanted.down);
    const programmed = await nat.apply(plan);
    const missing = missingInterface(this.#options.interface, links);
    const risks = [...tuning.failures, ...tuned.failures, ...missing].filter(({ subject }) => !subject.endsWith('/rp_filter'));
    // A host that may answer ARP for a VIP steals it from the director: rather no VIP.
    const raised = risks.length === 0 ? await addresses.apply(wanted.up) : { ...nothingDone, failures: withheld(wanted.up.length) };
    await addresses.observe();
    const other = { written: 0, failures: [...tuning.failures, ...missing] };
    return { ...merge([tuned, lowered, programmed, raised, other]), held, full: true, due: this.#options.waits.due };
  }

  async #passKeys(keys: ReadonlySet<VirtualServiceKey>): Promise<PassOutcome> {
    const { plan, held } = await this.#planNat(keys);
    this.#held = held ?? this.#held;
    const outcome = await this.#options.nat.apply(plan);
    return { ...outcome, held: this.#held, full: false, due: this.#options.waits.due };
  }

  async preview(state: ClusterState): Promise<Preview> {
    const { nat, addresses } = this.#options;
    this.forget();
    await this.#target.update({ state, change: { all: true } });
    const { links } = await addresses.observe();
    const { plan, held, keptAddresses } = await this.#planNat();
    const { up, down } = await addresses.plan([...this.#target.addresses, ...keptAddresses]);
    const { operations } = await this.#planSysctls(state, links);
    return {
      changes: [...operations.map(describeSysctl), ...down.map(describeLink), ...describeNat(nat.kind, plan), ...up.map(describeLink)],
      held,
    };
  }

  status(): PlaneStatus {
    const reasons = new Map<VirtualServiceKey, Reason>(this.#target.reasons);
    if (this.#held !== undefined) for (const key of this.#held.keys) reasons.set(key, heldReason(this.#held));
    const vips = this.#state === undefined ? [] : this.#target.addresses.map((address) => this.vip(address));
    return { reasons, vips, foreign: [], warnings: this.#options.sysctls.warnings };
  }

  reason(key: VirtualServiceKey): Reason | undefined {
    return this.#held?.keys.has(key) === true ? heldReason(this.#held) : this.#target.reasons.get(key);
  }

  /** True of a virtual service that has pods on this node. */
  serves(key: VirtualServiceKey): boolean {
    return this.#target.services.has(key);
  }

  vip(address: Address): VipStatus {
    if (familyOf(address) === 6) return { address, announced: undefined, reason: unsupported, conflicts: 0 };
    const missing = this.#addresses.has(address) && this.#options.addresses.state?.placed.has(address) === false;
    const reason = missing ? ({ code: 'NotProgrammed', message: 'its address is not on the VIP device' } as const) : undefined;
    return { address, announced: undefined, reason, conflicts: 0 };
  }

  #planSysctls(state: ClusterState, links: readonly Link[]): Promise<SysctlPlan> {
    const tunnelled = [...state.virtualServices.values()].some(({ forward }) => forward === 'tunnel');
    const tunnel = tunnelled && links.some(({ name }) => name === tunnelInterface) ? [tunnelInterface] : [];
    const facing = links.some(({ name }) => name === this.#options.interface) ? [this.#options.interface] : [];
    return this.#options.sysctls.plan(realserverRequirements(facing, [...facing, ...tunnel]));
  }

  async #planNat(
    keys?: ReadonlySet<VirtualServiceKey>,
  ): Promise<{ plan: NatBackendPlan; held: Held | undefined; keptAddresses: ReadonlySet<Address> }> {
    const { nat, guard } = this.#options;
    await nat.observe();
    const plan = await nat.plan(this.#target, keys);
    // Pods that left this node take their rules with them: that is no loss of configuration.
    const gone = plan.services.filter(
      ({ key, change }) => change === 'remove' && this.#target.reasons.get(key)?.code !== 'NoLocalEndpoints',
    );
    const held = guardRemovals(new Set(gone.map(({ key }) => key)), nat.size, guard);
    if (held === undefined) return { plan, held, keptAddresses: new Set() };
    const kept = [...held.keys].flatMap((key) => nat.heldAt(key) ?? []);
    const services = new Map([...this.#target.services, ...kept.map((service) => [service.key, service] as const)]);
    const { masquerade, addresses } = this.#target;
    return {
      plan: await nat.plan({ services, masquerade, addresses }, keys),
      held,
      keptAddresses: new Set(kept.map(({ address }) => address)),
    };
  }
}

const unsupported: Reason = { code: 'AddressFamilyUnsupported', message: 'a realserver holds IPv4 VIPs only' };
const heldReason = ({ message }: Held): Reason => ({ code: 'GuardHeld', message });

function withheld(count: number): DriverFailure[] {
  if (count === 0) return [];
  const message = `${count} changes of VIP addresses wait until this host cannot answer ARP for them`;
  return [{ op: 'links.addAddress', subject: 'VIP addresses', code: 'NotProgrammed', message }];
}
