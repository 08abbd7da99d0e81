/** A weight on its way down in equal steps: the first at once, the last at the end of the time. */
import type { DrainPolicy } from '../model/cluster.ts';

/** Times are floating point: a moment has come when it is this close, milliseconds. */
export const tolerance = 0.001;

/** Where a way down began, as this process first saw it. */
export interface Descent {
  readonly since: number;
  readonly weight: number;
  /** Steps that were still to go. */
  readonly levels: number;
}

/**
 * How many of `count` steps a weight is away from 0, by what the kernel shows: each step of a node is as high as the
 * weight it would have without steps.
 */
export function levelsOf(count: number, weight: number, height: number): number {
  return Math.max(1, Math.min(count, Math.ceil(weight / Math.max(1, height))));
}

/** The weight at a moment, and when the next step is. */
export function stepDown(
  { count, milliseconds }: NonNullable<DrainPolicy['steps']>,
  { since, weight, levels }: Descent,
  now: number,
): { weight: number; next: number } {
  if (count <= 1) return { weight: 0, next: Number.POSITIVE_INFINITY };
  const interval = milliseconds / (count - 1);
  // Steps that were taken before this process began to look: the one that the kernel shows has its whole time again.
  const before = Math.max(1, count - levels);
  const begun = since - (before - 1) * interval;
  const taken = 1 + Math.floor((now - begun + tolerance) / interval);
  if (taken >= count) return { weight: 0, next: Number.POSITIVE_INFINITY };
  return { weight: Math.ceil((weight * (count - taken)) / Math.min(levels, count)), next: begun + taken * interval };
}
