/** When a writer acts next: waits that end early, and delays between failures. */
import type { Clock, Random } from '../../model/clock.ts';

/** Sleeps, and wakes early when it is rung. For one sleeper at a time. */
export class Alarm {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;
  #rung = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Wakes the sleeper; when nobody sleeps, the next one does not fall asleep. */
  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Resolves after the time (never, when it is infinite), when it is rung, or when the signal aborts. */
  async sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    if (!this.#rung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = Number.isFinite(milliseconds) ? this.#clock.after(milliseconds, wake) : undefined;
        this.#wake = wake;
        signal.addEventListener('abort', wake, { once: true });
        const forget = (): void => {
          timer?.cancel();
          signal.removeEventListener('abort', wake);
        };
        function wake(): void {
          forget();
          resolve();
        }
      });
      this.#wake = undefined;
    }
    this.#rung = false;
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
