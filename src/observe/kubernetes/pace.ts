/** When a writer acts next, and how it writes times. */
import type { Clock } from '../../model/clock.ts';

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

/** First delay of a writer before it is spread, milliseconds: a lease that lost a conflict is soon written again. */
export const firstDelay = 250;

/** MicroTime of the API: RFC 3339 with six decimals. */
export function microTime(date: Date): string {
  return date.toISOString().replace(/Z$/, '000Z');
}
