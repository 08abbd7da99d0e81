import type { Clock } from '../model/clock.ts';

/** A token bucket: at most `rate` a second over time, at most `capacity` at once. Starts full. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #rate: number;
  readonly #capacity: number;
  #tokens: number;
  #filledAt: number;

  constructor(clock: Clock, rate: number, capacity: number) {
    this.#clock = clock;
    this.#rate = rate;
    this.#capacity = capacity;
    this.#tokens = capacity;
    this.#filledAt = clock.now();
  }

  /** Takes up to `wanted` whole tokens; returns how many. */
  take(wanted: number): number {
    this.#fill();
    const taken = Math.min(wanted, Math.floor(this.#tokens));
    this.#tokens -= taken;
    return taken;
  }

  /** Gives back what was taken and not used. */
  giveBack(count: number): void {
    this.#tokens = Math.min(this.#capacity, this.#tokens + count);
  }

  /** Milliseconds until `wanted` tokens (at most the capacity) are there; 0 when they are. */
  delay(wanted: number): number {
    this.#fill();
    return Math.max(0, ((Math.min(wanted, this.#capacity) - this.#tokens) * 1000) / this.#rate);
  }

  #fill(): void {
    const now = this.#clock.now();
    this.#tokens = Math.min(this.#capacity, this.#tokens + ((now - this.#filledAt) * this.#rate) / 1000);
    this.#filledAt = now;
  }
}
