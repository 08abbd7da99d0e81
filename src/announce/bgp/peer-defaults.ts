/** What a neighbour is set up with where nothing is said. Apart from the messages, so that comparing loads none of them. */
import { isIPv6 } from 'node:net';
import type { PeerRequest } from './daemon.ts';

/**
 * What the daemon puts in for what is not said. Said by us all the same: UpdatePeer of GoBGP 3 takes an absent value for a
 * change, writes it down, and resets the session for it.
 */
export const defaults = {
  connectRetrySeconds: 120,
  holdSeconds: 90,
  idleHoldSecondsAfterReset: 30,
  /** RFC 4724 section 4.1: how long a restarted speaker waits for the routes of its neighbours before it chooses. */
  deferralSeconds: 360,
} as const;

/** What the neighbour's session is set up with, defaults included. */
export function effective(peer: PeerRequest): {
  readonly connectRetry: number;
  readonly hold: number;
  readonly keepalive: number;
  readonly families: readonly (4 | 6)[];
} {
  const hold = peer.holdSeconds ?? defaults.holdSeconds;
  return {
    connectRetry: peer.connectRetrySeconds ?? defaults.connectRetrySeconds,
    hold,
    // RFC 4271 section 4.4: a third of the hold time. The daemon keeps whole seconds.
    keepalive: peer.keepaliveSeconds ?? Math.floor(hold / 3),
    // Over a session of the other family the daemon has no next hop that routers can use: an IPv4-mapped one for IPv6.
    families: peer.families ?? [isIPv6(peer.address) ? 6 : 4],
  };
}
