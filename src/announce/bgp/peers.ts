/** Neighbours that the daemon has against those it is to have. Pure. */
import type { BfdOptions, BgpPeer } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import type { PeerStatus } from './daemon.ts';
import { effective } from './peer-defaults.ts';

export interface PeerUpdate {
  readonly peer: BgpPeer;
  /** What differs, for people: `hold time 90 s instead of 9 s`. A password is named, not shown. */
  readonly differs: readonly string[];
}

export interface PeerDiff {
  readonly add: readonly BgpPeer[];
  readonly update: readonly PeerUpdate[];
  /** Ours, and wanted no more. */
  readonly delete: readonly Address[];
  /** Wanted, and set up by somebody else: theirs stays as it is. */
  readonly foreign: readonly Address[];
}

export interface PeerDiffOptions {
  /** The daemon detects dead paths. */
  readonly bfd: boolean;
  /** Whether the daemon has the password that is wanted. */
  readonly passwordMatches: (peer: BgpPeer, status: PeerStatus) => boolean;
}

export function diffPeers(wanted: readonly BgpPeer[], listed: readonly PeerStatus[], options: PeerDiffOptions): PeerDiff {
  const there = new Map(listed.map((status) => [status.address, status]));
  const asked = new Map<Address, BgpPeer>();
  for (const peer of wanted) if (!asked.has(peer.address)) asked.set(peer.address, peer);
  const add: BgpPeer[] = [];
  const update: PeerUpdate[] = [];
  const foreign: Address[] = [];
  for (const [address, peer] of asked) {
    const status = there.get(address);
    if (status === undefined) add.push(peer);
    else if (!status.ours) foreign.push(address);
    else {
      const differs = differences(peer, status, options);
      if (differs.length > 0) update.push({ peer, differs });
    }
  }
  return { add, update, delete: listed.filter(({ ours, address }) => ours && !asked.has(address)).map(({ address }) => address), foreign };
}

type Shown = string | number | undefined;

/** What the daemon does not tell of itself is taken to be right. */
function differences(peer: BgpPeer, status: PeerStatus, options: PeerDiffOptions): string[] {
  const { configured } = status;
  const { hold, keepalive, connectRetry, families: asked } = effective(peer);
  const told: [name: string, wanted: Shown, has: Shown][] = [
    ['autonomous system', peer.asn, configured.asn],
    // Absent says that it is off.
    ['hops', peer.multihop ?? 'one', configured.multihop ?? 'one'],
    ['passive', yes(peer.passive), yes(configured.passive)],
    ['graceful restart', seconds(peer.gracefulRestartSeconds) ?? 'off', seconds(configured.gracefulRestartSeconds) ?? 'off'],
    ['hold time', seconds(hold), seconds(configured.holdSeconds)],
    ['keepalive interval', seconds(keepalive), seconds(configured.keepaliveSeconds)],
    ['connect retry', seconds(connectRetry), seconds(configured.connectRetrySeconds)],
    ['address families', families(asked), configured.families && families(configured.families)],
  ];
  if (options.bfd) told.push(['BFD', bfd(peer.bfd), bfd(configured.bfd)]);
  const found = told.filter(([, wanted, has]) => has !== undefined && wanted !== has);
  return [
    ...found.map(([name, wanted, has]) => `${name} ${has} instead of ${wanted}`),
    ...(options.passwordMatches(peer, status) ? [] : ['password']),
  ];
}

const yes = (value: boolean | undefined): string => (value === true ? 'yes' : 'no');
const seconds = (value: number | undefined): string | undefined => (value === undefined ? undefined : `${value} s`);
const families = (list: readonly (4 | 6)[]): string =>
  [...new Set(list)]
    .sort()
    .map((family) => `IPv${family}`)
    .join(' and ');

function bfd(options: BfdOptions | undefined): string {
  if (options === undefined) return 'off';
  return `${options.transmitMilliseconds} ms/${options.receiveMilliseconds} ms/${options.multiplier}`;
}
