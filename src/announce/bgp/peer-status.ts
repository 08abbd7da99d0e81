/** Messages about neighbours, as they come: ListPeer, WatchEvent; and GetBgp. */
import { canonicalAddress } from '../../model/address.ts';
import type { DaemonEvent, DaemonIdentity, PeerStatus, SessionState } from './daemon.ts';
import type { Dialect } from './dialect.ts';
import { foreignText } from './foreign-text.ts';
import {
  afiSafiConfigField,
  afiSafiField,
  bfdField,
  confField,
  gracefulRestartField,
  multihopField,
  ourDescription,
  peerField,
  timersConfigField,
  timersField,
  transportField,
} from './peer-messages.ts';
import { Fields } from './protobuf.ts';

/** Fields of PeerState, of Messages and Message, of TimersState, AfiSafiState and BfdPeerState. */
const stateField = { messages: 4, sessionState: 13, adminState: 15, flops: 17, disconnectReason: 21, disconnectMessage: 22, bfdState: 23 };
const messagesField = { received: 1, sent: 2 };
const messageField = { notification: 1, update: 2 };
const uptimeField = 6;
const advertisedField = 5;
const bfdSessionField = 1;

const sessionStates: readonly SessionState[] = ['unknown', 'idle', 'connect', 'active', 'openSent', 'openConfirm', 'established'];
const bfdStates: readonly ('up' | 'down' | 'unknown')[] = ['unknown', 'up', 'down', 'down', 'down'];

/** PeerState.DisconnectReason of GoBGP 4, in words; 0 is none. */
const disconnectReasons: readonly (string | undefined)[] = [
  undefined,
  'taken out of service',
  'hold timer expired',
  'notification sent',
  'notification received',
  'read failed',
  'write failed',
  'idle timer expired',
  'restart timer expired',
  'graceful restart',
  'invalid message',
  'hard reset',
  'removed',
  'wrong autonomous system',
];

/** An interface follows the address of a link-local neighbour; what is no address at all stays as it came. */
function addressOf(text: string): string {
  return canonicalAddress(text) ?? foreignText(text);
}

function counters(message: Fields): { readonly updates: number; readonly notifications: number } {
  return { updates: message.number(messageField.update), notifications: message.number(messageField.notification) };
}

function lastError(state: Fields): string | undefined {
  const code = state.number(stateField.disconnectReason);
  const words = [code === 0 ? undefined : (disconnectReasons[code] ?? `reason ${code}`), state.text(stateField.disconnectMessage)];
  return foreignText(words.filter(Boolean).join(': ')) || undefined;
}

/** IPv4 and IPv6 unicast, as far as they are enabled. */
function families(afiSafis: readonly Fields[]): (4 | 6)[] {
  return afiSafis.flatMap((afiSafi) => {
    const config = afiSafi.message(afiSafiField.config);
    const family = config.message(afiSafiConfigField.family);
    if (!config.flag(afiSafiConfigField.enabled) || family.number(2) !== 1) return [];
    return family.number(1) === 1 ? [4 as const] : family.number(1) === 2 ? [6 as const] : [];
  });
}

function configured(address: string, peer: Fields): PeerStatus['configured'] {
  const multihop = peer.message(peerField.ebgpMultihop);
  const timers = peer.message(peerField.timers).message(timersField.config);
  const restart = peer.message(peerField.gracefulRestart);
  const bfd = peer.message(peerField.bfd);
  return {
    address,
    asn: peer.message(peerField.conf).number(confField.peerAsn),
    ...(multihop.flag(multihopField.enabled) && { multihop: multihop.number(multihopField.ttl) }),
    holdSeconds: timers.number(timersConfigField.holdTime),
    keepaliveSeconds: timers.number(timersConfigField.keepaliveInterval),
    connectRetrySeconds: timers.number(timersConfigField.connectRetry),
    passive: peer.message(peerField.transport).flag(transportField.passiveMode),
    ...(restart.flag(gracefulRestartField.enabled) && { gracefulRestartSeconds: restart.number(gracefulRestartField.restartTime) }),
    ...(bfd.flag(bfdField.enabled) && {
      bfd: {
        transmitMilliseconds: bfd.number(bfdField.desiredMinimumTransmit) / 1000,
        receiveMilliseconds: bfd.number(bfdField.requiredMinimumReceive) / 1000,
        multiplier: bfd.number(bfdField.detectionMultiplier),
      },
    }),
    families: families(peer.messages(peerField.afiSafis)),
  };
}

/** A neighbour, and what of it is for nobody else to see. */
export interface ListedPeer {
  readonly status: PeerStatus;
  /** Daemons tell it to whoever asks. */
  readonly password: string;
}

/**
 * ListPeerResponse.
 * @param advertised numbers of prefixes were asked for
 * @throws MessageError
 */
export function readListedPeer(bytes: Uint8Array, dialect: Dialect, advertised: boolean): ListedPeer {
  const peer = new Fields(bytes).message(1);
  const conf = peer.message(peerField.conf);
  const state = peer.message(peerField.state);
  const address = addressOf(conf.text(confField.neighborAddress));
  const session = sessionStates[state.number(stateField.sessionState)] ?? 'unknown';
  const up = peer.message(peerField.timers).message(timersField.state).message(uptimeField).number(1);
  const bfd = state.messageOrNone(stateField.bfdState);
  const sum = (total: number, afiSafi: Fields): number => total + afiSafi.message(afiSafiField.state).number(advertisedField);
  return {
    password: conf.text(confField.authPassword),
    status: {
      address,
      asn: conf.number(confField.peerAsn),
      state: session,
      disabled: state.number(stateField.adminState) === dialect.adminDown,
      establishedSeconds: session === 'established' && up > 0 ? up : undefined,
      flaps: dialect.major === 3 ? undefined : state.number(stateField.flops),
      received: counters(state.message(stateField.messages).message(messagesField.received)),
      sent: counters(state.message(stateField.messages).message(messagesField.sent)),
      // The daemon counts what it would send also to a neighbour that is not there.
      advertised: !advertised ? undefined : session === 'established' ? peer.messages(peerField.afiSafis).reduce(sum, 0) : 0,
      lastError: lastError(state),
      bfd:
        bfd !== undefined && peer.message(peerField.bfd).flag(bfdField.enabled)
          ? { state: bfdStates[bfd.number(bfdSessionField)] ?? 'unknown' }
          : undefined,
      ours: conf.text(confField.description) === ourDescription,
      configured: configured(address, peer),
    },
  };
}

/** WatchEventResponse.PeerEvent.Type, the same in both versions. */
const endOfInitial = 2;

/**
 * WatchEventResponse; undefined for what was not asked for.
 * @throws MessageError
 */
export function readPeerEvent(bytes: Uint8Array): DaemonEvent | undefined {
  const event = new Fields(bytes).messageOrNone(2);
  if (event === undefined) return undefined;
  if (event.number(1) === endOfInitial) return { kind: 'gap' };
  const peer = event.message(2);
  return {
    kind: 'peer',
    address: addressOf(peer.message(peerField.conf).text(confField.neighborAddress)),
    state: sessionStates[peer.message(peerField.state).number(stateField.sessionState)] ?? 'unknown',
  };
}

/**
 * GetBgpResponse.
 * @throws MessageError
 */
export function readIdentity(bytes: Uint8Array, major: 3 | 4): DaemonIdentity {
  const global = new Fields(bytes).message(1);
  return { major, asn: global.number(1), routerId: canonicalAddress(global.text(2)) ?? '', listenPort: global.number(3) };
}
