/** Counters of a realserver: one per virtual service, in the element that leads to its pods. */
import { NAT_TABLE, SERVICES } from '../diff/nat-layout.ts';
import { forEachElement } from '../diff/nat-elements.ts';
import { natKey, type NatState } from '../diff/nat-state.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import type { NftablesPort } from '../native/nftables-types.ts';
import type { ProgrammedService } from './status-document.ts';

/** Connections so far. The kernel asks a nat chain about the first packet of each connection only. */
export type Connections = ReadonlyMap<VirtualServiceKey, number>;

export async function natConnections(nftables: Pick<NftablesPort, 'elements'>): Promise<Connections> {
  const columns = await nftables.elements(NAT_TABLE, SERVICES.name);
  const connections = new Map<VirtualServiceKey, number>();
  let row = 0;
  forEachElement(SERVICES, columns, ({ key }) => {
    const id = { address: String(key[0]), protocol: Number(key[1]), port: Number(key[2]) };
    connections.set(natKey(id), columns.packets[row] ?? 0);
    row += 1;
  });
  return connections;
}

/** `before` and `seconds` give rates; without them rates are null. */
export function natServices(
  table: Pick<NatState, 'entries'>,
  now: Connections,
  before: Connections | undefined,
  seconds: number,
): ProgrammedService[] {
  return [...table.entries].map(([key, { id, slots }]) => {
    const connections = now.get(key) ?? 0;
    const earlier = before?.get(key);
    // A counter that went back was made anew in between.
    const rate = earlier === undefined || seconds <= 0 ? null : Math.round((Math.max(0, connections - earlier) / seconds) * 10) / 10;
    return {
      ...{ key, address: id.address, scheduler: null },
      traffic: {
        ...{ connections, inPackets: null, inBytes: null },
        ...{ connectionsPerSecond: rate, inPacketsPerSecond: null, inBytesPerSecond: null },
      },
      destinations: [...slots]
        .sort(([a], [b]) => a - b)
        .map(([, { address, port }]) => ({
          ...{ address, port, forward: null, weight: null, activeConnections: null, inactiveConnections: null, traffic: null },
        })),
    };
  });
}
