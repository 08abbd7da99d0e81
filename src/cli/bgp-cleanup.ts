/** What of ours is in the BGP daemon, for `cleanup`: routes with our mark, and neighbours that an agent set up. */
import { DaemonError, type BgpDaemon, type ListedPath, type PeerStatus } from '../announce/bgp/daemon.ts';
import type { DriverFailure, DriverOutcome } from '../drivers/outcome.ts';
import { openDaemonLater } from '../modes/bgp-daemon.ts';
import { systemClock } from '../reconcile/clock.ts';
import { describePath } from '../reconcile/describe.ts';
import type { PlannedChange } from '../reconcile/plane.ts';
import { bgpOptions } from './bgp-options.ts';
import type { Part } from './cleanup.ts';
import type { CommandContext } from './command.ts';
import { words } from './findings.ts';

const name = 'BGP routes and neighbours';

/**
 * Of every machine but those that say that they are none of this kind. Where nobody said so, a daemon that is not there is
 * worth a word: it has forgotten our routes, or it is somewhere else.
 */
export async function bgpParts(
  { flags, openDaemon = openDaemonLater }: Pick<CommandContext, 'flags' | 'openDaemon'>,
  note: (text: string) => void,
): Promise<Part[]> {
  if (flags.mode !== undefined && flags.mode !== 'bgp') return [];
  const { endpoint, tls } = bgpOptions(flags);
  const daemon = openDaemon({ endpoint, clock: systemClock, ...(tls === undefined ? {} : { tls }) });
  try {
    return [await found(daemon)];
  } catch (error) {
    daemon.close();
    if (!(error instanceof DaemonError)) throw error;
    if (flags.mode === 'bgp')
      return [{ name, changes: [], apply: () => Promise.resolve({ written: 0, failures: [failed(error, endpoint)] }) }];
    note(`routes of a director in mode bgp were not looked for: ${error.message}`);
    return [];
  }
}

async function found(daemon: BgpDaemon): Promise<Part> {
  const { asn } = await daemon.identity();
  const routes = asn === 0 ? [] : (await daemon.list()).filter(({ ours, neighbour }) => ours && neighbour === undefined);
  const peers = asn === 0 ? [] : (await daemon.peers()).filter(({ ours }) => ours);
  return {
    name,
    changes: [...routes.map(({ path: { prefix } }) => describePath({ op: 'withdrawPath', prefix })), ...peers.map(describePeer)],
    apply: () => remove(daemon, routes, peers),
    close: () => daemon.close(),
  };
}

const failed = (error: unknown, subject: string): DriverFailure => ({
  ...{ op: 'bgp.cleanup', subject, code: error instanceof DaemonError ? error.code : 'Error', message: words(error) },
});

const describePeer = ({ address, asn }: PeerStatus): PlannedChange => ({
  ...{ vip: undefined, kind: 'peer', op: 'deletePeer' },
  text: `neighbour ${address}, AS ${asn}`,
});

/** Routes first: a neighbour that is gone without a word may keep them for a while. */
async function remove(daemon: BgpDaemon, routes: readonly ListedPath[], peers: readonly PeerStatus[]): Promise<DriverOutcome> {
  const failures: DriverFailure[] = [];
  const refused = routes.length === 0 ? [] : await daemon.withdraw(routes.map(({ path: { prefix } }) => ({ prefix })));
  failures.push(...refused.map(({ prefix, error }) => failed(error, prefix)));
  for (const { address } of peers) {
    try {
      await daemon.deletePeer(address);
    } catch (error) {
      failures.push(failed(error, address));
    }
  }
  return { written: routes.length + peers.length - failures.length, failures };
}
