import { familyOf } from '../desired/eligibility.ts';
import { realserverService } from '../desired/realserver.ts';
import type { DesiredNatService, DesiredRealserver, MasqueradePolicy } from '../desired/types.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { Work } from './gate.ts';
import { removeLater, type Waits } from './handover.ts';
import { eachSliced } from './slices.ts';

/** What a realserver should hold, kept up to date at the cost of what changed. */
export class RealserverTarget implements DesiredRealserver {
  readonly #node: string;
  readonly #waits: Waits;
  readonly masquerade: MasqueradePolicy;
  services = new Map<VirtualServiceKey, DesiredNatService>();
  reasons = new Map<VirtualServiceKey, Reason>();
  addresses: readonly Address[] = [];

  constructor(node: string, masquerade: MasqueradePolicy, waits: Waits) {
    this.#node = node;
    this.#waits = waits;
    this.masquerade = masquerade;
  }

  async update({ state, change }: Work): Promise<void> {
    if (!change.all) {
      for (const key of change.virtualServices) this.#compute(state, key, this.services.get(key));
      return;
    }
    const before = this.services;
    this.services = new Map();
    this.reasons = new Map();
    this.addresses = state.addresses.filter((address) => familyOf(address) === 4);
    await eachSliced(state.virtualServices.keys(), (key) => this.#compute(state, key, before.get(key)));
  }

  #compute(state: ClusterState, key: VirtualServiceKey, before: DesiredNatService | undefined): void {
    this.services.delete(key);
    this.reasons.delete(key);
    const virtualService = state.virtualServices.get(key);
    if (virtualService === undefined) {
      this.#waits.settle(key);
      return;
    }
    const { service: wanted, reason } = realserverService(state, this.#node, virtualService);
    const service = removeLater(this.#waits, key, before, wanted);
    if (service !== undefined) this.services.set(key, service);
    if (reason !== undefined) this.reasons.set(key, reason);
  }
}
