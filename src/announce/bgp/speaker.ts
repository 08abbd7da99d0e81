/** Keeps the daemon's routes and neighbours equal to what is wanted, over connections that come and go. */
import { isDeepStrictEqual } from 'node:util';
import { Routing } from '../../desired/bgp.ts';
import { isAborted } from '../../model/aborted.ts';
import { Backoff } from '../../model/backoff.ts';
import type { BgpConfig } from '../../model/bgp.ts';
import type { Address, Reason } from '../../model/cluster.ts';
import type { AnnouncementStatus } from '../announcer.ts';
import { DaemonError, type BgpDaemon, type PeerStatus } from './daemon.ts';
import { RouteLedger } from './ledger.ts';
import { Neighbours } from './neighbours.ts';
import { planPaths, planPeers } from './plan.ts';
import { PlannedStop } from './planned-stop.ts';
import { mismatch, Session, type SpeakerState } from './session.ts';
import { deaf, outline } from './sessions.ts';
import type { SpeakerOptions } from './speaker-options.ts';
import type { PathChange, PeerChange, SpeakerDocument, Speaking } from './speaking.ts';
import { StatusTeller } from './status-teller.ts';
import { Waiters, type Verdict } from './waiters.ts';

/** A connection that held so long was a good one: the next attempt follows soon. */
const goodMilliseconds = 5000;
const longestRetry = 10_000;

export class Speaker implements Speaking {
  readonly #options: SpeakerOptions;
  readonly #state: SpeakerState;
  readonly #backoff: Backoff;
  /** For what the daemon does; a connection that breaks ends it. */
  readonly #waiters: Waiters;
  readonly #plannedStop: PlannedStop;
  readonly #teller: StatusTeller;
  readonly #withdrawMilliseconds: number;
  /** `idle`: {@link run} is not running. */
  #link: 'idle' | 'connecting' | 'connected' | 'unreachable' = 'idle';
  #session: Session | undefined;
  /** Why there is no connection. */
  #error: string | undefined;
  #reported: string | undefined;
  #connectedAt = Number.POSITIVE_INFINITY;
  #retryAt: number | undefined;
  /** Ends the wait between two connections. */
  #hurry: () => void = () => {};
  #outline = '';
  #draining: Promise<void> | undefined;

  constructor(options: SpeakerOptions) {
    this.#options = options;
    this.#state = {
      ledger: new RouteLedger(options.routes),
      neighbours: new Neighbours(options),
      ...{ config: undefined, identity: undefined, peers: undefined, refused: new Map(), conflicts: new Map(), added: 0, withdrawn: 0 },
    };
    this.#backoff = new Backoff({ random: options.random, longest: longestRetry });
    this.#waiters = new Waiters(options.clock);
    this.#withdrawMilliseconds = options.withdrawMilliseconds ?? 2000;
    const { ledger } = this.#state;
    this.#plannedStop = new PlannedStop({
      ...{ ledger, clock: options.clock, log: options.log, waiters: this.#waiters, answerMilliseconds: this.#withdrawMilliseconds },
      link: () => ({ answers: this.#reachable, connected: this.#link === 'connected' }),
      changed: () => this.#moved('all'),
      problem: () => this.#problem,
    });
    this.#teller = new StatusTeller({
      ...{ addresses: () => ledger.addresses, status: (address) => this.status(address), tell: options.onChanged },
    });
  }

  get addresses(): Iterable<Address> {
    return this.#state.ledger.addresses;
  }

  has(address: Address): boolean {
    return this.#state.ledger.prefixOf(address) !== undefined;
  }

  status(address: Address): AnnouncementStatus | undefined {
    const { ledger, conflicts } = this.#state;
    const prefix = ledger.prefixOf(address);
    if (prefix === undefined) return undefined;
    const announced = ledger.phase !== 'drained' && ledger.holds(prefix);
    const others = conflicts.get(prefix)?.by.length ?? 0;
    return { address, announced, frames: 0, conflicts: others, reason: this.#reason(prefix, announced) };
  }

  document(): SpeakerDocument {
    const { ledger, identity, peers, added, withdrawn } = this.#state;
    const connected = this.#link === 'connected';
    const retryAt = connected ? this.#session?.retryAt : this.#retryAt;
    const waiting = retryAt !== undefined && Number.isFinite(retryAt);
    return {
      endpoint: this.#options.endpoint,
      state: ledger.phase !== 'announcing' ? ledger.phase : this.#link === 'idle' ? 'connecting' : this.#link,
      daemon: identity === undefined ? null : { major: identity.major, asn: identity.asn, routerId: identity.routerId },
      error: this.#problem ?? null,
      attempts: connected ? (this.#session?.attempts ?? 0) : this.#backoff.attempts,
      nextRetryMilliseconds: waiting ? Math.max(0, Math.round(retryAt - this.#options.clock.now())) : null,
      paths: { wanted: ledger.wanted, announced: ledger.announced, added, withdrawn },
      peers: peers ?? [],
    };
  }

  configure(config: BgpConfig | undefined): void {
    const { config: before, ledger } = this.#state;
    if (before !== undefined && isDeepStrictEqual(before.wanted, config)) return;
    this.#state.config = { wanted: config };
    ledger.configure(config);
    this.#session?.reconfigure();
    // A daemon may have waited for this.
    this.#hurry();
    this.#teller.touch('all');
  }

  announce(addresses: Iterable<Address>): void {
    const all = [...addresses];
    this.#state.ledger.announce(all);
    this.#moved(all);
  }

  async withdraw(addresses: Iterable<Address>): Promise<boolean> {
    const { ledger } = this.#state;
    const all = [...addresses];
    const gone = ledger.withdraw(all);
    this.#moved(all);
    if (gone.length === 0) return true;
    if (!ledger.swept || !this.#reachable) return false;
    return this.#waiters.wait(() => this.#isGone(gone), this.#withdrawMilliseconds);
  }

  async withdrawOthers(stays: (address: Address) => boolean): Promise<boolean> {
    const { ledger } = this.#state;
    const gone = new Set(ledger.withdrawOthers(stays));
    this.#moved([]);
    if (!this.#reachable) return false;
    return this.#waiters.wait(() => {
      if (!ledger.known) return undefined;
      for (const prefix of ledger.departing()) gone.add(prefix);
      return this.#isGone([...gone]);
    }, this.#withdrawMilliseconds);
  }

  plan(addresses: readonly Address[]): Promise<readonly PathChange[]> {
    return this.#asking((daemon) => planPaths(daemon, addresses, new Routing(this.#options.routes, this.#state.config?.wanted)));
  }

  planPeers(): Promise<readonly PeerChange[]> {
    return this.#asking((daemon) => planPeers(daemon, this.#state.config?.wanted, this.#state.neighbours));
  }

  /** On a connection of its own. */
  async #asking<Answer>(work: (daemon: BgpDaemon) => Promise<Answer>): Promise<Answer> {
    const daemon = this.#options.connect();
    try {
      return await work(daemon);
    } finally {
      daemon.close();
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#link = 'connecting';
    const stop = (): void => {
      this.#waiters.giveUp();
      this.#plannedStop.abandon();
      this.#hurry();
    };
    signal.addEventListener('abort', stop, { once: true });
    while (!isAborted(signal)) {
      const failure = await this.#connection(signal);
      this.#lost();
      if (isAborted(signal)) break;
      this.#fail(failure);
      await this.#pause(this.#backoff.fail(), signal);
    }
    signal.removeEventListener('abort', stop);
    this.#link = 'idle';
    this.#waiters.giveUp();
  }

  drain(milliseconds: number): Promise<void> {
    // Without a run, nobody would do it.
    if (milliseconds <= 0 || this.#link === 'idle') return Promise.resolve();
    this.#draining ??= this.#plannedStop.run(milliseconds);
    return this.#draining;
  }

  /** An answer may come. */
  get #reachable(): boolean {
    return this.#link === 'connected' || this.#link === 'connecting';
  }

  /** What is not as it should be, first things first. */
  get #problem(): string | undefined {
    const [refused] = this.#state.refused.values();
    return this.#error ?? mismatch(this.#state) ?? refused ?? this.#state.neighbours.problems[0];
  }

  #reason(prefix: string, announced: boolean): Reason | undefined {
    const { ledger, refused, conflicts, peers, neighbours } = this.#state;
    if (ledger.phase !== 'announcing') return { code: 'BgpDraining', message: 'routes are being withdrawn for a planned stop' };
    if (this.#error !== undefined) return { code: 'BgpUnreachable', message: `no connection to the BGP daemon: ${this.#error}` };
    const refusal = refused.get(prefix);
    if (refusal !== undefined) return { code: 'BgpRefused', message: refusal };
    if (!announced || peers === undefined) return undefined;
    const unheard = deaf(peers, prefix, mismatch(this.#state) ?? neighbours.problems[0]);
    if (unheard !== undefined) return unheard;
    const conflict = conflicts.get(prefix);
    return conflict && { code: 'BgpConflict', message: `${prefix} is also announced by ${conflict.by.join(', ')}` };
  }

  /** False: one of these is not going. */
  #isGone(prefixes: readonly string[]): Verdict {
    const { ledger, refused } = this.#state;
    if (prefixes.some((prefix) => ledger.wants(prefix) || (ledger.holds(prefix) && refused.has(prefix)))) return false;
    return prefixes.some((prefix) => ledger.mayBeThere(prefix)) ? undefined : true;
  }

  /** Other VIPs are wanted. */
  #moved(addresses: Iterable<Address> | 'all'): void {
    this.#teller.touch(addresses);
    this.#session?.wake();
    this.#waiters.look();
  }

  /** One connection; why it ended. */
  async #connection(signal: AbortSignal): Promise<unknown> {
    try {
      const session = new Session(this.#options.connect(), this.#state, this.#options, {
        connected: () => this.#connected(),
        changed: (prefixes) => this.#changed(prefixes),
        peers: (peers) => this.#met(peers),
      });
      this.#session = session;
      await session.run(signal);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #connected(): void {
    const { identity } = this.#state;
    this.#link = 'connected';
    this.#error = undefined;
    this.#reported = undefined;
    this.#retryAt = undefined;
    this.#connectedAt = this.#options.clock.now();
    this.#options.log.info('connected to the BGP daemon', {
      endpoint: this.#options.endpoint,
      version: identity?.major,
      asn: identity?.asn,
    });
    this.#changed('all');
  }

  #changed(prefixes: Iterable<string> | 'all'): void {
    const { ledger } = this.#state;
    this.#teller.touch(prefixes === 'all' ? 'all' : [...prefixes].flatMap((prefix) => [...ledger.vipsOf(prefix)]));
    this.#waiters.look();
  }

  #met(peers: readonly PeerStatus[]): void {
    this.#state.peers = peers;
    const now = outline(peers);
    if (now === this.#outline) return;
    this.#outline = now;
    this.#teller.touch('all');
  }

  /** What the last connection found out is known no more. */
  #lost(): void {
    const { ledger, refused } = this.#state;
    this.#session = undefined;
    ledger.forget();
    refused.clear();
    this.#state.conflicts = new Map();
    this.#state.identity = undefined;
    this.#state.peers = undefined;
    this.#outline = '';
    this.#teller.touch('all');
  }

  #fail(error: unknown): void {
    const { log, clock, endpoint } = this.#options;
    if (clock.now() - this.#connectedAt >= goodMilliseconds) this.#backoff.succeed();
    this.#connectedAt = Number.POSITIVE_INFINITY;
    this.#link = 'unreachable';
    this.#error = error instanceof Error ? error.message : String(error);
    this.#waiters.giveUp();
    const again = this.#error === this.#reported;
    this.#reported = this.#error;
    const code = error instanceof DaemonError ? error.code : undefined;
    log[again ? 'debug' : 'warn']('no connection to the BGP daemon', {
      endpoint,
      error: this.#error,
      code,
      attempts: this.#backoff.attempts + 1,
    });
  }

  #pause(milliseconds: number, signal: AbortSignal): Promise<void> {
    if (isAborted(signal)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#retryAt = this.#options.clock.now() + milliseconds;
      const timer = this.#options.clock.after(milliseconds, () => this.#hurry());
      this.#hurry = () => {
        timer.cancel();
        this.#hurry = () => {};
        resolve();
      };
    });
  }
}
