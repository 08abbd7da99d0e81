/** What a realserver asks of its nat backend: its target, what belongs to the machine as a whole, and what the guard keeps. */
import type { DesiredNat, DesiredNatService } from '../desired/types.ts';
import { segments } from '../diff/path-mtu.ts';
import { tunnelDevices, type TunnelRequirements } from '../diff/tunnels.ts';
import type { NatBackend, NatBackendPlan } from '../drivers/nat-backend.ts';
import type { Address, ClusterState, VirtualServiceKey } from '../model/cluster.ts';
import type { Link } from '../native/link-types.ts';
import { guardRemovals, type GuardOptions, type Held } from './guard.ts';
import type { RealserverTarget } from './realserver-target.ts';

type Services = ReadonlyMap<VirtualServiceKey, DesiredNatService>;

/** Virtual services that stay although nobody asks for them. */
interface Kept {
  readonly services: Services;
  readonly inside: Services;
}

export interface RealserverRulesOptions {
  readonly nat: NatBackend;
  /** Interface on which packets from the director arrive. */
  readonly interface: string;
  readonly insideAccess: 'cluster' | 'local';
  /** Virtual services count their connections. */
  readonly counters: boolean;
  readonly guard: GuardOptions;
}

const nothingKept: Kept = { services: new Map(), inside: new Map() };

/** What is asked for comes before what is kept. */
const over = (kept: Services, wanted: Services): Services => (kept.size === 0 ? wanted : new Map([...kept, ...wanted]));

export class RealserverRules {
  readonly #options: RealserverRulesOptions;
  readonly #target: RealserverTarget;
  #common: Pick<DesiredNat, 'outside' | 'segments'> = {};
  #kept = nothingKept;

  constructor(options: RealserverRulesOptions, target: RealserverTarget) {
    this.#options = options;
    this.#target = target;
  }

  /** Translated for what comes from a director although nobody asks for it, as of the last plan. */
  get kept(): Services {
    return this.#kept.services;
  }

  /** VIPs to hold. */
  get addresses(): ReadonlySet<Address> {
    const kept = [...this.#kept.services.values(), ...this.#kept.inside.values()].map(({ address }) => address);
    return new Set([...this.#target.addresses, ...kept]);
  }

  /** VIPs whose segments have to be made smaller than the interface lets their clients believe. */
  get narrow(): number {
    return this.#common.segments?.size ?? 0;
  }

  /** Takes in what is of the machine and not of one virtual service: before a plan of everything. */
  measure(state: ClusterState, links: readonly Link[], { devices }: TunnelRequirements): void {
    const facing = links.find(({ name }) => name === this.#options.interface);
    const ways = { virtualServices: state.virtualServices.values(), mtu: state.mtu };
    this.#common = {
      outside: [this.#options.interface, ...devices.map((kind) => tunnelDevices[kind])],
      ...(facing === undefined ? {} : { segments: segments({ ...ways, facingMtu: facing.mtu }) }),
    };
  }

  /** Of these virtual services, or of everything. */
  async plan(state: ClusterState, keys?: ReadonlySet<VirtualServiceKey>): Promise<{ plan: NatBackendPlan; held: Held | undefined }> {
    const { nat, guard } = this.#options;
    await nat.observe();
    if (keys === undefined) this.#kept = nothingKept;
    const plan = await nat.plan(this.#desired(), keys);
    const gone = plan.services.filter(({ key, change }) => change === 'remove' && !this.#leftOnPurpose(state, key));
    const held = guardRemovals(new Set(gone.map(({ key }) => key)), nat.size, guard);
    if (held === undefined) return { plan, held };
    const found = (at: (key: VirtualServiceKey) => DesiredNatService | undefined): Services =>
      new Map([...held.keys].flatMap((key) => [at(key) ?? []].flat().map((service) => [key, service] as const)));
    this.#kept = {
      services: new Map([...this.#kept.services, ...found((key) => nat.heldAt(key))]),
      inside: new Map([...this.#kept.inside, ...found((key) => nat.insideAt(key))]),
    };
    return { plan: await nat.plan(this.#desired(), keys), held };
  }

  #desired(): DesiredNat {
    const { insideAccess, counters } = this.#options;
    const { services, inside, masquerade } = this.#target;
    const { outside = [], segments: sizes } = this.#common;
    return {
      ...{ masquerade, counters, services: over(this.#kept.services, services), addresses: [...this.addresses] },
      ...(sizes === undefined ? {} : { segments: sizes }),
      ...(insideAccess === 'cluster' ? { inside: over(this.#kept.inside, inside), outside } : {}),
    };
  }

  /** Pods that left this node take their rules with them, and pods that a director reaches itself: that is no loss of configuration. */
  #leftOnPurpose(state: ClusterState, key: VirtualServiceKey): boolean {
    return this.#target.reasons.get(key)?.code === 'NoLocalEndpoints' || state.virtualServices.get(key)?.forward === 'masquerade';
  }
}
