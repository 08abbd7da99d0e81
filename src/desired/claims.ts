/** Who ought to get the connections of a virtual service, by what the cluster says alone. */
import type { ClusterService, ClusterState, Endpoint, Reason, ReasonCode, VirtualService } from '../model/cluster.ts';
import type { Backend } from './backend.ts';
import { familyOf, nodeAddress, type Eligible, type EligibilityOptions } from './eligibility.ts';
import { ownPlace, placesOf, type Place } from './places.ts';
import type { ThresholdDivisor } from './thresholds.ts';
import { MAXIMUM_WEIGHT, distinctPods, endpointsOf, hasPort, isLastResort, takesTraffic, weightOf, type Pod } from './weights.ts';

export interface DirectorOptions extends EligibilityOptions {
  /** Weight 1 for every node that has a ready pod, however many. Default false. */
  readonly weightOverride?: boolean;
  /** Default `weight`. */
  readonly thresholdDivisor?: ThresholdDivisor;
  /** Whether an eligible node without pods is a destination of weight 0, or none. Default `remove`. */
  readonly idleDestinations?: 'remove' | 'keep';
  /** Name of the director's own node. It is never a destination: IPVS would deliver to the director itself, where nobody listens. */
  readonly self?: string;
  /** Pods of {@link self} get their share of the connections on the spot, before IPVS. Default false: they get none. */
  readonly colocated?: boolean;
}

/** What this machine's own pods claim. */
export interface LocalClaim {
  /** As weights of other nodes are. */
  readonly weight: number;
  /** Sorted by address text, then port; each once; never empty. */
  readonly pods: readonly Pod[];
}

export interface Claims {
  /** Weights above zero. */
  readonly weights: ReadonlyMap<Backend, number>;
  /** Only with {@link DirectorOptions.colocated}. */
  readonly local: LocalClaim | undefined;
  /** By which they are multiplied: a node that leaves in steps needs room between its weight and 0. */
  readonly factor: number;
  /** They are those of terminating pods, because there is no other. */
  readonly lastResort: boolean;
  /** All backends with pods that serve, also those without a claim; of pods also those that do not serve. */
  readonly places: ReadonlyMap<Backend, Place>;
  /** Destinations of weight 0 that stay although nobody needs them. */
  readonly idle: ReadonlySet<Backend>;
  /** Why there is no weight. */
  readonly reason: Reason | undefined;
  /** There is no weight, and not because the pods themselves say that they are not ready: configuration or cluster are amiss. */
  readonly lost: boolean;
}

const none: ReadonlyMap<Backend, never> = new Map<Backend, never>();
const nobody: ReadonlySet<Backend> = new Set();

function refused(code: ReasonCode, message: string): Claims {
  const nothing = { weights: none, local: undefined, factor: 1, lastResort: false, places: none, idle: nobody };
  return { ...nothing, reason: { code, message }, lost: true };
}

type Count = 'ready' | 'terminating';

function weightsOf(places: ReadonlyMap<Backend, Place>, count: Count, override: boolean): Map<Backend, number> {
  const weights = new Map<Backend, number>();
  for (const [backend, place] of places) {
    if (place.eligible && place[count] > 0) weights.set(backend, weightOf(place[count], override));
  }
  return weights;
}

/** Why no ready pod may get its connections. */
function withoutBackend(
  portText: string,
  endpoints: readonly Endpoint[],
  virtualService: VirtualService,
  state: ClusterState,
  options: DirectorOptions,
  eligible: Eligible,
): Reason {
  const toPods = virtualService.forward === 'masquerade';
  if (eligible.nodes.length === 0 && !toPods) return { code: 'NoEligibleNode', message: `none of ${state.nodes.size} nodes is eligible` };
  const ready = endpoints.filter(takesTraffic);
  if (ready.length === 0) return { code: 'NoEndpoints', message: `none of the ${endpoints.length} endpoints of ${portText} is ready` };
  if (!toPods && ready.every(({ node }) => node === undefined)) {
    return { code: 'EndpointsWithoutNode', message: `none of the ${ready.length} ready endpoints of ${portText} says on which node it is` };
  }
  const onEligible = ready.filter(({ node }) => (node === undefined ? toPods : eligible.names.has(node)));
  if (onEligible.length === 0) return { code: 'NoEligibleNode', message: `no ready endpoint of ${portText} is on an eligible node` };
  return onEligible.every(({ node }) => node !== undefined && node === options.self)
    ? {
        code: 'NoEligibleNode',
        message: `all ready endpoints of ${portText} are on this director, which has no share (--ipvs-colocation-mode)`,
      }
    : { code: 'NodeHasNoAddress', message: `no eligible node with a ready endpoint of ${portText} has an address of the VIP's family` };
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

  const places = placesOf(state, virtualService, endpoints, options, eligible);
  const own = options.colocated === true ? ownPlace(state, endpoints, options.self, eligible) : undefined;
  const override = options.weightOverride === true;
  const ready = weightsOf(places, 'ready', override);
  const lastResort = ready.size === 0 && !(own?.eligible === true && own.ready > 0);
  const count: Count = lastResort ? 'terminating' : 'ready';
  const weights = lastResort ? weightsOf(places, count, override) : ready;
  // Where pods are destinations by themselves, each weighs 1 anyway.
  const local = own?.eligible === true && own[count] > 0 ? weightOf(own[count], override && virtualService.forward !== 'masquerade') : 0;
  const idle = options.idleDestinations === 'keep' ? idleOf(virtualService, options, eligible, weights) : nobody;
  const backed = weights.size > 0 || local > 0;
  const reason = backed ? undefined : withoutBackend(portText, endpoints, virtualService, state, options, eligible);
  const factor = factorOf(weights, local, service.drain?.steps?.count ?? 1);
  if (factor > 1) for (const [backend, weight] of weights) weights.set(backend, weight * factor);
  return {
    ...{ weights, factor, lastResort, places, idle, reason },
    local: local === 0 ? undefined : { weight: local * factor, pods: ownPods(endpoints, options.self, lastResort) },
    lost: reason !== undefined && reason.code !== 'NoEndpoints',
  };
}

function ownPods(endpoints: readonly Endpoint[], self: string | undefined, lastResort: boolean): Pod[] {
  return distinctPods(endpoints.filter((endpoint) => endpoint.node === self && (lastResort ? isLastResort : takesTraffic)(endpoint)));
}

/** As many times as there are steps, unless the kernel does not take weights that large; all alike, so that the shares stay. */
function factorOf(weights: ReadonlyMap<Backend, number>, local: number, steps: number): number {
  let highest = Math.max(1, local);
  for (const weight of weights.values()) highest = Math.max(highest, weight);
  return Math.max(1, Math.min(steps, Math.floor(MAXIMUM_WEIGHT / highest)));
}

/** Nodes only: a pod that is not there needs no place. */
function idleOf(
  virtualService: VirtualService,
  options: DirectorOptions,
  eligible: Eligible,
  weights: ReadonlyMap<Backend, number>,
): ReadonlySet<Backend> {
  if (virtualService.forward === 'masquerade') return nobody;
  const idle = new Set<Backend>();
  for (const node of eligible.nodes) {
    const address = nodeAddress(node, familyOf(virtualService.address));
    if (address !== undefined && node.name !== options.self && !weights.has(address)) idle.add(address);
  }
  return idle;
}
