/**
 * From one state to the next: what is equal stays the very same object, and what differs is named. Two
 * ways: {@link publish} compares two whole states; {@link applyServiceChange} is for sources that know
 * what changed, and costs no more than the change.
 */
import { isDeepStrictEqual } from 'node:util';
import type {
  ClusterService,
  ClusterState,
  DrainPolicy,
  Endpoint,
  Node,
  Problem,
  Publication,
  ServiceKey,
  StateChange,
  VirtualService,
  VirtualServiceKey,
} from './cluster.ts';
import { indexByService } from './cluster-state.ts';
import { serviceKey } from './keys.ts';
import { PersistentMap } from './persistent-map.ts';

function sameList<Item>(a: readonly Item[], b: readonly Item[], same: (a: Item, b: Item) => boolean = Object.is): boolean {
  return a === b || (a.length === b.length && a.every((item, index) => same(item, b[index] as Item)));
}

function sameRecord(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a);
  return a === b || (keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key]));
}

/** Whether two nodes say the same. */
export function sameNode(a: Node, b: Node): boolean {
  return (
    a.name === b.name &&
    a.ready === b.ready &&
    a.unschedulable === b.unschedulable &&
    sameList(a.addresses, b.addresses) &&
    sameRecord(a.labels, b.labels)
  );
}

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return (
    a.address === b.address &&
    a.port === b.port &&
    a.portName === b.portName &&
    a.node === b.node &&
    a.ready === b.ready &&
    a.terminating === b.terminating &&
    a.serving === b.serving
  );
}

function sameDrain(a: DrainPolicy | undefined, b: DrainPolicy | undefined): boolean {
  return (
    a?.timeoutMilliseconds === b?.timeoutMilliseconds &&
    a?.steps?.count === b?.steps?.count &&
    a?.steps?.milliseconds === b?.steps?.milliseconds
  );
}

function sameService(a: ClusterService, b: ClusterService): boolean {
  return (
    a.namespace === b.namespace &&
    a.name === b.name &&
    a.unsupported === b.unsupported &&
    sameDrain(a.drain, b.drain) &&
    sameList(a.ports, b.ports, (p, q) => p.name === q.name && p.port === q.port && p.protocol === q.protocol) &&
    sameList(a.endpoints, b.endpoints, sameEndpoint)
  );
}

function sameVirtualService(a: VirtualService, b: VirtualService): boolean {
  return (
    a.key === b.key &&
    a.service === b.service &&
    a.portName === b.portName &&
    a.scheduler === b.scheduler &&
    a.forward === b.forward &&
    a.tunnel?.type === b.tunnel?.type &&
    a.tunnel?.port === b.tunnel?.port &&
    a.masqueradeSource === b.masqueradeSource &&
    a.persistenceSeconds === b.persistenceSeconds &&
    a.persistencePrefix === b.persistencePrefix &&
    a.onePacket === b.onePacket &&
    a.upperThreshold === b.upperThreshold &&
    a.lowerThreshold === b.lowerThreshold &&
    sameList(a.schedulerFlags, b.schedulerFlags)
  );
}

interface Merged<Value> {
  /** The previous map itself when nothing changed. */
  readonly map: ReadonlyMap<string, Value>;
  /** Keys that are new, gone or different. */
  readonly changed: readonly string[];
}

/** The next map, holding the previous values where they are equal. */
function merge<Value>(
  previous: ReadonlyMap<string, Value>,
  next: ReadonlyMap<string, Value>,
  same: (a: Value, b: Value) => boolean,
): Merged<Value> {
  if (previous === next) return { map: previous, changed: [] };
  const map = new Map<string, Value>();
  const changed: string[] = [];
  for (const [key, value] of next) {
    const old = previous.get(key);
    const equal = old !== undefined && (old === value || same(old, value));
    map.set(key, equal ? old : value);
    if (!equal) changed.push(key);
  }
  // Every key of the previous map is in the next one exactly when nothing was added beside as many as are gone.
  for (const key of previous.keys()) if (!next.has(key)) changed.push(key);
  return changed.length === 0 ? { map: previous, changed } : { map, changed };
}

function mergeIndex(
  previous: ClusterState,
  virtualServices: ReadonlyMap<VirtualServiceKey, VirtualService>,
): ClusterState['virtualServicesOf'] {
  if (virtualServices === previous.virtualServices) return previous.virtualServicesOf;
  return merge<readonly VirtualService[]>(previous.virtualServicesOf, indexByService(virtualServices.values()), (a, b) => sameList(a, b))
    .map;
}

/** The first publication, or the one after `previous`. `next` is not used any more by the caller. */
export function publish(previous: ClusterState | undefined, next: ClusterState, warnings: readonly Problem[] = []): Publication {
  if (previous === undefined) {
    return { state: { ...next, services: PersistentMap.from(next.services) }, change: { all: true }, warnings };
  }
  const nodes = merge(previous.nodes, next.nodes, sameNode);
  const services = merge(previous.services, next.services, sameService);
  const virtualServices = merge(previous.virtualServices, next.virtualServices, sameVirtualService);
  const mtu = merge(previous.mtu, next.mtu, Object.is);
  const addresses = sameList(previous.addresses, next.addresses) ? previous.addresses : next.addresses;
  const nodeLabels = sameRecord(previous.nodeLabels, next.nodeLabels) ? previous.nodeLabels : next.nodeLabels;
  const bgp = isDeepStrictEqual(previous.bgp, next.bgp) ? previous.bgp : next.bgp;
  const state: ClusterState = {
    nodes: nodes.map,
    services: services.changed.length === 0 ? previous.services : PersistentMap.from(services.map),
    virtualServices: virtualServices.map,
    virtualServicesOf: mergeIndex(previous, virtualServices.map),
    addresses,
    nodeLabels,
    mtu: mtu.map,
    ...(bgp === undefined ? {} : { bgp }),
  };
  const elsewhere = addresses !== previous.addresses || nodeLabels !== previous.nodeLabels || bgp !== previous.bgp;
  const all = nodes.changed.length > 0 || mtu.changed.length > 0 || elsewhere;
  if (all) return { state, change: { all: true }, warnings };
  const keys = new Set<VirtualServiceKey>(virtualServices.changed);
  for (const service of services.changed) {
    for (const index of [previous.virtualServicesOf, state.virtualServicesOf]) {
      for (const { key } of index.get(service) ?? []) keys.add(key);
    }
  }
  const unchanged = keys.size === 0 && services.changed.length === 0;
  return { state: unchanged ? previous : state, change: { all: false, virtualServices: keys }, warnings };
}

const nothing: StateChange = { all: false, virtualServices: new Set() };

/**
 * One Service as it is now, or the key of one that is gone. Costs in proportion to the virtual services
 * that lead to it, whatever the size of the cluster.
 */
export function applyServiceChange(state: ClusterState, change: ClusterService | { readonly deleted: ServiceKey }): Publication {
  const key = 'deleted' in change ? change.deleted : serviceKey(change.namespace, change.name);
  const old = state.services.get(key);
  const services = PersistentMap.from(state.services);
  if ('deleted' in change) {
    if (old === undefined) return { state, change: nothing, warnings: [] };
  } else if (old !== undefined && sameService(old, change)) {
    return { state, change: nothing, warnings: [] };
  }
  const next = 'deleted' in change ? services.without(key) : services.with(key, change);
  const keys = new Set((state.virtualServicesOf.get(key) ?? []).map((virtualService) => virtualService.key));
  return { state: { ...state, services: next }, change: { all: false, virtualServices: keys }, warnings: [] };
}
