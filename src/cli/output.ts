/** What commands print: text for people, JSON for programs, colour on a terminal only. */

export interface Output {
  /** Standard output. */
  print(text: string): void;
  /** Standard error: what is no result. */
  complain(text: string): void;
  readonly colour: boolean;
}

const codes = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 } as const;

export function paint(output: Pick<Output, 'colour'>, style: keyof typeof codes, text: string): string {
  return output.colour ? `\u001b[${codes[style]}m${text}\u001b[0m` : text;
}

export function printJson(output: Output, value: unknown): void {
  output.print(`${JSON.stringify(value, null, 2)}\n`);
}

/** Columns as wide as their widest cell; the last is not padded. */
export function table(rows: readonly (readonly string[])[], indent = ''): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return rows
    .map((row) => indent + row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** `12.3k`, `4.0M`: three digits are enough to see. */
export function short(value: number): string {
  const steps = ['', 'k', 'M', 'G', 'T'];
  let step = 0;
  while (value >= 1000 && step < steps.length - 1) {
    value /= 1000;
    step += 1;
  }
  return step === 0 ? String(Math.round(value * 10) / 10) : `${value.toFixed(1)}${steps[step] ?? ''}`;
}

/** https://no-color.org: set and not empty means no colour. */
export function wantsColour(stream: { readonly isTTY?: boolean }, environment: NodeJS.ProcessEnv): boolean {
  return stream.isTTY === true && (environment['NO_COLOR'] ?? '') === '' && environment['TERM'] !== 'dumb';
}
