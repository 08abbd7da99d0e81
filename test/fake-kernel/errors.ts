import { constants } from 'node:os';
import { KernelError } from '../../src/native/errors.ts';

/** ERESTART is kernel-internal by design, but nfnetlink sends it (linux/errno.h). */
const ERESTART = 85;

export function errnoOf(code: string): number {
  const known = (constants.errno as Readonly<Record<string, number>>)[code];
  if (known !== undefined) return known;
  if (code === 'ERESTART') return ERESTART;
  throw new Error(`${code} is no errno name`);
}

export function kernelError(op: string, subject: string, code: string, index?: number): KernelError {
  return new KernelError({ op, subject, errno: errnoOf(code), code, index });
}
