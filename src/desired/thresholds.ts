/**
 * Connection limits of a virtual service, shared out among its destinations. The configuration gives
 * them for the whole virtual service, the kernel keeps them per destination.
 */

/**
 * By what a limit is divided: `weight`, in proportion to the weights of the destinations that take
 * connections, so that all of them fill up together; `nodes`, by the number of all known nodes, alike for each.
 */
export type ThresholdDivisor = 'weight' | 'nodes';

export interface Thresholds {
  readonly upper: number;
  readonly lower: number;
}

export const NO_THRESHOLDS: Thresholds = { upper: 0, lower: 0 };

/** ipvsadm's limit, kept so that what the agent writes can be saved and restored with it. */
export const MAXIMUM_THRESHOLD = 65535;

/** Negative values are 0; a lower limit that is not below the upper one switches both off. */
export function coerceThresholds(upper: number, lower: number): Thresholds {
  const coerced = { upper: Math.max(0, upper), lower: Math.max(0, lower) };
  return coerced.lower >= coerced.upper ? NO_THRESHOLDS : coerced;
}

/**
 * The limits of one destination that gets `part` of `whole` of them, rounded down; both off when
 * either is above {@link MAXIMUM_THRESHOLD}. An upper limit that rounds down to 0 would mean "no limit", the
 * opposite of what was asked: it stays 1.
 */
export function shareThresholds(service: Thresholds, part: number, whole: number): Thresholds {
  if (service.upper === 0 || part === 0 || whole === 0) return NO_THRESHOLDS;
  const upper = Math.max(1, Math.floor((service.upper * part) / whole));
  const lower = Math.floor((service.lower * part) / whole);
  return upper > MAXIMUM_THRESHOLD || lower > MAXIMUM_THRESHOLD ? NO_THRESHOLDS : { upper, lower };
}
