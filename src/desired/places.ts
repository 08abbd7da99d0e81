/** Where pods of a virtual service are: by node, or each by itself where packets are masqueraded to pods. */
import type { ClusterState, Endpoint, VirtualService } from '../model/cluster.ts';
import { podBackend, type Backend } from './backend.ts';
import type { DirectorOptions } from './claims.ts';
import { familyOf, nodeAddress, type Eligible } from './eligibility.ts';
import { isLastResort, podsByNode, takesTraffic, type PodCount } from './weights.ts';

/** A backend with pods behind it. Two nodes that claim one address are one destination to the kernel: their pods add up. */
export interface Place {
  /** Names of the nodes with ready pods. */
  readonly nodes: readonly string[];
  readonly ready: number;
  /** Terminating, and still serving. */
  readonly terminating: number;
  /** May get new connections. */
  readonly eligible: boolean;
  /** Ready, eligible or not: what is under way can be finished there. */
  readonly alive: boolean;
}

/** Whoever is asked for a connection there can still be answered. */
export function servesStill({ alive, ready, terminating }: Place): boolean {
  return alive && ready + terminating > 0;
}

/** Pods of a node that may not get connections do not count beside those of one that may. */
function joined(a: Place, b: Place): Place {
  if (a.eligible !== b.eligible) return a.eligible ? a : b;
  return {
    ...{ nodes: [...a.nodes, ...b.nodes], ready: a.ready + b.ready, terminating: a.terminating + b.terminating },
    ...{ eligible: a.eligible, alive: a.alive || b.alive },
  };
}

/** All places but this director's own. */
export function placesOf(
  state: ClusterState,
  virtualService: VirtualService,
  endpoints: readonly Endpoint[],
  options: DirectorOptions,
  eligible: Eligible,
): Map<Backend, Place> {
  if (virtualService.forward === 'masquerade') return podPlaces(state, endpoints, options, eligible);
  const places = new Map<Backend, Place>();
  for (const [name, count] of podsByNode(endpoints)) {
    const node = name === undefined || name === options.self ? undefined : state.nodes.get(name);
    const address = node && nodeAddress(node, familyOf(virtualService.address));
    if (node === undefined || address === undefined) continue;
    const mine = placeOf(count, node.name, eligible.names.has(node.name), node.ready);
    const other = places.get(address);
    places.set(address, other === undefined ? mine : joined(other, mine));
  }
  return places;
}

function placeOf({ ready, terminating }: PodCount, node: string, eligible: boolean, alive: boolean): Place {
  return { nodes: ready > 0 ? [node] : [], ready, terminating, eligible, alive };
}

/**
 * Pods of this director count like others unless it translates for them itself. One with the director's own address is
 * none: IPVS delivers to its own machine what it forwards there (IP_VS_CONN_F_LOCALNODE), without translating it.
 */
function podPlaces(state: ClusterState, endpoints: readonly Endpoint[], options: DirectorOptions, eligible: Eligible): Map<Backend, Place> {
  const places = new Map<Backend, Place>();
  const own = options.self === undefined ? undefined : state.nodes.get(options.self);
  for (const endpoint of endpoints) {
    const { node, address, port } = endpoint;
    if (own?.addresses.includes(address) === true) continue;
    // Translated on the spot: it gets nothing by IPVS, but may finish what it got there before.
    const here = options.colocated === true && node !== undefined && node === options.self;
    const backend = podBackend(address, port);
    const known = node === undefined ? undefined : state.nodes.get(node);
    const place: Place = {
      ...{ nodes: [], ready: takesTraffic(endpoint) ? 1 : 0, terminating: isLastResort(endpoint) ? 1 : 0 },
      ...{ eligible: !here && (node === undefined || eligible.names.has(node)), alive: node === undefined || known?.ready === true },
    };
    const other = places.get(backend);
    // An address that two endpoints give is one pod, and the better word about it counts.
    if (other === undefined || rank(place) > rank(other)) places.set(backend, place);
  }
  return places;
}

function rank({ eligible, alive, ready, terminating }: Place): number {
  return (eligible ? 8 : 0) + (alive ? 4 : 0) + ready * 2 + terminating;
}

/** This director's own pods; undefined where its node is not known. */
export function ownPlace(
  state: ClusterState,
  endpoints: readonly Endpoint[],
  self: string | undefined,
  eligible: Eligible,
): Place | undefined {
  const node = self === undefined ? undefined : state.nodes.get(self);
  const count = node && podsByNode(endpoints).get(node.name);
  return node === undefined || count === undefined ? undefined : placeOf(count, node.name, eligible.names.has(node.name), node.ready);
}
