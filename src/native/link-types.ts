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

export type LinkOperation =
  | { readonly op: 'addDummy'; readonly name: string; readonly mtu?: number; readonly noArp?: boolean; readonly up?: boolean }
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
