/** What a director programs: one IPVS service per virtual service, one destination per node with pods. */
import type { Address, ClusterState, Reason, VirtualService, VirtualServiceKey } from '../model/cluster.ts';
import { claimsOf, type DirectorOptions } from './claims.ts';
import { selectEligible, type Eligible } from './eligibility.ts';
import { coerceThresholds, shareThresholds } from './thresholds.ts';
import type { DesiredDestination, DesiredDirector, DesiredIpvsService } from './types.ts';

export type { DirectorOptions } from './claims.ts';

/** A virtual service on a director: programmed, refused with a reason, or programmed without a backend (both). */
export interface DirectorService {
  readonly service: DesiredIpvsService | undefined;
  readonly reason: Reason | undefined;
  /** At least one destination takes new connections. */
  readonly hasBackend: boolean;
}

function destinationsOf(
  state: ClusterState,
  virtualService: VirtualService,
  weights: ReadonlyMap<Address, number>,
  options: DirectorOptions,
): DesiredDestination[] {
  const thresholds = coerceThresholds(virtualService.upperThreshold, virtualService.lowerThreshold);
  const byNodes = options.thresholdDivisor === 'nodes';
  let whole = byNodes ? state.nodes.size : 0;
  if (!byNodes) for (const weight of weights.values()) whole += weight;
  return [...weights]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([address, weight]) => {
      const { upper, lower } = shareThresholds(thresholds, byNodes ? 1 : weight, whole);
      return {
        id: { address, port: virtualService.port },
        spec: { forward: virtualService.forward, weight, upperThreshold: upper, lowerThreshold: lower },
      };
    });
}

/** The virtual service with a destination for each of `weights`; undefined when there is none. */
export function serviceWith(
  state: ClusterState,
  virtualService: VirtualService,
  weights: ReadonlyMap<Address, number>,
  options: DirectorOptions,
): DesiredIpvsService | undefined {
  if (weights.size === 0) return undefined;
  return {
    key: virtualService.key,
    id: { protocol: virtualService.protocol, address: virtualService.address, port: virtualService.port },
    spec: { scheduler: virtualService.scheduler, schedulerFlags: virtualService.schedulerFlags },
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
  const weights = new Map(claims.weights);
  for (const address of claims.idle) weights.set(address, 0);
  const service = serviceWith(state, virtualService, weights, options);
  return { service, reason: claims.reason, hasBackend: claims.weights.size > 0 };
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
  const reasons = new Map<VirtualServiceKey, Reason>();
  for (const [key, virtualService] of state.virtualServices) {
    const { service, reason } = directorService(state, virtualService, options, eligible);
    if (service !== undefined) services.set(key, service);
    if (reason !== undefined) reasons.set(key, reason);
  }
  return { services, addresses: state.addresses, announce: announceable(services.values()), reasons };
}
