/** Time and chance as arguments: whoever waits or spreads load takes these, so tests own both. */

export interface Timer {
  /** The callback will not run; harmless when it already did. */
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since an arbitrary start, never going back. */
  now(): number;
  /** Wall-clock time, for people only: never computed with. */
  date(): Date;
  /** Runs `callback` once, `milliseconds` from now. Does not keep the process alive. */
  after(milliseconds: number, callback: () => void): Timer;
}

/** Uniform in [0, 1), as Math.random. */
export type Random = () => number;
