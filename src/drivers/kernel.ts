/** Everything the agent can reach of the machine, behind interfaces that a fake can stand in for. */
import type { ConntrackPort } from '../native/conntrack-types.ts';
import type { IpvsPort, IpvsSyncPort } from '../native/ipvs-types.ts';
import type { ArpPort, FouPort, LinksPort, NdpPort } from '../native/link-types.ts';
import type { NftablesPort } from '../native/nftables-types.ts';
import type { LegacyTables } from './legacy-tables.ts';
import type { SysctlPort } from './proc-sysctls.ts';

export type { SysctlPort };

export interface Kernel {
  readonly ipvs: IpvsPort & IpvsSyncPort;
  readonly nftables: NftablesPort;
  readonly links: LinksPort;
  readonly arp: ArpPort;
  readonly ndp: NdpPort;
  readonly fou: FouPort;
  readonly conntrack: ConntrackPort;
  readonly iptables: LegacyTables;
  readonly sysctls: SysctlPort;
}
