/** Messages about neighbours, as they are sent: AddPeer, UpdatePeer, DeletePeer, ListPeer, and StartBgp. */
import { addressFamily } from '../../model/address.ts';
import type { Address } from '../../model/cluster.ts';
import type { DaemonIdentity, PeerRequest } from './daemon.ts';
import type { Dialect } from './dialect.ts';
import { familyMessage } from './path-messages.ts';
import { defaults, effective } from './peer-defaults.ts';
import { MessageWriter } from './protobuf.ts';

/** PeerConf.description of a neighbour that an agent has set up, by which it is known again. */
export const ourDescription = 'ravel-agent';

/** Fields of Peer and of what is in it. */
export const peerField = {
  conf: 2,
  ebgpMultihop: 3,
  state: 5,
  timers: 6,
  transport: 7,
  gracefulRestart: 9,
  afiSafis: 10,
  bfd: 12,
} as const;
export const confField = { authPassword: 1, description: 2, localAsn: 3, neighborAddress: 4, peerAsn: 5, type: 7 } as const;
export const multihopField = { enabled: 1, ttl: 2 } as const;
export const timersField = { config: 1, state: 2 } as const;
export const timersConfigField = { connectRetry: 1, holdTime: 2, keepaliveInterval: 3, idleHoldTimeAfterReset: 5 } as const;
export const transportField = { localAddress: 1, passiveMode: 4 } as const;
export const gracefulRestartField = { enabled: 1, restartTime: 2, deferralTime: 4 } as const;
export const afiSafiField = { mpGracefulRestart: 1, config: 2, state: 3 } as const;
export const afiSafiConfigField = { family: 1, enabled: 2 } as const;
export const bfdField = { enabled: 1, desiredMinimumTransmit: 3, requiredMinimumReceive: 4, detectionMultiplier: 5 } as const;

function timers(peer: PeerRequest): MessageWriter {
  const { connectRetry, hold, keepalive } = effective(peer);
  return new MessageWriter().message(
    timersField.config,
    new MessageWriter()
      .number(timersConfigField.connectRetry, connectRetry)
      .number(timersConfigField.holdTime, hold)
      .number(timersConfigField.keepaliveInterval, keepalive)
      .number(timersConfigField.idleHoldTimeAfterReset, defaults.idleHoldSecondsAfterReset),
  );
}

/** A neighbour restarts gracefully for the families that say so one by one (RFC 4724 section 3), so each of them does. */
function afiSafi(family: 4 | 6, gracefulRestart: boolean): MessageWriter {
  const message = new MessageWriter();
  if (gracefulRestart) {
    message.message(afiSafiField.mpGracefulRestart, new MessageWriter().message(1, new MessageWriter().flag(1, true)));
  }
  return message.message(
    afiSafiField.config,
    new MessageWriter().message(afiSafiConfigField.family, familyMessage(family)).flag(afiSafiConfigField.enabled, true),
  );
}

/** Peer, in full. `identity`: the daemon's own. */
export function peerMessage(dialect: Dialect, peer: PeerRequest, identity: DaemonIdentity): MessageWriter {
  const restart = peer.gracefulRestartSeconds;
  const message = new MessageWriter().message(
    peerField.conf,
    new MessageWriter()
      .text(confField.authPassword, peer.password ?? '')
      .text(confField.description, ourDescription)
      .number(confField.localAsn, identity.asn)
      .text(confField.neighborAddress, peer.address)
      .number(confField.peerAsn, peer.asn)
      .number(confField.type, peer.asn === identity.asn ? dialect.internalPeer : dialect.externalPeer),
  );
  if (peer.multihop !== undefined) {
    message.message(peerField.ebgpMultihop, new MessageWriter().flag(multihopField.enabled, true).number(multihopField.ttl, peer.multihop));
  }
  message
    .message(peerField.timers, timers(peer))
    .message(
      peerField.transport,
      new MessageWriter()
        .text(transportField.localAddress, addressFamily(peer.address) === 6 ? '::' : '0.0.0.0')
        .flag(transportField.passiveMode, peer.passive ?? false),
    );
  if (restart !== undefined) {
    message.message(
      peerField.gracefulRestart,
      new MessageWriter()
        .flag(gracefulRestartField.enabled, true)
        .number(gracefulRestartField.restartTime, restart)
        .number(gracefulRestartField.deferralTime, defaults.deferralSeconds),
    );
  }
  for (const family of effective(peer).families) message.message(peerField.afiSafis, afiSafi(family, restart !== undefined));
  if (peer.bfd !== undefined) {
    message.message(
      peerField.bfd,
      new MessageWriter()
        .flag(bfdField.enabled, true)
        .number(bfdField.desiredMinimumTransmit, peer.bfd.transmitMilliseconds * 1000)
        .number(bfdField.requiredMinimumReceive, peer.bfd.receiveMilliseconds * 1000)
        .number(bfdField.detectionMultiplier, peer.bfd.multiplier),
    );
  }
  return message;
}

/** AddPeerRequest and UpdatePeerRequest alike. */
export function peerRequest(dialect: Dialect, peer: PeerRequest, identity: DaemonIdentity): Uint8Array {
  return new MessageWriter().message(1, peerMessage(dialect, peer, identity)).finish();
}

export function deletePeerRequest(address: Address): Uint8Array {
  return new MessageWriter().text(1, address).finish();
}

/** All neighbours, or one. `advertised`: with the number of prefixes sent to each. */
export function listPeerRequest(address: Address | undefined, advertised: boolean): Uint8Array {
  return new MessageWriter()
    .text(1, address ?? '')
    .flag(2, advertised)
    .finish();
}

/** StartBgpRequest. */
export function startRequest(speaker: { readonly asn: number; readonly routerId: Address; readonly listenPort?: number }): Uint8Array {
  const global = new MessageWriter()
    .number(1, speaker.asn)
    .text(2, speaker.routerId)
    .signed(3, speaker.listenPort ?? 179);
  return new MessageWriter().message(1, global).finish();
}

/** WatchEventRequest for neighbours. */
export function watchPeersRequest(): Uint8Array {
  return new MessageWriter().message(1, new MessageWriter()).finish();
}
