/** One connection to the daemon, from the first question until it breaks. Ends by an error; what is next is the speaker's to say. */
import { Backoff } from '../../model/backoff.ts';
import type { BgpConfig } from '../../model/bgp.ts';
import { DaemonError, type BgpDaemon, type DaemonFailure, type DaemonIdentity, type PeerStatus } from './daemon.ts';
import type { Alteration } from './alterations.ts';
import type { RouteLedger } from './ledger.ts';
import type { Neighbours } from './neighbours.ts';
import { News } from './news.ts';
import { conflictsIn, oursOf, type PathConflict } from './paths.ts';
import type { SpeakerOptions } from './speaker-options.ts';

/** What outlives a connection, and what the last one found out. */
export interface SpeakerState {
  readonly ledger: RouteLedger;
  readonly neighbours: Neighbours;
  /** Undefined until it was said: nothing is written before. */
  config: { readonly wanted: BgpConfig | undefined } | undefined;
  identity: DaemonIdentity | undefined;
  /** Undefined: not looked at yet. */
  peers: readonly PeerStatus[] | undefined;
  /** Prefix → what the daemon said about our last attempt. */
  readonly refused: Map<string, string>;
  conflicts: ReadonlyMap<string, PathConflict>;
  /** Routes written since the agent started. */
  added: number;
  withdrawn: number;
}

export interface SessionHooks {
  /** All that is there was read. */
  readonly connected: () => void;
  readonly changed: (prefixes: Iterable<string> | 'all') => void;
  readonly peers: (peers: readonly PeerStatus[]) => void;
}

/** Routes in one call. What is to go waits for the end of a call that adds. */
const batch = 1000;
/** A route that was changed is looked at again so long after it was mended. */
const mendedMilliseconds = 1000;
/** Neighbours are listed at most so often, however much they tell. */
const peersPace = 250;

/** Why the daemon's autonomous system is not the one asked for; undefined when it is. */
export function mismatch({ config, identity }: Pick<SpeakerState, 'config' | 'identity'>): string | undefined {
  const speaker = config?.wanted?.speaker;
  if (speaker === undefined || identity === undefined || identity.asn === speaker.asn) return undefined;
  return `the BGP daemon has autonomous system ${identity.asn}, not ${speaker.asn}: neighbours are left as they are`;
}

export class Session {
  readonly #daemon: BgpDaemon;
  readonly #state: SpeakerState;
  readonly #options: SpeakerOptions;
  readonly #hooks: SessionHooks;
  readonly #retry: Backoff;
  readonly #news: News;
  #over = false;
  #listAt = Number.POSITIVE_INFINITY;
  #peersAt = Number.POSITIVE_INFINITY;
  #peersSeen = Number.NEGATIVE_INFINITY;
  /** Neighbours and their password files are to be compared even if nothing else tells so. */
  #manage = true;
  /** Neighbours were written after they were last listed for that reason. */
  #manageAgain = false;
  #retryAt = Number.POSITIVE_INFINITY;
  #wake: () => void = () => {};

  constructor(daemon: BgpDaemon, state: SpeakerState, options: SpeakerOptions, hooks: SessionHooks) {
    this.#daemon = daemon;
    this.#state = state;
    this.#options = options;
    this.#hooks = hooks;
    this.#news = new News(daemon, options.clock, {
      gap: () => {
        this.#listAt = Number.NEGATIVE_INFINITY;
        this.#reconsiderPeers();
        this.#wake();
      },
      peer: () => {
        this.#peersAt = Math.min(this.#peersAt, this.#peersSeen + peersPace);
        this.#wake();
      },
    });
    this.#retry = new Backoff({ random: options.random, longest: 10_000 });
  }

  /** Failures since the last time that nothing was refused. */
  get attempts(): number {
    return this.#retry.attempts;
  }

  /** When what was refused is tried again, on the clock. */
  get retryAt(): number {
    return this.#retryAt;
  }

  /** There is something to do. */
  wake(): void {
    this.#wake();
  }

  /** Other things are wanted of the daemon. */
  reconfigure(): void {
    this.#state.neighbours.reconfigured();
    this.#reconsiderPeers();
    this.#wake();
  }

  /** Resolves when the signal aborts, rejects when the connection is of no use any more. */
  async run(signal: AbortSignal): Promise<void> {
    let stop: () => void = () => {};
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
      signal.addEventListener('abort', stop, { once: true });
    });
    let broke: (error: unknown) => void = () => {};
    const broken = new Promise<never>((_, reject) => (broke = reject));
    try {
      await Promise.race([stopped, broken, this.#serve(broke)]);
    } finally {
      this.#over = true;
      signal.removeEventListener('abort', stop);
      this.#news.end();
      this.#wake();
      this.#daemon.close();
    }
  }

  async #serve(broke: (error: unknown) => void): Promise<void> {
    this.#state.identity = await this.#introduce();
    await this.#news.begin(broke);
    this.#state.neighbours.connected(this.#state.identity.major);
    await this.#lookAtPeers();
    await this.#list();
    this.#hooks.connected();
    while (!this.#over) {
      const now = this.#options.clock.now();
      if (Math.min(this.#listAt, this.#retryAt) <= now) await this.#list(this.#state.ledger.prefixes);
      else if (this.#state.config !== undefined && this.#state.ledger.pending) await this.#write();
      else if (this.#peersAt <= now) await this.#lookAtPeers();
      else await this.#sleep(Math.min(this.#listAt, this.#retryAt, this.#peersAt) - now);
    }
  }

  /** Who is there; a daemon that waits for its autonomous system is given it. */
  async #introduce(): Promise<DaemonIdentity> {
    const identity = await this.#ask(this.#daemon.identity());
    if (identity.asn !== 0) return identity;
    while (this.#state.config === undefined) await this.#sleep(Number.POSITIVE_INFINITY);
    const speaker = this.#state.config.wanted?.speaker;
    const unstarted = (text: string): DaemonError => new DaemonError('NotStarted', 'getBgp', this.#daemon.endpoint, text);
    if (speaker === undefined) throw unstarted('the BGP daemon has no autonomous system, and none is configured');
    await this.#ask(this.#daemon.start(speaker));
    this.#options.log.info('BGP daemon started', { endpoint: this.#daemon.endpoint, asn: speaker.asn, routerId: speaker.routerId });
    const started = await this.#ask(this.#daemon.identity());
    if (started.asn === 0) throw unstarted('the BGP daemon took an autonomous system, and still has none');
    return started;
  }

  /** What the daemon has; only for these prefixes where they are given. */
  async #list(prefixes?: readonly string[]): Promise<void> {
    const { ledger, identity, refused } = this.#state;
    const { clock, auditMilliseconds = 60_000 } = this.#options;
    // A gap while this is under way asks for another.
    this.#listAt = clock.now() + auditMilliseconds;
    this.#retryAt = Number.POSITIVE_INFINITY;
    const audit = prefixes !== undefined;
    const listed = prefixes?.length === 0 ? [] : await this.#ask(this.#daemon.list(prefixes));
    this.#consider(ledger.listed(oursOf(listed)));
    this.#state.conflicts = conflictsIn(listed, identity?.asn ?? 0, (prefix) => ledger.wants(prefix));
    for (const prefix of refused.keys()) if (!ledger.wants(prefix) && !ledger.holds(prefix)) refused.delete(prefix);
    if (audit) this.#reconsiderPeers();
    this.#hooks.changed('all');
  }

  #consider(altered: readonly Alteration[]): void {
    const { log, clock } = this.#options;
    const count = (kind: Alteration): number => altered.filter((one) => one === kind).length;
    const [mended, accepted] = [count('mended'), count('accepted')];
    if (mended > 0) this.#listAt = Math.min(this.#listAt, clock.now() + mendedMilliseconds);
    if (mended > 0) log.info('routes were changed by somebody else, and are written again', { routes: mended });
    if (accepted > 0) log.warn('the BGP daemon keeps other routes than it was given, and they are left so', { routes: accepted });
  }

  #reconsiderPeers(): void {
    this.#manage = true;
    this.#peersAt = Number.NEGATIVE_INFINITY;
  }

  async #write(): Promise<void> {
    const { ledger } = this.#state;
    const { withdraw, add } = ledger.take(batch);
    if (withdraw.length > 0) {
      const failures = await this.#ask(this.#daemon.withdraw(withdraw.map((prefix) => ({ prefix }))));
      const done = succeeded(withdraw, failures);
      this.#state.withdrawn += done.length;
      ledger.wrote({ withdrawn: done, added: [], refused: refusals(failures) });
      this.#account(withdraw, failures);
    }
    if (add.length > 0) {
      const failures = await this.#ask(this.#daemon.add(add));
      const prefixes = add.map(({ prefix }) => prefix);
      const done = new Set(succeeded(prefixes, failures));
      this.#state.added += done.size;
      ledger.wrote({ withdrawn: [], added: add.filter(({ prefix }) => done.has(prefix)), refused: refusals(failures) });
      this.#account(prefixes, failures);
    }
    if (this.#state.refused.size === 0 && !ledger.pending) this.#retry.succeed();
  }

  /** Remembers what was refused, and looks again after a while. Anything else than a refusal ends the session. */
  #account(prefixes: readonly string[], failures: readonly DaemonFailure[]): void {
    const { refused } = this.#state;
    const { log, clock } = this.#options;
    const before = new Map(prefixes.map((prefix) => [prefix, refused.get(prefix)]));
    for (const prefix of prefixes) refused.delete(prefix);
    const lost = failures.find(({ error }) => error.code !== 'Refused');
    if (lost !== undefined) throw lost.error;
    for (const { prefix, error } of failures) {
      refused.set(prefix, error.message);
      const level = before.get(prefix) === error.message ? 'debug' : 'warn';
      log[level]('the BGP daemon refuses a route', { prefix, error: error.message });
    }
    if (failures.length > 0 && !Number.isFinite(this.#retryAt)) this.#retryAt = clock.now() + this.#retry.fail();
    this.#hooks.changed(prefixes);
  }

  async #lookAtPeers(): Promise<void> {
    const { neighbours, config } = this.#state;
    const { clock, pollMilliseconds = 10_000 } = this.#options;
    this.#peersAt = clock.now() + pollMilliseconds;
    this.#peersSeen = clock.now();
    const peers = await this.#ask(this.#daemon.peers());
    this.#hooks.peers(peers);
    if (config === undefined || mismatch(this.#state) !== undefined) return;
    const wanted = config.wanted?.peers;
    if (!this.#manage && !neighbours.differ(wanted, peers)) return;
    this.#manage = false;
    const written = await this.#ask(neighbours.manage(this.#daemon, wanted, peers));
    // What came of it is looked at once; what still differs then waits for its turn.
    if (written > 0 && !this.#manageAgain) this.#peersAt = Math.min(this.#peersAt, clock.now() + peersPace);
    this.#manageAgain = written > 0 && !this.#manageAgain;
    this.#hooks.changed('all');
  }

  /** Nothing that comes back after the end may have an effect. */
  async #ask<T>(answer: Promise<T>): Promise<T> {
    const value = await answer;
    if (this.#over) throw new DaemonError('Unreachable', 'session', this.#daemon.endpoint, 'the connection was given up');
    return value;
  }

  #sleep(milliseconds: number): Promise<void> {
    if (this.#over) return Promise.reject(new DaemonError('Unreachable', 'session', this.#daemon.endpoint, 'the connection was given up'));
    return new Promise((resolve) => {
      const timer = Number.isFinite(milliseconds) ? this.#options.clock.after(milliseconds, () => this.#wake()) : undefined;
      this.#wake = () => {
        timer?.cancel();
        this.#wake = () => {};
        resolve();
      };
    });
  }
}

function succeeded(prefixes: readonly string[], failures: readonly DaemonFailure[]): readonly string[] {
  const failed = new Set(failures.map(({ prefix }) => prefix));
  return prefixes.filter((prefix) => !failed.has(prefix));
}

/** Of all other failures nobody knows what came of them. */
function refusals(failures: readonly DaemonFailure[]): readonly string[] {
  return failures.filter(({ error }) => error.code === 'Refused').map(({ prefix }) => prefix);
}
