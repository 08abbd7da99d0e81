/** Where a director's IPVS places connections, asked by first segments that nobody answers (programs/segments.c). */
import type { Namespace } from './namespace.ts';
import { compiled } from './programs.ts';

export interface Asked {
  readonly source: string;
  readonly firstPort: number;
  readonly count: number;
  readonly vip: string;
  readonly port: number;
}

/** Sends from `client`, which has `source` and a route to the VIP; gives how many were sent. */
export async function sendSegments(client: Namespace, { source, firstPort, count, vip, port }: Asked, kind = 'syn'): Promise<number> {
  const { stdout } = await client.run([compiled('segments'), source, `${firstPort}`, `${count}`, vip, `${port}`, kind]);
  return Number(stdout);
}

/** Source address and port of each connection to `port` → its destination, all as /proc/net/ip_vs_conn has them. */
export async function placements(director: Namespace, port: number): Promise<Map<string, string>> {
  const { stdout } = await director.run(['cat', '/proc/net/ip_vs_conn']);
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  const found = new Map<string, string>();
  for (const line of stdout.split('\n').slice(1)) {
    const [, from = '', fromPort = '', , toPort, destination = ''] = line.trim().split(/\s+/);
    if (toPort === wanted) found.set(`${from} ${fromPort}`, destination);
  }
  return found;
}

export interface Compared {
  /** In both. */
  readonly both: number;
  readonly differ: number;
}

export function compare(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): Compared {
  let both = 0;
  let differ = 0;
  for (const [flow, destination] of a) {
    const other = b.get(flow);
    if (other === undefined) continue;
    both += 1;
    if (other !== destination) differ += 1;
  }
  return { both, differ };
}
