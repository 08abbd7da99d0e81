/**
 * The BGP daemon as the rest of the agent sees it. `client.ts` speaks to the real one; tests may put another behind it.
 * Everything here rejects with a {@link DaemonError} and has a deadline.
 */
import type { BfdOptions, BgpPath, BgpPeer } from '../../model/bgp.ts';
import type { Clock } from '../../model/clock.ts';
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
  /** Times that it went down since the neighbour was set up; undefined where the daemon does not count (GoBGP 3). */
  readonly flaps: number | undefined;
  readonly received: { readonly updates: number; readonly notifications: number };
  readonly sent: { readonly updates: number; readonly notifications: number };
  /** Prefixes sent to it; undefined where the daemon does not say, or has so many routes (above 20,000) that counting halts it. */
  readonly advertised: number | undefined;
  /** Why it went down last, in the daemon's words; undefined while it never has, or where it does not say. */
  readonly lastError: string | undefined;
  /** Undefined where it is not asked for, or the daemon has none (GoBGP before 4.8): `configured.bfd` is absent then too. */
  readonly bfd: { readonly state: 'up' | 'down' | 'unknown' } | undefined;
  /** It was set up by an agent. */
  readonly ours: boolean;
  /** Its set-up as the daemon has it, with the daemon's defaults; what it does not tell is absent. The password is never there. */
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
  /** Gives a daemon that waits for it its autonomous system. `listenPort`: absent 179, -1 does not listen. */
  start(speaker: { readonly asn: number; readonly routerId: Address; readonly listenPort?: number }): Promise<void>;
  /**
   * Routes of this machine and learned ones for the same prefixes, of both families. With `prefixes`: everything that is
   * there for exactly these, also where all of it is learned; the daemon looks them up. Without: a full sweep, for which
   * the daemon sends its whole table.
   */
  list(prefixes?: readonly string[]): Promise<readonly ListedPath[]>;
  /** Adds, or replaces in one UPDATE. Each path by itself: what fails is returned, the rest is there. */
  add(paths: readonly BgpPath[]): Promise<readonly DaemonFailure[]>;
  /** Takes back paths of ours only; one that is not there is no failure. */
  withdraw(paths: readonly { readonly prefix: string }[]): Promise<readonly DaemonFailure[]>;
  peers(): Promise<readonly PeerStatus[]>;
  addPeer(peer: PeerRequest): Promise<void>;
  /** Changes what differs, and nothing when nothing does. `resets`: an established session went down for it. */
  updatePeer(peer: PeerRequest): Promise<{ readonly resets: boolean }>;
  deletePeer(address: Address): Promise<void>;
  /**
   * Begins with the state of every neighbour and a `gap` (listening from here on: read all), then what changes. Ends when
   * the signal aborts; throws when the connection breaks.
   */
  watch(signal: AbortSignal): AsyncIterable<DaemonEvent>;
  close(): void;
}

/** PEM files, read anew for each connection, so that a renewed certificate is used from the next one on. */
export interface DaemonTls {
  /** Authorities that may sign the daemon's certificate. Absent: the ones Node knows. */
  readonly caFile?: string;
  /** Ours, with its chain; needs `keyFile`. */
  readonly certificateFile?: string;
  readonly keyFile?: string;
  /** Name expected in the daemon's certificate. Absent: the host of the endpoint. */
  readonly serverName?: string;
}

export interface DaemonOptions {
  /** `127.0.0.1:50051`, `[::1]:50051`, `name:50051`, `unix:/run/gobgpd.sock`. */
  readonly endpoint: string;
  /** Absent: without encryption. */
  readonly tls?: DaemonTls;
  readonly clock: Clock;
  /** For one call. Default 5,000. */
  readonly callMilliseconds?: number;
  /** Between two answers of a list. Default 30,000. */
  readonly listMilliseconds?: number;
}

/** `openDaemon` of `client.ts`. Connects when first asked. Throws a TypeError for an endpoint that is none. */
export type OpenDaemon = (options: DaemonOptions) => BgpDaemon;
