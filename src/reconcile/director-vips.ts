/** VIPs of a director: which are held, which of them may be announced, and which the kernel serves. */
import type { IpvsDriver } from '../drivers/ipvs.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { Announcing } from './announcing.ts';
import type { DirectorRules } from './colocation.ts';
import type { DirectorTarget } from './director-target.ts';
import type { VipStatus } from './plane.ts';

interface DirectorVipsOptions {
  readonly target: DirectorTarget;
  readonly ipvs: Pick<IpvsDriver, 'forwards'>;
  readonly rules: Pick<DirectorRules, 'programmed'>;
  readonly announcing: Pick<Announcing, 'has' | 'status'>;
}

export class DirectorVips {
  readonly #options: DirectorVipsOptions;
  #held: ReadonlySet<Address> = new Set();
  /** VIPs of virtual services whose removal the guard holds: they stay as they are. */
  #kept: ReadonlySet<Address> = new Set();

  constructor(options: DirectorVipsOptions) {
    this.#options = options;
  }

  /** Those that are to be on our device. */
  get held(): ReadonlySet<Address> {
    return this.#held;
  }

  settle(configured: Iterable<Address>, kept: ReadonlySet<Address>): void {
    this.#kept = kept;
    this.#held = new Set([...configured, ...kept]);
  }

  /** The guard holds these as well. */
  keep(addresses: Iterable<Address>): void {
    this.#kept = new Set([...this.#kept, ...addresses]);
  }

  /** It has a backend, or its removal is held. */
  mayAnnounce(address: Address): boolean {
    return this.#kept.has(address) || (this.#held.has(address) && this.#options.target.backends(address).size > 0);
  }

  /** Those of `addresses` that have their address and a backend that is in the kernel. */
  ready(addresses: Iterable<Address>, placed: ReadonlySet<Address>): Address[] {
    const { target, ipvs, rules } = this.#options;
    const inForce = (key: VirtualServiceKey): boolean =>
      (target.forwards(key) && ipvs.forwards(key)) || (target.local.has(key) && rules.programmed(key));
    return [...addresses].filter((address) => placed.has(address) && [...target.backends(address)].some(inForce));
  }

  /**
   * Those of `addresses` that are announced, and the kernel refused their address, or each and every backend. What it refuses of shares
   * of pods here leaves the former ones in force.
   */
  refused(addresses: Iterable<Address>, placed: ReadonlySet<Address>): Address[] {
    const { target, ipvs, announcing } = this.#options;
    const serves = (key: VirtualServiceKey): boolean => target.local.has(key) || ipvs.forwards(key);
    return [...addresses].filter(
      (address) =>
        announcing.has(address) && !this.#kept.has(address) && !(placed.has(address) && [...target.backends(address)].some(serves)),
    );
  }

  status(address: Address, state: ClusterState | undefined): VipStatus {
    const status = this.#options.announcing.status(address);
    const conflicts = status?.conflicts ?? 0;
    if (status !== undefined) return { address, announced: status.announced, reason: status.reason, conflicts };
    return { address, announced: false, reason: this.#whySilent(address, state), conflicts };
  }

  #whySilent(address: Address, state: ClusterState | undefined): Reason {
    const { target } = this.#options;
    if (target.backends(address).size > 0)
      return { code: 'NotProgrammed', message: 'its address, virtual services or shares are not in the kernel' };
    for (const key of target.awaiting) {
      const reason = state?.virtualServices.get(key)?.address === address ? target.reasons.get(key) : undefined;
      if (reason !== undefined) return reason;
    }
    return { code: 'NoEndpoints', message: 'none of its virtual services has a ready endpoint on an eligible node' };
  }
}
