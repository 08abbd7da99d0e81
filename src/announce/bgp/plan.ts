import { routes, type Routing } from '../../desired/bgp.ts';
import type { BgpConfig, BgpPath } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import type { BgpDaemon } from './daemon.ts';
import type { Neighbours } from './neighbours.ts';
import { diffPaths } from './paths.ts';
import { mismatch } from './session.ts';
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
  const identity = await daemon.identity();
  const isStarted = identity.asn !== 0;
  if (!isStarted && speaker === undefined) return [];
  const start = isStarted || speaker === undefined ? [] : [{ op: 'startDaemon', asn: speaker.asn, routerId: speaker.routerId } as const];
  if (peers === undefined || (isStarted && mismatch({ config: { wanted: config }, identity }) !== undefined)) return start;
  const diff = await neighbours.diff(peers, isStarted ? await daemon.peers() : [], identity.major);
  return [
    ...start,
    ...diff.delete.map((address) => ({ op: 'deletePeer', address }) as const),
    ...diff.update.map(({ peer: { address }, differs }) => ({ op: 'updatePeer', address, differs }) as const),
    ...diff.add.map(({ address, asn: theirs }) => ({ op: 'addPeer', address, asn: theirs }) as const),
  ];
}
