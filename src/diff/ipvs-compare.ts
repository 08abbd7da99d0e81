/**
 * Equality of IPVS objects by meaning. The kernel and the tools show one setting in several ways
 * (flag names or bits, hidden defaults); columns hold the kernel's numbers, so those are compared.
 */
import { serviceFlags, tunnelFlags } from '../native/ipvs-columns.ts';
import {
  FLAG_ONE_PACKET,
  FLAG_PERSISTENT,
  FLAG_SCHEDULER_1,
  FORWARDING_METHODS,
  FORWARDING_NUMBER,
  FORWARD_TUNNEL,
  TUNNEL_NUMBER,
} from '../native/ipvs-constants.ts';
import type { DestinationSpec, IpvsSnapshot, ServiceSpec } from '../native/ipvs-types.ts';

/** What a specification can express; the kernel's own marks (IP_VS_SVC_F_HASHED) are not compared. */
const COMPARED_FLAGS = FLAG_PERSISTENT | FLAG_ONE_PACKET | (FLAG_SCHEDULER_1 * 7);

/** Whether service row `row` does what `spec` says. */
export function sameServiceAt(snapshot: IpvsSnapshot, row: number, spec: ServiceSpec): boolean {
  const { names, services } = snapshot;
  if (names[services.scheduler[row] ?? 0] !== spec.scheduler) return false;
  if (((services.flags[row] ?? 0) & COMPARED_FLAGS) !== serviceFlags(spec)) return false;
  if (names[services.persistenceEngine[row] ?? 0] !== (spec.persistenceEngine ?? '')) return false;
  // The kernel keeps a timeout and a prefix for every service; they mean something only with persistence.
  if (spec.persistenceSeconds === undefined) return true;
  const widest = services.family[row] === 6 ? 128 : 32;
  return services.timeout[row] === spec.persistenceSeconds && services.prefix[row] === (spec.persistencePrefix ?? widest);
}

/** Whether destination row `row` differs from `spec` in anything. */
export function differsAt(snapshot: IpvsSnapshot, row: number, spec: DestinationSpec): boolean {
  const columns = snapshot.destinations;
  if (columns.weight[row] !== spec.weight || columns.forward[row] !== FORWARDING_NUMBER[spec.forward]) return true;
  if (columns.upperThreshold[row] !== (spec.upperThreshold ?? 0)) return true;
  if (columns.lowerThreshold[row] !== (spec.lowerThreshold ?? 0)) return true;
  // The tunnel attributes are left over from before when the method is not "tunnel".
  if (columns.forward[row] !== FORWARD_TUNNEL) return false;
  const type = spec.tunnel?.type ?? 'ipip';
  if (columns.tunnelType[row] !== TUNNEL_NUMBER[type]) return true;
  if (type === 'ipip') return false;
  return columns.tunnelPort[row] !== (spec.tunnel?.port ?? 0) || columns.tunnelFlags[row] !== tunnelFlags(spec);
}

/** A setting of service row `row`, or of its destinations, that the agent never writes; undefined when there is none. */
export function foreignTraits(snapshot: IpvsSnapshot, row: number, firstDestination: number, endDestination: number): string | undefined {
  const { services, destinations } = snapshot;
  if ((services.persistenceEngine[row] ?? 0) !== 0) return 'has a persistence engine';
  for (let at = firstDestination; at < endDestination; at++) {
    const forward = destinations.forward[at] ?? 0;
    const method = FORWARDING_METHODS[forward] ?? String(forward);
    if (method !== 'direct' && method !== 'tunnel' && method !== 'masquerade') return `has a destination with forwarding method ${method}`;
  }
  return undefined;
}
