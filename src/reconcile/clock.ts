import type { Clock } from '../model/clock.ts';

/** The machine's own time. Its timers do not hold the process: the loop and the sockets do. */
export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => new Date(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
