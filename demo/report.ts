/** What the demo says while it runs, and the table at its end. */

interface Row {
  readonly what: string;
  readonly expected: string;
  readonly measured: string;
  readonly good: boolean;
}

const colour = process.env['RAVEL_DEMO_COLOUR'] === '1';
const paint = (code: number, text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);

export class Report {
  readonly #rows: Row[] = [];
  readonly #began = performance.now();
  #chapter = 0;

  /** Begins a chapter: what happens now, and what to look for. */
  chapter(title: string, about = ''): void {
    this.#chapter += 1;
    const time = ((performance.now() - this.#began) / 1000).toFixed(0).padStart(4);
    process.stdout.write(`\n${paint(1, `${this.#chapter}. ${title}`)}  ${paint(2, `[${time} s]`)}\n`);
    if (about !== '') this.say(about);
  }

  say(text: string): void {
    process.stdout.write(`${text.trimEnd().replace(/^/gm, '   ')}\n`);
  }

  /** A line of the table; one that is not good fails the demo. */
  check(what: string, expected: string, measured: string, good: boolean): void {
    this.#rows.push({ what, expected, measured, good });
    this.say(`${good ? paint(32, 'ok') : paint(31, 'FAILED')}  ${what}: ${measured}${good ? '' : ` (expected ${expected})`}`);
  }

  get good(): boolean {
    return this.#rows.length > 0 && this.#rows.every((row) => row.good);
  }

  /** All that was measured, failures included. */
  table(emphasis: (code: number, text: string) => string = paint): string {
    const rows = this.#rows;
    const width = (pick: (row: Row) => string, title: string): number => Math.max(title.length, ...rows.map((row) => pick(row).length));
    const what = width((row) => row.what, 'what');
    const expected = width((row) => row.expected, 'expected');
    const measured = width((row) => row.measured, 'measured');
    const line = (a: string, b: string, c: string, d: string): string =>
      `${a.padEnd(what)}  ${b.padEnd(expected)}  ${c.padEnd(measured)}  ${d}`.trimEnd();
    const failed = rows.filter((row) => !row.good).length;
    const seconds = ((performance.now() - this.#began) / 1000).toFixed(0);
    return [
      line('what', 'expected', 'measured', ''),
      line('-'.repeat(what), '-'.repeat(expected), '-'.repeat(measured), '------'),
      ...rows.map((row) => line(row.what, row.expected, row.measured, row.good ? emphasis(32, 'ok') : emphasis(31, 'FAILED'))),
      '',
      `${rows.length - failed} of ${rows.length} as expected, ${seconds} s`,
      '',
    ].join('\n');
  }

  /** The same without colours. */
  plainTable(): string {
    return this.table((_, text) => text);
  }
}
