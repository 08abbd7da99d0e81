/** Links, addresses, routes and neighbours (rtnetlink, linux/rtnetlink.h) as TypeScript types. */
import type { ApplyResult } from './ipvs-types.ts';

export interface Link {
  readonly index: number;
  readonly name: string;
  /** IFLA_INFO_KIND: `dummy`, `veth`, `bridge`; absent for physical devices. */
  readonly kind: string | undefined;
  /** Colon-separated hexadecimal, lower case; empty where the device has none. */
  readonly mac: string;
  readonly mtu: number;
  /** IFF_UP. */
  readonly up: boolean;
  /** IFF_RUNNING: carrier present. */
  readonly running: boolean;
  /** IFF_NOARP. */
  readonly noArp: boolean;
}

export interface InterfaceAddress {
  readonly interfaceIndex: number;
  readonly address: string;
  readonly prefix: number;
  /** IFA_PROTO (kernel 5.18 or newer): who added it; 0 when unset or unknown to the kernel. */
  readonly protocol: number;
  readonly scope: 'universe' | 'link' | 'host' | 'site' | 'nowhere';
  /** IFA_F_* bits. */
  readonly flags: number;
  /** Seconds left; 4294967295 is for ever. */
  readonly validSeconds: number;
  readonly preferredSeconds: number;
}

export interface Route {
  readonly family: 'ipv4' | 'ipv6';
  readonly destination: string;
  readonly prefix: number;
  readonly gateway: string | undefined;
  readonly interfaceIndex: number | undefined;
  readonly table: number;
  readonly protocol: number;
  readonly metric: number;
  readonly type: number;
  readonly scope: number;
}

export interface Neighbour {
  readonly interfaceIndex: number;
  readonly address: string;
  readonly mac: string;
  /** NUD_* bits. */
  readonly state: number;
}

/**
 * IFLA_INFO_KIND of a tunnel: IPv4 in IPv4 (RFC 2003), anything in IPv6 (RFC 2473), GRE over IPv4 and over IPv6
 * (RFC 2784).
 */
export type TunnelKind = 'ipip' | 'ip6tnl' | 'gre' | 'ip6gre';

/** Where a packet to one address would go. */
export interface RouteTo {
  readonly interfaceIndex: number;
  /** Bytes: what the route says (RTAX_MTU, a learned path MTU included), else what its device takes. */
  readonly mtu: number;
  /** Undefined: the address is on the segment itself. */
  readonly gateway: string | undefined;
  /** Source address that this machine would choose; undefined where the kernel names none. */
  readonly source: string | undefined;
}

export type LinkOperation =
  | { readonly op: 'addDummy'; readonly name: string; readonly mtu?: number; readonly noArp?: boolean; readonly up?: boolean }
  | {
      /**
       * A device that unwraps packets from whoever sends them to this machine. One of that name and kind that is there
       * already is success: the kernel makes `tunl0`, `ip6tnl0`, `gre0`, `ip6gre0` when it loads the module. It lets no
       * second one without addresses be: another name is EEXIST then.
       */
      readonly op: 'addTunnel';
      readonly name: string;
      readonly kind: TunnelKind;
      /** Default true. A device that is there already is left as it is: {@link Link.up} tells, `setLink` changes it. */
      readonly up?: boolean;
    }
  | { readonly op: 'deleteLink'; readonly name: string }
  | { readonly op: 'setLink'; readonly name: string; readonly up?: boolean; readonly mtu?: number; readonly noArp?: boolean }
  | {
      readonly op: 'addAddress';
      readonly interface: string;
      readonly address: string;
      readonly prefix: number;
      /** IFA_PROTO. Default 0: none. */
      readonly protocol?: number;
      /** IFA_F_NOPREFIXROUTE. Default true for host prefixes. */
      readonly noPrefixRoute?: boolean;
      /** IFA_F_NODAD, IPv6. Default false. */
      readonly noDad?: boolean;
      /** Absent: for ever. */
      readonly validSeconds?: number;
      /** 0: valid, but never chosen as a source (IFA_F_DEPRECATED); IPv6 only. Absent: as `validSeconds`. */
      readonly preferredSeconds?: number;
    }
  | { readonly op: 'deleteAddress'; readonly interface: string; readonly address: string; readonly prefix: number }
  | {
      readonly op: 'addRoute' | 'deleteRoute';
      readonly destination: string;
      readonly prefix: number;
      readonly gateway?: string;
      readonly interface?: string;
      readonly table?: number;
      readonly protocol?: number;
      readonly metric?: number;
    };

export type LinkEvent =
  | { readonly type: 'link'; readonly change: 'new' | 'deleted'; readonly link: Link }
  | { readonly type: 'address'; readonly change: 'new' | 'deleted'; readonly address: InterfaceAddress }
  | { readonly type: 'route'; readonly change: 'new' | 'deleted'; readonly route: Route }
  | { readonly type: 'neighbour'; readonly change: 'new' | 'deleted'; readonly neighbour: Neighbour }
  /** The socket buffer overflowed and events were lost: read everything again. */
  | { readonly type: 'overrun' };

export interface LinksPort {
  links(): Promise<readonly Link[]>;
  addresses(): Promise<readonly InterfaceAddress[]>;
  /** By the kernel's own choice (RTM_GETROUTE). KernelError ENETUNREACH or EHOSTUNREACH where there is no way. */
  routeTo(address: string): Promise<RouteTo>;
  apply(operations: readonly LinkOperation[]): Promise<ApplyResult<LinkOperation>>;
  /** Events since the call; ends when the signal aborts or the handle closes. */
  watch(groups: readonly ('link' | 'address' | 'route' | 'neighbour')[], options?: { signal?: AbortSignal }): AsyncIterable<LinkEvent>;
}

/** One ARP packet as received, already checked for length and type (RFC 826). */
export interface ArpPacket {
  readonly operation: 'request' | 'reply';
  readonly senderMac: string;
  readonly senderAddress: string;
  readonly targetMac: string;
  readonly targetAddress: string;
}

export interface ArpPort {
  /**
   * Gratuitous ARP for each address, in one system call: `request` (sender = target = the VIP,
   * RFC 5944 section 4.6) and, with form 'both', also the reply form. Returns frames sent.
   */
  announce(interfaceName: string, addresses: readonly string[], form: 'request' | 'reply' | 'both'): Promise<number>;
  watch(interfaceName: string, options?: { signal?: AbortSignal }): AsyncIterable<ArpPacket | { type: 'overrun' }>;
}

/** A neighbour advertisement or solicitation as received, valid by RFC 4861 sections 7.1.1 and 7.1.2. */
export interface NdpPacket {
  readonly kind: 'advertisement' | 'solicitation';
  /** Source of the Ethernet frame. */
  readonly senderMac: string;
  /** Source of the IPv6 packet; `::` in a solicitation that only asks whether the address is free (RFC 4862). */
  readonly senderAddress: string;
  /** Whose link-layer address is told or asked for. */
  readonly targetAddress: string;
  /** Target (advertisement) or source (solicitation) link-layer address option; undefined without one. */
  readonly linkLayerAddress: string | undefined;
  /** Flags of an advertisement; false in a solicitation. */
  readonly router: boolean;
  readonly solicited: boolean;
  readonly override: boolean;
}

export interface NdpPort {
  /**
   * An unsolicited neighbour advertisement for each address (RFC 4861 section 7.2.6) to all nodes of the segment, with
   * the override flag, the address as source and the interface's hardware address as target. Returns frames sent.
   */
  announce(interfaceName: string, addresses: readonly string[]): Promise<number>;
  watch(interfaceName: string, options?: { signal?: AbortSignal }): AsyncIterable<NdpPacket | { type: 'overrun' }>;
}

/** A UDP port on which the kernel takes packets out of UDP (linux/fou.h). */
export interface FouPortEntry {
  readonly port: number;
  /** Of the packets outside. */
  readonly family: 'ipv4' | 'ipv6';
  /** `gue`: the packet says itself what is in it; `fou`: always `protocol`. */
  readonly encapsulation: 'fou' | 'gue';
  /** IPPROTO number of what is inside; 0 with `gue`. */
  readonly protocol: number;
}

/** Foo-over-UDP receive ports of one network namespace. */
export interface FouPort {
  /** UnsupportedError where the module `fou` is not loaded; the kernel does not do so by itself. */
  list(): Promise<readonly FouPortEntry[]>;
  /** KernelError EADDRINUSE when a socket or another entry holds the port. */
  add(entry: FouPortEntry): Promise<void>;
  /** KernelError EINVAL when there is none. */
  delete(entry: Pick<FouPortEntry, 'port' | 'family'>): Promise<void>;
}
