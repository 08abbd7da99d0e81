/**
 * `make bench`: runs every bench, prints one table with our figure beside the peer's and the goal, and writes
 * build/bench.json and build/bench.txt (bench-in-part.* when it was not all of them). A missed goal is printed as missed and does not fail the run; a bench
 * that cannot run does.
 *   run.ts [--parts=diff,nftables,iptables,connections,writers,reconcile,ingest,kubernetes,bgp,failover,vm,demo]
 * Each part is a process of its own, so that no bench inherits another's heap. IPVS is measured on a kernel that
 * has it (test/vm/run), both sides in the same run.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { BenchRow } from './row.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const build = join(root, 'build');

/** Parts that run on this machine's own kernel; the work happens in a child (`--only`). */
const local: Readonly<Record<string, () => Promise<BenchRow[]>>> = {
  diff: async () => (await import('./diff.ts')).runDiffBench(),
  nftables: async () => (await import('./nftables.ts')).runNftablesBench(),
  iptables: async () => (await import('./iptables.ts')).runIptablesBench(),
  connections: async () => (await import('./connections.ts')).runConnectionsBench(),
  writers: async () => (await import('./writers.ts')).runWritersBench(),
  reconcile: async () => (await import('./reconcile.ts')).runReconcileBench(),
  ingest: async () => (await import('./kubernetes-ingest.ts')).runIngestBench(),
  kubernetes: async () => (await import('./kubernetes.ts')).runKubernetesBench(),
  bgp: async () => (await import('./bgp.ts')).runBgpBench(),
};

/** Parts that change the network namespace they run in: each gets one of its own. */
const isolated: ReadonlySet<string> = new Set(['kubernetes']);

/** Whoever is not root gets a user namespace, where network namespaces are free to make. */
const asRoot = process.getuid?.() === 0 ? [] : ['unshare', '-rn', '--'];
const ownNetwork = process.getuid?.() === 0 ? ['unshare', '-n', '--'] : asRoot;

/** Parts whose namespaces have names (`ip netns`), which are files below /run. */
const named: ReadonlySet<string> = new Set(['bgp']);
const ownRun = ['unshare', ...(process.getuid?.() === 0 ? [] : ['--map-root-user']), '--net', '--mount', '--propagation', 'private', '--'];
const freshRun = ['sh', '-c', 'mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec "$@"', 'sh'];

function command(words: readonly string[]): void {
  const [program = '', ...rest] = words;
  const { status, error } = spawnSync(program, rest, { cwd: root, stdio: 'inherit' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${words.join(' ')} ended with status ${String(status)}`);
}

function rowsOf(file: string): BenchRow[] {
  return JSON.parse(readFileSync(file, 'utf8')) as BenchRow[];
}

/** Tests in the VM that measure what is promised of directors that come and go; which fail, like any test, on a missed promise. */
const failover = ['bgp', 'mh-placement'];

function runFailover(): BenchRow[] {
  const files = failover.map((name) => join(build, `vm-out/measured/${name}.json`));
  for (const file of files) rmSync(file, { force: true });
  command(['scripts/lab-programs']);
  command([process.execPath, 'scripts/bundle-tests.ts']);
  command([
    'test/vm/run',
    '--timeout',
    '1800',
    '--',
    `test/vm/suite ${failover.map((name) => `build/vm-suite/${name}.test.mjs`).join(' ')}`,
  ]);
  return files.flatMap(rowsOf);
}

function runPart(part: string): BenchRow[] {
  if (part === 'failover') return runFailover();
  const file = join(build, part === 'demo' ? 'demo.json' : part === 'vm' ? 'vm-out/bench-vm.json' : `bench-${part}.json`);
  rmSync(file, { force: true });
  if (part === 'demo') command(['demo/run']);
  else if (part === 'vm') {
    command([process.execPath, 'scripts/bundle-bench.ts']);
    command(['test/vm/run', '--timeout', '2400', '--', 'node --disable-warning=ExperimentalWarning build/bench/vm.mjs']);
  } else
    command([
      ...(named.has(part) ? [...ownRun, ...freshRun] : isolated.has(part) ? ownNetwork : asRoot),
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      fileURLToPath(import.meta.url),
      `--only=${part}`,
    ]);
  if (!existsSync(file)) throw new Error(`${part} left no ${file}`);
  return rowsOf(file);
}

const number = (value: number | null): string => (value === null ? '-' : value.toLocaleString('en-US', { maximumFractionDigits: 2 }));

function table(rows: readonly BenchRow[]): string {
  const header = ['what', 'ours', 'peer', '', 'ratio', 'goal', ''];
  const lines = rows.map((row) => [
    row.name,
    `${number(row.value)} ${row.unit}`,
    number(row.peerValue),
    row.peer,
    row.ratio === null ? '-' : `${number(row.ratio)}x`,
    row.goal,
    row.met ? 'met' : 'MISSED',
  ]);
  const widths = header.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)));
  const format = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        column === 1 || column === 2 || column === 4 ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [format(header), ...lines.map(format)].join('\n');
}

const everything = Object.keys(local).concat('failover', 'vm', 'demo').join();
const { values } = parseArgs({ options: { parts: { type: 'string', default: everything }, only: { type: 'string' } } });
mkdirSync(build, { recursive: true });

if (values.only !== undefined) {
  const run = local[values.only];
  if (run === undefined) throw new Error(`no bench ${values.only}`);
  writeFileSync(join(build, `bench-${values.only}.json`), JSON.stringify(await run(), null, 2));
  process.exit(0);
}

const rows: BenchRow[] = [];
const broken: string[] = [];
for (const part of values.parts.split(',')) {
  process.stderr.write(`bench: ${part}\n`);
  try {
    rows.push(...runPart(part));
  } catch (error) {
    broken.push(`${part}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
const missed = rows.filter(({ met }) => !met).length;
const text = [
  table(rows),
  '',
  `${String(rows.length - missed)} goals met, ${String(missed)} missed; kernel ${release()}, ${String(cpus().length)} x ${cpus()[0]?.model ?? 'unknown CPU'}`,
  ...broken.map((line) => `could not run: ${line}`),
].join('\n');
// The README takes its figures from build/bench.txt: from one run, and from all of it.
const name = values.parts === everything && broken.length === 0 ? 'bench' : 'bench-in-part';
writeFileSync(join(build, `${name}.json`), `${JSON.stringify(rows, null, 2)}\n`);
writeFileSync(join(build, `${name}.txt`), `${text}\n`);
process.stdout.write(`${text}\n`);
process.exitCode = broken.length === 0 ? 0 : 1;
