/**
 * Reasons as Events of the cluster, where `kubectl describe` shows them. One Event per object and reason, with a name that
 * every director computes alike: the first creates it, the others and every repetition count up its series.
 */
import { metadataText, refusalText } from '../../kubernetes/answers.ts';
import { resources, verbAndResource, type ApiAnswer, type KubernetesApi } from '../../kubernetes/api.ts';
import { RetryDelay } from '../../kubernetes/retry-delay.ts';
import type { Clock, Random } from '../../model/clock.ts';
import { errorFields, type Log } from '../log.ts';
import { eventName, eventObject, type EventReason, type EventSubject } from './event-object.ts';
import { Alarm, firstDelay, microTime } from './pace.ts';

export type { EventReason, EventSubject };

export interface EventReporterOptions {
  /** The caller's: the reporter does not close it. */
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Who reports, unique among agents: the node's name. */
  readonly instance: string;
  /** Events that may be written at once, after a quiet time. Default 25. */
  readonly burst?: number;
  /** After that, one in so many milliseconds. Default 1000. */
  readonly paceMilliseconds?: number;
  /** A reason that stays is told again, because API servers forget Events after an hour. Default 30 min. */
  readonly repeatMilliseconds?: number;
}

export interface EventReporterStatus {
  /** Reasons that hold now. */
  readonly holding: number;
  /** Of those, not written yet. */
  readonly waiting: number;
  /** Written since the start: created, or counted up. */
  readonly written: number;
  /** Given up since the start, because there were too many or the server refused them. */
  readonly dropped: number;
  /** Requests that failed since the start. */
  readonly failures: number;
  /** Why the last attempt failed; null when it did not. */
  readonly error: string | null;
}

/** Reasons that are held at once; more are dropped and counted. */
const mostReasons = 1000;
/** A reason that cannot be written is given up after so many attempts, until it changes or is due again. */
const mostAttempts = 6;

const regardedResources = { Service: resources.services, ConfigMap: resources.configMaps } as const;

interface Held {
  readonly subject: EventSubject;
  readonly reason: EventReason;
  /** When it is to be written, again or for the first time; on the clock. */
  dueAt: number;
  waiting: boolean;
  attempts: number;
}

/** The server said no. `final`: asking again would not help. */
class EventRefused extends Error {
  readonly final: boolean;
  /** Failures of one kind are told once. */
  readonly code: string;
  readonly retryAfterSeconds: number | undefined;

  constructor(verb: string, resource: Parameters<typeof verbAndResource>[1], answer: ApiAnswer) {
    super(refusalText(verbAndResource(verb, resource), answer));
    const { status } = answer;
    this.code = `${verb} ${status}`;
    this.final = status >= 400 && status < 500 && ![401, 403, 408, 409, 429].includes(status);
    this.retryAfterSeconds = answer.retryAfterSeconds;
  }
}

export class EventReporter {
  readonly #options: Required<EventReporterOptions>;
  readonly #alarm: Alarm;
  readonly #delay: RetryDelay;
  readonly #held = new Map<string, Held>();
  /** Name of an Event → its count, as this agent knows it; the oldest are forgotten. */
  readonly #counts = new Map<string, number>();
  #tokens: number;
  #refilledAt: number;
  #retryAt = Number.NEGATIVE_INFINITY;
  #written = 0;
  #dropped = 0;
  #failures = 0;
  #error: string | undefined;
  #errorCode: string | undefined;
  #overflowing = false;

  constructor(options: EventReporterOptions) {
    this.#options = { burst: 25, paceMilliseconds: 1000, repeatMilliseconds: 1_800_000, ...options };
    this.#alarm = new Alarm(options.clock);
    this.#delay = new RetryDelay(options.random, firstDelay);
    this.#tokens = this.#options.burst;
    this.#refilledAt = options.clock.now();
  }

  /**
   * From now on `reason` holds for the subject; undefined: nothing does. Returns at once. The same reason again is no news,
   * and one that is gone before it was written is never written.
   */
  report(subject: EventSubject, reason: EventReason | undefined): void {
    const id = JSON.stringify([subject.kind, subject.namespace, subject.name, subject.matter ?? '']);
    const held = this.#held.get(id);
    if (held?.reason.code === reason?.code && held?.reason.message === reason?.message) return;
    // A new place in the order of the map.
    this.#held.delete(id);
    if (reason === undefined) return;
    if (this.#held.size >= mostReasons) {
      this.#dropped += 1;
      if (!this.#overflowing) this.#options.log.warn('more reasons than Events are written for; see status', { reasons: mostReasons });
      this.#overflowing = true;
      return;
    }
    this.#overflowing = false;
    this.#held.set(id, { subject, reason, dueAt: this.#options.clock.now(), waiting: true, attempts: 0 });
    this.#alarm.ring();
  }

  /** Writes Events until the signal aborts. Never rejects because of the cluster. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const next = this.#next();
      const milliseconds = next === undefined ? Infinity : Math.max(next.dueAt, this.#retryAt, this.#tokenAt()) - clock.now();
      if (next === undefined || milliseconds > 0) await this.#alarm.sleep(milliseconds, signal);
      else await this.#attempt(next, signal);
    }
  }

  status(): EventReporterStatus {
    return {
      holding: this.#held.size,
      waiting: [...this.#held.values()].filter(({ waiting }) => waiting).length,
      ...{ written: this.#written, dropped: this.#dropped, failures: this.#failures, error: this.#error ?? null },
    };
  }

  /** The one that is due first; of equals, the one that was told first. */
  #next(): Held | undefined {
    let first: Held | undefined;
    for (const held of this.#held.values()) if (first === undefined || held.dueAt < first.dueAt) first = held;
    return first;
  }

  /** When there is a token; on the clock. */
  #tokenAt(): number {
    const { clock, burst, paceMilliseconds } = this.#options;
    const now = clock.now();
    this.#tokens = Math.min(burst, this.#tokens + (now - this.#refilledAt) / paceMilliseconds);
    this.#refilledAt = now;
    return this.#tokens >= 1 ? now : now + Math.ceil((1 - this.#tokens) * paceMilliseconds);
  }

  async #attempt(held: Held, signal: AbortSignal): Promise<void> {
    const { clock, random, repeatMilliseconds } = this.#options;
    this.#tokens -= 1;
    try {
      if (await this.#write(held, signal)) this.#written += 1;
      else this.#dropped += 1;
    } catch (error) {
      if (!signal.aborted) this.#failed(held, error);
      return;
    }
    this.#rest(held, clock.now() + repeatMilliseconds * (0.9 + 0.2 * random()));
    this.#error = undefined;
    this.#errorCode = undefined;
    this.#delay.succeed();
  }

  #rest(held: Held, dueAt: number): void {
    Object.assign(held, { dueAt, waiting: false, attempts: 0 });
  }

  #failed(held: Held, error: unknown): void {
    const { clock, log, repeatMilliseconds } = this.#options;
    this.#failures += 1;
    held.attempts += 1;
    const { code = 'unknown' } = error as { code?: string };
    if (code !== this.#errorCode) log.warn('an Event cannot be written', errorFields(error));
    this.#errorCode = code;
    this.#error = error instanceof Error ? error.message : String(error);
    const refused = error instanceof EventRefused ? error : undefined;
    if (refused?.final === true || held.attempts >= mostAttempts) {
      this.#dropped += 1;
      this.#rest(held, clock.now() + repeatMilliseconds);
    } else {
      // Behind the others: what is wrong may be wrong with this one only.
      held.dueAt = clock.now();
    }
    if (refused?.final !== true) this.#retryAt = clock.now() + this.#delay.fail(refused?.retryAfterSeconds);
  }

  /** False when the object that it is about is gone. */
  async #write({ subject, reason }: Held, signal: AbortSignal): Promise<boolean> {
    const object = await this.#look(subject, signal);
    if (object.status === 404) return false;
    // `kubectl describe` looks for Events by uid. Where the object may not be read, the Event is found by name only.
    const uid = object.status === 200 ? metadataText(object.body, 'uid') : undefined;
    const name = eventName(subject, reason, uid);
    if (this.#counts.has(name) && (await this.#countUp(subject, name, signal))) return true;
    const answer = await this.#create(subject, reason, { name, uid }, signal);
    if (answer.status >= 200 && answer.status < 300) {
      this.#remember(name, 1);
      return true;
    }
    // Another director was first, or this one in an earlier life.
    if (answer.status === 409 && (await this.#countUp(subject, name, signal))) return true;
    throw new EventRefused('create', resources.events, answer);
  }

  async #look({ kind, namespace, name }: EventSubject, signal: AbortSignal): Promise<ApiAnswer> {
    const resource = regardedResources[kind];
    const answer = await this.#options.api.request({ method: 'GET', resource, namespace, name, signal });
    if ([200, 403, 404].includes(answer.status)) return answer;
    throw new EventRefused('get', resource, answer);
  }

  #create(
    subject: EventSubject,
    reason: EventReason,
    identity: { name: string; uid: string | undefined },
    signal: AbortSignal,
  ): Promise<ApiAnswer> {
    const { api, clock, instance } = this.#options;
    const { namespace } = subject;
    const body = eventObject(subject, reason, { ...identity, instance, date: clock.date() });
    return api.request({ method: 'POST', resource: resources.events, namespace, body, signal });
  }

  /** False when there is no such Event any more. */
  async #countUp({ namespace }: EventSubject, name: string, signal: AbortSignal): Promise<boolean> {
    const { api, clock } = this.#options;
    // A series begins with its second event.
    const count = (this.#counts.get(name) ?? 1) + 1;
    const answer = await api.request({
      ...{ method: 'PATCH', resource: resources.events, namespace, name, signal, contentType: 'application/merge-patch+json' },
      body: { series: { count, lastObservedTime: microTime(clock.date()) } },
    });
    if (answer.status === 404) {
      this.#counts.delete(name);
      return false;
    }
    if (answer.status !== 200) throw new EventRefused('patch', resources.events, answer);
    this.#remember(name, count);
    return true;
  }

  #remember(name: string, count: number): void {
    this.#counts.delete(name);
    this.#counts.set(name, count);
    const [oldest] = this.#counts.keys();
    if (this.#counts.size > mostReasons && oldest !== undefined) this.#counts.delete(oldest);
  }
}
