/** Rows of the closing table of `make test-e2e`; each test file leaves its own, the runner puts them together. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Row {
  readonly name: string;
  /** `-`: a figure without a goal. */
  readonly goal: string;
  readonly measured: string;
  readonly met: boolean;
  /** What the figure depends on: emulation, sizes. */
  readonly note?: string;
}

export class Table {
  readonly #folder: string;
  readonly #file: string;
  readonly rows: Row[] = [];

  /** @param name of the test file; rows of one file keep their order */
  constructor(name: string) {
    this.#folder = join(process.env['RAVEL_OUT'] ?? 'build/vm-out', 'e2e');
    mkdirSync(this.#folder, { recursive: true });
    this.#file = join(this.#folder, `${name}.json`);
  }

  /** What a row was computed from, for who looks closer: NAME.samples.json beside the rows. */
  keep(name: string, samples: readonly unknown[]): void {
    writeFileSync(join(this.#folder, `${name}.samples.json`), JSON.stringify(samples));
  }

  add(row: Row): void {
    this.rows.push(row);
    writeFileSync(this.#file, JSON.stringify(this.rows));
    process.stdout.write(`    ${row.name}: ${row.measured}; goal ${row.goal}: ${row.met ? 'met' : 'MISSED'}\n`);
  }
}

export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Of the nearest rank. */
export function percentiles(samples: readonly number[]): Percentiles {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

export function renderTable(rows: readonly Row[]): string {
  const header = ['what', 'goal', 'measured', ''];
  const lines = rows.map((row) => [row.name, row.goal, row.measured, row.goal === '-' ? '' : row.met ? 'met' : 'MISSED']);
  const widths = header.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)));
  const format = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  const notes = rows.flatMap(({ name, note }) => (note === undefined ? [] : [`${name}: ${note}`]));
  const aimed = rows.filter(({ goal }) => goal !== '-');
  const missed = aimed.filter(({ met }) => !met).length;
  return [
    format(header),
    ...lines.map(format),
    '',
    ...notes,
    ...(notes.length > 0 ? [''] : []),
    `${aimed.length - missed} of ${aimed.length} goals met`,
  ].join('\n');
}

export interface Sample {
  readonly seconds: number;
  readonly value: number;
}

/** Change of the value per second, by least squares; NaN for fewer than two moments. */
export function slope(samples: readonly Sample[]): number {
  const mean = (pick: (sample: Sample) => number): number => samples.reduce((sum, sample) => sum + pick(sample), 0) / samples.length;
  const [time, value] = [mean((sample) => sample.seconds), mean((sample) => sample.value)];
  let covariance = 0;
  let variance = 0;
  for (const sample of samples) {
    covariance += (sample.seconds - time) * (sample.value - value);
    variance += (sample.seconds - time) ** 2;
  }
  return covariance / variance;
}
