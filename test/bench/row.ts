/** One measured figure, beside the same thing done with the tool a user would pick instead. */
export interface BenchRow {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The other side, or why there is none. */
  readonly peer: string;
  readonly peerValue: number | null;
  /** How many times better than the peer (above 1 is better for us), when there is one. */
  readonly ratio: number | null;
  /** The goal in words, as the table prints it. */
  readonly goal: string;
  readonly met: boolean;
}

/** Nearest-rank percentile of unsorted samples; `share` in 0..1. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN;
}

export const median = (samples: readonly number[]): number => percentile(samples, 0.5);

export const round = (value: number, digits = 2): number => Number(value.toFixed(digits));
