/**
 * nftables at 10,000 services with 2 pods each, in a fresh namespace: cold start, one change, a dump of
 * everything; each beside `nft` doing the same in the same run. The native part alone: from operations
 * to the kernel's acknowledgement.
 *   node test/bench/nftables.ts      writes build/bench-nftables.json
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { Netns } from '../../src/native/netns.ts';
import { toElements } from '../../src/native/nftables-columns.ts';
import { toText } from '../../src/native/nftables-text.ts';
import { Nftables } from '../../src/native/nftables.ts';
import type { Element, NftOperation, SetSpec } from '../../src/native/nftables-types.ts';
import {
  ADDRESSES,
  endpointElements,
  ENDPOINTS,
  HAIRPIN,
  podsOperations,
  serviceElement,
  SERVICES,
  skeleton,
  TABLE,
  TCP,
  type Service,
} from '../netns/nftables-support.ts';
import { percentile, round, type BenchRow } from './row.ts';

const COUNT = 10_000;
const CHANGES = 500;
/** A larger transaction holds the kernel's lock long enough for others to feel. */
const TRANSACTION = 1000;

const address = (base: number, index: number): string => `${base}.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;

function service(index: number): Service {
  const pods = [0, 1].map((k): [string, number] => [address(10, index * 2 + k), 8080]);
  return { address: address(20, index), protocol: TCP, port: 80, comment: `shop/service-${index}:http`, pods };
}

/** Transactions of at most 1,000 operations; an element counts as one. References come after what they refer to. */
function coldStart(): NftOperation[][] {
  const services = Array.from({ length: COUNT }, (_, index) => service(index));
  const transactions: NftOperation[][] = [[...skeleton(), ...podsOperations(TCP, 2)]];
  const fill = (set: SetSpec, elements: readonly Element[]): void => {
    for (let at = 0; at < elements.length; at += TRANSACTION) {
      transactions.push([{ op: 'createElements', table: TABLE, set, elements: elements.slice(at, at + TRANSACTION) }]);
    }
  };
  fill(ENDPOINTS, services.flatMap(endpointElements));
  fill(
    HAIRPIN,
    services.flatMap(({ pods }) => pods.map(([pod]) => ({ key: [pod, pod] }))),
  );
  fill(
    ADDRESSES,
    services.map((one) => ({ key: [one.address] })),
  );
  fill(SERVICES, services.map(serviceElement));
  return transactions;
}

function nftRun(netns: Netns, args: readonly string[], input?: string): number {
  const began = performance.now();
  const ended = spawnSync('nsenter', [`--net=${netns.path}`, 'nft', ...args], { input, maxBuffer: 1 << 29 });
  if (ended.status !== 0) throw new Error(`nft ${args.join(' ')}: ${ended.stderr.toString().slice(0, 500)}`);
  return performance.now() - began;
}

/** Replaces the address of one pod. */
function endpointChange(index: number, round_: number): NftOperation[] {
  const { address: vip, protocol, port } = service(index);
  const key = [vip, protocol, port, 0];
  return [
    { op: 'deleteElements', table: TABLE, set: ENDPOINTS, elements: [{ key }] },
    { op: 'createElements', table: TABLE, set: ENDPOINTS, elements: [{ key, value: [address(30 + round_, index), 8080] }] },
  ];
}

/** From two pods to three or back: another chain, one slot more or less. */
function countChange(index: number, grow: boolean): NftOperation[] {
  const two = service(index);
  const three: Service = { ...two, pods: [...two.pods, [address(40, index), 8080]] };
  const [before, after] = grow ? [two, three] : [three, two];
  const third = endpointElements(three).slice(2);
  const slot: NftOperation = grow
    ? { op: 'createElements', table: TABLE, set: ENDPOINTS, elements: third }
    : { op: 'deleteElements', table: TABLE, set: ENDPOINTS, elements: third };
  return [
    { op: 'deleteElements', table: TABLE, set: SERVICES, elements: [serviceElement(before)] },
    { op: 'createElements', table: TABLE, set: SERVICES, elements: [serviceElement(after)] },
    slot,
  ];
}

async function latencies(nftables: Nftables, change: (k: number) => NftOperation[]): Promise<number[]> {
  const samples: number[] = [];
  for (let k = 0; k < CHANGES; k++) {
    const began = performance.now();
    await nftables.commit(change(k));
    samples.push(performance.now() - began);
  }
  return samples;
}

/** A bench of commits that did nothing would look fine. */
async function verify(nftables: Nftables): Promise<void> {
  const counts = new Map([
    [SERVICES, COUNT],
    [ENDPOINTS, COUNT * 2],
    [HAIRPIN, COUNT * 2],
    [ADDRESSES, COUNT],
  ]);
  for (const [set, count] of counts) assert.equal((await nftables.elements(TABLE, set.name)).count, count, set.name);
  const endpoints = toElements(ENDPOINTS, await nftables.elements(TABLE, ENDPOINTS.name));
  const replaced = endpoints.filter(({ value }) => Array.isArray(value) && String(value[0]).startsWith('31.'));
  assert.equal(replaced.length, CHANGES);
}

function row(name: string, value: number, unit: string, peer: string, peerValue: number | null, goal: number | null): BenchRow {
  return {
    name,
    value: round(value, 3),
    unit,
    peer,
    peerValue: peerValue === null ? null : round(peerValue, 3),
    ratio: peerValue === null ? null : round(peerValue / value, 1),
    goal: goal === null ? 'none' : `<= ${goal} ${unit}`,
    met: goal === null || value <= goal,
  };
}

/** Rows for the table of `make bench`. Needs CAP_SYS_ADMIN for namespaces of its own, and nft for the other side. */
export async function runNftablesBench(): Promise<BenchRow[]> {
  await using ours = await Netns.create();
  await using theirs = await Netns.create();
  await using nftables = await Nftables.open({ netns: ours });
  const rows: BenchRow[] = [];
  const title = `${COUNT.toLocaleString('en')} services x 2`;

  const transactions = coldStart();
  const script = toText(transactions.flat());
  const began = performance.now();
  for (const operations of transactions) await nftables.commit(operations);
  const cold = performance.now() - began;
  const theirCold = nftRun(theirs, ['-f', '-'], script);
  rows.push(row(`nftables cold start, ${title}, ${transactions.length} transactions`, cold, 'ms', 'nft -f', theirCold, 1000));

  const theirChange = Array.from({ length: 10 }, (_, k) =>
    nftRun(theirs, ['add', 'element', 'ip', 'ravel', 'addresses', `{ 50.0.0.${k} }`]),
  );
  const peer = 'nft add element';
  const replaced = await latencies(nftables, (k) => endpointChange((k * 7919) % COUNT, 1));
  const peerMedian = percentile(theirChange, 0.5);
  rows.push(row(`nftables, one endpoint replaced at ${title}, p50`, percentile(replaced, 0.5), 'ms', peer, peerMedian, null));
  rows.push(row(`nftables, one endpoint replaced at ${title}, p99`, percentile(replaced, 0.99), 'ms', peer, peerMedian, 5));

  await nftables.commit(podsOperations(TCP, 3));
  const counted = await latencies(nftables, (k) => countChange(((k >> 1) * 7919) % COUNT, k % 2 === 0));
  rows.push(row(`nftables, number of pods changed at ${title}, p50`, percentile(counted, 0.5), 'ms', peer, peerMedian, null));
  rows.push(row(`nftables, number of pods changed at ${title}, p99`, percentile(counted, 0.99), 'ms', peer, peerMedian, 5));

  await verify(nftables);

  const dumps: number[] = [];
  for (let k = 0; k < 5; k++) {
    const start = performance.now();
    await nftables.list(TABLE);
    for (const set of [SERVICES, ENDPOINTS, HAIRPIN, ADDRESSES]) await nftables.elements(TABLE, set.name);
    dumps.push(performance.now() - start);
  }
  const theirDump = Array.from({ length: 3 }, () => nftRun(theirs, ['-j', 'list', 'table', 'ip', 'ravel']));
  rows.push(
    row(
      `nftables, read of the whole table at ${title}`,
      percentile(dumps, 0.5),
      'ms',
      'nft -j list table',
      percentile(theirDump, 0.5),
      null,
    ),
  );
  return rows;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const rows = await runNftablesBench();
  mkdirSync('build', { recursive: true });
  writeFileSync('build/bench-nftables.json', `${JSON.stringify(rows, null, 2)}\n`);
  for (const { name, value, unit, peer, peerValue, ratio, goal, met } of rows) {
    process.stdout.write(
      `${met ? 'ok    ' : 'MISSED'} ${name}: ${value} ${unit} (goal ${goal}); ${peer}: ${peerValue} ${unit}, ${ratio} times\n`,
    );
  }
  process.exitCode = rows.every(({ met }) => met) ? 0 : 1;
}
