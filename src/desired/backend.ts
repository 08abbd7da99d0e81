/**
 * Destinations as claims and drain know them. Few nodes stand behind many virtual services, so a node goes by its
 * address alone, whatever the port of the virtual service; a pod, to which packets are masqueraded, by address and port.
 */
import type { Address, VirtualService } from '../model/cluster.ts';
import type { DestinationId, DestinationSpec } from '../native/ipvs-types.ts';
import type { DesiredDestination } from './types.ts';

/** `10.20.0.11`: a node, at the port of the virtual service. `10.244.1.2 8080`: a pod. */
export type Backend = string;

export function podBackend(address: Address, port: number): Backend {
  return `${address} ${port}`;
}

/** No address has a space in it. */
export function isPod(backend: Backend): boolean {
  return backend.includes(' ');
}

/** The backend that a destination stands for. */
export function backendOf({ id, spec }: DesiredDestination): Backend {
  return spec.forward === 'masquerade' ? podBackend(id.address, id.port) : id.address;
}

export function destinationId(backend: Backend, virtualService: VirtualService): DestinationId {
  const space = backend.indexOf(' ');
  if (space < 0) return { address: backend, port: virtualService.port };
  return { address: backend.slice(0, space), port: Number(backend.slice(space + 1)) };
}

/**
 * How packets get there. Where the forwarding method has changed, what is there from before is on its way out: its
 * connections keep the method they began with (ip_vs_bind_xmit), so that of the destination hardly matters.
 */
export function forwardingOf(backend: Backend, virtualService: VirtualService): Pick<DestinationSpec, 'forward' | 'tunnel'> {
  if (isPod(backend)) return { forward: 'masquerade' };
  const { forward, tunnel } = virtualService;
  if (forward !== 'tunnel') return { forward: 'direct' };
  return tunnel === undefined || tunnel.type === 'ipip' ? { forward } : { forward, tunnel };
}
