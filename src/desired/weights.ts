/** How many pods stand behind a virtual service, by node. */
import type { Address, ClusterService, Endpoint } from '../model/cluster.ts';
import type { Family } from './eligibility.ts';
import { familyOf } from './eligibility.ts';

/** The kernel takes any positive int; beyond 16 bits the schedulers' arithmetic loses precision and ipvsadm refuses it. */
export const MAXIMUM_WEIGHT = 65535;

/** Endpoints of one port name and address family. */
export function endpointsOf(service: ClusterService, portName: string, family: Family): Endpoint[] {
  return service.endpoints.filter((endpoint) => endpoint.portName === portName && familyOf(endpoint.address) === family);
}

/** A terminating pod is finishing its work: it takes nothing new. */
export function takesTraffic(endpoint: Endpoint): boolean {
  return endpoint.ready && !endpoint.terminating;
}

/** A terminating pod that still passes its readiness probe: it can go on where there is no other (KEP-1669). */
export function isLastResort(endpoint: Endpoint): boolean {
  return endpoint.terminating && endpoint.serving !== false;
}

/** Whether the Service has a port of this name, by its own list or by an endpoint that serves it. */
export function hasPort(service: ClusterService, portName: string): boolean {
  return service.ports.some((port) => port.name === portName) || service.endpoints.some((endpoint) => endpoint.portName === portName);
}

/** Where a realserver, or a director that masquerades, sends the packet. */
export interface Pod {
  readonly address: Address;
  readonly port: number;
}

/** Sorted by address text, then port; each pod once. */
export function distinctPods(endpoints: Iterable<Endpoint>): Pod[] {
  const pods = new Map<string, Pod>();
  for (const { address, port } of endpoints) pods.set(`${address} ${port}`, { address, port });
  return [...pods.values()].sort((a, b) => (a.address === b.address ? a.port - b.port : a.address < b.address ? -1 : 1));
}

/** Pods on one node. */
export interface PodCount {
  readonly ready: number;
  /** Terminating, and still serving. */
  readonly terminating: number;
}

/**
 * Pods by node name, each pod counted once. Endpoints without a node count under undefined: no destination is
 * there for them.
 */
export function podsByNode(endpoints: readonly Endpoint[]): Map<string | undefined, PodCount> {
  const seen = new Set<string>();
  const counts = new Map<string | undefined, PodCount>();
  for (const endpoint of endpoints) {
    const ready = takesTraffic(endpoint);
    if (!ready && !isLastResort(endpoint)) continue;
    const socket = `${endpoint.address} ${endpoint.port}`;
    if (seen.has(socket)) continue;
    seen.add(socket);
    const count = counts.get(endpoint.node) ?? { ready: 0, terminating: 0 };
    counts.set(endpoint.node, ready ? { ...count, ready: count.ready + 1 } : { ...count, terminating: count.terminating + 1 });
  }
  return counts;
}

/** The weight of a node with `pods` pods; with `override` 1 for any node that has one. */
export function weightOf(pods: number, override: boolean): number {
  return Math.min(override ? 1 : MAXIMUM_WEIGHT, pods);
}
