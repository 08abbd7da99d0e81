/**
 * The BGP daemon as the rest of the agent sees it. `client.ts` speaks to the real one; tests may put another behind it.
 * Everything here rejects with a {@link DaemonError} and has a deadline.
 */
import type { BfdOptions, BgpPath, BgpPeer } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';

export type { BgpPath };

/** A route as the daemon lists it. */
export interface ListedPath {
  readonly path: BgpPath;
  /** It bears our mark: put there by an agent on this machine, now or before a restart. */
  readonly ours: boolean;
  /** Neighbour that told it; undefined for routes made on this machine. */
  readonly neighbour: Address | undefined;
  /** Autonomous system that it comes from: the last of AS_PATH. Absent where that is empty: it was made in our own. */
  readonly originAsn?: number;
  readonly best: boolean;
}

export type SessionState = 'idle' | 'connect' | 'active' | 'openSent' | 'openConfirm' | 'established' | 'unknown';

export interface PeerStatus {
  readonly address: Address;
  readonly asn: number;
  readonly state: SessionState;
  /** Disabled by an operator (gobgp's admin state). */
  readonly disabled: boolean;
  /** Since when the session is up, seconds since the epoch; undefined while it is not. */
  readonly establishedSeconds: number | undefined;
  /** Times that it went down since the daemon started. */
  readonly flaps: number;
  readonly received: { readonly updates: number; readonly notifications: number };
  readonly sent: { readonly updates: number; readonly notifications: number };
  /** Prefixes sent to it; undefined where the daemon does not say. */
  readonly advertised: number | undefined;
  /** Why it went down last, in the daemon's words; undefined while it never has, or where it does not say. */
  readonly lastError: string | undefined;
  readonly bfd: { readonly state: 'up' | 'down' | 'unknown' } | undefined;
  /** It was set up by an agent. */
  readonly ours: boolean;
  /** Its set-up as the daemon has it; what it does not tell is absent. The password is never there. */
  readonly configured: Omit<BgpPeer, 'passwordFile'>;
  /**
   * Whether this is the password that the daemon has for it; undefined asks for none. A function, so that the password is in no
   * document. Absent: the daemon does not tell.
   */
  readonly hasPassword?: (password: string | undefined) => boolean;
}

/** A neighbour to set up; the password is read by then. */
export interface PeerRequest extends Omit<BgpPeer, 'passwordFile' | 'bfd'> {
  readonly password?: string;
  readonly bfd?: BfdOptions;
}

export interface DaemonIdentity {
  /** 3 or 4: what it speaks. */
  readonly major: 3 | 4;
  /** 0: it waits to be told. */
  readonly asn: number;
  readonly routerId: string;
  /** -1: it does not listen. */
  readonly listenPort: number;
}

export interface DaemonFailure {
  readonly prefix: string;
  readonly error: DaemonError;
}

export type DaemonCode =
  /** No connection, or it broke. */
  | 'Unreachable'
  /** No answer in time. */
  | 'Timeout'
  /** The certificate, the client's or the daemon's, is not accepted. */
  | 'TlsRefused'
  /** Something else answers there, or a version that is not known. */
  | 'NotGobgp'
  /** It runs, and has no autonomous system yet. */
  | 'NotStarted'
  /** The daemon said no; its words are in the message. */
  | 'Refused';

export class DaemonError extends Error {
  override readonly name = 'DaemonError';
  readonly code: DaemonCode;
  /** `addPath`, … */
  readonly operation: string;
  /** What it was about: a prefix, a peer, the endpoint. */
  readonly subject: string;

  constructor(code: DaemonCode, operation: string, subject: string, text: string, options?: ErrorOptions) {
    super(`${operation} ${subject}: ${text}`, options);
    this.code = code;
    this.operation = operation;
    this.subject = subject;
  }
}

/** Something changed at a neighbour, or the stream of news broke and all is to be read again. */
export type DaemonEvent = { readonly kind: 'peer'; readonly address: Address; readonly state: SessionState } | { readonly kind: 'gap' };

export interface BgpDaemon {
  /** Where it is, for people. */
  readonly endpoint: string;
  identity(): Promise<DaemonIdentity>;
  /** Gives a daemon that waits for it its autonomous system. */
  start(speaker: { readonly asn: number; readonly routerId: Address; readonly listenPort?: number }): Promise<void>;
  /** Routes of this machine and learned ones for the same prefixes, of both families. */
  list(): Promise<readonly ListedPath[]>;
  /** Adds, or replaces in one UPDATE. Each path by itself: what fails is returned, the rest is there. */
  add(paths: readonly BgpPath[]): Promise<readonly DaemonFailure[]>;
  /** Takes back paths of ours only; one that is not there is no failure. */
  withdraw(paths: readonly { readonly prefix: string }[]): Promise<readonly DaemonFailure[]>;
  peers(): Promise<readonly PeerStatus[]>;
  addPeer(peer: PeerRequest): Promise<void>;
  /** `resets`: the session went down for it. */
  updatePeer(peer: PeerRequest): Promise<{ readonly resets: boolean }>;
  deletePeer(address: Address): Promise<void>;
  /** Ends when the signal aborts; throws when the connection breaks. */
  watch(signal: AbortSignal): AsyncIterable<DaemonEvent>;
  close(): void;
}
