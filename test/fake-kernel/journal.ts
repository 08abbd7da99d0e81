/** What was asked of the fake kernel, in order. */
export interface Call {
  readonly op: string;
  readonly subject: string;
  /** Errno name or class of the error; undefined when it took effect. */
  readonly failed: string | undefined;
}

export class Journal {
  readonly calls: Call[] = [];
  /** Operations that changed the kernel; an nft element counts as one. */
  writes = 0;
  /** Whole-table reads. */
  reads = 0;

  write(op: string, subject: string, failed?: string, count = 1): void {
    this.calls.push({ op, subject, failed });
    if (failed === undefined) this.writes += count;
  }

  read(): void {
    this.reads++;
  }

  clear(): void {
    this.calls.length = 0;
    this.writes = 0;
    this.reads = 0;
  }
}
