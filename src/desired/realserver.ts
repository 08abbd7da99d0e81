/** What a realserver programs: for each virtual service, the ready pods of its own node. */
import type { ClusterState, Endpoint, Reason, ReasonCode, VirtualService, VirtualServiceKey } from '../model/cluster.ts';
import { familyOf } from './eligibility.ts';
import type { DesiredNatService, DesiredRealserver, MasqueradePolicy } from './types.ts';
import { VipUses } from './vip-uses.ts';
import { distinctPods, endpointsOf, hasPort, isLastResort, takesTraffic } from './weights.ts';

export interface RealserverOptions {
  /** Default: off. */
  readonly masquerade?: MasqueradePolicy;
  /**
   * Clients on a node without a pod of a virtual service: sent to pods elsewhere, or refused. The VIP is an address of the
   * node, so that no director ever sees their packets. Default: refused.
   */
  readonly insideAccess?: 'cluster' | 'local';
}

/** A virtual service on one node: translated there, or not and why. */
export interface RealserverService {
  readonly service: DesiredNatService | undefined;
  /** For clients on the node, where it has no pod itself. */
  readonly inside: DesiredNatService | undefined;
  readonly reason: Reason | undefined;
}

/** IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP. */
const PROTOCOL_NUMBER = { tcp: 6, udp: 17, sctp: 132 } as const;

/** NFTNL_UDATA_COMMENT_MAXLEN less its closing zero. */
const COMMENT_BYTES = 127;

const ignored: RealserverService = { service: undefined, inside: undefined, reason: undefined };

function refused(code: ReasonCode, message: string): RealserverService {
  return { ...ignored, reason: { code, message } };
}

/** Kubernetes names are ASCII, so a character is a byte. */
function commentOf(virtualService: VirtualService): string {
  return `${virtualService.service}:${virtualService.portName}`.slice(0, COMMENT_BYTES);
}

/**
 * Who gets the packets. While there are only pods that are terminating they go on: the director has set the node's weight
 * to 0, or has nobody else, and what is under way still needs them. Those that do not serve any more come last.
 */
function inService(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const ready = endpoints.filter(takesTraffic);
  if (ready.length > 0) return ready;
  const serving = endpoints.filter(isLastResort);
  return serving.length > 0 ? serving : endpoints.filter(({ terminating }) => terminating);
}

/** One virtual service on the node named `node`. */
export function realserverService(
  state: ClusterState,
  node: string,
  virtualService: VirtualService,
  { insideAccess = 'local' }: Pick<RealserverOptions, 'insideAccess'> = {},
): RealserverService {
  // A director sends its packets to the pods themselves.
  if (virtualService.forward === 'masquerade') return ignored;
  const service = state.services.get(virtualService.service);
  if (service === undefined) return refused('ServiceMissing', `service ${virtualService.service} does not exist`);
  if (service.unsupported === 'headless') return refused('ServiceHeadless', `service ${virtualService.service} has no cluster address`);
  if (service.unsupported === 'externalName') {
    return refused('ServiceExternalName', `service ${virtualService.service} is a name for another host`);
  }
  const portText = `port "${virtualService.portName}" of service ${virtualService.service}`;
  if (!hasPort(service, virtualService.portName)) return refused('PortMissing', `${portText} does not exist`);
  const endpoints = endpointsOf(service, virtualService.portName, familyOf(virtualService.address));
  if (endpoints.length === 0) return refused('NoEndpoints', `${portText} has no endpoint`);
  const translation = (pods: readonly Endpoint[]): DesiredNatService => ({
    key: virtualService.key,
    address: virtualService.address,
    protocol: PROTOCOL_NUMBER[virtualService.protocol],
    port: virtualService.port,
    comment: commentOf(virtualService),
    pods: distinctPods(pods),
  });
  const local = inService(endpoints.filter((endpoint) => endpoint.node === node));
  if (local.length > 0) return { ...ignored, service: translation(local) };
  const elsewhere = insideAccess === 'cluster' ? inService(endpoints) : [];
  return {
    ...refused('NoLocalEndpoints', `${portText} has no ready endpoint on node ${node}`),
    inside: elsewhere.length > 0 ? translation(elsewhere) : undefined,
  };
}

/** Everything the realserver on `node` holds for a state. */
export function desiredRealserver(state: ClusterState, node: string, options: RealserverOptions = {}): DesiredRealserver {
  const services = new Map<VirtualServiceKey, DesiredNatService>();
  const inside = new Map<VirtualServiceKey, DesiredNatService>();
  const reasons = new Map<VirtualServiceKey, Reason>();
  const uses = new VipUses();
  for (const [key, virtualService] of state.virtualServices) {
    uses.put(key, virtualService);
    const found = realserverService(state, node, virtualService, options);
    if (found.service !== undefined) services.set(key, found.service);
    if (found.inside !== undefined) inside.set(key, found.inside);
    if (found.reason !== undefined) reasons.set(key, found.reason);
  }
  return {
    services,
    ...(options.insideAccess === 'cluster' ? { inside } : {}),
    addresses: state.addresses.filter((address) => uses.placed(address)),
    masquerade: options.masquerade ?? { enabled: false },
    reasons,
  };
}
