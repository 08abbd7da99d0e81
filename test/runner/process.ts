/** Runs the programs of the layers of tests, and reads what their reporter wrote. */
import { spawn } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { addFailure, addLines, type LayerResult } from './results.ts';

const reporter = path.resolve('test/runner/reporter.ts');
const resultFolder = path.resolve('build/test-results');

/** One layer may take this long before it is stopped. */
export const LIMIT_MS = 20 * 60_000;

export interface Ended {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a program to its end; its output is passed on when `echo`, and returned. */
export function execute(command: readonly string[], echo: boolean, limitMs = LIMIT_MS): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: limitMs,
    });
    let output = '';
    for (const [stream, sink] of [
      [child.stdout, process.stdout],
      [child.stderr, process.stderr],
    ] as const) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (echo) sink.write(text);
      });
    }
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, output }));
  });
}

/** The lab's programs in C. */
export async function compiledPrograms(result: LayerResult): Promise<boolean> {
  const ended = await execute(['scripts/lab-programs'], false);
  if (ended.status !== 0) addFailure(result, `scripts/lab-programs failed:\n${ended.output}`);
  return ended.status === 0;
}

export function nodeTestArguments(results: string, options: readonly string[]): string[] {
  return [
    '--disable-warning=ExperimentalWarning',
    '--expose-gc',
    '--test',
    `--test-reporter=${reporter}`,
    `--test-reporter-destination=${results}`,
    ...options,
  ];
}

export function testFiles(folder: string): string[] {
  return globSync(`${folder}/**/*.test.ts`).sort();
}

export function collect(result: LayerResult, results: string, ended: Ended): void {
  const failedBefore = result.failed;
  if (existsSync(results)) addLines(result, readFileSync(results, 'utf8'));
  if (ended.status !== 0 && result.failed === failedBefore) {
    addFailure(result, `the test process ended with status ${ended.status} but no test failed:\n${ended.output.slice(-4000)}`);
  }
}

/** Adds what each file in a machine left: its lines and its exit status. `expected`: how many files there are. */
export function collectGuest(result: LayerResult, folder: string, expected: number, ended: Ended): void {
  for (const file of globSync(`${folder}/*.jsonl`).sort()) {
    const before = result.failed;
    addLines(result, readFileSync(file, 'utf8'));
    const status = readFileSync(file.replace(/jsonl$/, 'status'), { encoding: 'utf8' }).trim();
    if (status !== '0' && result.failed === before)
      addFailure(result, `${path.basename(file, '.jsonl')} ended with status ${status} but no test failed`);
  }
  const finished = globSync(`${folder}/*.status`).length;
  if (finished !== expected || (ended.status !== 0 && result.failed === 0)) {
    addFailure(result, `${finished} of ${expected} files ran to their end; test/vm/run ended with status ${ended.status}`);
  }
}

export function freshResults(layer: string): string {
  const file = path.join(resultFolder, `${layer}.jsonl`);
  mkdirSync(resultFolder, { recursive: true });
  rmSync(file, { force: true });
  return file;
}

export function freshFolder(folder: string): string {
  const full = path.resolve(folder);
  rmSync(full, { recursive: true, force: true });
  mkdirSync(full, { recursive: true });
  return full;
}

/** What makes a network namespace for us: root may, and others inside a user namespace of their own. */
export async function unshareCommand(): Promise<string[] | undefined> {
  const choices = [
    ['unshare', '--net', '--mount', '--propagation', 'private'],
    ['unshare', '--net', '--mount', '--propagation', 'private', '--user', '--map-root-user'],
    ['sudo', '-n', '-E', 'unshare', '--net', '--mount', '--propagation', 'private'],
  ];
  for (const choice of choices) {
    const ended = await execute([...choice, 'ip', 'link', 'set', 'lo', 'up'], false).catch(() => undefined);
    if (ended?.status === 0) return choice;
  }
  return undefined;
}

/** Each file in network and mount namespaces of its own; `limitMs` for each. */
export async function inNamespaces(result: LayerResult, files: readonly string[], limitMs = LIMIT_MS): Promise<void> {
  const unshare = await unshareCommand();
  if (unshare === undefined) {
    addFailure(result, 'no network namespace can be made here: run as root, or allow unprivileged user namespaces');
    return;
  }
  for (const file of files) {
    const results = freshResults(`${result.layer}-${path.basename(file, '.test.ts')}`);
    const node = [process.execPath, ...nodeTestArguments(results, ['--test-isolation=none']), file];
    const ended = await execute(
      [...unshare, 'sh', '-c', 'mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec "$@"', 'sh', ...node],
      false,
      limitMs,
    );
    collect(result, results, ended);
  }
}
