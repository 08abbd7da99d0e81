import type { Clock, Timer } from '../../src/model/clock.ts';

interface Waiting {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Lets every promise that can settle do so: timers of the fake clock start asynchronous work. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Time that moves when told to. */
export class FakeClock implements Clock {
  readonly #settle: () => Promise<void>;
  #now = 1000;
  #order = 0;
  #waiting: Waiting[] = [];

  /** `settle` waits for what a timer set off; default: some turns of the event loop. */
  constructor(settleWork: () => Promise<void> = settle) {
    this.#settle = settleWork;
  }

  now(): number {
    return this.#now;
  }

  date(): Date {
    return new Date(Date.UTC(2030, 0, 1) + this.#now);
  }

  after(milliseconds: number, callback: () => void): Timer {
    const entry: Waiting = { at: this.#now + milliseconds, order: (this.#order += 1), callback };
    this.#waiting.push(entry);
    return { cancel: () => void (this.#waiting = this.#waiting.filter((other) => other !== entry)) };
  }

  get timers(): number {
    return this.#waiting.length;
  }

  /** Moves on, running every timer at its own moment and letting its asynchronous work settle. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await this.#settle();
    for (;;) {
      const next = this.#waiting.filter((entry) => entry.at <= end).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      // Timers of one moment all run before anybody looks, as the machine's own would.
      for (let due: Waiting | undefined = next; due !== undefined; due = this.#waiting.find((entry) => entry.at === next.at)) {
        const running: Waiting = due;
        this.#waiting = this.#waiting.filter((entry) => entry !== running);
        running.callback();
      }
      await this.#settle();
    }
    this.#now = end;
  }
}

/** A sequence in [0, 1) that is the same in every run (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
