/** Counters of a realserver: one per virtual service. */
import type { DesiredNatService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import type { ProgrammedService } from './status-document.ts';

/** Connections so far. The kernel asks a nat chain about the first packet of each connection only. */
export type Connections = ReadonlyMap<VirtualServiceKey, number>;

/** `before` and `seconds` give rates; without them rates are null. */
export function natServices(
  held: Iterable<DesiredNatService>,
  now: Connections,
  before: Connections | undefined,
  seconds: number,
): ProgrammedService[] {
  return [...held].map(({ key, address: vip, pods }) => {
    const connections = now.get(key);
    const earlier = before?.get(key);
    // A counter that went back was made anew in between.
    const since = Math.max(0, (connections ?? 0) - (earlier ?? 0));
    const rate = earlier === undefined || seconds <= 0 ? null : Math.round((since / seconds) * 10) / 10;
    return {
      ...{ key, address: vip, scheduler: null, local: null },
      // Nothing counts with --nat-counters=false.
      traffic:
        connections === undefined
          ? null
          : {
              ...{ connections, inPackets: null, inBytes: null },
              ...{ connectionsPerSecond: rate, inPacketsPerSecond: null, inBytesPerSecond: null },
            },
      destinations: pods.map(({ address, port }) => ({
        ...{ address, port, forward: null, weight: null, activeConnections: null, inactiveConnections: null, traffic: null },
      })),
    };
  });
}
