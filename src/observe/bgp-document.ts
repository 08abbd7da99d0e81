/** Between an agent and its BGP daemon, as `status` tells it: nothing absent, nothing secret. */
import type { SpeakerDocument } from '../announce/bgp/speaking.ts';
import type { Address } from '../model/cluster.ts';

type Peer = SpeakerDocument['peers'][number];

export interface BgpPeerDocument {
  readonly address: Address;
  readonly asn: number;
  readonly state: Peer['state'];
  /** Disabled by an operator. */
  readonly disabled: boolean;
  /** Since when the session is up; null while it is not. */
  readonly since: string | null;
  /** Prefixes sent to it; null where the daemon does not say. */
  readonly advertised: number | null;
  /** Times that it went down; null where the daemon does not count. */
  readonly flaps: number | null;
  readonly received: Peer['received'];
  readonly sent: Peer['sent'];
  /** Why it went down last; null while it never has, or where the daemon does not say. */
  readonly lastError: string | null;
  /** Null where there is none. */
  readonly bfd: 'up' | 'down' | 'unknown' | null;
  /** It was set up by an agent. */
  readonly managed: boolean;
}

export interface BgpDocument extends Omit<SpeakerDocument, 'peers'> {
  readonly peers: readonly BgpPeerDocument[];
}

export function bgpDocument({ peers, ...rest }: SpeakerDocument): BgpDocument {
  return { ...rest, peers: peers.map(peerDocument) };
}

function peerDocument(peer: Peer): BgpPeerDocument {
  const { address, asn, state, disabled, received, sent, ours, establishedSeconds, advertised, flaps, lastError, bfd } = peer;
  return {
    ...{ address, asn, state, disabled, received, sent, managed: ours },
    since: establishedSeconds === undefined ? null : new Date(establishedSeconds * 1000).toISOString(),
    advertised: advertised ?? null,
    flaps: flaps ?? null,
    lastError: lastError ?? null,
    bfd: bfd?.state ?? null,
  };
}
