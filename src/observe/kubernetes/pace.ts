/** When a writer acts next: waits that end early, and delays between failures. */
import type { Clock, Random } from '../../model/clock.ts';

/** Sleeps, and wakes early when it is rung. For one sleeper at a time, who looks at what there is to do before it sleeps. */
export class Alarm {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Wakes the sleeper, if there is one. */
  ring(): void {
    this.#wake?.();
  }

  /** Resolves after the time (never, when it is infinite), when it is rung, or when the signal aborts. */
  async sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const wake = (): void => resolve(undefined);
    const timer = Number.isFinite(milliseconds) ? this.#clock.after(milliseconds, wake) : undefined;
    signal.addEventListener('abort', wake, { once: true });
    this.#wake = wake;
    await promise;
    this.#wake = undefined;
    timer?.cancel();
    signal.removeEventListener('abort', wake);
  }
}

const firstDelay = 500;
const longestDelay = 30_000;
/** A server may ask for patience, not for silence. Milliseconds. */
const longestAskedDelay = 300_000;

/** Delays that double from failure to failure up to 30 s, each cut by up to a half at random: agents come back one by one. */
export class FailureDelay {
  readonly #random: Random;
  #failures = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Counts one more failure. Returns how long to wait now, milliseconds: at least what the server asked for. */
  fail(retryAfterSeconds = 0): number {
    const delay = Math.min(longestDelay, firstDelay * 2 ** Math.min(this.#failures, 30)) * (0.5 + 0.5 * this.#random());
    this.#failures += 1;
    return Math.max(delay, Math.min(longestAskedDelay, retryAfterSeconds * 1000));
  }

  succeed(): void {
    this.#failures = 0;
  }
}

/** MicroTime of the API: RFC 3339 with six decimals. */
export function microTime(date: Date): string {
  return date.toISOString().replace(/Z$/, '000Z');
}
