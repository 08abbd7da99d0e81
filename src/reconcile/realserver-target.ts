import { realserverService } from '../desired/realserver.ts';
import type { DesiredNatService, DesiredRealserver, MasqueradePolicy } from '../desired/types.ts';
import { VipUses } from '../desired/vip-uses.ts';
import type { ConntrackService } from '../diff/conntrack.ts';
import { reconciledProtocols } from '../diff/conntrack.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { Work } from './gate.ts';
import { removeLater, type Waits } from './handover.ts';
import { eachSliced } from './slices.ts';

export interface RealserverTargetOptions {
  readonly node: string;
  readonly masquerade: MasqueradePolicy;
  readonly insideAccess: 'cluster' | 'local';
  readonly waits: Waits;
}

const looseEnded = new Set(reconciledProtocols());

/** What a realserver should hold, kept up to date at the cost of what changed. */
export class RealserverTarget implements DesiredRealserver {
  readonly #options: RealserverTargetOptions;
  readonly masquerade: MasqueradePolicy;
  services = new Map<VirtualServiceKey, DesiredNatService>();
  inside = new Map<VirtualServiceKey, DesiredNatService>();
  reasons = new Map<VirtualServiceKey, Reason>();
  /** Of protocols whose senders do not learn that a pod is gone: who may answer them. */
  flows = new Map<VirtualServiceKey, ConntrackService>();
  addresses: readonly Address[] = [];
  /** Counts up whenever `flows` may have changed. */
  flowChanges = 0;
  #uses = new VipUses();
  #insideBefore: ReadonlyMap<VirtualServiceKey, DesiredNatService> = new Map();
  #begun = new Set<VirtualServiceKey>();
  #first = true;

  constructor(options: RealserverTargetOptions) {
    this.#options = options;
    this.masquerade = options.masquerade;
  }

  /** Returns whether anything of a VIP as a whole may have changed: then virtual services alone are not all that there is to do. */
  async update({ state, change }: Work): Promise<boolean> {
    if (!change.all) {
      let moved = false;
      for (const key of change.virtualServices) moved = this.#compute(state, key, this.services.get(key)) || moved;
      if (moved) this.#place(state);
      return moved;
    }
    const before = this.services;
    this.#insideBefore = this.inside;
    this.services = new Map();
    this.inside = new Map();
    this.reasons = new Map();
    this.flows = new Map();
    this.#uses = new VipUses();
    await eachSliced(state.virtualServices.keys(), (key) => this.#compute(state, key, before.get(key)));
    this.#place(state);
    this.#insideBefore = new Map();
    this.#first = false;
    return true;
  }

  /** Virtual services that clients inside reach since the last call, and did not before: what they sent meanwhile went nowhere. */
  takeBegun(): ReadonlySet<VirtualServiceKey> {
    const begun = this.#begun;
    this.#begun = new Set();
    return begun;
  }

  #place(state: ClusterState): void {
    this.addresses = state.addresses.filter((address) => this.#uses.placed(address));
  }

  #compute(state: ClusterState, key: VirtualServiceKey, before: DesiredNatService | undefined): boolean {
    const { node, insideAccess, waits } = this.#options;
    const translatedBefore = this.inside.has(key) || this.#insideBefore.has(key);
    for (const part of [this.services, this.inside, this.reasons]) part.delete(key);
    if (this.flows.delete(key)) this.flowChanges += 1;
    const virtualService = state.virtualServices.get(key);
    const moved = this.#uses.put(key, virtualService);
    if (virtualService === undefined) {
      waits.settle(key);
      return moved;
    }
    const { service: wanted, inside, reason } = realserverService(state, node, virtualService, { insideAccess });
    // Packets of a virtual service that goes over to masquerading come here no more: nothing waits.
    const service = removeLater(waits, key, virtualService.forward === 'masquerade' ? undefined : before, wanted);
    if (service !== undefined) this.services.set(key, service);
    if (inside !== undefined) {
      this.inside.set(key, inside);
      if (!translatedBefore && !this.#first) this.#begun.add(key);
    }
    if (reason !== undefined) this.reasons.set(key, reason);
    this.#follow(key, service, inside);
    return moved;
  }

  #follow(key: VirtualServiceKey, service: DesiredNatService | undefined, inside: DesiredNatService | undefined): void {
    const one = service ?? inside;
    if (one === undefined || !looseEnded.has(one.protocol)) return;
    const { address, protocol, port } = one;
    const pods = [...(service?.pods ?? []), ...(inside?.pods ?? [])];
    // What a director sends here although there is no pod is not translated, and is no business of the clients inside.
    this.flowChanges += 1;
    this.flows.set(key, { key, address, protocol, port, pods, ...(service === undefined ? { keepUntranslated: true } : {}) });
  }
}
