/** How a Service wants its nodes to be emptied, as its owner writes it: annotations of a Service, keys of the cluster file. */
import { parseDuration } from './duration.ts';

/** Longest drain, milliseconds: a destination that nobody wants any more does not stay for ever. */
export const longestDrain = 3_600_000;

/** More steps than this are not told apart: a weight is at most 65535, and each step is a write to the kernel. */
export const mostDrainSteps = 100;

/** `30s`, `2m`, from 0s to 1h, in milliseconds; undefined for anything else. */
export function parseDrainTimeout(text: string): number | undefined {
  const milliseconds = parseDuration(text);
  return milliseconds === undefined || milliseconds > longestDrain ? undefined : milliseconds;
}

/** `4/20s`: in 4 equal steps over 20 seconds. 1 to 100 steps, more than 0s and up to 1h; undefined for anything else. */
export function parseDrainSteps(text: string): { count: number; milliseconds: number } | undefined {
  const match = /^\s*(\d{1,3})\s*\/\s*([\d.]+[a-z]*)\s*$/.exec(text);
  const count = Number(match?.[1]);
  const milliseconds = parseDrainTimeout(match?.[2] ?? '');
  if (match === null || count < 1 || count > mostDrainSteps || milliseconds === undefined || milliseconds === 0) return undefined;
  return { count, milliseconds };
}
