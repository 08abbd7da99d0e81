/** Operations in the words of `plan`. */
import type { PathChange, PeerChange } from '../announce/bgp/speaking.ts';
import { operationSubject } from '../drivers/ipvs.ts';
import type { NatBackendKind, NatBackendPlan } from '../drivers/nat-backend.ts';
import type { SysctlOperation } from '../drivers/sysctls.ts';
import type { IpvsOperation } from '../native/ipvs-types.ts';
import type { LinkOperation } from '../native/link-types.ts';
import { formatCommunity, formatLargeCommunity } from '../model/communities.ts';
import type { PlannedChange } from './plane.ts';

export function describeSysctl({ key, from, to }: SysctlOperation): PlannedChange {
  return { vip: undefined, kind: 'sysctl', op: 'write', text: `${key}: ${from} -> ${to}` };
}

export function describeLink(operation: LinkOperation): PlannedChange {
  if (operation.op === 'addAddress' || operation.op === 'deleteAddress') {
    const text = `${operation.address}/${operation.prefix} on ${operation.interface}`;
    return { vip: operation.address, kind: 'address', op: operation.op, text };
  }
  const { op, ...rest } = operation;
  const { name = '', ...settings } = rest as Record<string, unknown> & { name?: string };
  const words = Object.entries(settings).map(([key, value]) => `${key}=${String(value)}`);
  return { vip: undefined, kind: 'device', op, text: [name, ...words].join(' ') };
}

function ipvsDetails(operation: IpvsOperation): string {
  switch (operation.op) {
    case 'addService':
    case 'setService': {
      const flags = operation.spec.schedulerFlags ?? [];
      return ` scheduler ${operation.spec.scheduler}${flags.length === 0 ? '' : ` flags ${flags.join(',')}`}`;
    }
    case 'addDestination':
    case 'setDestination': {
      const { forward, weight, upperThreshold = 0, lowerThreshold = 0 } = operation.spec;
      const thresholds = upperThreshold === 0 && lowerThreshold === 0 ? '' : ` thresholds ${upperThreshold}/${lowerThreshold}`;
      return ` ${forward} weight ${weight}${thresholds}`;
    }
    case 'deleteService':
    case 'deleteDestination':
      return '';
  }
}

export function describeIpvs(operation: IpvsOperation): PlannedChange {
  const vip = 'address' in operation.service ? operation.service.address : undefined;
  return { vip, kind: 'ipvs', op: operation.op, text: `${operationSubject(operation)}${ipvsDetails(operation)}` };
}

/** What a plan of the nat rules does. */
export function describeNat(kind: NatBackendKind, plan: NatBackendPlan): PlannedChange[] {
  return plan.changes().map(({ vip, op, text, kind: by = kind }) => ({ vip, kind: by, op, text }));
}

/** A route of one VIP is about that VIP; one that stands for several is common to them. */
export function describePath(change: PathChange): PlannedChange {
  const prefix = change.op === 'withdrawPath' ? change.prefix : change.path.prefix;
  const [address = '', length] = prefix.split('/');
  const single = length === (address.includes(':') ? '128' : '32');
  return { vip: single ? address : undefined, kind: 'path', op: change.op, text: `${prefix}${pathDetails(change)}` };
}

/** Of the BGP daemon as a whole, and so of no VIP. */
export function describePeer(change: PeerChange): PlannedChange {
  return { vip: undefined, kind: 'peer', op: change.op, text: peerDetails(change) };
}

function peerDetails(change: PeerChange): string {
  switch (change.op) {
    case 'startDaemon':
      return `the daemon itself, AS ${change.asn}, router ${change.routerId}`;
    case 'addPeer':
      return `neighbour ${change.address}, AS ${change.asn}`;
    case 'updatePeer':
      return `neighbour ${change.address}: ${change.differs.join(', ')}`;
    case 'deletePeer':
      return `neighbour ${change.address}`;
  }
}

function pathDetails(change: PathChange): string {
  if (change.op === 'withdrawPath') return '';
  const { nextHop, communities, largeCommunities, localPreference, med } = change.path;
  const words = [...communities.map(formatCommunity), ...largeCommunities.map(formatLargeCommunity)];
  const parts = [
    ` next hop ${nextHop}`,
    words.length === 0 ? '' : ` communities ${words.join(' ')}`,
    localPreference === undefined ? '' : ` local preference ${localPreference}`,
    med === undefined ? '' : ` MED ${med}`,
  ];
  return parts.join('');
}
