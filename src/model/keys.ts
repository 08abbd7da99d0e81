/** The text keys under which things are kept in maps; also what people read in logs and `explain`. */
import type { Address, ServiceKey, VirtualServiceKey } from './cluster.ts';

/** `tcp 192.0.2.10:80`, `udp [2001:db8::1]:53`. The address must be canonical. */
export function virtualServiceKey(protocol: 'tcp' | 'udp' | 'sctp', address: Address, port: number): VirtualServiceKey {
  return address.includes(':') ? `${protocol} [${address}]:${port}` : `${protocol} ${address}:${port}`;
}

/** `namespace/name` */
export function serviceKey(namespace: string, name: string): ServiceKey {
  return `${namespace}/${name}`;
}
