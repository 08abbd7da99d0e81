/** The connection tracking table with real flows: translated by nft, seen by `conntrack`, deleted one by one. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, beforeEach, test } from 'node:test';
import { conntrackColumns, conntrackEntryAt } from '../../src/native/conntrack-columns.ts';
import { Conntrack } from '../../src/native/conntrack.ts';
import type { ConntrackColumns, ConntrackEntry, ConntrackFilter } from '../../src/native/conntrack-types.ts';
import {
  asListed,
  CLIENT,
  lab,
  oracle,
  peer,
  POD_PORT,
  PODS,
  PORT,
  route,
  table,
  VIP,
  VIP6,
  zones,
  type Lab,
} from './conntrack-support.ts';
import { inside } from './nftables-support.ts';
import { until } from './tools.ts';

let here: Lab;
let conntrack: Conntrack;

before(async () => {
  here = await lab();
  conntrack = await Conntrack.open({ netns: here.node });
});

after(async () => {
  await conntrack.close();
  await here.stop();
});

beforeEach(() => {
  route(here.node, 0);
  table(here.node, '-F');
});

const objects = (columns: ConntrackColumns): ConntrackEntry[] => [...columns.id.keys()].map((row) => conntrackEntryAt(columns, row));
const read = async (filter?: ConntrackFilter): Promise<ConntrackEntry[]> => objects(await conntrack.entries(filter));

let port = 30000;
/** Connections that stay open need a port of their own each time. */
const nextPort = (): number => port++;

/** Flows of every kind: translated and not, of both families, datagrams and connections. */
async function traffic(): Promise<void> {
  assert.equal(await here.udp.ask(20001), 'pod0');
  assert.equal(await here.udp.ask(20002, 6), 'pod0');
  assert.equal(await here.tcp.ask(nextPort()), 'pod0');
  assert.equal(await here.tcp.ask(nextPort(), 6), 'pod0');
  // To a port that no rule translates: refused, and the entry says that the VIP would answer.
  assert.equal(await here.udp.ask(20005, 4, 99), '-');
}

test('entries() is what conntrack lists', async () => {
  await traffic();
  const entries = await read();
  assert.deepEqual(asListed(entries), oracle(here.node));
  assert.equal(entries.length, 5);
  const first = entries.find(({ original }) => original.source.port === 20001)!;
  assert.deepEqual(first.original, { source: { address: CLIENT, port: 20001 }, destination: { address: VIP, port: PORT } });
  assert.deepEqual(first.reply.source, { address: PODS[0], port: POD_PORT });
  // IPS_DST_NAT and IPS_SEEN_REPLY (linux/netfilter/nf_conntrack_common.h), and a time to live that runs.
  assert.equal(first.status & 0x22, 0x22);
  assert.ok(first.timeoutSeconds > 0 && first.timeoutSeconds <= 180);
  const silent = entries.find(({ original }) => original.source.port === 20005)!;
  assert.deepEqual([silent.status & 0x22, silent.reply.source], [0, { address: VIP, port: 99 }]);
  const { entries: count, limit } = await conntrack.usage();
  // The pings of neighbour discovery are tracked too on some kernels: at least ours.
  assert.ok(count >= 5 && limit > count);
});

test('a filter gives the entries that it names and no others', async () => {
  await traffic();
  const all = await read();
  const cases: readonly [ConntrackFilter, (entry: ConntrackEntry) => boolean][] = [
    [{ protocol: 'udp' }, ({ protocol }) => protocol === 'udp'],
    [{ protocol: 'sctp' }, () => false],
    [{ family: 'ipv6' }, ({ original }) => original.source.address.includes(':')],
    [{ family: 'ipv4', protocol: 'tcp' }, ({ original, protocol }) => protocol === 'tcp' && original.source.address.includes('.')],
    [{ destinations: [] }, () => false],
    [{ destinations: [{ address: VIP }] }, ({ original }) => original.destination.address === VIP],
    [
      { destinations: [{ address: VIP, port: PORT }] },
      ({ original }) => original.destination.address === VIP && original.destination.port === PORT,
    ],
    [
      { protocol: 'udp', destinations: [{ address: VIP6, port: PORT }] },
      ({ original, protocol }) => protocol === 'udp' && original.destination.address === VIP6,
    ],
    [{ destinations: [{ address: PODS[0], port: POD_PORT }] }, () => false],
    [{ family: 'ipv6', destinations: [{ address: VIP }] }, () => false],
  ];
  // More addresses than are asked of the kernel one by one: the same answer by another way.
  const many = Array.from({ length: 300 }, (_, k) => ({ address: `198.51.100.${String(k % 250)}`, port: k + 1 }));
  for (const [filter, wanted] of cases) {
    const expected = asListed(all.filter(wanted));
    assert.deepEqual(asListed(await read(filter)), expected, JSON.stringify(filter));
    if (filter.destinations === undefined) continue;
    const wide = { ...filter, destinations: [...many, ...filter.destinations] };
    assert.deepEqual(asListed(await read(wide)), expected, `${JSON.stringify(filter)} among many`);
  }
});

test('remove() deletes what it is given; foreign entries survive as they were', async () => {
  await traffic();
  const before = oracle(here.node);
  const columns = await conntrack.entries({ protocol: 'udp', destinations: [{ address: VIP, port: PORT }, { address: VIP6 }] });
  assert.equal(columns.count, 2);
  assert.deepEqual(await conntrack.remove(columns), { removed: 2, gone: [], failed: [] });
  const removed = new Set(columns.id);
  assert.deepEqual(
    oracle(here.node),
    before.filter(({ id }) => !removed.has(id)),
  );
  // Again: they are gone, which is no failure, and nothing else is hit.
  assert.deepEqual(await conntrack.remove(columns), { removed: 0, gone: [0, 1], failed: [] });
  assert.equal(oracle(here.node).length, before.length - 2);
});

test('rows choose; a connection can be deleted too', async () => {
  const [one, two] = [nextPort(), nextPort()];
  assert.equal(await here.tcp.ask(one), 'pod0');
  assert.equal(await here.tcp.ask(two), 'pod0');
  const columns = await conntrack.entries({ protocol: 'tcp' });
  const row = objects(columns).findIndex(({ original }) => original.source.port === two);
  assert.deepEqual(await conntrack.remove(columns, [row]), { removed: 1, gone: [], failed: [] });
  assert.deepEqual(
    (await read({ protocol: 'tcp' })).map(({ original }) => original.source.port),
    [one],
  );
});

test('an entry that took the place of a deleted one survives, whatever its id', async () => {
  for (const family of [4, 6] as const) {
    const source = nextPort();
    assert.equal(await here.udp.ask(source, family), 'pod0');
    const stale = await conntrack.entries({ protocol: 'udp' });
    assert.equal(stale.count, 1);
    table(here.node, '-D', '-p', 'udp', '-f', family === 4 ? 'ipv4' : 'ipv6');
    route(here.node, 1);
    assert.equal(await here.udp.ask(source, family), 'pod1');
    const fresh = await read({ protocol: 'udp' });
    // The same flow to the client, its id forged to be the old one's: only the answering pod differs.
    const forged = conntrackColumns([{ ...conntrackEntryAt(stale, 0), id: fresh[0]!.id }]);
    assert.deepEqual(fresh[0]!.original, conntrackEntryAt(stale, 0).original);
    assert.deepEqual(await conntrack.remove(stale), { removed: 0, gone: [0], failed: [] });
    assert.deepEqual(await conntrack.remove(forged), { removed: 0, gone: [0], failed: [] });
    assert.deepEqual(asListed(await read({ protocol: 'udp' })), asListed(fresh));
    assert.equal(await here.udp.ask(source, family), 'pod1');
    // And the right name does delete it.
    assert.equal((await conntrack.remove(conntrackColumns(fresh))).removed, 1);
    route(here.node, 0);
    table(here.node, '-F');
  }
});

test('an entry of another id is left alone', async () => {
  assert.equal(await here.udp.ask(nextPort()), 'pod0');
  const [entry] = await read({ protocol: 'udp' });
  const other = conntrackColumns([{ ...entry!, id: (entry!.id ^ 1) >>> 0 }]);
  assert.deepEqual(await conntrack.remove(other), { removed: 0, gone: [0], failed: [] });
  assert.deepEqual(asListed(await read()), oracle(here.node));
  assert.equal(oracle(here.node).length, 1);
});

test('a flow in mid-stream goes on to the old pod until its entry is deleted, then to the new one', async () => {
  const source = nextPort();
  assert.equal(await here.udp.ask(source), 'pod0');
  route(here.node, 1);
  // The rules do not see packets of a flow that is known: this is why there is a reconciler.
  assert.equal(await here.udp.ask(source), 'pod0');
  await conntrack.remove(await conntrack.entries({ protocol: 'udp', destinations: [{ address: VIP, port: PORT }] }));
  assert.equal(await here.udp.ask(source), 'pod1');
});

test('zones: for both directions and for one, each read and deleted by its own', async () => {
  zones(here.node, ['udp dport 101 ct zone set 5', 'udp dport 102 ct original zone set 6', 'udp sport 20103 ct reply zone set 7']);
  try {
    for (const [source, to] of [
      [20101, 101],
      [20102, 102],
      [20103, 103],
      [20104, 104],
    ] as const) {
      assert.equal(await here.udp.ask(source, 4, to, 'unanswered'), 'sent');
    }
    await until('four entries', async () => (await read({ protocol: 'udp' })).length === 4);
    const entries = await read({ protocol: 'udp' });
    assert.deepEqual(asListed(entries), oracle(here.node));
    const directions = entries.map(({ original, zone, zoneDirection }) => [original.destination.port, zone, zoneDirection]).sort();
    assert.deepEqual(directions, [
      [101, 5, 'both'],
      [102, 6, 'original'],
      [103, 7, 'reply'],
      [104, 0, 'both'],
    ]);
    // In the wrong zone it is not found.
    const elsewhere = entries.map((entry) => ({ ...entry, zone: 99, zoneDirection: 'both' as const }));
    assert.equal((await conntrack.remove(conntrackColumns(elsewhere))).gone.length, 4);
    assert.equal((await conntrack.remove(conntrackColumns(entries))).removed, 4);
    assert.deepEqual(oracle(here.node), []);
  } finally {
    inside(here.node, ['nft', 'delete', 'table', 'inet', 'zones']);
  }
});

test('SCTP entries are read and deleted; other protocols are never seen', async () => {
  const words = ['-s', CLIENT, '-d', VIP, '-t', '100'];
  const sctp = ['-p', 'sctp', '--sport', '1', '--dport', '36412', '--state', 'ESTABLISHED', '--orig-vtag', '1', '--reply-vtag', '2'];
  table(here.node, '-I', ...words, ...sctp, '--dst-nat', PODS[1]);
  table(here.node, '-I', ...words, '-p', 'icmp', '--icmp-type', '8', '--icmp-code', '0', '--icmp-id', '7');
  const entries = await conntrack.entries({ destinations: [{ address: VIP }] });
  assert.equal(entries.count, 1);
  const entry = conntrackEntryAt(entries, 0);
  assert.deepEqual([entry.protocol, entry.reply.source], ['sctp', { address: PODS[1], port: 36412 }]);
  assert.deepEqual(asListed([entry]), oracle(here.node));
  assert.deepEqual(await conntrack.remove(entries), { removed: 1, gone: [], failed: [] });
  assert.match(table(here.node, '-L'), /icmp/);
});

test('thousands in one call, each answered for', async () => {
  const count = 20_000;
  const entry = (k: number): ConntrackEntry => ({
    protocol: 'udp',
    original: { source: { address: CLIENT, port: k + 1 }, destination: { address: VIP, port: 7 } },
    reply: { source: { address: PODS[0], port: 7 }, destination: { address: CLIENT, port: k + 1 } },
    id: k,
    status: 0,
    mark: 0,
    timeoutSeconds: 0,
    zone: 0,
    zoneDirection: 'both',
  });
  assert.equal(await here.udp.ask(nextPort()), 'pod0');
  const [real] = await read({ protocol: 'udp' });
  const columns = conntrackColumns([...Array.from({ length: count }, (_, k) => entry(k)), real!]);
  const result = await conntrack.remove(columns);
  assert.deepEqual([result.removed, result.failed], [1, []]);
  assert.deepEqual(
    result.gone,
    Array.from({ length: count }, (_, k) => k),
  );
});

test('without CAP_NET_ADMIN opening is EPERM', async () => {
  const child = peer(here.node, ['open'], ['setpriv', '--bounding-set=-all', '--inh-caps=-all']);
  const [said] = (await once(child.stdout!, 'data')) as [Buffer];
  await once(child, 'close');
  assert.match(said.toString(), /^KernelError: conntrack\.open table: EPERM; try: run as root, or with CAP_NET_ADMIN/);
});

test('in a namespace without rules nothing is tracked, and nothing is what is read', async () => {
  await using empty = await Conntrack.open({ netns: here.client });
  assert.equal((await empty.entries()).count, 0);
  assert.deepEqual((await empty.usage()).entries, 0);
  // Entries of one namespace are not reached from another.
  assert.equal(await here.udp.ask(nextPort()), 'pod0');
  const columns = await conntrack.entries();
  assert.deepEqual((await empty.remove(columns)).gone, [0]);
  assert.equal((await conntrack.entries()).count, 1);
});
