/** Figures that a test in the VM measures anyway, for the table of `make bench`: test/bench/run.ts, part failover. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchRow } from '../bench/row.ts';

/** A figure of ours that no other tool has a counterpart of; `remark` stands where the other tool would. */
export interface Measured {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly goal: string;
  readonly met: boolean;
  readonly remark?: string;
}

export class MeasuredRows {
  readonly #file: string;
  readonly #rows: BenchRow[] = [];

  /** @param name of the test file; below $RAVEL_OUT, which outlives the machine */
  constructor(name: string) {
    const folder = join(process.env['RAVEL_OUT'] ?? 'build/vm-out', 'measured');
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, `${name}.json`);
  }

  add({ remark, ...row }: Measured): void {
    this.#rows.push({ ...row, peer: remark === undefined ? 'none' : `none; ${remark}`, peerValue: null, ratio: null });
    writeFileSync(this.#file, JSON.stringify(this.#rows, null, 2));
  }
}
