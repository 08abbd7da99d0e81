import { routes, type Routing } from '../../desired/bgp.ts';
import type { BgpPath } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import type { BgpDaemon } from './daemon.ts';
import { diffPaths } from './paths.ts';
import type { PathChange } from './speaking.ts';

/**
 * What would change in a daemon if exactly these VIPs were wanted. Reads only.
 * @throws DaemonError when it cannot be asked
 */
export async function planPaths(daemon: BgpDaemon, addresses: readonly Address[], routing: Routing): Promise<readonly PathChange[]> {
  const { asn } = await daemon.identity();
  // One that has no autonomous system yet has no routes either.
  const listed = asn === 0 ? [] : await daemon.list();
  const wanted = new Map<string, BgpPath>();
  for (const [prefix, { path }] of routes(addresses, routing)) wanted.set(prefix, path);
  const { add, replace, withdraw } = diffPaths(wanted, listed);
  return [
    ...add.map((path) => ({ op: 'addPath', path }) as const),
    ...replace.map((path) => ({ op: 'replacePath', path }) as const),
    ...withdraw.map((prefix) => ({ op: 'withdrawPath', prefix }) as const),
  ];
}
