import { announceable } from '../desired/director.ts';
import { directorStep, nothingRemembered, type DrainOptions, type Memory } from '../desired/drain.ts';
import { selectEligible, type Eligible } from '../desired/eligibility.ts';
import type { DesiredIpvsService } from '../desired/types.ts';
import type { Sight } from '../diff/ipvs-observed.ts';
import type { Address, ClusterState, Reason, ServiceKey, VirtualServiceKey } from '../model/cluster.ts';
import type { Work } from './gate.ts';
import { eachSliced } from './slices.ts';

/** What the kernel holds of a virtual service. */
export type Look = (key: VirtualServiceKey) => Sight;

/** A node that gets connections of a Service although its realserver did not confirm them in time. */
export interface Unconfirmed {
  readonly node: string;
  readonly service: ServiceKey;
}

/** What a director should hold now, kept up to date at the cost of what changed. */
export class DirectorTarget {
  readonly #options: DrainOptions;
  readonly #now: () => number;
  #eligible: Eligible = { nodes: [], names: new Set() };
  services = new Map<VirtualServiceKey, DesiredIpvsService>();
  reasons = new Map<VirtualServiceKey, Reason>();
  /** Only of virtual services in which something is on its way. */
  #memories = new Map<VirtualServiceKey, Memory>();
  #due = new Map<VirtualServiceKey, number>();
  #awaiting = new Set<VirtualServiceKey>();
  #lost = new Set<VirtualServiceKey>();
  #unconfirmed: Unconfirmed[] = [];
  /** VIP → its virtual services that have a backend; no VIP without one. */
  #backed = new Map<Address, Set<VirtualServiceKey>>();

  /** `now` in milliseconds, on the clock of {@link due}. */
  constructor(options: DrainOptions, now: () => number) {
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
    const known = new Set([...this.services.keys(), ...this.reasons.keys()]);
    for (const key of known) if (!state.virtualServices.has(key)) this.#forget(key);
    await eachSliced(state.virtualServices.keys(), (key) => this.#compute(state, key, look, now, !known.has(key)));
  }

  /** Virtual services of the VIP that have a destination of weight above zero. */
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
    return this.services.has(key) || this.reasons.has(key);
  }

  #settle(key: VirtualServiceKey): void {
    this.#memories.delete(key);
    this.#due.delete(key);
    this.#awaiting.delete(key);
  }

  #forget(key: VirtualServiceKey): void {
    const before = this.services.get(key);
    if (before !== undefined) this.#unback(before, key);
    this.services.delete(key);
    this.reasons.delete(key);
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
    const { service, reason } = outcome;
    if (reason !== undefined) this.reasons.set(key, reason);
    if (outcome.memory !== nothingRemembered) this.#memories.set(key, outcome.memory);
    if (Number.isFinite(outcome.due)) this.#due.set(key, outcome.due);
    if (outcome.awaiting) this.#awaiting.add(key);
    if (outcome.lost) this.#lost.add(key);
    for (const node of outcome.unconfirmed) this.#unconfirmed.push({ node, service: virtualService.service });
    if (service === undefined) return;
    this.services.set(key, service);
    for (const address of announceable([service])) {
      const keys = this.#backed.get(address);
      if (keys === undefined) this.#backed.set(address, new Set([key]));
      else keys.add(key);
    }
  }

  #unback(service: DesiredIpvsService, key: VirtualServiceKey): void {
    if (!('address' in service.id)) return;
    const keys = this.#backed.get(service.id.address);
    keys?.delete(key);
    if (keys?.size === 0) this.#backed.delete(service.id.address);
  }
}
