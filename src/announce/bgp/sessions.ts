/** What neighbours mean for routes. Pure. */
import { familyOfPrefix } from '../../desired/bgp.ts';
import type { Reason } from '../../model/cluster.ts';
import type { PeerStatus } from './daemon.ts';

/** Named in a message; the others are in `status`. */
const shown = 3;

/**
 * Why nobody hears of a route of this family although the daemon has it; undefined when somebody does. The words stay the same while
 * a neighbour goes through the states of its session.
 */
export function deaf(peers: readonly PeerStatus[], prefix: string, problem: string | undefined): Reason | undefined {
  const family = familyOfPrefix(prefix);
  const carries = peers.filter(({ configured }) => configured.families?.includes(family) ?? true);
  if (carries.some(({ state }) => state === 'established')) return undefined;
  const because = problem === undefined ? '' : `; ${problem}`;
  const message = (text: string): Reason => ({ code: 'BgpNoSession', message: `${text}${because}` });
  if (peers.length === 0) return message('the BGP daemon has no neighbour: nobody hears of the route');
  if (carries.length === 0) return message(`no neighbour of the BGP daemon takes IPv${family} routes`);
  const names = carries.slice(0, shown).map(({ address, asn }) => `${address} of autonomous system ${asn}`);
  const more = carries.length > shown ? [`${carries.length - shown} more`] : [];
  return message(`no session is up with ${[...names, ...more].join(', ')}`);
}

/** What of neighbours is worth telling at once. */
export function outline(peers: readonly PeerStatus[]): string {
  return JSON.stringify(
    peers.map(({ address, asn, state, disabled, configured }) => [address, asn, state === 'established', disabled, configured.families]),
  );
}
