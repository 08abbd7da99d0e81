/** How each layer of tests is run. */
import { spawn } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { addFailure, addLines, addNativeOutput, type LayerResult } from './results.ts';

const reporter = path.resolve('test/runner/reporter.ts');
const resultFolder = path.resolve('build/test-results');

/** One layer may take this long before it is stopped. */
const LIMIT_MS = 20 * 60_000;

interface Ended {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a program to its end; its output is passed on when `echo`, and returned. */
function execute(command: readonly string[], echo: boolean, limitMs = LIMIT_MS): Promise<Ended> {
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

function nodeTestArguments(results: string, options: readonly string[]): string[] {
  return [
    '--disable-warning=ExperimentalWarning',
    '--expose-gc',
    '--test',
    `--test-reporter=${reporter}`,
    `--test-reporter-destination=${results}`,
    ...options,
  ];
}

function testFiles(folder: string): string[] {
  return globSync(`${folder}/**/*.test.ts`).sort();
}

function collect(result: LayerResult, results: string, ended: Ended): void {
  const failedBefore = result.failed;
  if (existsSync(results)) addLines(result, readFileSync(results, 'utf8'));
  if (ended.status !== 0 && result.failed === failedBefore) {
    addFailure(result, `the test process ended with status ${ended.status} but no test failed:\n${ended.output.slice(-4000)}`);
  }
}

function freshResults(layer: string): string {
  const file = path.join(resultFolder, `${layer}.jsonl`);
  mkdirSync(resultFolder, { recursive: true });
  rmSync(file, { force: true });
  return file;
}

/** Files of a folder, each in a process of its own, two at a time. */
function plain(folder: string, wrapper: readonly string[] = []): (result: LayerResult) => Promise<void> {
  return async (result) => {
    const files = testFiles(folder);
    if (files.length === 0) return;
    const results = freshResults(result.layer);
    const ended = await execute([...wrapper, process.execPath, ...nodeTestArguments(results, ['--test-concurrency=2']), ...files], false);
    collect(result, results, ended);
  };
}

/** What makes a network namespace for us: root may, and others inside a user namespace of their own. */
async function unshareCommand(): Promise<string[] | undefined> {
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

/** The tests of the addon make namespaces themselves, which takes root or a user namespace. */
async function native(result: LayerResult): Promise<void> {
  const wrapper = process.getuid?.() === 0 ? [] : ((await unshareCommand()) ?? []);
  const core = await execute([...wrapper, 'scripts/test-native-core'], false, 5 * 60_000);
  addNativeOutput(result, core.output, core.status);
  await plain('test/native', wrapper)(result);
}

/** Each file in network and mount namespaces of its own. */
async function netns(result: LayerResult): Promise<void> {
  const unshare = await unshareCommand();
  if (unshare === undefined) {
    addFailure(result, 'no network namespace can be made here: run as root, or allow unprivileged user namespaces');
    return;
  }
  for (const file of testFiles('test/netns')) {
    const results = freshResults(`netns-${path.basename(file, '.test.ts')}`);
    const node = [process.execPath, ...nodeTestArguments(results, ['--test-isolation=none']), file];
    const ended = await execute(
      [...unshare, 'sh', '-c', 'mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec "$@"', 'sh', ...node],
      false,
    );
    collect(result, results, ended);
  }
}

/** All files bundled, in one start of the machine, each in a process and namespaces of its own. */
async function vm(result: LayerResult): Promise<void> {
  const bundled = await execute([process.execPath, 'scripts/bundle-tests.ts'], false);
  if (bundled.status !== 0) {
    addFailure(result, `bundling failed:\n${bundled.output}`);
    return;
  }
  const out = path.resolve('build/vm-out/results');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const ended = await execute(['test/vm/run', '--timeout', `${LIMIT_MS / 1000 - 30}`, '--', 'test/vm/suite'], true);
  for (const file of globSync(`${out}/*.jsonl`).sort()) {
    const before = result.failed;
    addLines(result, readFileSync(file, 'utf8'));
    const status = readFileSync(file.replace(/jsonl$/, 'status'), { encoding: 'utf8' }).trim();
    if (status !== '0' && result.failed === before)
      addFailure(result, `${path.basename(file, '.jsonl')} ended with status ${status} but no test failed`);
  }
  const finished = globSync(`${out}/*.status`).length;
  const expected = testFiles('test/vm-suite').length;
  if (finished !== expected || (ended.status !== 0 && result.failed === 0)) {
    addFailure(result, `${finished} of ${expected} files ran to their end; test/vm/run ended with status ${ended.status}`);
  }
}

export const layers: ReadonlyMap<string, (result: LayerResult) => Promise<void>> = new Map([
  ['unit', plain('test/unit')],
  ['property', plain('test/property')],
  ['fake', plain('test/fake-kernel')],
  ['native', native],
  ['netns', netns],
  ['vm', vm],
]);
