/** Which nodes ought to get the connections of a virtual service, by what the cluster says alone. */
import type { Address, ClusterService, ClusterState, Endpoint, Reason, ReasonCode, VirtualService } from '../model/cluster.ts';
import { familyOf, nodeAddress, type Eligible, type EligibilityOptions } from './eligibility.ts';
import type { ThresholdDivisor } from './thresholds.ts';
import { MAXIMUM_WEIGHT, endpointsOf, hasPort, podsByNode, takesTraffic, weightOf, type PodCount } from './weights.ts';

export interface DirectorOptions extends EligibilityOptions {
  /** Weight 1 for every node that has a ready pod, however many. Default false. */
  readonly weightOverride?: boolean;
  /** Default `weight`. */
  readonly thresholdDivisor?: ThresholdDivisor;
  /** Whether an eligible node without pods is a destination of weight 0, or none. Default `remove`. */
  readonly idleDestinations?: 'remove' | 'keep';
}

/** An address with pods behind it. Two nodes that claim one address are one destination to the kernel: their pods add up. */
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

export interface Claims {
  /** Weights above zero. */
  readonly weights: ReadonlyMap<Address, number>;
  /** By which they are multiplied: a node that leaves in steps needs room between its weight and 0. */
  readonly factor: number;
  /** They are those of terminating pods, because there is no other. */
  readonly lastResort: boolean;
  /** All addresses with pods that serve, also those without a claim. */
  readonly places: ReadonlyMap<Address, Place>;
  /** Destinations of weight 0 that stay although nobody needs them. */
  readonly idle: ReadonlySet<Address>;
  /** Why there is no weight. */
  readonly reason: Reason | undefined;
  /** There is no weight, and not because the pods themselves say that they are not ready: configuration or cluster are amiss. */
  readonly lost: boolean;
}

const none: ReadonlyMap<Address, never> = new Map<Address, never>();
const nobody: ReadonlySet<Address> = new Set();

function refused(code: ReasonCode, message: string): Claims {
  return { weights: none, factor: 1, lastResort: false, places: none, idle: nobody, reason: { code, message }, lost: true };
}

function placesOf(
  state: ClusterState,
  virtualService: VirtualService,
  pods: ReadonlyMap<string | undefined, PodCount>,
  eligible: Eligible,
): Map<Address, Place> {
  const places = new Map<Address, Place>();
  for (const [name, { ready, terminating }] of pods) {
    const node = name === undefined ? undefined : state.nodes.get(name);
    const address = node && nodeAddress(node, familyOf(virtualService.address));
    if (node === undefined || address === undefined) continue;
    const mine: Place = {
      ...{ nodes: ready > 0 ? [node.name] : [], ready, terminating },
      ...{ eligible: eligible.names.has(node.name), alive: node.ready },
    };
    const other = places.get(address);
    places.set(address, other === undefined ? mine : joined(other, mine));
  }
  return places;
}

/** Pods of a node that may not get connections do not count beside those of one that may. */
function joined(a: Place, b: Place): Place {
  if (a.eligible !== b.eligible) return a.eligible ? a : b;
  return {
    ...{ nodes: [...a.nodes, ...b.nodes], ready: a.ready + b.ready, terminating: a.terminating + b.terminating },
    ...{ eligible: a.eligible, alive: a.alive || b.alive },
  };
}

function weightsOf(places: ReadonlyMap<Address, Place>, count: 'ready' | 'terminating', override: boolean): Map<Address, number> {
  const weights = new Map<Address, number>();
  for (const [address, place] of places) {
    if (place.eligible && place[count] > 0) weights.set(address, weightOf(place[count], override));
  }
  return weights;
}

/** Why no ready pod is on a node that may get its connections. */
function withoutBackend(portText: string, endpoints: readonly Endpoint[], state: ClusterState, eligible: Eligible): Reason {
  if (eligible.nodes.length === 0) return { code: 'NoEligibleNode', message: `none of ${state.nodes.size} nodes is eligible` };
  const ready = endpoints.filter(takesTraffic);
  if (ready.length === 0) return { code: 'NoEndpoints', message: `none of the ${endpoints.length} endpoints of ${portText} is ready` };
  if (ready.every(({ node }) => node === undefined)) {
    return { code: 'EndpointsWithoutNode', message: `none of the ${ready.length} ready endpoints of ${portText} says on which node it is` };
  }
  const onEligible = ready.some(({ node }) => node !== undefined && eligible.names.has(node));
  return onEligible
    ? { code: 'NodeHasNoAddress', message: `no eligible node with a ready endpoint of ${portText} has an address of the VIP's family` }
    : { code: 'NoEligibleNode', message: `no ready endpoint of ${portText} is on an eligible node` };
}

function unsupported(service: ClusterService, name: string): Claims | undefined {
  if (service.unsupported === 'headless') return refused('ServiceHeadless', `service ${name} has no cluster address`);
  if (service.unsupported === 'externalName') return refused('ServiceExternalName', `service ${name} is a name for another host`);
  return undefined;
}

/** The claims on one virtual service. Costs what its endpoints cost; with `keep` also the number of nodes. */
export function claimsOf(state: ClusterState, virtualService: VirtualService, options: DirectorOptions, eligible: Eligible): Claims {
  const service = state.services.get(virtualService.service);
  if (service === undefined) return refused('ServiceMissing', `service ${virtualService.service} does not exist`);
  const refusal = unsupported(service, virtualService.service);
  if (refusal !== undefined) return refusal;
  const portText = `port "${virtualService.portName}" of service ${virtualService.service}`;
  if (!hasPort(service, virtualService.portName)) return refused('PortMissing', `${portText} does not exist`);
  const endpoints = endpointsOf(service, virtualService.portName, familyOf(virtualService.address));
  if (endpoints.length === 0) return refused('NoEndpoints', `${portText} has no endpoint`);

  const places = placesOf(state, virtualService, podsByNode(endpoints), eligible);
  const override = options.weightOverride === true;
  const ready = weightsOf(places, 'ready', override);
  const lastResort = ready.size === 0;
  const weights = lastResort ? weightsOf(places, 'terminating', override) : ready;
  const idle = options.idleDestinations === 'keep' ? idleOf(virtualService, eligible, weights) : nobody;
  const reason = weights.size > 0 ? undefined : withoutBackend(portText, endpoints, state, eligible);
  const factor = factorOf(weights, service.drain?.steps?.count ?? 1);
  if (factor > 1) for (const [address, weight] of weights) weights.set(address, weight * factor);
  return { weights, factor, lastResort, places, idle, reason, lost: reason !== undefined && reason.code !== 'NoEndpoints' };
}

/** As many times as there are steps, unless the kernel does not take weights that large; all alike, so that the shares stay. */
function factorOf(weights: ReadonlyMap<Address, number>, steps: number): number {
  let highest = 1;
  for (const weight of weights.values()) highest = Math.max(highest, weight);
  return Math.max(1, Math.min(steps, Math.floor(MAXIMUM_WEIGHT / highest)));
}

function idleOf(virtualService: VirtualService, eligible: Eligible, weights: ReadonlyMap<Address, number>): Set<Address> {
  const idle = new Set<Address>();
  for (const node of eligible.nodes) {
    const address = nodeAddress(node, familyOf(virtualService.address));
    if (address !== undefined && !weights.has(address)) idle.add(address);
  }
  return idle;
}
