/** What a realserver programs: for each virtual service, the ready pods of its own node. */
import type { ClusterState, Endpoint, Reason, ReasonCode, VirtualService, VirtualServiceKey } from '../model/cluster.ts';
import { familyOf } from './eligibility.ts';
import type { DesiredNatService, DesiredRealserver, MasqueradePolicy } from './types.ts';
import { endpointsOf, hasPort, isLastResort, takesTraffic } from './weights.ts';

export interface RealserverOptions {
  /** Default: off. */
  readonly masquerade?: MasqueradePolicy;
}

/** A virtual service on one node: translated there, or not and why. */
export interface RealserverService {
  readonly service: DesiredNatService | undefined;
  readonly reason: Reason | undefined;
}

/** IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP. */
const PROTOCOL_NUMBER = { tcp: 6, udp: 17, sctp: 132 } as const;

/** NFTNL_UDATA_COMMENT_MAXLEN less its closing zero. */
const COMMENT_BYTES = 127;

function refused(code: ReasonCode, message: string): RealserverService {
  return { service: undefined, reason: { code, message } };
}

/** Kubernetes names are ASCII, so a character is a byte. */
function commentOf(virtualService: VirtualService): string {
  return `${virtualService.service}:${virtualService.portName}`.slice(0, COMMENT_BYTES);
}

/**
 * Who gets the packets. While a node has only pods that are terminating they go on: the director has set its weight to 0,
 * or has nobody else, and what is under way still needs them. Those that do not serve any more come last.
 */
function inService(local: readonly Endpoint[]): readonly Endpoint[] {
  const ready = local.filter(takesTraffic);
  if (ready.length > 0) return ready;
  const serving = local.filter(isLastResort);
  return serving.length > 0 ? serving : local.filter(({ terminating }) => terminating);
}

/** Sorted by address text, then port; each pod once. */
function podsOf(endpoints: readonly Endpoint[], node: string): DesiredNatService['pods'] {
  const local = endpoints.filter((endpoint) => endpoint.node === node);
  const pods = new Map<string, { address: string; port: number }>();
  for (const endpoint of inService(local)) {
    pods.set(`${endpoint.address} ${endpoint.port}`, { address: endpoint.address, port: endpoint.port });
  }
  return [...pods.values()].sort((a, b) => (a.address === b.address ? a.port - b.port : a.address < b.address ? -1 : 1));
}

/** One virtual service on the node named `node`. */
export function realserverService(state: ClusterState, node: string, virtualService: VirtualService): RealserverService {
  if (familyOf(virtualService.address) === 6) return refused('AddressFamilyUnsupported', 'a realserver translates IPv4 only');
  const service = state.services.get(virtualService.service);
  if (service === undefined) return refused('ServiceMissing', `service ${virtualService.service} does not exist`);
  if (service.unsupported === 'headless') return refused('ServiceHeadless', `service ${virtualService.service} has no cluster address`);
  if (service.unsupported === 'externalName') {
    return refused('ServiceExternalName', `service ${virtualService.service} is a name for another host`);
  }
  const portText = `port "${virtualService.portName}" of service ${virtualService.service}`;
  if (!hasPort(service, virtualService.portName)) return refused('PortMissing', `${portText} does not exist`);
  const endpoints = endpointsOf(service, virtualService.portName, 4);
  if (endpoints.length === 0) return refused('NoEndpoints', `${portText} has no endpoint`);
  const pods = podsOf(endpoints, node);
  if (pods.length === 0) return refused('NoLocalEndpoints', `${portText} has no ready endpoint on node ${node}`);
  return {
    service: {
      key: virtualService.key,
      address: virtualService.address,
      protocol: PROTOCOL_NUMBER[virtualService.protocol],
      port: virtualService.port,
      comment: commentOf(virtualService),
      pods,
    },
    reason: undefined,
  };
}

/** Everything the realserver on `node` holds for a state. Placing an IPv6 VIP that is not translated would only refuse its packets. */
export function desiredRealserver(state: ClusterState, node: string, options: RealserverOptions = {}): DesiredRealserver {
  const services = new Map<VirtualServiceKey, DesiredNatService>();
  const reasons = new Map<VirtualServiceKey, Reason>();
  for (const [key, virtualService] of state.virtualServices) {
    const { service, reason } = realserverService(state, node, virtualService);
    if (service !== undefined) services.set(key, service);
    if (reason !== undefined) reasons.set(key, reason);
  }
  return {
    services,
    addresses: state.addresses.filter((address) => familyOf(address) === 4),
    masquerade: options.masquerade ?? { enabled: false },
    reasons,
  };
}
