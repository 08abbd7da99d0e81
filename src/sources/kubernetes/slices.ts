/** EndpointSlices, and the endpoints of a Service that they are pieces of. */
import { addressFamily } from '../../model/address.ts';
import type { Endpoint, ServiceKey } from '../../model/cluster.ts';
import { serviceKey } from '../../model/keys.ts';
import { isMap, listAt, mapAt, revisionOf, textAt, type Identity, type Json } from '../../kubernetes/json.ts';
import { isPort, usableAddress, type Interner } from './reduce.ts';

export interface ReducedSlice {
  readonly service: ServiceKey;
  /** NaN where versions are no numbers. */
  readonly revision: number;
  /** Sorted, each once. */
  readonly endpoints: readonly Endpoint[];
}

/** The limits of the API (k8s.io/api, discovery/v1, EndpointSlice). */
const mostEndpoints = 1000;
const mostPorts = 100;
const families: ReadonlyMap<string, 4 | 6> = new Map([
  ['IPv4', 4],
  ['IPv6', 6],
]);

/** By address, port, port name: what makes an endpoint the same one. */
function compareEndpoints(a: Endpoint, b: Endpoint): number {
  if (a.address !== b.address) return a.address < b.address ? -1 : 1;
  if (a.port !== b.port) return a.port - b.port;
  return a.portName === b.portName ? 0 : a.portName < b.portName ? -1 : 1;
}

/** The first of equal ones stays. */
function unique(sorted: readonly Endpoint[]): readonly Endpoint[] {
  const isRepeated = (endpoint: Endpoint, index: number): boolean =>
    index > 0 && compareEndpoints(sorted[index - 1] ?? endpoint, endpoint) === 0;
  return sorted.some(isRepeated) ? sorted.filter((endpoint, index) => !isRepeated(endpoint, index)) : sorted;
}

/**
 * `serving` is told apart only where it says something of its own: see {@link Endpoint}. What the API leaves out of
 * conditions: ready is true, serving is as ready, terminating is false (discovery/v1, EndpointConditions).
 */
function conditionsOf(item: Json): Pick<Endpoint, 'ready' | 'terminating' | 'serving'> {
  const conditions = mapAt(item, 'conditions');
  const passes = conditions['ready'] !== false;
  const terminating = conditions['terminating'] === true;
  const ready = passes && !terminating;
  const serving = typeof conditions['serving'] === 'boolean' ? conditions['serving'] : passes;
  return serving === (ready || terminating) ? { ready, terminating } : { ready, terminating, serving };
}

/** Undefined for a slice without a Service, and for one of host names (FQDN). */
export function reduceSlice(object: Json, identity: Identity, interner: Interner): ReducedSlice | undefined {
  const service = textAt(mapAt(mapAt(object, 'metadata'), 'labels'), 'kubernetes.io/service-name') ?? '';
  const family = families.get(textAt(object, 'addressType') ?? '');
  if (service === '' || family === undefined) return undefined;
  const ports = listAt(object, 'ports', mostPorts).flatMap((item) => {
    const port = isMap(item) ? item['port'] : undefined;
    return isPort(port) ? [{ port, portName: interner.share(textAt(item, 'name') ?? '') }] : [];
  });
  const endpoints: Endpoint[] = [];
  for (const item of listAt(object, 'endpoints', mostEndpoints)) {
    if (!isMap(item)) continue;
    // Only the first address means anything (discovery/v1, Endpoint.addresses).
    const [first] = listAt(item, 'addresses', 1);
    const address = typeof first === 'string' ? usableAddress(first) : undefined;
    if (address === undefined || addressFamily(address) !== family) continue;
    const nodeName = textAt(item, 'nodeName') ?? '';
    const node = nodeName === '' ? undefined : interner.share(nodeName);
    const { ready, terminating, serving } = conditionsOf(item);
    for (const { port, portName } of ports) {
      endpoints.push({ address, port, portName, node, ready, terminating, ...(serving === undefined ? {} : { serving }) });
    }
  }
  endpoints.sort(compareEndpoints);
  return {
    service: interner.share(serviceKey(identity.namespace, service)),
    revision: revisionOf(identity.resourceVersion),
    endpoints: unique(endpoints),
  };
}

const nothing: readonly Endpoint[] = [];

/** All slices, by Service: however many a Service has, it is one list. */
export class SliceIndex {
  readonly #slices = new Map<string, ReducedSlice>();
  readonly #ofService = new Map<ServiceKey, Map<string, ReducedSlice>>();

  /** Returns the Services whose endpoints may differ now: two where a slice went from one to another. */
  put(key: string, slice: ReducedSlice): ServiceKey[] {
    const touched = this.remove(key).filter((service) => service !== slice.service);
    this.#slices.set(key, slice);
    const siblings = this.#ofService.get(slice.service);
    if (siblings === undefined) this.#ofService.set(slice.service, new Map([[key, slice]]));
    else siblings.set(key, slice);
    return [...touched, slice.service];
  }

  /** Returns the Service that it was a slice of, if it was known. */
  remove(key: string): ServiceKey[] {
    const slice = this.#slices.get(key);
    if (slice === undefined) return [];
    this.#slices.delete(key);
    const siblings = this.#ofService.get(slice.service);
    siblings?.delete(key);
    if (siblings?.size === 0) this.#ofService.delete(slice.service);
    return [slice.service];
  }

  /**
   * The endpoints of a Service, sorted, each once. While the control plane moves an endpoint from slice to slice it is in two
   * of them: the newer slice tells the truth about it. `revision` is that of the newest slice, undefined without any.
   */
  endpointsOf(service: ServiceKey): { endpoints: readonly Endpoint[]; revision: number | undefined } {
    const slices = [...(this.#ofService.get(service)?.values() ?? [])];
    // Stable sorting keeps this order among equal endpoints.
    slices.sort((a, b) => b.revision - a.revision || 0);
    const newest = slices[0];
    if (newest === undefined) return { endpoints: nothing, revision: undefined };
    const endpoints = slices.length === 1 ? newest.endpoints : unique(slices.flatMap((slice) => slice.endpoints).sort(compareEndpoints));
    return { endpoints, revision: Number.isNaN(newest.revision) ? undefined : newest.revision };
  }
}
