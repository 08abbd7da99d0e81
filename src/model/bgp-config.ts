/** The key `bgp` of an input, checked beyond its shape. */
import { addressKind, canonicalAddress, compareAddresses } from './address.ts';
import type { BgpConfig, BgpPeer, RouteAttributes } from './bgp.ts';
import { bgpSchema, peerSchema, routeSchema, speakerSchema, type PeerInput, type RouteInput } from './bgp-schema.ts';
import { Check, usableAddress, type Steps } from './check.ts';
import type { Address } from './cluster.ts';
import { parseCommunities } from './communities.ts';
import { formatPath, type Path, type Report } from './problems.ts';
import { shapeOf } from './shape.ts';
import { isMap, tidyKeys } from './tidy.ts';

const speakerCheck = new Check(speakerSchema);
const peerCheck = new Check(peerSchema);
const routeCheck = new Check(routeSchema);

const topShape = (() => {
  const shape = shapeOf(bgpSchema);
  if (shape.kind !== 'object') throw new TypeError('bgp is a map');
  return shape;
})();

const defaultBfd = { interval: 300, multiplier: 3 };
/** RFC 4271 section 10. */
const defaultHoldSeconds = 90;

/** A link-local neighbour needs an interface to be found on, which cannot be said here. */
function neighbourAddress(text: string, path: Path, report: Report): Address | undefined {
  const address = canonicalAddress(text);
  // Of the loopback: a test, or a route reflector on the same machine.
  if (address !== undefined && addressKind(address) === 'loopback') return address;
  return usableAddress(text, path, report);
}

function bfdOf({ bfd }: PeerInput): Pick<BgpPeer, 'bfd'> {
  if (bfd === undefined) return {};
  const {
    transmitMilliseconds = defaultBfd.interval,
    receiveMilliseconds = transmitMilliseconds,
    multiplier = defaultBfd.multiplier,
  } = bfd;
  return { bfd: { transmitMilliseconds, receiveMilliseconds, multiplier } };
}

/** One neighbour; undefined after telling what is wrong with it. */
export function readPeer(value: unknown, path: Path, report: Report): BgpPeer | undefined {
  const input = peerCheck.run(value, path, report);
  if (input === undefined) return undefined;
  const { address: text, bfd: _bfd, families, keepaliveSeconds, holdSeconds = defaultHoldSeconds } = input;
  const address = neighbourAddress(text, [...path, 'address'], report);
  if (keepaliveSeconds !== undefined && keepaliveSeconds >= holdSeconds) {
    const message = `must be below holdSeconds (${holdSeconds}), or the session ends before the next message is due`;
    report.error([...path, 'keepaliveSeconds'], holdSeconds === 0 ? 'a session whose hold time is 0 has none' : message);
    return undefined;
  }
  if (address === undefined) return undefined;
  const given = Object.entries(input).filter(([key, item]) => item !== undefined && key !== 'bfd' && key !== 'families');
  const rest = Object.fromEntries(given) as Omit<BgpPeer, 'bfd' | 'families'>;
  return { ...rest, address, ...bfdOf(input), ...(families === undefined ? {} : { families: [...families].sort() }) };
}

function* readPeers(value: unknown, vips: ReadonlyMap<Address, Path>, report: Report): Steps<BgpPeer[] | undefined> {
  if (value === undefined || value === null) return undefined;
  const root = ['bgp', 'peers'];
  if (!Array.isArray(value)) {
    report.error(root, 'must be a list');
    return undefined;
  }
  const peers = new Map<Address, BgpPeer>();
  for (const [index, item] of (value as unknown[]).entries()) {
    yield;
    if (report.isHopeless()) break;
    const path = [...root, index];
    const peer = readPeer(item, path, report);
    if (peer === undefined) continue;
    if (peers.has(peer.address)) report.error([...path, 'address'], `the neighbour ${peer.address} is listed twice`);
    const vip = vips.get(peer.address);
    if (vip !== undefined) report.error([...path, 'address'], `${peer.address} is a VIP (${formatPath(vip)}), and no neighbour`);
    peers.set(peer.address, peer);
  }
  return [...peers.values()].sort((a, b) => compareAddresses(a.address, b.address));
}

/** The schema has refused what is no community. */
function routeOf({ communities: words = [], localPreference, med }: RouteInput): Partial<RouteAttributes> {
  const { communities, largeCommunities } = parseCommunities(words);
  return {
    ...(communities.length === 0 ? {} : { communities }),
    ...(largeCommunities.length === 0 ? {} : { largeCommunities }),
    ...(localPreference === undefined ? {} : { localPreference }),
    ...(med === undefined ? {} : { med }),
  };
}

function* readRoutes(value: unknown, vips: ReadonlyMap<Address, Path>, report: Report): Steps<Map<Address, Partial<RouteAttributes>>> {
  const routes = new Map<Address, Partial<RouteAttributes>>();
  if (value === undefined || value === null) return routes;
  const root = ['bgp', 'vips'];
  if (!isMap(value)) {
    report.error(root, 'must be a map from VIPs to what their routes say; {} for none');
    return routes;
  }
  for (const [vip, item] of Object.entries(value)) {
    yield;
    if (report.isHopeless()) break;
    const path = [...root, vip];
    const address = usableAddress(vip, path, report);
    const route = routeCheck.run(item, path, report);
    if (address === undefined || route === undefined) continue;
    if (!vips.has(address)) report.add('warning', path, `${address} is not a VIP of the configuration`);
    else if (routes.has(address)) report.error(path, `the route to ${address} is written twice`);
    else routes.set(address, routeOf(route));
  }
  return routes;
}

/** `vips` are those of the configuration, with the places they are written at. */
export function* readBgp(value: unknown, vips: ReadonlyMap<Address, Path>, report: Report): Steps<BgpConfig | undefined> {
  if (value === undefined || value === null) return undefined;
  if (!isMap(value)) {
    report.error(['bgp'], 'must be a map');
    return undefined;
  }
  const { peers: peerList, vips: routeMap, ...top } = tidyKeys(value, topShape, ['bgp'], report);
  const speaker = readSpeaker(top, report);
  const peers = yield* readPeers(peerList, vips, report);
  const routes = yield* readRoutes(routeMap, vips, report);
  return { ...(speaker === undefined ? {} : { speaker }), ...(peers === undefined ? {} : { peers }), routes };
}

function readSpeaker(top: Readonly<Record<string, unknown>>, report: Report): BgpConfig['speaker'] {
  const input = speakerCheck.run(top, ['bgp'], report);
  if (input === undefined) return undefined;
  const { asn, routerId, listenPort } = input;
  if (asn !== undefined && routerId !== undefined) return { asn, routerId, ...(listenPort === undefined ? {} : { listenPort }) };
  if (asn !== undefined) report.error(['bgp', 'asn'], 'needs routerId beside it');
  else if (routerId !== undefined) report.error(['bgp', 'routerId'], 'needs asn beside it');
  else if (listenPort !== undefined) report.error(['bgp', 'listenPort'], 'needs asn and routerId beside it');
  return undefined;
}
