/**
 * One pass of a realserver: first what keeps it from answering ARP, then the rules, then the VIPs; on the way down
 * the VIPs go before their rules. A packet that arrives meanwhile is translated or never was ours.
 */
import type { Family } from '../desired/eligibility.ts';
import type { MasqueradePolicy } from '../desired/types.ts';
import type { ConntrackService } from '../diff/conntrack.ts';
import { deviceMtu } from '../diff/path-mtu.ts';
import { tunnelInterfaces, tunnelRequirements, type TunnelRequirements } from '../diff/tunnels.ts';
import type { AddressDriver } from '../drivers/addresses.ts';
import { merge } from '../drivers/outcome.ts';
import { ofDirectors, realserverRequirements, type SysctlDriver, type SysctlPlan } from '../drivers/sysctls.ts';
import { describeTunnel, type TunnelDriver } from '../drivers/tunnels.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { Link } from '../native/link-types.ts';
import type { ConntrackSweeper } from './conntrack-sweeper.ts';
import { describeLink, describeNat, describeSysctl } from './describe.ts';
import type { Work } from './gate.ts';
import type { Held } from './guard.ts';
import type { Waits } from './handover.ts';
import { missingInterface, type PassOutcome, type Plane, type PlaneStatus, type Preview, type VipStatus } from './plane.ts';
import { raise } from './raise.ts';
import { RealserverRules, type RealserverRulesOptions } from './realserver-rules.ts';
import { RealserverTarget } from './realserver-target.ts';

export interface RealserverPlaneOptions extends RealserverRulesOptions {
  readonly addresses: AddressDriver;
  readonly sysctls: SysctlDriver;
  readonly tunnels: TunnelDriver;
  readonly sweeper: ConntrackSweeper;
  readonly node: string;
  readonly masquerade: MasqueradePolicy;
  /** Bounded waits between this agent and the others; see handover.ts. */
  readonly waits: Waits;
}

export class RealserverPlane implements Plane {
  readonly #options: RealserverPlaneOptions;
  readonly #target: RealserverTarget;
  readonly #rules: RealserverRules;
  #state: ClusterState | undefined;
  #held: Held | undefined;
  #addresses: ReadonlySet<Address> = new Set();
  /** {@link RealserverTarget.flowChanges} when flows were last looked at. */
  #flowsSeen = 0;
  #retired = false;

  constructor(options: RealserverPlaneOptions) {
    this.#options = options;
    this.#target = new RealserverTarget(options);
    this.#rules = new RealserverRules(options, this.#target);
  }

  forget(): void {
    this.#options.nat.forget();
    this.#options.addresses.forget();
    this.#options.sweeper.stop();
  }

  /** Whether a VIP is to be on our device, as of the last pass. */
  wants(address: Address): boolean {
    return this.#addresses.has(address);
  }

  async pass(work: Work): Promise<PassOutcome> {
    this.#state = work.state;
    const moved = await this.#target.update(work);
    if (moved || !this.#options.nat.known) return this.#passAll(work.state);
    return this.#passKeys(work.state, work.change.all ? new Set() : work.change.virtualServices);
  }

  async #passAll(state: ClusterState): Promise<PassOutcome> {
    const { nat, addresses, sysctls, tunnels } = this.#options;
    const needs = tunnelRequirements(state.virtualServices.values());
    const tunnelling = await tunnels.plan(needs);
    const before = await addresses.observe();
    this.#rules.measure(state, before.links, needs);
    const { plan, held } = await this.#rules.plan(state);
    this.#held = held;
    this.#addresses = this.#rules.addresses;

    // A device has settings once it is there.
    const opened = await tunnels.apply(tunnelling.operations);
    if (opened.written > 0) addresses.forget();
    const { links } = await addresses.observe();
    const wanted = await addresses.plan([...this.#addresses], deviceMtu(this.#addresses, state.mtu));
    const tuning = await this.#planSysctls(links, needs);
    const tuned = await sysctls.apply(tuning.operations);
    const lowered = await addresses.apply(wanted.down);
    this.#retire();
    const programmed = await nat.apply(plan);
    await this.#sweep();
    const missing = missingInterface(this.#options.interface, links);
    const risks = [...tuning.failures, ...tuned.failures, ...missing].filter(({ subject }) => !subject.endsWith('/rp_filter'));
    const refused = new Set(programmed.failures.flatMap(({ family }): Family[] => (family === undefined ? [] : [family])));
    const rising = raise(wanted.up, risks.length > 0, refused);
    const raised = await addresses.apply(rising.operations);
    await addresses.observe();
    const other = { written: 0, failures: [...tunnelling.failures, ...tuning.failures, ...missing, ...rising.failures] };
    return { ...merge([opened, tuned, lowered, programmed, raised, other]), held, full: true, due: this.#options.waits.due };
  }

  async #passKeys(state: ClusterState, keys: ReadonlySet<VirtualServiceKey>): Promise<PassOutcome> {
    const { plan, held } = await this.#rules.plan(state, keys);
    this.#held = held ?? this.#held;
    const outcome = await this.#options.nat.apply(plan);
    if (this.#target.flowChanges !== this.#flowsSeen) await this.#sweep();
    return { ...outcome, held: this.#held, full: false, due: this.#options.waits.due };
  }

  async preview(state: ClusterState): Promise<Preview> {
    const { nat, addresses, tunnels } = this.#options;
    this.forget();
    this.#state = state;
    await this.#target.update({ state, change: { all: true } });
    const needs = tunnelRequirements(state.virtualServices.values());
    const tunnelling = await tunnels.plan(needs);
    const { links } = await addresses.observe();
    this.#rules.measure(state, links, needs);
    const { plan, held } = await this.#rules.plan(state);
    const vips = this.#rules.addresses;
    const { up, down } = await addresses.plan([...vips], deviceMtu(vips, state.mtu));
    const { operations } = await this.#planSysctls(links, needs);
    return {
      changes: [
        ...tunnelling.operations.map(describeTunnel),
        ...operations.map(describeSysctl),
        ...down.map(describeLink),
        ...describeNat(nat.kind, plan),
        ...up.map(describeLink),
      ],
      held,
    };
  }

  status(): PlaneStatus {
    const { nat, sysctls, sweeper } = this.#options;
    const reasons = new Map<VirtualServiceKey, Reason>(this.#target.reasons);
    if (this.#held !== undefined) for (const key of this.#held.keys) reasons.set(key, heldReason(this.#held));
    const vips = this.#state === undefined ? [] : this.#target.addresses.map((address) => this.vip(address));
    const warnings = [...sysctls.warnings, ...(nat.warnings ?? []), ...sweeper.warnings, ...this.#unclamped()];
    return { reasons, vips, foreign: [], warnings, ...(nat.chosen === undefined ? {} : { nat: nat.chosen }) };
  }

  /** What the iptables backend leaves to the operator. */
  #unclamped(): string[] {
    const { narrow } = this.#rules;
    if (narrow === 0 || this.#options.nat.kind !== 'iptables') return [];
    return [
      `TCP segments to ${narrow} VIPs may be larger than what arrives here in one piece, and the iptables backend makes none smaller: ` +
        'give the nodes a larger MTU, or use the nftables backend',
    ];
  }

  reason(key: VirtualServiceKey): Reason | undefined {
    return this.#held?.keys.has(key) === true ? heldReason(this.#held) : this.#target.reasons.get(key);
  }

  /** True of a virtual service that has pods on this node. */
  serves(key: VirtualServiceKey): boolean {
    return this.#target.services.has(key);
  }

  vip(address: Address): VipStatus {
    const missing = this.#addresses.has(address) && this.#options.addresses.state?.placed.has(address) === false;
    const reason = missing ? ({ code: 'NotProgrammed', message: 'its address is not on the VIP device' } as const) : undefined;
    return { address, announced: undefined, reason, conflicts: 0 };
  }

  #planSysctls(links: readonly Link[], needs: TunnelRequirements): Promise<SysctlPlan> {
    const there = (names: readonly string[]): string[] => names.filter((name) => links.some((link) => link.name === name));
    const facing = there([this.#options.interface]);
    const requirements = realserverRequirements(facing, [...facing, ...there(tunnelInterfaces(needs))]);
    return this.#options.sysctls.plan(requirements, (key) => !ofDirectors(key));
  }

  /** What an earlier process translated and nobody asks for any more: its flows go, too. */
  #retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    const unwanted = [...this.#options.nat.held()].filter(({ key }) => !this.#target.flows.has(key) && !this.#rules.kept.has(key));
    this.#options.sweeper.retire(unwanted);
  }

  /** The rules are written: flows follow them. */
  async #sweep(): Promise<void> {
    this.#flowsSeen = this.#target.flowChanges;
    const flows = new Map<VirtualServiceKey, ConntrackService>([...this.#rules.kept, ...this.#target.flows]);
    await this.#options.sweeper.after(flows, this.#target.takeBegun());
  }
}

const heldReason = ({ message }: Held): Reason => ({ code: 'GuardHeld', message });
