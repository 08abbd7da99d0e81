/** How long to leave a server alone that failed. */
import type { Random } from '../model/clock.ts';

/** Before it is spread, milliseconds: the longest delays are 15 to 30 s. */
const longestDelay = 15_000;

/** A server may ask for patience, but not for giving up. */
const longestRetryAfter = 300_000;

/**
 * Delays that double from failure to failure. Each is spread over its own length, so that agents that lost the same
 * server come back one by one.
 */
export class RetryDelay {
  readonly #random: Random;
  readonly #first: number;
  #failures = 0;

  /** `first`: the first delay before it is spread, milliseconds; 800 makes it 0.8 to 1.6 s. */
  constructor(random: Random, first = 800) {
    this.#random = random;
    this.#first = first;
  }

  get failures(): number {
    return this.#failures;
  }

  /** Counts one more failure; returns how long to wait now, milliseconds: at least what the server asked for. */
  fail(retryAfterSeconds = 0): number {
    const delay = Math.min(longestDelay, this.#first * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    const asked = Number.isFinite(retryAfterSeconds) ? Math.min(longestRetryAfter, Math.max(0, retryAfterSeconds * 1000)) : 0;
    return Math.max(delay, asked) + delay * this.#random();
  }

  succeed(): void {
    this.#failures = 0;
  }
}
