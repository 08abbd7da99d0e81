import { routes, type Routing } from '../../desired/bgp.ts';
import type { BgpConfig, BgpPath } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import type { BgpDaemon } from './daemon.ts';
import type { Neighbours } from './neighbours.ts';
import { diffPaths } from './paths.ts';
import type { PathChange, PeerChange } from './speaking.ts';

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

/**
 * What would change in a daemon and its neighbours for this configuration. Reads only.
 * @throws DaemonError when it cannot be asked
 */
export async function planPeers(
  daemon: BgpDaemon,
  config: BgpConfig | undefined,
  neighbours: Pick<Neighbours, 'diff'>,
): Promise<readonly PeerChange[]> {
  const { speaker, peers } = config ?? {};
  const { asn, major } = await daemon.identity();
  const start = asn === 0 && speaker !== undefined ? [{ op: 'startDaemon', ...speaker } as const] : [];
  // Where the autonomous system is another one, or none, neighbours are left as they are.
  if (peers === undefined || (start.length === 0 && (asn === 0 || asn !== (speaker?.asn ?? asn)))) return start;
  const diff = await neighbours.diff(peers, asn === 0 ? [] : await daemon.peers(), major);
  return [
    ...start,
    ...diff.delete.map((address) => ({ op: 'deletePeer', address }) as const),
    ...diff.update.map(({ peer: { address }, differs }) => ({ op: 'updatePeer', address, differs }) as const),
    ...diff.add.map(({ address, asn: theirs }) => ({ op: 'addPeer', address, asn: theirs }) as const),
  ];
}
