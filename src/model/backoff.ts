import type { Random } from './clock.ts';

export interface BackoffOptions {
  /** Delay after the first failure, milliseconds. Default 100. */
  readonly first?: number;
  /** No delay is longer, milliseconds. Default 30000. */
  readonly longest?: number;
  readonly random: Random;
}

/**
 * Delays that double from failure to failure up to a bound. Each is spread by a fifth to either
 * side, so that agents that failed together do not come back together.
 */
export class Backoff {
  readonly #first: number;
  readonly #longest: number;
  readonly #random: Random;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    this.#first = options.first ?? 100;
    this.#longest = options.longest ?? 30_000;
    this.#random = options.random;
  }

  /** Failures since the last success. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Counts one more failure; returns how long to wait now, milliseconds. */
  fail(): number {
    // 2 ** 30 alone would pass every bound; the exponent is capped so that it stays a finite number.
    const grown = this.#first * 2 ** Math.min(this.#attempts, 30);
    this.#attempts += 1;
    return Math.min(grown, this.#longest) * (0.8 + 0.4 * this.#random());
  }

  succeed(): void {
    this.#attempts = 0;
  }
}
