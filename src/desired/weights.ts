/** How many ready pods stand behind a virtual service, by node. */
import type { ClusterService, Endpoint } from '../model/cluster.ts';
import type { Family } from './eligibility.ts';
import { familyOf } from './eligibility.ts';

/** The kernel takes any positive int; beyond 16 bits the schedulers' arithmetic loses precision and ipvsadm refuses it. */
export const MAXIMUM_WEIGHT = 65535;

/** Endpoints of one port name and address family. A terminating pod is finishing its work: it takes nothing new. */
export function endpointsOf(service: ClusterService, portName: string, family: Family): Endpoint[] {
  return service.endpoints.filter((endpoint) => endpoint.portName === portName && familyOf(endpoint.address) === family);
}

export function takesTraffic(endpoint: Endpoint): boolean {
  return endpoint.ready && !endpoint.terminating;
}

/** Whether the Service has a port of this name, by its own list or by an endpoint that serves it. */
export function hasPort(service: ClusterService, portName: string): boolean {
  return service.ports.some((port) => port.name === portName) || service.endpoints.some((endpoint) => endpoint.portName === portName);
}

/** Sorted text form of a pod's socket: equal pods have equal texts. */
function socket(endpoint: Endpoint): string {
  return `${endpoint.address} ${endpoint.port}`;
}

/**
 * Ready pods by node name, each pod counted once. Endpoints without a node count under undefined:
 * no destination is there for them.
 */
export function readyByNode(endpoints: readonly Endpoint[]): Map<string | undefined, number> {
  const seen = new Set<string>();
  const counts = new Map<string | undefined, number>();
  for (const endpoint of endpoints) {
    if (!takesTraffic(endpoint) || seen.has(socket(endpoint))) continue;
    seen.add(socket(endpoint));
    counts.set(endpoint.node, (counts.get(endpoint.node) ?? 0) + 1);
  }
  return counts;
}

/** The weight of a node with `pods` ready pods; with `override` 1 for any node that has one. */
export function weightOf(pods: number, override: boolean): number {
  return Math.min(override ? 1 : MAXIMUM_WEIGHT, pods);
}
