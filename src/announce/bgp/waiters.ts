/** Who waits until something has happened in the daemon, and for how long. */
import type { Clock, Timer } from '../../model/clock.ts';

/** `true`, `false`: it has come to that. Undefined: not yet. */
export type Verdict = boolean | undefined;

interface Waiter {
  readonly judge: () => Verdict;
  readonly resolve: (verdict: boolean) => void;
  readonly timer: Timer;
}

export class Waiters {
  readonly #clock: Clock;
  readonly #waiting = new Set<Waiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves as `judge` says, with false after so many milliseconds. */
  wait(judge: () => Verdict, milliseconds: number): Promise<boolean> {
    const now = judge();
    if (now !== undefined) return Promise.resolve(now);
    return new Promise((resolve) => {
      const waiter: Waiter = { judge, resolve, timer: this.#clock.after(milliseconds, () => this.#end(waiter, false)) };
      this.#waiting.add(waiter);
    });
  }

  /** Something happened. */
  look(): void {
    for (const waiter of [...this.#waiting]) {
      const verdict = waiter.judge();
      if (verdict !== undefined) this.#end(waiter, verdict);
    }
  }

  /** It will not happen. */
  giveUp(): void {
    for (const waiter of [...this.#waiting]) this.#end(waiter, false);
  }

  #end(waiter: Waiter, verdict: boolean): void {
    waiter.timer.cancel();
    if (this.#waiting.delete(waiter)) waiter.resolve(verdict);
  }
}
