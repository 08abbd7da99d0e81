/** What the configuration and the flags say about BGP: routes to VIPs, and the neighbours they are told to. */
import type { Address } from './cluster.ts';

/** RFC 1997: the two halves in one number, the first in the upper 16 bits. */
export type StandardCommunity = number;

/** RFC 8092: global administrator, and two numbers that mean what it says they mean. 32 bits each. */
export type LargeCommunity = readonly [administrator: number, first: number, second: number];

/** What a route says besides where it leads. */
export interface RouteAttributes {
  /** Ascending, unique. */
  readonly communities: readonly StandardCommunity[];
  /** In the order of their numbers, unique. */
  readonly largeCommunities: readonly LargeCommunity[];
  /** LOCAL_PREF (RFC 4271 §5.1.5), seen within one autonomous system only. Absent: not sent. */
  readonly localPreference?: number;
  /** MULTI_EXIT_DISC (RFC 4271 §5.1.4). Absent: not sent. */
  readonly med?: number;
}

/** What the flags say about routes to VIPs. */
export interface RouteOptions {
  /** What every route says; the configuration may say otherwise for a VIP. */
  readonly attributes: RouteAttributes;
  /** By family; absent: the daemon's own address of each session. */
  readonly nextHop: { readonly 4?: Address; readonly 6?: Address };
  /** Prefix lengths announced: 32 and 128, or shorter for one route that stands for all VIPs within. */
  readonly prefixLength: { readonly 4: number; readonly 6: number };
}

/** One route of ours: `192.0.2.10/32`, canonical text, host bits zero. */
export interface BgpPath extends RouteAttributes {
  readonly prefix: string;
  /** `0.0.0.0` or `::`: the daemon puts in its own address of each session. */
  readonly nextHop: Address;
}

/** Detection of a dead path, RFC 5880. Both intervals in milliseconds. */
export interface BfdOptions {
  readonly transmitMilliseconds: number;
  readonly receiveMilliseconds: number;
  /** Intervals without a packet after which the neighbour counts as gone. */
  readonly multiplier: number;
}

/** A neighbour that the agent sets up in the BGP daemon. */
export interface BgpPeer {
  readonly address: Address;
  /** Its autonomous system, 1 to 4294967294. */
  readonly asn: number;
  /** Hops away at most; absent: directly connected. */
  readonly multihop?: number;
  /** File with the TCP MD5 password (RFC 2385); read when the peer is set up and when the file changes. */
  readonly passwordFile?: string;
  readonly holdSeconds?: number;
  readonly keepaliveSeconds?: number;
  readonly connectRetrySeconds?: number;
  /** Wait for the neighbour to connect. Absent: false. */
  readonly passive?: boolean;
  /** Seconds for which the neighbour keeps our routes when the daemon is away (RFC 4724). Absent: it does not. */
  readonly gracefulRestartSeconds?: number;
  readonly bfd?: BfdOptions;
  /** Address families exchanged; absent: that of its address. The other one needs a next hop of its own. */
  readonly families?: readonly (4 | 6)[];
}

/** `bgp` of the configuration. */
export interface BgpConfig {
  /** Our autonomous system and router ID, for a daemon that has none of its own file. Absent: the daemon's file says. */
  readonly speaker?: { readonly asn: number; readonly routerId: Address; readonly listenPort?: number };
  /** Undefined: neighbours are in the daemon's own file, and left alone. */
  readonly peers?: readonly BgpPeer[];
  /** VIP → what its route says instead of, or besides, what the flags say. */
  readonly routes: ReadonlyMap<Address, Partial<RouteAttributes>>;
}
