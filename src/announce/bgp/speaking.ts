/** How a director tells BGP about its VIPs. `speaker.ts` does it; a data plane that waits for it waits a bounded time. */
import type { BgpConfig } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import type { AnnouncementStatus } from '../announcer.ts';
import type { BgpPath, PeerStatus } from './daemon.ts';

/** Between the daemon and what is wanted of it, for `status`. */
export interface SpeakerDocument {
  readonly endpoint: string;
  /** `connecting` until the first answer; `draining` and `drained` on the way to a planned stop. */
  readonly state: 'connecting' | 'connected' | 'unreachable' | 'draining' | 'drained';
  readonly daemon: { readonly major: 3 | 4; readonly asn: number; readonly routerId: string } | null;
  /** Why it is not connected, or what the daemon refused last; null while all is well. */
  readonly error: string | null;
  readonly attempts: number;
  readonly nextRetryMilliseconds: number | null;
  readonly paths: {
    readonly wanted: number;
    readonly announced: number;
    /** Since the agent started. */
    readonly added: number;
    readonly withdrawn: number;
  };
  readonly peers: readonly PeerStatus[];
}

/** A change of paths that would be made, for `plan`. */
export type PathChange =
  { readonly op: 'addPath' | 'replacePath'; readonly path: BgpPath } | { readonly op: 'withdrawPath'; readonly prefix: string };

/** A change of the daemon itself, or of its neighbours. */
export type PeerChange =
  | { readonly op: 'startDaemon'; readonly asn: number; readonly routerId: string }
  | { readonly op: 'addPeer'; readonly address: Address; readonly asn: number }
  /** What differs, for people. */
  | { readonly op: 'updatePeer'; readonly address: Address; readonly differs: readonly string[] }
  | { readonly op: 'deletePeer'; readonly address: Address };

export interface Speaking {
  /** VIPs that are to be announced, whether the daemon has their paths yet or not. */
  readonly addresses: Iterable<Address>;
  has(address: Address): boolean;
  /** `announced`: the daemon has its path. `frames` counts nothing here and is 0. */
  status(address: Address): AnnouncementStatus | undefined;
  document(): SpeakerDocument;
  /** What routes say, and which neighbours there are. Until this is called nothing is written. */
  configure(config: BgpConfig | undefined): void;
  /**
   * Wants paths for these besides those it has. Returns at once; {@link run} brings them to the daemon, and tries again. To be called at
   * the end of each look at the whole state, also with none: an aggregate of an earlier process that nobody has named by then goes.
   */
  announce(addresses: Iterable<Address>): void;
  /**
   * Wants none for these any more. Resolves when the daemon has taken them back, at once when there is no connection
   * (a daemon that is gone announces nothing), and in any case after the time allowed; true: they are gone for sure.
   */
  withdraw(addresses: Iterable<Address>): Promise<boolean>;
  /**
   * The same for all that do not stay, also paths of an earlier process that the daemon still has. Before this is first
   * called, what is there stays: a restart changes nothing until it knows what is wanted. `stays` is asked again later about
   * paths that the daemon turns out to have.
   */
  withdrawOthers(stays: (address: Address) => boolean): Promise<boolean>;
  /** What a run would do if exactly these were wanted. Reads only. */
  plan(addresses: readonly Address[]): Promise<readonly PathChange[]>;
  /** The same of neighbours, as of the last {@link configure}. */
  planPeers(): Promise<readonly PeerChange[]>;
  /** Connects, compares, writes, listens; until the signal aborts. Leaves the paths where they are. */
  run(signal: AbortSignal): Promise<void>;
  /**
   * Planned stop: marks every path with GRACEFUL_SHUTDOWN (RFC 8326) and the lowest preference, waits so that routers
   * have moved on, takes the paths back. Bounded by `milliseconds` and a little more.
   */
  drain(milliseconds: number): Promise<void>;
}
