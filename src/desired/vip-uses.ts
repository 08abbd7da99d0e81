/** How the virtual services of each VIP are forwarded: on that depend its place, tunnels, and the sizes of packets. */
import type { Address, VirtualService, VirtualServiceKey } from '../model/cluster.ts';

type Way = Pick<VirtualService, 'address' | 'protocol' | 'forward' | 'tunnel'>;

const masquerade = 'masquerade';

/** Equal for two virtual services that a VIP need not be looked at for when one replaces the other. */
function kindOf({ protocol, forward, tunnel }: Way): string {
  if (forward === masquerade) return masquerade;
  return [forward, protocol === 'tcp', tunnel?.type ?? '', tunnel?.port ?? ''].join(' ');
}

/** Kept up to date at the cost of what changed. */
export class VipUses {
  readonly #kinds = new Map<VirtualServiceKey, { readonly address: Address; readonly kind: string }>();
  readonly #counts = new Map<Address, Map<string, number>>();

  /** Takes in a virtual service as it is now. True when something depends on it that is of the VIP as a whole. */
  put(key: VirtualServiceKey, now: Way | undefined): boolean {
    const before = this.#kinds.get(key);
    const kind = now === undefined ? undefined : kindOf(now);
    if (before?.kind === kind && before?.address === now?.address) return false;
    const left = before !== undefined && this.#count(before.address, before.kind, -1) === 0;
    this.#kinds.delete(key);
    if (now === undefined || kind === undefined) return left;
    this.#kinds.set(key, { address: now.address, kind });
    return this.#count(now.address, kind, 1) === 1 || left;
  }

  #count(address: Address, kind: string, by: 1 | -1): number {
    const counts = this.#counts.get(address) ?? new Map<string, number>();
    const count = (counts.get(kind) ?? 0) + by;
    if (count === 0) counts.delete(kind);
    else counts.set(kind, count);
    if (counts.size === 0) this.#counts.delete(address);
    else this.#counts.set(address, counts);
    return count;
  }

  /** Realservers hold the VIP: not one whose packets never come to them, since a director sends them to pods itself. */
  placed(address: Address): boolean {
    const counts = this.#counts.get(address);
    return counts === undefined || counts.size > 1 || !counts.has(masquerade);
  }
}
