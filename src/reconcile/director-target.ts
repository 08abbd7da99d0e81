import { announceable, directorService, type DirectorOptions } from '../desired/director.ts';
import { eligibleNodes } from '../desired/eligibility.ts';
import type { DesiredIpvsService } from '../desired/types.ts';
import type { Address, ClusterState, Node, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { Work } from './gate.ts';
import { raiseLater, type Waits } from './handover.ts';
import { eachSliced } from './slices.ts';

/** What a director should hold, kept up to date at the cost of what changed. */
export class DirectorTarget {
  readonly #options: DirectorOptions;
  readonly #waits: Waits;
  #nodes: readonly Node[] = [];
  services = new Map<VirtualServiceKey, DesiredIpvsService>();
  reasons = new Map<VirtualServiceKey, Reason>();
  /** VIP → its virtual services that have a backend; no VIP without one. */
  #backed = new Map<Address, Set<VirtualServiceKey>>();

  constructor(options: DirectorOptions, waits: Waits) {
    this.#options = options;
    this.#waits = waits;
  }

  async update({ state, change }: Work): Promise<void> {
    if (!change.all) {
      for (const key of change.virtualServices) this.#compute(state, key, this.services.get(key));
      return;
    }
    this.#nodes = eligibleNodes(state, this.#options);
    const before = this.services;
    this.services = new Map();
    this.reasons = new Map();
    this.#backed = new Map();
    await eachSliced(state.virtualServices.keys(), (key) => this.#compute(state, key, before.get(key)));
  }

  /** Virtual services of the VIP that have a destination of weight above zero. */
  backends(address: Address): ReadonlySet<VirtualServiceKey> {
    return this.#backed.get(address) ?? new Set();
  }

  /** VIPs that have any. */
  get backed(): Iterable<Address> {
    return this.#backed.keys();
  }

  #compute(state: ClusterState, key: VirtualServiceKey, before: DesiredIpvsService | undefined): void {
    if (before !== undefined) this.#unback(before, key);
    this.services.delete(key);
    this.reasons.delete(key);
    const virtualService = state.virtualServices.get(key);
    if (virtualService === undefined) {
      this.#waits.settle(key);
      return;
    }
    const { service: wanted, reason } = directorService(state, virtualService, this.#options, this.#nodes);
    if (reason !== undefined) this.reasons.set(key, reason);
    if (wanted === undefined) {
      this.#waits.settle(key);
      return;
    }
    const service = raiseLater(this.#waits, before, wanted);
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
