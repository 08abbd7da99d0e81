/** What a director programs: one IPVS service per virtual service, one destination per eligible node. */
import type { Address, ClusterState, Node, Reason, ReasonCode, VirtualService, VirtualServiceKey } from '../model/cluster.ts';
import type { EligibilityOptions } from './eligibility.ts';
import { eligibleNodes, familyOf, nodeAddress } from './eligibility.ts';
import type { ThresholdDivisor } from './thresholds.ts';
import { coerceThresholds, shareThresholds } from './thresholds.ts';
import type { DesiredDestination, DesiredDirector, DesiredIpvsService } from './types.ts';
import { endpointsOf, hasPort, readyByNode, weightOf } from './weights.ts';

export interface DirectorOptions extends EligibilityOptions {
  /** Weight 1 for every node that has a ready pod, however many. Default false. */
  readonly weightOverride?: boolean;
  /** Default `weight`. */
  readonly thresholdDivisor?: ThresholdDivisor;
}

/** A virtual service on a director: programmed, refused with a reason, or programmed without a backend (both). */
export interface DirectorService {
  readonly service: DesiredIpvsService | undefined;
  readonly reason: Reason | undefined;
  /** At least one destination takes new connections. */
  readonly hasBackend: boolean;
}

function refused(code: ReasonCode, message: string): DirectorService {
  return { service: undefined, reason: { code, message }, hasBackend: false };
}

/** Address → ready pods. Two nodes that claim one address are one destination to the kernel. */
function podsByAddress(nodes: readonly Node[], virtualService: VirtualService, ready: ReadonlyMap<string | undefined, number>) {
  const pods = new Map<Address, number>();
  for (const node of nodes) {
    const address = nodeAddress(node, familyOf(virtualService.address));
    if (address !== undefined) pods.set(address, (pods.get(address) ?? 0) + (ready.get(node.name) ?? 0));
  }
  return pods;
}

function destinationsOf(
  state: ClusterState,
  virtualService: VirtualService,
  pods: ReadonlyMap<Address, number>,
  options: DirectorOptions,
): DesiredDestination[] {
  const weights = [...pods].map(([address, count]) => ({ address, weight: weightOf(count, options.weightOverride === true) }));
  const thresholds = coerceThresholds(virtualService.upperThreshold, virtualService.lowerThreshold);
  const byNodes = options.thresholdDivisor === 'nodes';
  const whole = byNodes ? state.nodes.size : weights.reduce((sum, { weight }) => sum + weight, 0);
  return weights
    .sort((a, b) => (a.address < b.address ? -1 : 1))
    .map(({ address, weight }) => {
      const { upper, lower } = shareThresholds(thresholds, byNodes ? 1 : weight, whole);
      return {
        id: { address, port: virtualService.port },
        spec: { forward: virtualService.forward, weight, upperThreshold: upper, lowerThreshold: lower },
      };
    });
}

/**
 * One virtual service. `nodes` are the {@link eligibleNodes} of the state, so that a caller with many
 * virtual services selects them once.
 *
 * Without any endpoint there is nothing to program. With endpoints of which none is ready the service stays, all
 * destinations at weight 0: established connections go on while the last pods finish.
 */
export function directorService(
  state: ClusterState,
  virtualService: VirtualService,
  options: DirectorOptions = {},
  nodes: readonly Node[] = eligibleNodes(state, options),
): DirectorService {
  const service = state.services.get(virtualService.service);
  if (service === undefined) return refused('ServiceMissing', `service ${virtualService.service} does not exist`);
  const portText = `port "${virtualService.portName}" of service ${virtualService.service}`;
  if (!hasPort(service, virtualService.portName)) return refused('PortMissing', `${portText} does not exist`);
  const endpoints = endpointsOf(service, virtualService.portName, familyOf(virtualService.address));
  if (endpoints.length === 0) return refused('NoEndpoints', `${portText} has no endpoint`);
  if (nodes.length === 0) return refused('NoEligibleNode', `none of ${state.nodes.size} nodes is eligible`);
  const ready = readyByNode(endpoints);
  const pods = podsByAddress(nodes, virtualService, ready);
  if (pods.size === 0) {
    return refused('NodeHasNoAddress', `no eligible node has an IPv${familyOf(virtualService.address)} address`);
  }
  const destinations = destinationsOf(state, virtualService, pods, options);
  const hasBackend = destinations.some(({ spec }) => spec.weight > 0);
  return {
    service: {
      key: virtualService.key,
      id: { protocol: virtualService.protocol, address: virtualService.address, port: virtualService.port },
      spec: { scheduler: virtualService.scheduler, schedulerFlags: virtualService.schedulerFlags },
      destinations,
    },
    reason: hasBackend ? undefined : withoutBackend(portText, endpoints.length, ready.size),
    hasBackend,
  };
}

function withoutBackend(portText: string, endpoints: number, nodesWithReadyPods: number): Reason {
  return nodesWithReadyPods === 0
    ? { code: 'NoEndpoints', message: `none of the ${endpoints} endpoints of ${portText} is ready; all destinations have weight 0` }
    : { code: 'NoEligibleNode', message: `no ready endpoint of ${portText} is on an eligible node; all destinations have weight 0` };
}

/** VIPs, sorted and unique, that have at least one backend in any of their ports. */
export function announceable(services: Iterable<DesiredIpvsService>): Address[] {
  const addresses = new Set<Address>();
  for (const service of services) {
    if (!('address' in service.id) || addresses.has(service.id.address)) continue;
    if (service.destinations.some(({ spec }) => spec.weight > 0)) addresses.add(service.id.address);
  }
  return [...addresses].sort();
}

/** Everything a director holds for a state. */
export function desiredDirector(state: ClusterState, options: DirectorOptions = {}): DesiredDirector {
  const nodes = eligibleNodes(state, options);
  const services = new Map<VirtualServiceKey, DesiredIpvsService>();
  const reasons = new Map<VirtualServiceKey, Reason>();
  for (const [key, virtualService] of state.virtualServices) {
    const { service, reason } = directorService(state, virtualService, options, nodes);
    if (service !== undefined) services.set(key, service);
    if (reason !== undefined) reasons.set(key, reason);
  }
  return { services, addresses: state.addresses, announce: announceable(services.values()), reasons };
}
