/** What a layer's tests came to. */
export interface TestLine {
  name: string;
  file: string;
  nesting: number;
  outcome: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped; an empty text is an offence. */
  reason?: string;
  error?: string;
}

/** What a test wants said in the summary. */
export interface NoteLine {
  note: string;
}

export interface LayerResult {
  readonly layer: string;
  passed: number;
  failed: number;
  /** `test: reason`, one for each test that was not run. */
  readonly skipped: string[];
  /** What went wrong, one text each, ready to print. */
  readonly problems: string[];
  readonly notes: string[];
  seconds: number;
  /** Why the layer could not be run here at all, which is no failure. */
  notRun?: string;
}

export function emptyResult(layer: string): LayerResult {
  return { layer, passed: 0, failed: 0, skipped: [], problems: [], notes: [], seconds: 0 };
}

export function addFailure(result: LayerResult, what: string): void {
  result.failed += 1;
  result.problems.push(what);
}

/** Adds the lines that reporter.ts wrote. */
export function addLines(result: LayerResult, text: string): void {
  for (const raw of text.split('\n')) {
    if (raw === '') continue;
    const line = JSON.parse(raw) as TestLine | NoteLine;
    if ('note' in line) {
      result.notes.push(line.note);
      continue;
    }
    // Node reports a file without a single test as one passed test that bears the file's name.
    const isFile = line.nesting === 0 && line.file !== '' && line.file.endsWith(line.name);
    if (line.outcome === 'failed') addFailure(result, `${line.name}  (${line.file})\n${line.error ?? ''}`);
    else if (isFile) addFailure(result, `${line.file} contains no test`);
    else if (line.outcome === 'passed') result.passed += 1;
    else if (line.reason === undefined || line.reason === '')
      addFailure(result, `${line.name}  (${line.file}) was skipped without a reason`);
    else result.skipped.push(`${line.name}: ${line.reason}`);
  }
}

/** Adds what scripts/test-native-core printed. */
export function addNativeOutput(result: LayerResult, output: string, status: number | null): void {
  const counts = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(output);
  if (counts === null) {
    addFailure(result, `the sanitizer run did not finish (status ${status}):\n${output.slice(-4000)}`);
    return;
  }
  result.passed += Number(counts[1]);
  for (const match of output.matchAll(/^skipped (\w+): *(.*)$/gm)) {
    if (match[2] === '') addFailure(result, `${match[1]} was skipped without a reason`);
    else result.skipped.push(`${match[1]}: ${match[2]}`);
  }
  const failed = Number(counts[2]);
  if (failed > 0 || status !== 0) {
    result.failed += Math.max(failed, 1);
    result.problems.push(`native/test (status ${status}):\n${output.slice(-4000)}`);
  }
}

/** A layer that ran nothing proves nothing, unless it says why it could not. */
export function finish(result: LayerResult): void {
  if (result.notRun !== undefined && result.notRun !== '' && result.failed === 0) return;
  if (result.passed + result.failed === 0) {
    addFailure(result, result.skipped.length > 0 ? 'every test was skipped' : 'no test ran');
  }
}

export function summary(results: readonly LayerResult[], notSelected: readonly string[]): string {
  const row = (cells: readonly string[]): string =>
    `  ${cells[0]!.padEnd(10)}${cells
      .slice(1)
      .map((cell) => cell.padStart(9))
      .join('')}`;
  const lines = [row(['layer', 'ran', 'passed', 'failed', 'skipped', 'seconds'])];
  for (const r of results) {
    lines.push(row([r.layer, `${r.passed + r.failed}`, `${r.passed}`, `${r.failed}`, `${r.skipped.length}`, r.seconds.toFixed(1)]));
  }
  for (const { layer, notRun } of results) if (notRun !== undefined) lines.push(`  ${layer} was not run: ${notRun}`);
  for (const result of results) for (const note of result.notes) lines.push(`  ${result.layer}: ${note}`);
  for (const result of results) for (const skip of result.skipped) lines.push(`  skipped in ${result.layer}: ${skip}`);
  if (notSelected.length > 0) lines.push(`  not selected: ${notSelected.join(', ')}`);
  const sum = (count: (r: LayerResult) => number): number => results.reduce((total, r) => total + count(r), 0);
  lines.push(`${sum((r) => r.passed)} passed, ${sum((r) => r.failed)} failed, ${sum((r) => r.skipped.length)} skipped`);
  return lines.join('\n');
}
