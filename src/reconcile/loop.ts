/**
 * The one loop. Level-triggered: what matters is the newest state and what may differ from it, not
 * the events that led there. Passes never overlap; whatever happens during one is the next one's work.
 */
import { failureOf, type DriverFailure } from '../drivers/outcome.ts';
import type { Publication, VirtualServiceKey } from '../model/cluster.ts';
import type { Clock, Random } from '../model/clock.ts';
import type { Log } from '../observe/log.ts';
import { Backoff } from '../model/backoff.ts';
import { Gate, type Work } from './gate.ts';
import type { PassOutcome, Plane } from './plane.ts';

export interface LoopOptions {
  readonly plane: Pick<Plane, 'pass' | 'forget'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Everything is read and compared this long after it last was, milliseconds. Default 60000. */
  readonly auditMilliseconds?: number;
  /** `work` is what the pass was about: whatever was published later is not in it. */
  readonly onPass?: (outcome: PassOutcome, milliseconds: number, work: Work) => void;
}

export interface LoopStatus {
  readonly synced: boolean;
  readonly passes: number;
  /** Kernel operations that took effect since the start. */
  readonly written: number;
  readonly lastPass: { readonly at: string; readonly milliseconds: number; readonly written: number; readonly full: boolean } | undefined;
  /** Why removals are held, in words. */
  readonly held: string | undefined;
  /** Failures that stand, with the pass that will try again. */
  readonly failures: readonly DriverFailure[];
  readonly attempts: number;
  readonly nextRetryMilliseconds: number | undefined;
  /** Times the kernel was found changed by others, or events about it were lost. */
  readonly doubts: number;
}

/** While something fails, changes still go out, but no more often than this: each needs a full look. */
const failingPace = 1000;
/** Someone who undoes our work again and again is answered at once, then ever more slowly. */
const quietAfter = 60_000;

export class ReconcileLoop {
  readonly #options: LoopOptions;
  readonly #gate = new Gate();
  readonly #retry: Backoff;
  readonly #drift: Backoff;
  #failures: readonly DriverFailure[] = [];
  #notBefore = Number.NEGATIVE_INFINITY;
  #retryAt = Number.POSITIVE_INFINITY;
  #doubtAt = Number.POSITIVE_INFINITY;
  #auditAt = Number.POSITIVE_INFINITY;
  #lastDoubt = Number.NEGATIVE_INFINITY;
  #doubts = 0;
  #passes = 0;
  #written = 0;
  #lastPass: LoopStatus['lastPass'];
  /** What waits for its moment (handover.ts). */
  #due: ReadonlyMap<VirtualServiceKey, number> = new Map();
  #dueAt = Number.POSITIVE_INFINITY;
  /** What waits for realservers, as of the last pass. */
  #awaiting: ReadonlySet<VirtualServiceKey> = new Set();
  #running = false;
  #wake: () => void = () => {};
  #waiters: (() => void)[] = [];
  #reported = '';
  #failing = false;
  #held: string | undefined;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#retry = new Backoff({ random: options.random });
    this.#drift = new Backoff({ random: options.random });
  }

  get synced(): boolean {
    return this.#gate.synced;
  }

  /** A pass is under way, or due at once. */
  get active(): boolean {
    return this.#running || this.#nextAt() <= this.#options.clock.now();
  }

  /** Something is still to be done for what was published, or found out about the kernel. */
  get busy(): boolean {
    return this.#running || this.#gate.pending || Number.isFinite(this.#doubtAt);
  }

  publish(publication: Publication): void {
    this.#gate.publish(publication);
    this.#wake();
  }

  /** The kernel is not, or may not be, as we left it. */
  doubt(cause: string): void {
    const now = this.#options.clock.now();
    if (now - this.#lastDoubt > quietAfter) this.#drift.succeed();
    this.#doubts += 1;
    this.#lastDoubt = now;
    if (Number.isFinite(this.#doubtAt)) return;
    const first = this.#drift.attempts === 0;
    const delay = this.#drift.fail();
    this.#doubtAt = first ? now : now + delay;
    this.#options.log.info('the kernel state is in doubt and is read again', { cause, delayMilliseconds: first ? 0 : Math.round(delay) });
    this.#wake();
  }

  /** Everything is to be looked at again, now: what is asked for has changed although the state has not. */
  renew(): void {
    this.#doubtAt = this.#options.clock.now();
    this.#wake();
  }

  /** Runs until the signal aborts; a pass that is under way is finished first. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      const delay = this.#nextAt() - this.#options.clock.now();
      if (delay > 0) await this.#sleep(delay);
      else await this.#pass();
    }
  }

  /** One pass over everything, now; for `--once`. The gate must be open. */
  async once(): Promise<readonly DriverFailure[]> {
    this.#gate.markAll();
    await this.#pass();
    return this.#failures;
  }

  /** Resolves when nothing waits and nothing runs; failures may stand. */
  settled(): Promise<void> {
    if (!this.busy) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  status(): LoopStatus {
    const wait = this.#retryAt - this.#options.clock.now();
    return {
      synced: this.#gate.synced,
      passes: this.#passes,
      written: this.#written,
      lastPass: this.#lastPass,
      held: this.#held,
      failures: this.#failures,
      attempts: this.#retry.attempts,
      nextRetryMilliseconds: Number.isFinite(wait) ? Math.max(0, Math.round(wait)) : undefined,
      doubts: this.#doubts,
    };
  }

  #nextAt(): number {
    if (!this.#gate.synced) return Number.POSITIVE_INFINITY;
    const pending = this.#gate.pending || (this.#gate.confirmed && this.#awaiting.size > 0);
    const changes = Math.max(this.#notBefore, pending ? Number.NEGATIVE_INFINITY : this.#dueAt);
    return Math.min(changes, this.#retryAt, this.#doubtAt, this.#auditAt);
  }

  #sleep(milliseconds: number): Promise<void> {
    const { clock } = this.#options;
    return new Promise((resolve) => {
      const timer = Number.isFinite(milliseconds) ? clock.after(milliseconds, () => this.#wake()) : undefined;
      this.#wake = () => {
        timer?.cancel();
        this.#wake = () => {};
        resolve();
      };
    });
  }

  async #pass(): Promise<void> {
    const { clock, plane } = this.#options;
    const started = clock.now();
    if (Math.min(this.#retryAt, this.#doubtAt, this.#auditAt) <= started) {
      // The reason to look again is always that something may not be as it is remembered.
      plane.forget();
      this.#gate.markAll();
      this.#doubtAt = Number.POSITIVE_INFINITY;
    }
    this.#gate.takeConfirmed(this.#awaiting);
    this.#gate.mark([...this.#due].filter(([, at]) => at <= started).map(([key]) => key));
    const work = this.#gate.take();
    if (work === undefined) return;
    this.#running = true;
    const outcome = await this.#attempt(work);
    this.#running = false;
    this.#account(work, outcome, started);
    this.#options.onPass?.(outcome, clock.now() - started, work);
    if (!this.busy) for (const resolve of this.#waiters.splice(0)) resolve();
  }

  async #attempt(work: Work): Promise<PassOutcome> {
    try {
      return await this.#options.plane.pass(work);
    } catch (error) {
      this.#options.plane.forget();
      return {
        written: 0,
        failures: [failureOf(error, 'pass', 'kernel state')],
        held: undefined,
        full: true,
        due: this.#due,
        awaiting: this.#awaiting,
      };
    }
  }

  #account(work: Work, outcome: PassOutcome, started: number): void {
    const { clock } = this.#options;
    const now = clock.now();
    this.#passes += 1;
    this.#written += outcome.written;
    this.#held = outcome.held?.message;
    this.#due = outcome.due;
    this.#awaiting = outcome.awaiting ?? new Set();
    this.#dueAt = Number.POSITIVE_INFINITY;
    for (const at of outcome.due.values()) this.#dueAt = Math.min(this.#dueAt, at);
    this.#lastPass = {
      at: clock.date().toISOString(),
      milliseconds: Math.round((now - started) * 1000) / 1000,
      written: outcome.written,
      full: outcome.full,
    };
    if (outcome.full) this.#auditAt = now + (this.#options.auditMilliseconds ?? 60_000);
    // A pass over a few services says nothing about the failures of others.
    const others = outcome.full || work.change.all ? [] : this.#failures.filter((failure) => !touches(failure, work));
    this.#failures = [...others, ...outcome.failures];
    if (this.#failures.length === 0) {
      this.#retry.succeed();
      this.#retryAt = Number.POSITIVE_INFINITY;
      this.#notBefore = Number.NEGATIVE_INFINITY;
    } else if (outcome.failures.length > 0) {
      const delay = this.#retry.fail();
      this.#retryAt = now + delay;
      this.#notBefore = now + Math.min(delay, failingPace);
    }
    this.#report(outcome);
  }

  /** The same failures again are worth a debug line only. */
  #report(outcome: PassOutcome): void {
    const { log } = this.#options;
    const text = JSON.stringify([this.#failures.map(({ message }) => message), outcome.held?.message]);
    if (text !== this.#reported) {
      if (this.#failing && this.#failures.length === 0) log.info('no failure stands any more');
      this.#failing = this.#failures.length > 0;
      this.#reported = text;
      for (const { op, subject, code, message } of this.#failures.slice(0, 20)) log.error(message, { op, object: subject, errno: code });
      if (this.#failures.length > 20) log.error(`and ${this.#failures.length - 20} more failures; see status`);
      if (outcome.held !== undefined) log.warn(outcome.held.message, { reason: 'GuardHeld' });
    } else if (log.debugging && this.#failures.length > 0) {
      log.debug('failures stand', { failures: this.#failures.length, attempts: this.#retry.attempts });
    }
    if (outcome.written > 0 && (outcome.full || log.debugging)) {
      log.info('programmed', { written: outcome.written, milliseconds: this.#lastPass?.milliseconds, full: outcome.full });
    }
  }
}

function touches(failure: DriverFailure, { change }: Work): boolean {
  return change.all || (failure.key !== undefined && change.virtualServices.has(failure.key));
}
