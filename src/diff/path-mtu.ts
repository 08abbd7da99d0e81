/** Sizes on the way to a VIP: what a tunnel adds to a packet, and how large a TCP segment may be. Bytes throughout. */
import type { Address, TunnelEncapsulation, VirtualService } from '../model/cluster.ts';

/** The way of a virtual service, as far as sizes go. */
export type Way = Pick<VirtualService, 'address' | 'protocol' | 'forward' | 'tunnel'>;

type Family = 4 | 6;

const familyOf = (address: Address): Family => (address.includes(':') ? 6 : 4);

/** The IP header around the packet (RFC 791, RFC 8200): a VIP's tunnel is of the VIP's own family. */
const ipHeader: Readonly<Record<Family, number>> = { 4: 20, 6: 40 };

/** After the outer IP header: UDP (RFC 768) and GUE's first word (linux net/gue.h); GRE without options (RFC 2784). */
const inner: Readonly<Record<TunnelEncapsulation['type'], number>> = { ipip: 0, gue: 8 + 4, gre: 4 };

/** TCP header without options (RFC 9293 section 3.1). */
const tcpHeader = 20;

/** What the tunnel adds to each packet: 20, 32 and 24 for ipip, gue and gre over IPv4; 40, 52 and 44 over IPv6. */
export function tunnelOverhead(type: TunnelEncapsulation['type'], address: Address): number {
  return ipHeader[familyOf(address)] + inner[type];
}

/** What is added on the way to one virtual service; 0 without a tunnel. */
export function overheadOf({ address, forward, tunnel }: Way): number {
  return forward === 'tunnel' ? tunnelOverhead(tunnel?.type ?? 'ipip', address) : 0;
}

/** The greatest overhead per VIP among the ways that `which` selects; VIPs without any are absent. */
function greatestOverheads(ways: Iterable<Way>, which: (way: Way) => boolean): Map<Address, number> {
  const greatest = new Map<Address, number>();
  for (const way of ways) {
    if (!which(way)) continue;
    greatest.set(way.address, Math.max(greatest.get(way.address) ?? 0, overheadOf(way)));
  }
  return greatest;
}

export interface SegmentInput {
  readonly virtualServices: Iterable<Way>;
  /** MTU asked for, per VIP. */
  readonly mtu: ReadonlyMap<Address, number>;
  /** MTU of the interface on which the director's packets arrive. */
  readonly facingMtu: number;
}

/**
 * VIP → largest segment that its clients may send, for those VIPs alone where it is less than the interface's MTU lets
 * them believe. A realserver's replies do not pass the tunnel: what must shrink is what comes in, and the client
 * learns that from the size that the realserver's SYN promises (RFC 9293 section 3.7.1). Masquerading is left out:
 * no packet to such a VIP arrives here.
 */
export function segments({ virtualServices, mtu, facingMtu }: SegmentInput): Map<Address, number> {
  const sizes = new Map<Address, number>();
  const overheads = greatestOverheads(virtualServices, ({ protocol, forward }) => protocol === 'tcp' && forward !== 'masquerade');
  for (const [address, overhead] of overheads) {
    const packet = Math.min(mtu.get(address) ?? Number.POSITIVE_INFINITY, facingMtu - overhead);
    if (packet < facingMtu) sizes.set(address, packet - ipHeader[familyOf(address)] - tcpHeader);
  }
  return sizes;
}

/** The route from this machine to a node. */
export interface NodePath {
  readonly node: string;
  /** The node's. */
  readonly address: Address;
  readonly mtu: number;
}

/** A node that a full-sized packet does not reach in one piece. */
export interface NarrowPath extends NodePath {
  /** The VIP that needs most. */
  readonly vip: Address;
  /** MTU that the route to the node would need. */
  readonly needed: number;
}

export interface PathInput extends SegmentInput {
  readonly paths: Iterable<NodePath>;
}

/**
 * Nodes whose route takes less than the largest packet of a VIP of their family with the tunnel around it. The largest packet is
 * the VIP's MTU; where none is configured, what the facing interface takes, and then only tunnels can be too large.
 */
export function narrowPaths({ virtualServices, mtu, facingMtu, paths }: PathInput): NarrowPath[] {
  const greatest = new Map<Family, { vip: Address; needed: number }>();
  for (const [vip, overhead] of greatestOverheads(virtualServices, ({ forward }) => forward !== 'masquerade')) {
    const configured = mtu.get(vip);
    if (configured === undefined && overhead === 0) continue;
    const needed = (configured ?? facingMtu) + overhead;
    const known = greatest.get(familyOf(vip));
    if (known === undefined || known.needed < needed) greatest.set(familyOf(vip), { vip, needed });
  }
  return [...paths].flatMap((path) => {
    const most = greatest.get(familyOf(path.address));
    return most === undefined || path.mtu >= most.needed ? [] : [{ ...path, ...most }];
  });
}

/** MTU of the VIP device: the largest configured among the VIPs on it; undefined leaves the device as it is. */
export function deviceMtu(placed: Iterable<Address>, mtu: ReadonlyMap<Address, number>): number | undefined {
  let largest: number | undefined;
  for (const address of placed) {
    const configured = mtu.get(address);
    if (configured !== undefined && configured > (largest ?? 0)) largest = configured;
  }
  return largest;
}
