/**
 * The e2e layer: a real control plane on this host's loopback; first the tests that run on this host's kernel, each in
 * namespaces of its own, then those that need IPVS, in one machine. Prints the closing table and writes it to
 * build/e2e.json and build/e2e.txt.
 *   E2E=NAME,… in the environment chooses test files
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ControlServer } from '../e2e/harness/control.ts';
import { ControlPlane } from '../e2e/harness/control-plane.ts';
import { manifestFile, NAMESPACE, RELEASE } from '../e2e/lab/chart.ts';
import { descriptionFile } from '../e2e/lab/connect.ts';
import { renderTable, type Row } from '../e2e/lab/table.ts';
import { collectGuest, execute, freshFolder, inNamespaces, testFiles } from './process.ts';
import { addFailure, type LayerResult } from './results.ts';

/** scripts/control-plane ends so when there is no Go toolchain that would do. */
const NO_TOOLCHAIN = 3;
/** A cold build downloads a gigabyte of modules. */
const BUILD_LIMIT_MS = 30 * 60_000;
/** A test file on this host's kernel. */
const HOST_LIMIT_MS = 3 * 60_000;
/** All that need the machine. Ten minutes when nobody else uses this one; an emulated CPU suffers from company. */
const MACHINE_LIMIT_SECONDS = 1500;
const SEGMENT_ADDRESS = '10.20.0.2';

const base = (file: string): string => path.basename(file, '.test.ts');

/** Where the programs are; undefined, with the reason in `result`, when they cannot be had. */
async function built(result: LayerResult, what: string): Promise<string | undefined> {
  const ended = await execute(['scripts/control-plane', what], true, BUILD_LIMIT_MS);
  const lines = ended.output.trim().split('\n');
  if (ended.status === 0) return lines.find((line) => line.startsWith('/') && existsSync(line));
  if (ended.status === NO_TOOLCHAIN) result.notRun = lines.at(-1) ?? 'no Go toolchain';
  else addFailure(result, `scripts/control-plane ${what} ended with status ${ended.status}:\n${ended.output.slice(-4000)}`);
  return undefined;
}

/** The chart as it is shipped; only what has no default is set. */
function render(helm: string): string {
  const words = ['template', RELEASE, 'charts/ravel-agent', `--namespace=${NAMESPACE}`, '--set=interface=eth0'];
  const { status, stdout, stderr } = spawnSync(path.join(helm, 'helm'), words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`helm ended with status ${String(status)}: ${stderr}`);
  return stdout;
}

export async function e2e(result: LayerResult): Promise<void> {
  const wanted = (process.env['E2E'] ?? '').split(',').filter((name) => name !== '');
  const chosen = (folder: string): string[] => testFiles(folder).filter((file) => wanted.length === 0 || wanted.includes(base(file)));
  const binaries = await built(result, 'control-plane');
  const helm = binaries === undefined ? undefined : await built(result, 'helm');
  if (binaries === undefined || helm === undefined) return;
  freshFolder('build/e2e');
  writeFileSync(manifestFile, render(helm));
  const tables = freshFolder('build/vm-out/e2e');
  const plane = await ControlPlane.start(binaries, [`IP:${SEGMENT_ADDRESS}`]);
  try {
    const control = await ControlServer.start(plane);
    try {
      writeFileSync(descriptionFile, JSON.stringify(control.description), { mode: 0o600 });
      await runAll(result, chosen('test/e2e/host'), chosen('test/e2e/suite'));
    } finally {
      await control.close();
    }
  } finally {
    await plane.close(path.resolve('build/e2e/logs'));
  }
  const rows = [...testFiles('test/e2e/host'), ...testFiles('test/e2e/suite')].flatMap((file) => {
    const left = path.join(tables, `${base(file)}.json`);
    return existsSync(left) ? (JSON.parse(readFileSync(left, 'utf8')) as Row[]) : [];
  });
  if (rows.length === 0) return;
  const text = renderTable(rows);
  process.stdout.write(`\n${text}\n`);
  // A part of the tests is a part of the table: that of the whole stays.
  const file = path.resolve(wanted.length === 0 ? 'build/e2e' : 'build/e2e-part');
  writeFileSync(`${file}.json`, `${JSON.stringify(rows, null, 2)}\n`);
  writeFileSync(`${file}.txt`, `${text}\n`);
}

async function runAll(result: LayerResult, onHost: readonly string[], inMachine: readonly string[]): Promise<void> {
  const bundled = await execute([process.execPath, 'scripts/bundle-tests.ts', 'test/e2e/suite', 'build/e2e-suite'], false);
  if (bundled.status !== 0) {
    addFailure(result, `bundling failed:\n${bundled.output}`);
    return;
  }
  const compiler = process.env['CC'] ?? 'cc';
  const source = ['test/lab/programs/http.c', '-o', 'build/lab/http'];
  const compiled = await execute([compiler, '-std=c11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Werror', ...source], false);
  if (compiled.status !== 0) {
    addFailure(result, `${compiler} failed:\n${compiled.output}`);
    return;
  }
  if (onHost.length > 0) await inNamespaces(result, onHost, HOST_LIMIT_MS);
  if (inMachine.length === 0) return;
  const out = freshFolder('build/vm-out/e2e-results');
  const files = inMachine.map((file) => `build/e2e-suite/${base(file)}.test.mjs`);
  const ended = await execute(
    ['test/vm/run', '--timeout', `${MACHINE_LIMIT_SECONDS}`, '--', `test/e2e/guest ${files.join(' ')}`],
    true,
    (MACHINE_LIMIT_SECONDS + 60) * 1000,
  );
  collectGuest(result, out, files.length, ended);
}
