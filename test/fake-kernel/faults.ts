/**
 * Failures by table: what fails, how, and when. Suites run every scenario under every row.
 */
import { DumpInterruptedError, TimeoutError, UnsupportedError } from '../../src/native/errors.ts';
import { kernelError } from './errors.ts';

export interface Fault {
  /** `ipvs.addService`, `nftables.commit`, `links.addresses`; a trailing `*` stands for the rest. */
  readonly op: string;
  /**
   * An errno name; or `INTERRUPTED` (a dump that changed under the reader), `TIMEOUT` (no answer),
   * `UNSUPPORTED` (the module is not there).
   */
  readonly code: string;
  /** Matching calls that still succeed. Default 0. */
  readonly after?: number;
  /** Matching calls that then fail. Default 1; Infinity is for ever. */
  readonly times?: number;
  /** Only where the subject contains this text. */
  readonly subject?: string;
}

interface Armed extends Fault {
  skip: number;
  left: number;
}

function matches(pattern: string, op: string): boolean {
  return pattern.endsWith('*') ? op.startsWith(pattern.slice(0, -1)) : pattern === op;
}

function errorOf(fault: Fault, op: string, subject: string, index: number | undefined): Error {
  if (fault.code === 'INTERRUPTED') return new DumpInterruptedError(`${op}: the table kept changing`);
  if (fault.code === 'TIMEOUT') return new TimeoutError(`${op} ${subject}: no answer`);
  if (fault.code === 'UNSUPPORTED') return new UnsupportedError(op, 'modprobe ip_vs');
  return kernelError(op, subject, fault.code, index);
}

export class Faults {
  #armed: Armed[] = [];
  /** How often a fault struck: a test that armed one can tell that it met it. */
  struck = 0;

  failNext(...faults: readonly Fault[]): void {
    this.#armed.push(...faults.map((fault) => ({ ...fault, skip: fault.after ?? 0, left: fault.times ?? 1 })));
  }

  /** Everything works again. */
  heal(): void {
    this.#armed = [];
  }

  /** The error that this call must end with; undefined when it may go on. */
  next(op: string, subject: string, index?: number): Error | undefined {
    for (const fault of this.#armed) {
      if (!matches(fault.op, op) || (fault.subject !== undefined && !subject.includes(fault.subject))) continue;
      if (fault.skip > 0) {
        fault.skip--;
        continue;
      }
      if (fault.left <= 0) continue;
      fault.left--;
      this.struck++;
      return errorOf(fault, op, subject, index);
    }
    return undefined;
  }

  throwNext(op: string, subject: string, index?: number): void {
    const error = this.next(op, subject, index);
    if (error !== undefined) throw error;
  }
}
