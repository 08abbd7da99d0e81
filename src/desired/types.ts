/**
 * What the kernel should hold, in the kernel's terms but as plain data. Produced by pure functions
 * of (state, node, options); compared with what the kernel does hold by diff/.
 */
import type { Address, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { DestinationId, DestinationSpec, ServiceId, ServiceSpec } from '../native/ipvs-types.ts';

export interface DesiredDestination {
  readonly id: DestinationId;
  readonly spec: DestinationSpec;
}

export interface DesiredIpvsService {
  readonly key: VirtualServiceKey;
  readonly id: ServiceId;
  readonly spec: ServiceSpec;
  /** Sorted by address, then port; unique. */
  readonly destinations: readonly DesiredDestination[];
}

export interface DesiredDirector {
  readonly services: ReadonlyMap<VirtualServiceKey, DesiredIpvsService>;
  /** Shares of pods on the director itself. */
  readonly local: ReadonlyMap<VirtualServiceKey, DesiredNatService>;
  /** VIPs to hold on the VIP device. */
  readonly addresses: readonly Address[];
  /** VIPs with at least one destination of weight above zero, or a pod on the director: to be announced once programmed. */
  readonly announce: readonly Address[];
  /** Why a virtual service is not programmed, or is programmed without a backend. */
  readonly reasons: ReadonlyMap<VirtualServiceKey, Reason>;
}

/** One VIP:port:protocol on a realserver: which local pods share it. */
export interface DesiredNatService {
  readonly key: VirtualServiceKey;
  readonly address: Address;
  /** IPPROTO number. */
  readonly protocol: number;
  readonly port: number;
  /** `namespace/service:portName`, the element's comment. */
  readonly comment: string;
  /** Ready pods, sorted, unique; never empty. Slot k of {@link slots} is pods[k]. */
  readonly pods: readonly { readonly address: Address; readonly port: number }[];
  /**
   * Of how many shares a pod gets one. At least `pods.length`, which is the default; a connection that draws a share
   * without a pod is not translated here but goes on to IPVS on this machine.
   */
  readonly slots?: number;
}

/** VIP, protocol and port. */
export type NatServiceId = Pick<DesiredNatService, 'address' | 'protocol' | 'port'>;

export interface MasqueradePolicy {
  /** Mark and masquerade what goes to a pod. Default false: pods see the client's address. */
  readonly enabled: boolean;
  /** Sources inside this prefix are left alone (`--pod-cidr-masq`). */
  readonly exceptSource?: { readonly address: Address; readonly prefix: number };
}

/** Rules of one machine, whatever its mode and whichever backend writes them. IPv4 and IPv6 together. */
export interface DesiredNat {
  /** What comes from a director: to pods of this machine. */
  readonly services: ReadonlyMap<VirtualServiceKey, DesiredNatService>;
  readonly addresses: readonly Address[];
  readonly masquerade: MasqueradePolicy;
  /**
   * Virtual services without a pod here, for clients on this machine alone (its pods and itself): the VIP is an address
   * of this machine, so that their packets never leave for a director. To pods anywhere. Absent: refused.
   */
  readonly inside?: ReadonlyMap<VirtualServiceKey, DesiredNatService>;
  /** Interfaces on which a director's packets come in; on all others, and from this machine, come those of clients inside. */
  readonly outside?: readonly string[];
  /** Virtual services that IPVS on this machine translates, and whose clients are to appear as this machine. */
  readonly masqueraded?: ReadonlyMap<VirtualServiceKey, NatServiceId>;
  /** VIP → largest TCP segment, bytes, that its clients may send: written into SYN segments that promise more (RFC 879). */
  readonly segments?: ReadonlyMap<Address, number>;
  /** Each virtual service counts its connections. Default true. */
  readonly counters?: boolean;
  /**
   * Of TCP only segments that open a connection (SYN) are translated. For a director with pods of its own: connection tracking
   * sees one direction of what IPVS forwards without translation, and forgets it two minutes after SYN, busy or not
   * (nf_conntrack_tcp_timeout_syn_sent); what comes then must find IPVS again, not draw a share. Default false.
   */
  readonly openingOnly?: boolean;
}

export interface DesiredRealserver extends DesiredNat {
  readonly reasons: ReadonlyMap<VirtualServiceKey, Reason>;
}

/** A setting that must have an effect. */
export interface SysctlRequirement {
  /** What we may write: `net/ipv4/conf/eth0/arp_ignore`. */
  readonly key: string;
  /** The kernel uses the larger of `key` and this one; never written by us. Absent: `key` counts alone. */
  readonly all?: string;
  /** Whether a value in effect will do. */
  readonly accepts: (effective: string) => boolean;
  /** What to write when it will not. */
  readonly value: string;
  /** Why, for people: `so that this host never answers ARP for a VIP`. */
  readonly why: string;
  /** It is done without where it cannot be had; status warns of it. Default false. */
  readonly optional?: boolean;
  /** It is done without where the kernel does not have it. Default: as `optional`. */
  readonly mayBeMissing?: boolean;
  /** Told in status while it is required. */
  readonly warning?: string;
}
