/**
 * The e2e layer: a real control plane on this host's loopback; first the tests that run on this host's kernel, each in
 * namespaces of its own, then those that need IPVS, in one machine. Prints the closing table and writes it to
 * build/e2e.json and build/e2e.txt.
 *   E2E=NAME,… in the environment chooses test files
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ControlServer } from '../e2e/harness/control.ts';
import { ControlPlane } from '../e2e/harness/control-plane.ts';
import { manifestFile, NAMESPACE, RELEASE } from '../e2e/lab/chart.ts';
import { descriptionFile } from '../e2e/lab/connect.ts';
import { renderTable, type Row } from '../e2e/lab/table.ts';
import { collectGuest, compiledPrograms, execute, freshFolder, inNamespaces, testFiles } from './process.ts';
import { addFailure, type LayerResult } from './results.ts';

/** scripts/go-programs ends so when there is no Go toolchain that would do. */
export const NO_TOOLCHAIN = 3;
/** A cold build downloads a gigabyte of modules. */
const BUILD_LIMIT_MS = 30 * 60_000;
/** A test file on this host's kernel. */
const HOST_LIMIT_MS = 3 * 60_000;
/** All that need the machine. Ten minutes when nobody else uses this one; an emulated CPU suffers from company. */
const MACHINE_LIMIT_SECONDS = 1500;
const SEGMENT_ADDRESS = '10.20.0.2';
/** Where the test files leave their rows (lab/table.ts). */
const TABLES = 'build/vm-out/e2e';

const base = (file: string): string => path.basename(file, '.test.ts');

/** Where the programs are; undefined, with the reason in `result`, when they cannot be had. */
async function built(result: LayerResult, what: string): Promise<string | undefined> {
  const ended = await execute(['scripts/go-programs', what], true, BUILD_LIMIT_MS);
  const lines = ended.output.trim().split('\n');
  if (ended.status === 0) return lines.find((line) => line.startsWith('/') && existsSync(line));
  if (ended.status === NO_TOOLCHAIN) result.notRun = lines.at(-1) ?? 'no Go toolchain';
  else addFailure(result, `scripts/go-programs ${what} ended with status ${ended.status}:\n${ended.output.slice(-4000)}`);
  return undefined;
}

/** The chart as it is shipped; only what has no default is set. */
function render(helm: string): string {
  const words = ['template', RELEASE, 'charts/ravel-agent', `--namespace=${NAMESPACE}`, '--set=interface=eth0'];
  const { status, stdout, stderr } = spawnSync(path.join(helm, 'helm'), words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`helm ended with status ${String(status)}: ${stderr}`);
  return stdout;
}

/** Builds what is needed, starts it, and stops it after `body`. Says in `result` why it could not. */
export async function withControlPlane(result: LayerResult, body: () => Promise<void>): Promise<void> {
  const binaries = await built(result, 'control-plane');
  const helm = binaries === undefined ? undefined : await built(result, 'helm');
  if (binaries === undefined || helm === undefined || !(await compiledPrograms(result))) return;
  freshFolder('build/e2e');
  freshFolder(TABLES);
  writeFileSync(manifestFile, render(helm));
  const plane = await ControlPlane.start(binaries, [`IP:${SEGMENT_ADDRESS}`]);
  try {
    const control = await ControlServer.start(plane);
    try {
      writeFileSync(descriptionFile, JSON.stringify(control.description), { mode: 0o600 });
      await body();
    } finally {
      await control.close();
      // Keys of an administrator, of a server that is gone; still no reason to leave them about.
      rmSync(descriptionFile);
    }
  } finally {
    await plane.close(path.resolve('build/e2e/logs'));
  }
}

/** Bundles test files of one folder or several and runs them in one start of the machine, in the order given. */
export async function runInMachine(result: LayerResult, files: readonly string[], limitSeconds: number): Promise<void> {
  const bundles: string[] = [];
  for (const folder of new Set(files.map((file) => path.dirname(file)))) {
    const to = `build/e2e-${path.basename(folder)}`;
    const bundled = await execute([process.execPath, 'scripts/bundle-tests.ts', folder, to], false);
    if (bundled.status !== 0) {
      addFailure(result, `bundling failed:\n${bundled.output}`);
      return;
    }
  }
  for (const file of files) bundles.push(`build/e2e-${path.basename(path.dirname(file))}/${base(file)}.test.mjs`);
  const out = freshFolder('build/vm-out/e2e-results');
  const command = ['test/vm/run', '--timeout', `${limitSeconds}`, '--', `test/e2e/guest ${bundles.join(' ')}`];
  const ended = await execute(command, true, (limitSeconds + 60) * 1000);
  collectGuest(result, out, bundles.length, ended);
}

/** Puts together what the test files left, prints it, and writes `to`.json and `to`.txt. */
export function writeTable(names: readonly string[], to: string): void {
  const rows = names.flatMap((name) => {
    const left = path.join(TABLES, `${name}.json`);
    return existsSync(left) ? (JSON.parse(readFileSync(left, 'utf8')) as Row[]) : [];
  });
  if (rows.length === 0) return;
  const text = renderTable(rows);
  process.stdout.write(`\n${text}\n`);
  writeFileSync(`${to}.json`, `${JSON.stringify(rows, null, 2)}\n`);
  writeFileSync(`${to}.txt`, `${text}\n`);
}

export async function e2e(result: LayerResult): Promise<void> {
  const wanted = (process.env['E2E'] ?? '').split(',').filter((name) => name !== '');
  const chosen = (folder: string): string[] => testFiles(folder).filter((file) => wanted.length === 0 || wanted.includes(base(file)));
  const [onHost, inMachine] = [chosen('test/e2e/host'), chosen('test/e2e/suite')];
  await withControlPlane(result, async () => {
    // Programs that tests on the host start, too.
    const bundled = await execute([process.execPath, 'scripts/bundle-tests.ts', 'test/e2e/suite', 'build/e2e-suite'], false);
    if (bundled.status !== 0) addFailure(result, `bundling failed:\n${bundled.output}`);
    else if (onHost.length > 0) await inNamespaces(result, onHost, HOST_LIMIT_MS);
    if (inMachine.length > 0) await runInMachine(result, inMachine, MACHINE_LIMIT_SECONDS);
  });
  // A part of the tests is a part of the table: that of the whole stays.
  writeTable([...onHost, ...inMachine].map(base), wanted.length === 0 ? 'build/e2e' : 'build/e2e-part');
}
