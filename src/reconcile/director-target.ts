import { insideService, leavesSome, masqueradedId } from '../desired/colocation.ts';
import { directorStep, nothingRemembered, type DrainOptions, type Memory } from '../desired/drain.ts';
import { selectEligible, type Eligible } from '../desired/eligibility.ts';
import type { DesiredIpvsService, DesiredNatService, NatServiceId } from '../desired/types.ts';
import type { ConntrackService } from '../diff/conntrack.ts';
import type { Sight } from '../diff/ipvs-observed.ts';
import type { Address, ClusterState, Reason, ServiceKey, VirtualService, VirtualServiceKey } from '../model/cluster.ts';
import { PROTOCOL_NUMBER } from '../native/ipvs-constants.ts';
import type { Work } from './gate.ts';
import { eachSliced } from './slices.ts';

/** What the kernel holds of a virtual service: destinations, and whether pods here have a share. */
export type Look = (key: VirtualServiceKey) => Sight & { readonly local?: boolean };

export interface TargetOptions extends DrainOptions {
  /** Clients on this machine reach pods of other nodes without IPVS. Default false. */
  readonly inside?: boolean;
}

/** A node that gets connections of a Service although its realserver did not confirm them in time. */
export interface Unconfirmed {
  readonly node: string;
  readonly service: ServiceKey;
}

/** What a director should hold now, kept up to date at the cost of what changed. */
export class DirectorTarget {
  readonly #options: TargetOptions;
  readonly #now: () => number;
  #eligible: Eligible = { nodes: [], names: new Set() };
  services = new Map<VirtualServiceKey, DesiredIpvsService>();
  /** Shares of pods on this machine. */
  readonly local = new Map<VirtualServiceKey, DesiredNatService>();
  /** For clients on this machine. */
  readonly inside = new Map<VirtualServiceKey, DesiredNatService>();
  /** Whose clients are to appear as this machine. */
  readonly masqueraded = new Map<VirtualServiceKey, NatServiceId>();
  /** Of a director with pods of its own: who may answer for flows that know no end. */
  readonly flows = new Map<VirtualServiceKey, ConntrackService>();
  #flowChanges = 0;
  reasons = new Map<VirtualServiceKey, Reason>();
  /** Only of virtual services in which something is on its way. */
  #memories = new Map<VirtualServiceKey, Memory>();
  #due = new Map<VirtualServiceKey, number>();
  #awaiting = new Set<VirtualServiceKey>();
  #lost = new Set<VirtualServiceKey>();
  #unconfirmed: Unconfirmed[] = [];
  /** VIP → its virtual services that have a backend; no VIP without one. */
  #backed = new Map<Address, Set<VirtualServiceKey>>();
  /** The same the other way round. */
  readonly #vips = new Map<VirtualServiceKey, Address>();

  /** `now` in milliseconds, on the clock of {@link due}. */
  constructor(options: TargetOptions, now: () => number) {
    this.#options = options;
    this.#now = now;
  }

  async update({ state, change }: Work, look: Look): Promise<void> {
    this.#lost = new Set();
    this.#unconfirmed = [];
    const now = this.#now();
    if (!change.all) {
      for (const key of change.virtualServices) this.#compute(state, key, look, now, !this.#knows(key));
      return;
    }
    this.#eligible = selectEligible(state, this.#options);
    const known = new Set([...this.services.keys(), ...this.local.keys(), ...this.reasons.keys()]);
    for (const key of known) if (!state.virtualServices.has(key)) this.#forget(key);
    await eachSliced(state.virtualServices.keys(), (key) => this.#compute(state, key, look, now, !known.has(key)));
  }

  /** Virtual services of the VIP that have a destination of weight above zero, or a pod here. */
  backends(address: Address): ReadonlySet<VirtualServiceKey> {
    return this.#backed.get(address) ?? new Set();
  }

  /** VIPs that have any. */
  get backed(): Iterable<Address> {
    return this.#backed.keys();
  }

  /** When to look at what again although nothing was heard. */
  get due(): ReadonlyMap<VirtualServiceKey, number> {
    return new Map(this.#due);
  }

  /** What waits for realservers. */
  get awaiting(): ReadonlySet<VirtualServiceKey> {
    return new Set(this.#awaiting);
  }

  /** Virtual services whose last backend the latest update takes, for no reason that their pods gave. */
  get lost(): ReadonlySet<VirtualServiceKey> {
    return this.#lost;
  }

  /** Found by the latest update. */
  get unconfirmed(): readonly Unconfirmed[] {
    return this.#unconfirmed;
  }

  /** Whether any of these is on its way down: then its connections have to be known. */
  drains(keys: Iterable<VirtualServiceKey>): boolean {
    for (const key of keys) if ((this.#memories.get(key)?.leaving.size ?? 0) > 0) return true;
    return false;
  }

  /** What was decided about these is not carried out: nothing of it has begun. */
  suspend(keys: Iterable<VirtualServiceKey>): void {
    for (const key of keys) this.#settle(key);
  }

  #knows(key: VirtualServiceKey): boolean {
    return this.services.has(key) || this.local.has(key) || this.reasons.has(key);
  }

  #settle(key: VirtualServiceKey): void {
    this.#memories.delete(key);
    this.#due.delete(key);
    this.#awaiting.delete(key);
  }

  #forget(key: VirtualServiceKey): void {
    this.#unback(key);
    for (const part of [this.services, this.local, this.inside, this.masqueraded, this.reasons]) part.delete(key);
    if (this.flows.delete(key)) this.#flowChanges += 1;
    this.#settle(key);
  }

  #compute(state: ClusterState, key: VirtualServiceKey, look: Look, now: number, first: boolean): void {
    const memory = this.#memories.get(key) ?? nothingRemembered;
    const decided = this.services.get(key);
    this.#forget(key);
    const virtualService = state.virtualServices.get(key);
    if (virtualService === undefined) return;
    const moment = { now, ...look(key), memory, decided, first };
    const outcome = directorStep(state, virtualService, this.#options, this.#eligible, moment);
    const { service, local, reason } = outcome;
    if (reason !== undefined) this.reasons.set(key, reason);
    if (outcome.memory !== nothingRemembered) this.#memories.set(key, outcome.memory);
    if (Number.isFinite(outcome.due)) this.#due.set(key, outcome.due);
    if (outcome.awaiting) this.#awaiting.add(key);
    if (outcome.lost) this.#lost.add(key);
    for (const node of outcome.unconfirmed) this.#unconfirmed.push({ node, service: virtualService.service });
    if (service !== undefined) this.services.set(key, service);
    this.#computeRules(state, virtualService, local);
    this.#computeFlows(virtualService);
    if (local !== undefined || this.forwards(key)) this.#back(virtualService.address, key);
  }

  #computeRules(state: ClusterState, virtualService: VirtualService, local: DesiredNatService | undefined): void {
    const { key } = virtualService;
    if (local !== undefined) this.local.set(key, local);
    const masqueraded = this.services.has(key) ? masqueradedId(virtualService) : undefined;
    if (masqueraded !== undefined) this.masqueraded.set(key, masqueraded);
    // Where all connections stay here, none is left over for the others.
    if (this.#options.inside !== true || (local !== undefined && !leavesSome(local))) return;
    const inside = insideService(state, virtualService, this.#options.self);
    if (inside !== undefined) this.inside.set(key, inside);
  }

  /** Pods here, those that clients here are led to, and those that IPVS translates to. */
  #computeFlows({ key, address, port, protocol, forward }: VirtualService): void {
    if (this.#options.colocated !== true || protocol === 'tcp') return;
    const service = this.services.get(key);
    const pods = [this.local.get(key)?.pods, this.inside.get(key)?.pods, forward === 'masquerade' ? service?.destinations : undefined];
    this.flows.set(key, {
      ...{ key, address, port, protocol: PROTOCOL_NUMBER[protocol], keepUntranslated: service !== undefined },
      pods: pods.flatMap((some) => (some ?? []).map((one) => ('id' in one ? one.id : one))),
    });
    this.#flowChanges += 1;
  }

  /** Counts up with each change that flows may have to follow. */
  get flowChanges(): number {
    return this.#flowChanges;
  }

  /** It has a destination of weight above zero. */
  forwards(key: VirtualServiceKey): boolean {
    return this.services.get(key)?.destinations.some(({ spec }) => spec.weight > 0) ?? false;
  }

  #back(address: Address, key: VirtualServiceKey): void {
    this.#vips.set(key, address);
    const keys = this.#backed.get(address);
    if (keys === undefined) this.#backed.set(address, new Set([key]));
    else keys.add(key);
  }

  #unback(key: VirtualServiceKey): void {
    const address = this.#vips.get(key);
    if (address === undefined) return;
    this.#vips.delete(key);
    const keys = this.#backed.get(address);
    keys?.delete(key);
    if (keys?.size === 0) this.#backed.delete(address);
  }
}
