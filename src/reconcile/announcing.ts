/** Announcing as a director does it, by whatever means: on the way up last, on the way down first. */
import type { AnnouncementStatus } from '../announce/announcer.ts';
import type { ObservedAddresses } from '../drivers/addresses.ts';
import type { DriverOutcome } from '../drivers/outcome.ts';
import type { SysctlRequirement } from '../drivers/sysctls.ts';
import type { Address, ClusterState } from '../model/cluster.ts';
import type { PlannedChange } from './plane.ts';

export interface Announcing {
  /** Settings of the interface that faces the segment; it is there. */
  settings(interfaceName: string): readonly SysctlRequirement[];
  /** It is announced, or about to be. */
  has(address: Address): boolean;
  /** Undefined for what is not to be announced. */
  status(address: Address): AnnouncementStatus | undefined;
  /** What stands in the way of announcing as such, in words. */
  readonly warnings: readonly string[];
  /** Why the last look for `plan` says nothing of what is announced; undefined when it does. */
  readonly unseen: string | undefined;
  /** What is known of the kernel is in doubt. */
  forget(): void;
  /** Looks at what there is, before anything is decided. `read` is what the device's driver has just seen. */
  observe(read: ObservedAddresses): Promise<unknown>;
  /** What the configuration says about announcing; before each look at the whole state. */
  configure(state: ClusterState): void;
  /** Silences these before IPVS lets go of them. */
  withdraw(addresses: readonly Address[]): Promise<DriverOutcome>;
  /** The same for all that are not to stay, also those of an earlier process. */
  withdrawOthers(stays: (address: Address) => boolean): Promise<DriverOutcome>;
  /** What {@link withdrawOthers} would do, for `plan`; `staying` are all for which `stays` is true. */
  goingDown(staying: ReadonlySet<Address>): Promise<readonly PlannedChange[]>;
  /** What {@link announce} would do for all of `addresses`. */
  goingUp(addresses: ReadonlySet<Address>): Promise<readonly PlannedChange[]>;
  /** Speaks up for these: all are placed and have a backend in the kernel. Others that are announced go on: {@link withdraw} ends that. */
  announce(addresses: readonly Address[]): Promise<DriverOutcome>;
}
