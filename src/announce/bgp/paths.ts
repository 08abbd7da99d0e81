/** What the daemon has against what it is to have. Pure. */
import { samePath } from '../../desired/bgp.ts';
import type { BgpPath, ListedPath } from './daemon.ts';

/** Somebody else announces a prefix of ours. */
export interface PathConflict {
  readonly prefix: string;
  /** Neighbours that told it, with its autonomous system; or this machine. In the order listed. */
  readonly by: readonly string[];
}

export interface PathDiff {
  readonly add: readonly BgpPath[];
  readonly replace: readonly BgpPath[];
  /** Ours, and wanted no more. */
  readonly withdraw: readonly string[];
}

/** Prefix → the route of it that bears our mark. */
export function oursOf(listed: readonly ListedPath[]): Map<string, BgpPath> {
  const ours = new Map<string, BgpPath>();
  for (const { path, ours: marked, neighbour } of listed) {
    // The mark is local to the daemon: what a neighbour tells cannot bear it, whatever the daemon says.
    if (marked && neighbour === undefined) ours.set(path.prefix, path);
  }
  return ours;
}

/**
 * Changes that lead from what is listed to what is wanted. Routes of neighbours and of others on this
 * machine count for nothing: ours is added beside them, and they stay.
 */
export function diffPaths(wanted: ReadonlyMap<string, BgpPath>, listed: readonly ListedPath[]): PathDiff {
  const ours = oursOf(listed);
  const add: BgpPath[] = [];
  const replace: BgpPath[] = [];
  for (const [prefix, path] of wanted) {
    const there = ours.get(prefix);
    if (there === undefined) add.push(path);
    else if (!samePath(there, path)) replace.push(path);
  }
  return { add, replace, withdraw: [...ours.keys()].filter((prefix) => !wanted.has(prefix)) };
}

/**
 * Who else announces the prefixes asked about. Another director in our own autonomous system is the normal case, as is one that a
 * route reflector tells of: only an origin in another system is a conflict, or a route that another program made in this daemon.
 */
export function conflictsIn(listed: readonly ListedPath[], asn: number, asks: (prefix: string) => boolean): Map<string, PathConflict> {
  const found = new Map<string, string[]>();
  for (const { path, ours, neighbour, originAsn } of listed) {
    if ((ours && neighbour === undefined) || !asks(path.prefix)) continue;
    if (neighbour !== undefined && (originAsn === undefined || originAsn === asn)) continue;
    const who =
      neighbour === undefined ? 'another program on this machine' : `autonomous system ${originAsn} (told by neighbour ${neighbour})`;
    found.set(path.prefix, [...(found.get(path.prefix) ?? []), who]);
  }
  return new Map([...found].map(([prefix, by]) => [prefix, { prefix, by }]));
}
