/**
 * Why the rule set has one chain per number of pods and not one per service (docs/adr/0003): both layouts, written by
 * the same code in transactions of at most 1,000 operations, then one change at full size. Not a goal; run it alone:
 * `node test/bench/nftables-layout.ts [services]`.
 */
import { Netns, Nftables, type NftOperation, type SetSpec, type Statement, type TableId } from '../../src/native/index.ts';
import { percentile, round } from './row.ts';

const table: TableId = { family: 'ip', name: 'ravel' };
const services: SetSpec = { name: 'services', key: ['ipv4_addr', 'inet_proto', 'inet_service'], value: 'verdict', counter: true };
const endpoints: SetSpec = {
  name: 'endpoints',
  key: ['ipv4_addr', 'inet_proto', 'inet_service', 'slot'],
  value: ['ipv4_addr', 'inet_service'],
};

const pick = (pods: number): Statement[] => [
  { kind: 'protocol', protocol: 6 },
  { kind: 'dnatMap', key: ['ip daddr', 'meta l4proto', 'th dport', { numgen: 'random', modulus: pods }], map: 'endpoints' },
];
const base: NftOperation[] = [
  { op: 'addTable', table },
  { op: 'addSet', table, set: services },
  { op: 'addSet', table, set: endpoints },
  { op: 'addChain', table, chain: { name: 'prerouting', hook: { type: 'nat', hook: 'prerouting', priority: -101 } } },
  {
    op: 'addRule',
    table,
    rule: { chain: 'prerouting', statements: [{ kind: 'vmap', key: ['ip daddr', 'meta l4proto', 'th dport'], map: 'services' }] },
  },
];
const chain = (name: string, pods: number): NftOperation[] => [
  { op: 'addChain', table, chain: { name } },
  { op: 'addRule', table, rule: { chain: name, statements: pick(pods) } },
];
const address = (index: number, first: number): string => `10.${String(first)}.${String(index >> 8)}.${String(index & 255)}`;
const enter = (index: number, target: string): NftOperation => ({
  op: 'addElements',
  table,
  set: services,
  elements: [{ key: [address(index, 50), 6, 80], value: { verdict: 'goto', chain: target } }],
});
const pods = (index: number, count: number): NftOperation => ({
  op: 'addElements',
  table,
  set: endpoints,
  elements: Array.from({ length: count }, (_, slot) => ({
    key: [address(index, 50), 6, 80, slot],
    value: [address(index, 100 + slot), 8080],
  })),
});

interface Layout {
  readonly name: string;
  readonly shared: NftOperation[];
  readonly service: (index: number) => NftOperation[];
  /** From two pods to three, and back when `round` is odd. */
  readonly resize: (index: number, round: number) => NftOperation[];
}

const toChain = (index: number, target: string): NftOperation[] => [
  { op: 'deleteElements', table, set: services, elements: [{ key: [address(index, 50), 6, 80] }] },
  enter(index, target),
];
const layouts: Layout[] = [
  {
    name: 'a chain per number of pods',
    shared: [...base, ...chain('pods-tcp-2', 2), ...chain('pods-tcp-3', 3)],
    service: (index) => [enter(index, 'pods-tcp-2'), pods(index, 2)],
    resize: (index, turn) => toChain(index, turn % 2 === 0 ? 'pods-tcp-3' : 'pods-tcp-2'),
  },
  {
    name: 'a chain per service',
    shared: base,
    service: (index) => [...chain(`service-${String(index)}`, 2), enter(index, `service-${String(index)}`), pods(index, 2)],
    resize: (index, turn) => [
      { op: 'flushChain', table, chain: { name: `service-${String(index)}` } },
      { op: 'addRule', table, rule: { chain: `service-${String(index)}`, statements: pick(turn % 2 === 0 ? 3 : 2) } },
    ],
  },
];

const size = (operations: readonly NftOperation[]): number =>
  operations.reduce((sum, operation) => sum + ('elements' in operation ? operation.elements.length : 1), 0);

async function measure(layout: Layout, count: number): Promise<void> {
  const netns = await Netns.create();
  const nftables = await Nftables.open({ netns });
  const began = performance.now();
  let batch = [...layout.shared];
  for (let index = 0; index < count; index++) {
    const next = layout.service(index);
    if (size(batch) + size(next) > 1000) {
      await nftables.commit(batch);
      batch = [];
    }
    batch.push(...next);
  }
  await nftables.commit(batch);
  const cold = performance.now() - began;

  const times: number[] = [];
  for (let turn = 0; turn < 200; turn++) {
    const operations = layout.resize(count >> 1, turn);
    const start = performance.now();
    await nftables.commit(operations);
    times.push(performance.now() - start);
  }
  console.log(
    `${layout.name}: cold start of ${String(count)} services x 2 ${String(round(cold, 0))} ms; ` +
      `one service from 2 to 3 pods: median ${String(round(percentile(times, 0.5)))} ms, p99 ${String(round(percentile(times, 0.99)))} ms`,
  );
  await nftables.close();
  await netns.close();
}

for (const layout of layouts) await measure(layout, Number(process.argv[2] ?? 10_000));
