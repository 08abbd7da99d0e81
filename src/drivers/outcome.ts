import type { Address, VirtualServiceKey } from '../model/cluster.ts';
import { KernelError } from '../native/errors.ts';

/** One thing that the kernel refused, or that could not be asked. */
export interface DriverFailure {
  /** `ipvs.setDestination` */
  readonly op: string;
  /** The object, for people. */
  readonly subject: string;
  /** Errno name, or the class of the error where there is no errno. */
  readonly code: string;
  readonly message: string;
  /** What cannot be relied on because of it. */
  readonly key?: VirtualServiceKey;
  readonly address?: Address;
  /** No VIP of this family can be relied on because of it. */
  readonly family?: 4 | 6;
}

/** What a driver did in one pass. */
export interface DriverOutcome {
  /** Operations that took effect. */
  readonly written: number;
  readonly failures: readonly DriverFailure[];
}

export const nothingDone: DriverOutcome = { written: 0, failures: [] };

/** Any error as a failure; `op` and `subject` stand in where the error has none. */
export function failureOf(error: unknown, op: string, subject: string, about: Pick<DriverFailure, 'key' | 'address'> = {}): DriverFailure {
  if (error instanceof KernelError) {
    return { op: error.op, subject: error.subject, code: error.code, message: error.message, ...about };
  }
  if (error instanceof Error) {
    const { code } = error as NodeJS.ErrnoException;
    // Errors of files: their message begins with the errno name and ends with the path.
    if (code !== undefined) return { op, subject, code, message: `${op} ${error.message}`, ...about };
    return { op, subject, code: error.name, message: error.message, ...about };
  }
  return { op, subject, code: 'Error', message: String(error), ...about };
}

export function merge(outcomes: readonly DriverOutcome[]): DriverOutcome {
  return {
    written: outcomes.reduce((sum, outcome) => sum + outcome.written, 0),
    failures: outcomes.flatMap((outcome) => outcome.failures),
  };
}
