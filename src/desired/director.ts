/** What a director programs: one IPVS service per virtual service, one destination per node with pods, or per pod. */
import type { Address, ClusterState, Reason, VirtualService, VirtualServiceKey } from '../model/cluster.ts';
import type { ServiceSpec } from '../native/ipvs-types.ts';
import { destinationId, forwardingOf, type Backend } from './backend.ts';
import { claimsOf, type DirectorOptions } from './claims.ts';
import { localShare, sumOf } from './colocation.ts';
import { selectEligible, type Eligible } from './eligibility.ts';
import { coerceThresholds, shareThresholds } from './thresholds.ts';
import type { DesiredDestination, DesiredDirector, DesiredIpvsService, DesiredNatService } from './types.ts';

export type { DirectorOptions } from './claims.ts';

/** A virtual service on a director: programmed, refused with a reason, or programmed without a backend (both). */
export interface DirectorService {
  readonly service: DesiredIpvsService | undefined;
  readonly reason: Reason | undefined;
  /** The share of pods on this director. */
  readonly local: DesiredNatService | undefined;
  /** At least one destination, or pod here, takes new connections. */
  readonly hasBackend: boolean;
}

/** What the weights of destinations are, and what is not left to them. */
export interface Weights {
  readonly elsewhere: ReadonlyMap<Backend, number>;
  /** Of pods on this director: they take their part of the connections, and of the limits. */
  readonly local: number;
}

function destinationsOf(
  state: ClusterState,
  virtualService: VirtualService,
  { elsewhere, local }: Weights,
  options: DirectorOptions,
): DesiredDestination[] {
  const thresholds = coerceThresholds(virtualService.upperThreshold, virtualService.lowerThreshold);
  const byNodes = options.thresholdDivisor === 'nodes';
  const whole = byNodes ? state.nodes.size : sumOf(elsewhere.values()) + local;
  return [...elsewhere]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([backend, weight]) => {
      const { upper, lower } = shareThresholds(thresholds, byNodes ? 1 : weight, whole);
      return {
        id: destinationId(backend, virtualService),
        spec: { ...forwardingOf(backend, virtualService), weight, upperThreshold: upper, lowerThreshold: lower },
      };
    });
}

function specOf(virtualService: VirtualService): ServiceSpec {
  const { scheduler, schedulerFlags, persistenceSeconds, persistencePrefix, onePacket, protocol } = virtualService;
  return {
    ...{ scheduler, schedulerFlags },
    ...(persistenceSeconds === undefined ? {} : { persistenceSeconds }),
    ...(persistenceSeconds === undefined || persistencePrefix === undefined ? {} : { persistencePrefix }),
    // ip_vs_schedule() looks at it for UDP only.
    ...(onePacket === true && protocol === 'udp' ? { onePacket } : {}),
  };
}

/** The virtual service with a destination for each weight; undefined when there is none. */
export function serviceWith(
  state: ClusterState,
  virtualService: VirtualService,
  weights: Weights,
  options: DirectorOptions,
): DesiredIpvsService | undefined {
  if (weights.elsewhere.size === 0) return undefined;
  return {
    key: virtualService.key,
    id: { protocol: virtualService.protocol, address: virtualService.address, port: virtualService.port },
    spec: specOf(virtualService),
    destinations: destinationsOf(state, virtualService, weights, options),
  };
}

/**
 * One virtual service, whatever the kernel holds: where everybody who is leaving has left, and everybody who is to
 * come has come. {@link file://./drain.ts} says what is on the way there.
 */
export function directorService(
  state: ClusterState,
  virtualService: VirtualService,
  options: DirectorOptions = {},
  eligible: Eligible = selectEligible(state, options),
): DirectorService {
  const claims = claimsOf(state, virtualService, options, eligible);
  const elsewhere = new Map(claims.weights);
  for (const backend of claims.idle) elsewhere.set(backend, 0);
  const service = serviceWith(state, virtualService, { elsewhere, local: claims.local?.weight ?? 0 }, options);
  const local = claims.local && localShare(virtualService, claims.local, sumOf(elsewhere.values()));
  return { service, reason: claims.reason, local, hasBackend: claims.weights.size > 0 || local !== undefined };
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

/** Everything a director holds for a state in the end. */
export function desiredDirector(state: ClusterState, options: DirectorOptions = {}): DesiredDirector {
  const eligible = selectEligible(state, options);
  const services = new Map<VirtualServiceKey, DesiredIpvsService>();
  const local = new Map<VirtualServiceKey, DesiredNatService>();
  const reasons = new Map<VirtualServiceKey, Reason>();
  for (const [key, virtualService] of state.virtualServices) {
    const decided = directorService(state, virtualService, options, eligible);
    if (decided.service !== undefined) services.set(key, decided.service);
    if (decided.local !== undefined) local.set(key, decided.local);
    if (decided.reason !== undefined) reasons.set(key, decided.reason);
  }
  const announce = new Set([...announceable(services.values()), ...[...local.values()].map(({ address }) => address)]);
  return { services, local, addresses: state.addresses, announce: [...announce].sort(), reasons };
}
