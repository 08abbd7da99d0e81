/**
 * Long comparisons are written as generators that yield where they may pause. Who runs them decides
 * whether they pause: tests and `--once` run them through, the loop lets other work in between.
 */

/** Runs to the end without a pause. */
export function runThrough<Result>(steps: Generator<undefined, Result, undefined>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

export interface SliceOptions {
  /** Longest run between two pauses, in the unit of `now`. */
  readonly budget: number;
  readonly now: () => number;
  /** Resolves once other work had its turn: `setImmediate` of node:timers/promises. */
  readonly pause: () => Promise<unknown>;
  readonly signal?: AbortSignal;
}

/** Runs to the end, pausing whenever the budget is used up. Rejects with the signal's reason once it aborts. */
export async function runSliced<Result>(steps: Generator<undefined, Result, undefined>, options: SliceOptions): Promise<Result> {
  let started = options.now();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (options.now() - started < options.budget) continue;
    await options.pause();
    options.signal?.throwIfAborted();
    started = options.now();
  }
}
