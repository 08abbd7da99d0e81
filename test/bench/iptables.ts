/**
 * Legacy iptables: 10,000 rules of a realserver committed into an empty table, then one pod replaced, then nothing
 * to do; beside iptables-legacy-restore --noflush with the same rules in the same run. From the plain rules to the
 * kernel's answer on both sides; theirs includes its start, since that is how it is used.
 *   node test/bench/iptables.ts
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import type { DesiredNatService } from '../../src/desired/types.ts';
import { iptablesProgram } from '../../src/diff/iptables.ts';
import { iptablesRuleText } from '../../src/diff/iptables-text.ts';
import { chainHash } from '../../src/native/iptables-hash.ts';
import type { IptablesProgram } from '../../src/native/iptables-types.ts';
import { Iptables } from '../../src/native/iptables.ts';
import { Netns } from '../../src/native/netns.ts';
import { median, round, type BenchRow } from './row.ts';

const RULES = 10_000;
const ROUNDS = 7;
/** One rule in the base chain, two in the service's and two in each pod's. */
const SERVICES = Math.ceil(RULES / 7);

const address = (base: number, index: number): string => `${base}.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;

function service(index: number, pods = 10): DesiredNatService {
  const vip = address(20, index);
  return {
    ...{ key: `tcp ${vip}:80`, address: vip, protocol: 6, port: 80, comment: `shop/service-${index}:http` },
    pods: [0, 1].map((k) => ({ address: address(pods, index * 2 + k), port: 8080 })),
  };
}

const services = (): DesiredNatService[] => Array.from({ length: SERVICES }, (_, index) => service(index));

const program = (all: readonly DesiredNatService[]): IptablesProgram =>
  iptablesProgram(all, { family: 'ip', prefix: 'RAVEL', masquerade: { enabled: false }, hash: chainHash });

/** What iptables-restore --noflush takes to make the same. */
function restoreText({ chains, jumps }: IptablesProgram): string {
  return [
    '*nat',
    ...chains.map(({ name }) => `:${name} - [0:0]`),
    ...jumps.map(({ from, to }) => `-A ${from} -j ${to}`),
    ...chains.flatMap(({ name, rules }) => rules.map((rule) => `-A ${name} ${iptablesRuleText(rule)}`)),
    'COMMIT\n',
  ].join('\n');
}

function within(netns: Netns, command: readonly string[], input = ''): { ms: number; stdout: string } {
  const began = performance.now();
  const ended = spawnSync('nsenter', [`--net=${netns.path}`, ...command], { input, encoding: 'utf8', maxBuffer: 1 << 28 });
  const ms = performance.now() - began;
  if (ended.error !== undefined) throw ended.error;
  if (ended.status !== 0) throw new Error(`${command.join(' ')}: ${ended.stderr}`);
  return { ms, stdout: ended.stdout };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** What it says of the whole table, without its dates. */
const saved = (netns: Netns): string => within(netns, ['iptables-legacy-save', '-t', 'nat']).stdout.replace(/^#.*\n/gm, '');

interface Samples {
  readonly cold: number[];
  readonly restore: number[];
  readonly change: number[];
  readonly replace: number[];
  readonly same: number[];
}

async function oneRound(wanted: IptablesProgram, samples: Samples): Promise<void> {
  await using ours = await Netns.create();
  await using theirs = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns: ours });
  samples.cold.push(await timed(() => iptables.commit(wanted)));
  samples.restore.push(within(theirs, ['iptables-legacy-restore', '-w', '--noflush'], restoreText(wanted)).ms);
  assert.equal(saved(ours), saved(theirs), 'both made the same table');
  const changed = program([...services().slice(1), service(0, 30)]);
  for (const next of [changed, wanted, changed]) {
    samples.change.push(await timed(async () => assert.equal((await iptables.commit(next)).changed, true)));
  }
  const [rule] = /^-A RAVEL-SEP-\S+ -p tcp .*$/m.exec(saved(theirs)) ?? [''];
  const [, chain = ''] = rule.split(' ');
  samples.replace.push(within(theirs, ['iptables-legacy', '-w', '-t', 'nat', '-R', chain, '2', ...rule.split(' ').slice(2)]).ms);
  for (let k = 0; k < 3; k++) samples.same.push(await timed(async () => assert.equal((await iptables.commit(changed)).changed, false)));
}

function row(name: string, values: readonly number[], peer: string, peerValues: readonly number[], goal: number | null): BenchRow {
  const [value, peerValue] = [median(values), peerValues.length === 0 ? null : median(peerValues)];
  const ratio = peerValue === null ? null : peerValue / value;
  return {
    name,
    value: round(value),
    unit: 'ms',
    peer,
    peerValue: peerValue === null ? null : round(peerValue),
    ratio: ratio === null ? null : round(ratio),
    goal: goal === null ? 'none' : `> ${goal}x`,
    met: goal === null || (ratio !== null && ratio > goal),
  };
}

/** Rows for the table of `make bench`. Needs CAP_SYS_ADMIN for namespaces of its own, and iptables-legacy for the other side. */
export async function runIptablesBench(): Promise<BenchRow[]> {
  const wanted = program(services());
  const count = wanted.chains.reduce((sum, { rules }) => sum + rules.length, wanted.jumps.length);
  assert.ok(count >= RULES, String(count));
  const samples: Samples = { cold: [], restore: [], change: [], replace: [], same: [] };
  for (let k = 0; k < ROUNDS; k++) await oneRound(wanted, samples);
  const title = `${count.toLocaleString('en')} rules`;
  return [
    row(`iptables, commit of ${title}`, samples.cold, 'iptables-legacy-restore --noflush', samples.restore, 1),
    row(`iptables, one service's pods replaced among ${title}`, samples.change, 'iptables-legacy -R', samples.replace, null),
    row(`iptables, commit of ${title} with nothing to do`, samples.same, '-', [], null),
  ];
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const rows = await runIptablesBench();
  for (const { name, value, unit, peer, peerValue, ratio, met } of rows) {
    process.stdout.write(
      `${met ? 'ok    ' : 'MISSED'} ${name}: ${value} ${unit}; ${peer}: ${peerValue ?? '-'} ${unit}, ${ratio ?? '-'} times\n`,
    );
  }
  process.exitCode = rows.every(({ met }) => met) ? 0 : 1;
}
