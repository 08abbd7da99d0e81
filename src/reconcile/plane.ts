/** What the loop drives, whatever the mode. */
import type { DesiredNatService } from '../desired/types.ts';
import type { NatChosen } from '../drivers/nat-backend.ts';
import type { DriverFailure } from '../drivers/outcome.ts';
import type { Address, ClusterState, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { Link } from '../native/link-types.ts';
import type { Work } from './gate.ts';
import type { Held } from './guard.ts';

export interface PassOutcome {
  /** Kernel operations that took effect. */
  readonly written: number;
  readonly failures: readonly DriverFailure[];
  readonly held: Held | undefined;
  /** The whole state was looked at, not only what changed. */
  readonly full: boolean;
  /** Virtual services to look at again, and when, on the loop's clock. */
  readonly due: ReadonlyMap<VirtualServiceKey, number>;
  /** Those among them that realservers can end earlier, by confirming what they wait for. Absent: none. */
  readonly awaiting?: ReadonlySet<VirtualServiceKey>;
}

/** One thing that a pass would do. */
export interface PlannedChange {
  /** VIP it is about; undefined for the device, a setting, or rules common to all. */
  readonly vip: Address | undefined;
  readonly kind: 'sysctl' | 'device' | 'address' | 'ipvs' | 'nftables' | 'iptables' | 'path' | 'peer';
  /** `addService`, `deleteAddress`, `withdrawPath`, … */
  readonly op: string;
  /** The object and its new value, for people. */
  readonly text: string;
}

export interface Preview {
  readonly changes: readonly PlannedChange[];
  readonly held: Held | undefined;
  /** What could not be looked at, so that changes may be missing here; in words. Absent: nothing. */
  readonly unseen?: string;
}

export interface VipStatus {
  readonly address: Address;
  /** Undefined where nothing is ever announced: on a realserver. */
  readonly announced: boolean | undefined;
  /** Why it is not announced, or what is wrong although it is. */
  readonly reason: Reason | undefined;
  readonly conflicts: number;
}

export interface PlaneStatus {
  readonly reasons: ReadonlyMap<VirtualServiceKey, Reason>;
  /** Shares that pods on this machine have of what a director forwards; absent where there are never any. */
  readonly local?: readonly DesiredNatService[];
  readonly vips: readonly VipStatus[];
  /** Objects of others where ours would be. */
  readonly foreign: readonly { readonly key: string; readonly message: string }[];
  /** What is done without, in words. */
  readonly warnings: readonly string[];
  /** What writes translation rules here, and why it does. Absent: not chosen yet, or nothing does. */
  readonly nat?: NatChosen;
  /** Why nothing at all is done here at the moment. Absent: it is. */
  readonly standby?: Reason;
}

export interface Plane {
  /** Makes the kernel hold what the state asks for. Never called again before it settled. */
  pass(work: Work): Promise<PassOutcome>;
  /** What a pass over the whole state would do, without doing it. */
  preview(state: ClusterState): Promise<Preview>;
  /** Whatever is known of the kernel is in doubt: the next pass reads it again. */
  forget(): void;
  status(): PlaneStatus;
  /** Why a virtual service is not, or not wholly, in force, as of the last pass. One look-up, however many there are. */
  reason(key: VirtualServiceKey): Reason | undefined;
  /** The same of a VIP, known or not. */
  vip(address: Address): VipStatus;
}

/** The interface that faces the segment, if it is not there. */
export function missingInterface(name: string, links: readonly Link[]): DriverFailure[] {
  if (links.some((link) => link.name === name)) return [];
  const message = `interface ${name} does not exist (--compute-iface)`;
  return [{ op: 'links.find', subject: name, code: 'InterfaceMissing', message }];
}
