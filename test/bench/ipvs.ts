/**
 * Programming IPVS: 1,000 services with 10 destinations each, ours beside a bare C loop over the same
 * messages, `ipvsadm -R`, and one ipvsadm process per operation. Every run starts in a namespace of its
 * own with an empty table; the sides take turns, and medians are reported.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { formatAddressBytes } from '../../src/native/address-bytes.ts';
import { Ipvs } from '../../src/native/ipvs.ts';
import type { IpvsOperation, ServiceId } from '../../src/native/ipvs-types.ts';
import { Netns } from '../../src/native/netns.ts';
import { median, round } from './row.ts';
import type { BenchRow } from './row.ts';

const SERVICES = 1000;
const DESTINATIONS = 10;
const OPERATIONS = SERVICES * (DESTINATIONS + 1);
const ROUNDS = 40;
/** Rounds that both sides run before theirs count: V8 compiles hot code after a few calls. The first is reported apart. */
const WARM_UP = 8;
/** ipvsadm takes seconds a round: fewer of them. */
const TOOL_ROUNDS = 3;
/** Operations run as a process each; the figure is scaled from these. */
const PROCESSES = 100;

const vip = (i: number): string => formatAddressBytes(Uint8Array.of(198, 18, i >> 8, i & 255), 4);
const real = (k: number): string => `10.20.0.${String(k + 1)}`;

function operations(): IpvsOperation[] {
  return Array.from({ length: SERVICES }, (_, i) => {
    const service: ServiceId = { protocol: 'tcp', address: vip(i), port: 80 };
    return [
      { op: 'addService', service, spec: { scheduler: 'wrr' } } as const,
      ...Array.from({ length: DESTINATIONS }, (__, k): IpvsOperation => ({
        op: 'addDestination',
        service,
        destination: { address: real(k), port: 80 },
        spec: { forward: 'direct', weight: 1 },
      })),
    ];
  }).flat();
}

function restoreLines(): string[] {
  return operations().map((operation) => {
    const service = `-t ${'address' in operation.service ? operation.service.address : ''}:80`;
    return 'destination' in operation ? `-a ${service} -r ${operation.destination.address}:80 -g -w 1` : `-A ${service} -s wrr`;
  });
}

/** Milliseconds of `measure` in a fresh namespace whose table it fills; fails when the table is not full after it. */
async function inFreshTable(measure: (netns: Netns, ipvs: Ipvs) => Promise<number> | number, expected = OPERATIONS): Promise<number> {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const milliseconds = await measure(netns, ipvs);
  const { services, destinations } = await ipvs.snapshot();
  if (services.count + destinations.count !== expected) {
    throw new Error(`${String(services.count)} services and ${String(destinations.count)} destinations are there after a run`);
  }
  inside(netns, 'ipvsadm', ['-C']);
  // What the kernel frees in the background (RCU, the namespace) is not the next run's to pay.
  await pause(500);
  return milliseconds;
}

function inside(netns: Netns, program: string, args: readonly string[], input = ''): string {
  const { stdout, stderr, status, error } = spawnSync('nsenter', [`--net=${netns.path}`, program, ...args], { input, encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${program} ended with status ${String(status)}: ${stderr}`);
  return stdout;
}

function milliseconds(run: () => void): number {
  const began = performance.now();
  run();
  return performance.now() - began;
}

async function applyMs(ipvs: Ipvs, list: readonly IpvsOperation[]): Promise<number> {
  const began = performance.now();
  const { failed } = await ipvs.apply(list);
  const took = performance.now() - began;
  if (failed[0] !== undefined) throw failed[0].error;
  return took;
}

function compileBareLoop(folder: string): string {
  const program = join(folder, 'bare-loop');
  execFileSync(process.env['CC'] ?? 'cc', ['-O2', '-Wall', '-Werror', '-o', program, 'test/bench/bare-loop.c']);
  return program;
}

interface Times {
  readonly ours: number[];
  readonly bare: number[];
  readonly restore: number[];
  readonly snapshot: number[];
  readonly save: number[];
}

async function measureRounds(bareLoop: string, lines: readonly string[]): Promise<Times> {
  const times: Times = { ours: [], bare: [], restore: [], snapshot: [], save: [] };
  const list = operations();
  const restoreText = `${lines.join('\n')}\n`;
  const bareMs = (netns: Netns): number => Number(inside(netns, bareLoop, [String(SERVICES), String(DESTINATIONS)])) / 1e6;
  for (let turn = 0; turn < ROUNDS; turn++) {
    const ours = async (): Promise<void> => {
      times.ours.push(await inFreshTable((_, ipvs) => applyMs(ipvs, list)));
    };
    const bare = async (): Promise<void> => {
      times.bare.push(await inFreshTable(bareMs));
    };
    // Neither side always comes second.
    for (const side of turn % 2 === 0 ? [ours, bare] : [bare, ours]) await side();
    if (turn >= TOOL_ROUNDS) continue;
    times.restore.push(await inFreshTable((netns) => milliseconds(() => inside(netns, 'ipvsadm', ['-R'], restoreText))));
    await inFreshTable(async (netns, ipvs) => {
      await ipvs.apply(list);
      const began = performance.now();
      await ipvs.snapshot();
      times.snapshot.push(performance.now() - began);
      times.save.push(milliseconds(() => inside(netns, 'ipvsadm', ['-S', '-n'])));
      return 0;
    });
  }
  return times;
}

/** Milliseconds of one process per operation, of the first `PROCESSES` operations. */
function processPerOperation(lines: readonly string[]): Promise<number> {
  return inFreshTable(
    (netns) =>
      milliseconds(() => {
        // One shell inside the namespace, so that the figure is ipvsadm's own start and not nsenter's.
        inside(
          netns,
          'sh',
          ['-e'],
          lines
            .slice(0, PROCESSES)
            .map((line) => `ipvsadm ${line}\n`)
            .join(''),
        );
      }),
    PROCESSES,
  );
}

const perSecond = (count: number, ms: number): number => round((count * 1000) / ms, 0);

/** Needs root and a kernel with ip_vs; takes two to three minutes under emulation. */
export async function runIpvsBench(): Promise<BenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), 'ravel-bench-'));
  const lines = restoreLines();
  try {
    const times = await measureRounds(compileBareLoop(folder), lines);
    const single = await processPerOperation(lines);
    const [cold = Number.NaN] = times.ours;
    const ours = perSecond(OPERATIONS, median(times.ours.slice(WARM_UP)));
    const bare = perSecond(OPERATIONS, median(times.bare.slice(WARM_UP)));
    const against = (peer: string, peerValue: number, goal: string, least: number): BenchRow => {
      const ratio = round(ours / peerValue);
      return {
        name: `IPVS programming, 1,000 services x 10: ${String(OPERATIONS)} operations`,
        value: ours,
        unit: 'operations/s',
        peer,
        peerValue,
        ratio,
        goal,
        met: ratio >= least,
      };
    };
    const snapshot = round(median(times.snapshot), 1);
    const save = round(median(times.save), 1);
    process.stderr.write(
      `ipvs: ms per run: ${JSON.stringify(times, (_, value: unknown) => (typeof value === 'number' ? round(value, 0) : value))}\n`,
    );
    return [
      against('bare C loop, same messages, 192 KiB sends', bare, '>= 0.9 x', 0.9),
      {
        name: 'IPVS programming, the same as the first call of a process',
        value: perSecond(OPERATIONS, cold),
        unit: 'operations/s',
        peer: 'bare C loop',
        peerValue: bare,
        ratio: round(perSecond(OPERATIONS, cold) / bare),
        goal: 'reported',
        met: true,
      },
      against('ipvsadm -R from a file', perSecond(OPERATIONS, median(times.restore)), '>= 5 x', 5),
      against(`one ipvsadm process per operation (scaled from ${String(PROCESSES)})`, perSecond(PROCESSES, single), 'reported', 0),
      {
        name: 'IPVS adoption after a restart: 1,000 services x 10 read',
        value: snapshot,
        unit: 'ms',
        peer: 'ipvsadm -Sn',
        peerValue: save,
        ratio: round(save / snapshot),
        goal: 'reported',
        met: true,
      },
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href && process.argv[1].includes('ipvs')) {
  const rows = await runIpvsBench();
  const out = process.env['RAVEL_OUT'] ?? 'build';
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, 'bench-ipvs.json'), `${JSON.stringify(rows, null, 2)}\n`);
  for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
}
