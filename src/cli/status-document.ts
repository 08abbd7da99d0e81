/** What `status` shows: the kernel's side read afresh, and what a running agent knows beyond it. */
import type { DesiredNatService } from '../desired/types.ts';
import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import { destinationIdAt, destinationSpecAt, serviceIdAt, serviceKey, serviceSpecAt, statisticsAt } from '../native/ipvs-columns.ts';
import type { IpvsSnapshot, Statistics } from '../native/ipvs-types.ts';
import type { AgentDocument } from '../observe/agent-document.ts';

export interface Rates {
  readonly connections: number;
  /** Null on a realserver: its rules see the first packet of a connection only. */
  readonly inPackets: number | null;
  readonly inBytes: number | null;
  readonly connectionsPerSecond: number | null;
  readonly inPacketsPerSecond: number | null;
  readonly inBytesPerSecond: number | null;
}

export interface DestinationStatus {
  /** `10.20.0.11:80` on a director, the pod on a realserver. */
  readonly address: string;
  readonly port: number;
  /** Forwarding method; null on a realserver. */
  readonly forward: string | null;
  readonly weight: number | null;
  readonly activeConnections: number | null;
  readonly inactiveConnections: number | null;
  /** Null on a realserver, which counts per virtual service. */
  readonly traffic: Rates | null;
}

export interface ServiceStatus {
  readonly key: VirtualServiceKey;
  readonly programmed: boolean;
  readonly scheduler: string | null;
  readonly traffic: Rates | null;
  readonly reason: { readonly code: string; readonly message: string } | null;
  readonly destinations: readonly DestinationStatus[];
  /** Pods of a director's own machine, and of how many shares each gets one; null when they get nothing, and on a realserver. */
  readonly local: { readonly shares: number; readonly pods: readonly { readonly address: string; readonly port: number }[] } | null;
}

export interface VipStatusDocument {
  readonly address: Address;
  /** The address is on the VIP device. */
  readonly placed: boolean;
  /** What it is announced by; null on a realserver. */
  readonly protocol: 'arp' | 'ndp' | 'bgp' | null;
  /** Null on a realserver, and when no agent runs that could say. */
  readonly announced: boolean | null;
  readonly conflicts: number;
  readonly reason: { readonly code: string; readonly message: string } | null;
  readonly services: readonly ServiceStatus[];
}

export interface StatusDocument {
  readonly mode: AgentDocument['mode'];
  /** Null when none answers on the socket. */
  readonly agent: Omit<AgentDocument, 'vips' | 'reasons'> | null;
  readonly vips: readonly VipStatusDocument[];
}

/** One virtual service as the kernel holds it. */
export type ProgrammedService = Omit<ServiceStatus, 'reason' | 'programmed'> & { readonly address: Address };

function rates(statistics: Statistics): Rates {
  const { connections, inPackets, inBytes, connectionsPerSecond, inPacketsPerSecond, inBytesPerSecond } = statistics;
  return { connections, inPackets, inBytes, connectionsPerSecond, inPacketsPerSecond, inBytesPerSecond };
}

/** Services of a snapshot whose address `ours` accepts. */
export function ipvsServices(snapshot: IpvsSnapshot, ours: (address: Address) => boolean): ProgrammedService[] {
  const found: ProgrammedService[] = [];
  const { services, destinations } = snapshot;
  for (let row = 0; row < services.count; row += 1) {
    const id = serviceIdAt(snapshot, row);
    if (!('address' in id) || !ours(id.address)) continue;
    const rows: DestinationStatus[] = [];
    for (let at = services.firstDestination[row] ?? 0; at < (services.firstDestination[row + 1] ?? 0); at += 1) {
      const { forward, weight } = destinationSpecAt(snapshot, at);
      rows.push({
        ...destinationIdAt(snapshot, at),
        ...{ forward, weight },
        activeConnections: destinations.activeConnections[at] ?? 0,
        inactiveConnections: destinations.inactiveConnections[at] ?? 0,
        traffic: rates(statisticsAt(destinations.statistics, at)),
      });
    }
    found.push({
      ...{ key: serviceKey(id), address: id.address, scheduler: serviceSpecAt(snapshot, row).scheduler },
      ...{ traffic: rates(statisticsAt(services.statistics, row)), destinations: rows, local: null },
    });
  }
  return found;
}

/** The services of a director, with what its own pods get of them. */
export function withLocalShares(services: readonly ProgrammedService[], shares: Iterable<DesiredNatService>): ProgrammedService[] {
  const byKey = new Map([...shares].map((share) => [share.key, share]));
  return services.map((service) => {
    const share = byKey.get(service.key);
    if (share === undefined) return service;
    const { pods, slots = pods.length } = share;
    return { ...service, local: { shares: slots, pods: pods.map(({ address, port }) => ({ address, port })) } };
  });
}

/** Both sides, VIP by VIP. `placed` are the addresses of ours on the VIP device. */
export function statusDocument(
  mode: StatusDocument['mode'],
  placed: ReadonlySet<Address>,
  programmed: readonly ProgrammedService[],
  answer: AgentDocument | undefined,
): StatusDocument {
  const said = new Map(answer?.vips.map((vip) => [vip.address, vip]));
  const reasons = new Map(Object.entries(answer?.reasons ?? {}));
  const byVip = new Map<Address, ServiceStatus[]>();
  const put = (address: Address, service: ServiceStatus): void => void byVip.set(address, [...(byVip.get(address) ?? []), service]);
  for (const { address, ...service } of programmed) {
    put(address, { ...service, programmed: true, reason: reasons.get(service.key) ?? null });
    reasons.delete(service.key);
  }
  for (const [key, reason] of reasons) {
    put(addressOfKey(key), { key, programmed: false, scheduler: null, traffic: null, reason, destinations: [], local: null });
  }
  const addresses = [...new Set([...placed, ...said.keys(), ...byVip.keys()])].sort();
  const agent = answer === undefined ? null : withoutDetails(answer);
  return {
    ...{ mode, agent },
    vips: addresses.map((address) => {
      const vip = said.get(address);
      const services = (byVip.get(address) ?? []).sort((a, b) => (a.key < b.key ? -1 : 1));
      return {
        ...{
          address,
          placed: placed.has(address),
          protocol: protocolOf(mode, address),
          announced: vip?.announced ?? null,
          conflicts: vip?.conflicts ?? 0,
        },
        ...{ reason: vip?.reason ?? null, services },
      };
    }),
  };
}

/** ARP and NDP are answered by the kernel: for IPv6 while the VIP is on the announcing interface too. */
function protocolOf(mode: StatusDocument['mode'], address: Address): VipStatusDocument['protocol'] {
  if (mode === 'realserver') return null;
  if (mode === 'bgp') return 'bgp';
  return address.includes(':') ? 'ndp' : 'arp';
}

function withoutDetails({ vips: _vips, reasons: _reasons, ...agent }: AgentDocument): Omit<AgentDocument, 'vips' | 'reasons'> {
  return agent;
}

/** `10.0.0.1` of `tcp 10.0.0.1:80`, `2001:db8::1` of `tcp [2001:db8::1]:80`. */
function addressOfKey(key: VirtualServiceKey): Address {
  return /^\S+ \[?(.+?)\]?:\d+$/.exec(key)?.[1] ?? key;
}
