import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { formatReport, validationReport, type ValidationReport } from '../../src/cli/validate.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { clusterInput, read, type Json } from './model-input.ts';

let folder = '';
before(() => {
  folder = temporaryDirectory('validate');
});

function withScheduler(scheduler: string): Record<string, Json> {
  const entry: Json = { namespace: 'shop', service: 'api', portName: 'http', ipvsOptions: { scheduler } };
  return { ...clusterInput(), config: { '10.50.0.100': { '80': entry } } };
}

/** The command as a process of its own, behind a program that has nothing but it. */
function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const root = path.resolve(import.meta.dirname, '../..');
  const program = `
    import yargs from 'yargs';
    import { validateCommand } from './src/cli/validate.ts';
    await yargs(process.argv.slice(1)).scriptName('ravel-agent').command(validateCommand).strict().parseAsync();`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program, '--', 'validate', ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  return { status, stdout, stderr };
}

const put = (name: string, content: unknown): string => {
  const file = path.join(folder, name);
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content, null, 1));
  return file;
};

test('a valid file: exit 0 and what is in it', () => {
  const { status, stdout, stderr } = run(put('valid.json', clusterInput()));
  assert.equal(stderr, '');
  assert.equal(status, 0);
  assert.match(stdout, /valid\.json: valid: 3 VIPs, 4 virtual services, 2 services, 2 nodes\n$/);
});

test('an unknown scheduler: exit 1 at its path with a suggestion; lenient: exit 0 and a warning', () => {
  const file = put('scheduler.json', withScheduler('wrrr'));
  const strict = run(file);
  assert.equal(strict.status, 1);
  assert.match(
    strict.stdout,
    /scheduler\.json:\d+: error: config\."10\.50\.0\.100"\."80"\.ipvsOptions\.scheduler: .*, did you mean "wrr"\?/,
  );
  assert.ok(!strict.stdout.includes('\u001b'), 'no colour outside a terminal');
  const lenient = run('--lenient', file);
  assert.equal(lenient.status, 0);
  assert.match(lenient.stdout, /: warning: config\."10\.50\.0\.100"/);
});

test('-o json has the documented shape', () => {
  const { status, stdout } = run('-o', 'json', put('scheduler2.json', withScheduler('xyz')));
  const report = JSON.parse(stdout) as ValidationReport;
  assert.equal(status, 1);
  assert.deepEqual(Object.keys(report), ['file', 'valid', 'errors', 'warnings', 'summary']);
  assert.equal(report.valid, false);
  assert.equal(report.summary, null);
  assert.equal(report.errors[0]?.path, 'config."10.50.0.100"."80".ipvsOptions.scheduler');
  assert.ok((report.errors[0].line ?? 0) > 1);
});

test('every error is printed', () => {
  const { status, stdout } = run(put('bad.yaml', 'services: []\nconfig:\n  x: {}\n  10.0.0.1: {0: {service: a}}\n'));
  assert.equal(status, 1);
  assert.deepEqual(
    stdout.split('\n').map((line) => line.slice(folder.length + 1)),
    [
      'bad.yaml:3: error: config.x: "x" is not an IP address',
      'bad.yaml:4: error: config."10.0.0.1"."0": port "0" is out of range: 1 to 65535',
      'bad.yaml:4: error: config."10.0.0.1"."0".service: there is no Service default/a',
      '',
    ],
  );
});

test('a file that is not there, a folder, no file', () => {
  assert.match(run(path.join(folder, 'none')).stdout, /none: error: no such file/);
  assert.equal(run(path.join(folder, 'none')).status, 1);
  assert.match(run(folder).stdout, /error: is a folder/);
  const nothing = run();
  assert.equal(nothing.status, 1);
  assert.match(nothing.stderr, /validate needs a FILE/);
});

test('--schema prints the JSON Schema, --help the options', () => {
  const { status, stdout } = run('--schema');
  assert.equal(status, 0);
  assert.equal((JSON.parse(stdout) as { title: string }).title, 'ravel-agent cluster file');
  assert.match(run('--help').stdout, /--lenient[\s\S]*--schema[\s\S]*--output/);
});

test('coercions are errors unless lenient, spelling is a warning always', () => {
  const misread = read(withScheduler('xyz'));
  assert.equal(validationReport('f', misread, false).valid, false);
  assert.equal(validationReport('f', misread, true).valid, true);
  const misspelt = validationReport('f', read(withScheduler(' RR ')), false);
  assert.equal(misspelt.valid, true);
  assert.equal(misspelt.warnings.length, 1);
  assert.match(
    formatReport(misspelt),
    /^f:\d+: warning: config\."10\.50\.0\.100"\."80"\.ipvsOptions\.scheduler: " RR " is read as "rr"\nf: valid: /,
  );
});
