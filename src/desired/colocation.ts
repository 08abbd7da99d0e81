/** What a director that runs pods itself does with their share of the connections, before IPVS sees them. */
import type { ClusterState, VirtualService } from '../model/cluster.ts';
import type { LocalClaim } from './claims.ts';
import { familyOf } from './eligibility.ts';
import type { DesiredNatService, NatServiceId } from './types.ts';
import { distinctPods, endpointsOf, takesTraffic, type Pod } from './weights.ts';

/** IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP. */
const PROTOCOL_NUMBER = { tcp: 6, udp: 17, sctp: 132 } as const;

/** NFTNL_UDATA_COMMENT_MAXLEN less its closing zero. */
const COMMENT_BYTES = 127;

/** Chance is drawn from an unsigned 32-bit number; a share this small is none. */
const MAXIMUM_SLOTS = 0x7fffffff;

/** A virtual service in the words of the rules; its names are ASCII, so a character is a byte. */
export function natService(virtualService: VirtualService, pods: readonly Pod[], slots = pods.length): DesiredNatService {
  const { key, address, protocol, port, service, portName } = virtualService;
  return {
    ...{ key, address, port, protocol: PROTOCOL_NUMBER[protocol], pods },
    comment: `${service}:${portName}`.slice(0, COMMENT_BYTES),
    ...(slots === pods.length ? {} : { slots }),
  };
}

/**
 * The claim of this director's pods beside weights elsewhere: what they get together is in proportion to their
 * weight, and each gets the same of it. Without weight elsewhere they get everything.
 */
export function localShare(virtualService: VirtualService, { weight, pods }: LocalClaim, elsewhere: number): DesiredNatService {
  // Whole but while a node leaves in steps: then it keeps a little more than its part rather than nothing.
  const slots = Math.ceil((pods.length * (weight + elsewhere)) / weight);
  return natService(virtualService, pods, Math.min(MAXIMUM_SLOTS, Math.max(pods.length, slots)));
}

/** Connections are left over for IPVS. */
export function leavesSome({ pods, slots = pods.length }: DesiredNatService): boolean {
  return slots > pods.length;
}

/**
 * For clients on the director itself, its pods and its processes: the pods on other nodes, reached without IPVS. What it
 * forwards keeps the client's address, and of a process here that is the VIP: nobody could answer. With masquerading
 * IPVS is as good for them as for anybody.
 */
export function insideService(
  state: ClusterState,
  virtualService: VirtualService,
  self: string | undefined,
): DesiredNatService | undefined {
  const service = state.services.get(virtualService.service);
  if (service === undefined || service.unsupported !== undefined || virtualService.forward === 'masquerade') return undefined;
  const endpoints = endpointsOf(service, virtualService.portName, familyOf(virtualService.address));
  const pods = distinctPods(
    endpoints.filter((endpoint) => takesTraffic(endpoint) && (endpoint.node === undefined || endpoint.node !== self)),
  );
  return pods.length === 0 ? undefined : natService(virtualService, pods);
}

/** Whether clients of a virtual service are to appear as this director, and by what they are known. */
export function masqueradedId(
  virtualService: Pick<VirtualService, 'forward' | 'masqueradeSource' | 'address' | 'port' | 'protocol'>,
): NatServiceId | undefined {
  const { forward, masqueradeSource, address, port, protocol } = virtualService;
  if (forward !== 'masquerade' || masqueradeSource === false) return undefined;
  return { address, port, protocol: PROTOCOL_NUMBER[protocol] };
}

export function sumOf(weights: Iterable<number>): number {
  let sum = 0;
  for (const weight of weights) sum += weight;
  return sum;
}
