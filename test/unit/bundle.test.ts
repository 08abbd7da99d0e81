/** What is released: what it is made of, what it costs who does not use it, and that it works. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { before, test } from 'node:test';
import { build, type Metafile } from 'esbuild';
import { agentBundleOptions, bundleOptions } from '../../scripts/bundle-options.ts';
import { temporaryDirectory } from '../temporary-directory.ts';

const folder = temporaryDirectory('bundle');
const program = join(folder, 'ravel-agent.js');
let outputs: Metafile['outputs'] = {};

before(async () => {
  ({
    metafile: { outputs },
  } = await build({ ...agentBundleOptions, outdir: folder }));
});

/** Modules that can start a process. */
const starters = new Set(['child_process', 'node:child_process', 'cluster', 'node:cluster']);
const startersIn = (made: Metafile['outputs']): string[] =>
  Object.values(made).flatMap(({ imports }) => imports.map(({ path }) => path).filter((path) => starters.has(path)));

/** The files that are loaded with `file`, itself among them. */
function loadedWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const { path, kind } of outputs[file]?.imports ?? []) if (kind === 'import-statement' && path in outputs) loadedWith(path, seen);
  return seen;
}

const output = (name: string): string => Object.keys(outputs).find((file) => basename(file) === name) ?? assert.fail(name);
const inputsOf = (files: Iterable<string>): string[] => [...files].flatMap((file) => Object.keys(outputs[file]?.inputs ?? {}));
const clientOf = (inputs: readonly string[]): string[] => inputs.filter((input) => input.includes('@kubernetes/client-node'));

test('no module that could start a process is in the program', async () => {
  assert.deepEqual(startersIn(outputs), []);
  // Negative: the same look finds one.
  const { metafile } = await build({
    ...bundleOptions,
    ...{ stdin: { contents: "import { spawn } from 'node:child_process'; spawn('x');" }, write: false, metafile: true },
  });
  assert.deepEqual(startersIn(metafile.outputs), ['node:child_process']);
});

test('who takes the cluster from a file loads nothing of Kubernetes', () => {
  const inputs = inputsOf(loadedWith(output('ravel-agent.js')));
  assert.ok(inputs.some((input) => input.endsWith('src/sources/file.ts')));
  assert.deepEqual(clientOf(inputs), []);
  assert.deepEqual(
    inputs.filter((input) => /src\/(kubernetes\/(connection|kubeconfig)|sources\/kubernetes)/.test(input)),
    [],
  );
});

test('only who asks a BGP daemon loads what it takes to do so', () => {
  const speaks = (inputs: readonly string[]): string[] =>
    inputs.filter((input) => /node_modules\/(@grpc|@bufbuild|protobufjs)\//.test(input) || input.endsWith('src/announce/bgp/client.ts'));
  assert.deepEqual(speaks(inputsOf(loadedWith(output('ravel-agent.js')))), []);
  const chunks = Object.keys(outputs).filter((file) => speaks(Object.keys(outputs[file]?.inputs ?? {})).length > 0);
  assert.equal(chunks.length, 1, 'negative: it is in the program, in a file of its own');
});

test('only who asks for metrics loads what makes them', () => {
  const serves = (inputs: readonly string[]): string[] => inputs.filter((input) => input.includes('node_modules/prom-client/'));
  assert.deepEqual(serves(inputsOf(loadedWith(output('ravel-agent.js')))), []);
  assert.ok(serves(inputsOf(Object.keys(outputs))).length > 0, 'negative: it is in the program');
});

test('of the client there is one class, and what it needs', () => {
  const holders = Object.keys(outputs).filter((file) => clientOf(Object.keys(outputs[file]?.inputs ?? {})).length > 0);
  assert.equal(holders.length, 1);
  const [holder = ''] = holders;
  const names = clientOf(Object.keys(outputs[holder]?.inputs ?? {})).map((input) => input.replace(/.*\/dist\//, ''));
  assert.deepEqual(names.sort(), ['config.js', 'config_types.js', 'file_auth.js']);
  assert.ok((outputs[holder]?.bytes ?? Infinity) < 100_000, `${outputs[holder]?.bytes} bytes`);
});

test('the program finds its parts, wherever it lies', () => {
  const kubeconfig = join(folder, 'kubeconfig');
  const config = {
    ...{ 'current-context': 'lab', contexts: [{ name: 'lab', context: { cluster: 'c', user: 'u' } }] },
    ...{ clusters: [{ name: 'c', cluster: { server: 'https://192.0.2.1' } }], users: [{ name: 'u', user: { exec: { command: 'x' } } }] },
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const flags = ['--mode=director', '--compute-iface=lo', '--config-name=vips', `--kubeconfig=${kubeconfig}`];
  const { stderr, status } = spawnSync(process.execPath, [program, 'plan', ...flags], { encoding: 'utf8', cwd: '/' });
  assert.match(stderr, /user u logs in through an exec plugin; the agent starts no process/);
  assert.equal(status, 1);
});
