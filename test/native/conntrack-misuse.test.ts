/** Every method against wrong arguments, wrong receivers and closed handles; nothing of it may reach the kernel. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addon } from '../../src/native/addon.ts';
import { conntrackColumns, conntrackEntryAt, cutColumns } from '../../src/native/conntrack-columns.ts';
import { Conntrack } from '../../src/native/conntrack.ts';
import type { ConntrackColumns, ConntrackEntry, ConntrackFilter } from '../../src/native/conntrack-types.ts';
import { Netns, netnsHandle } from '../../src/native/netns.ts';

type Method = (...args: unknown[]) => unknown;
type Methods = Record<string, Method>;

const isTypeError = (error: unknown): boolean => error instanceof TypeError;

const ENTRY: ConntrackEntry = {
  protocol: 'udp',
  original: { source: { address: '203.0.113.9', port: 40000 }, destination: { address: '192.0.2.10', port: 53 } },
  reply: { source: { address: '10.1.2.3', port: 5353 }, destination: { address: '203.0.113.9', port: 40000 } },
  id: 5,
  status: 0,
  mark: 0,
  timeoutSeconds: 30,
  zone: 0,
  zoneDirection: 'both',
};

/** A method of the addon throws at once, one of the class rejects: either will do. */
async function bothWays(call: () => unknown): Promise<void> {
  await assert.rejects(new Promise((resolve) => resolve(call())), isTypeError);
}

test('open() refuses what is no namespace and options out of range', async () => {
  for (const netns of [1, 'x', null, {}, [], Symbol('x'), () => 0]) {
    await assert.rejects(Conntrack.open({ netns: netns as unknown as Netns }), isTypeError);
  }
  for (const timeoutMs of [0, -1, 1.5, NaN, Infinity, '5']) {
    await assert.rejects(Conntrack.open({ timeoutMs: timeoutMs as number }), /^RangeError: timeoutMs: /);
  }
  await assert.rejects(Conntrack.open({ receiveBufferBytes: 1 }), /^RangeError: receiveBufferBytes: /);
  assert.throws(() => new Conntrack(Symbol('internal'), {} as never), isTypeError);
});

test('a filter is refused at its path', async () => {
  await using netns = await Netns.create();
  await using conntrack = await Conntrack.open({ netns });
  const bad: readonly [unknown, RegExp][] = [
    [{ family: 4 }, /^RangeError: family: expected ipv4 or ipv6, got 4$/],
    [{ family: 'ip' }, /^RangeError: family: /],
    [{ protocol: 'icmp' }, /^RangeError: protocol: expected tcp, udp or sctp, got "icmp"$/],
    [{ protocol: 'toString' }, /^RangeError: protocol: /],
    [{ protocol: 17 }, /^RangeError: protocol: /],
    [{ destinations: '192.0.2.10' }, /^TypeError: destinations: expected an array$/],
    [{ destinations: [null] }, /^TypeError: destinations\[0\]: expected an object$/],
    [{ destinations: ['192.0.2.10'] }, /^TypeError: destinations\[0\]: expected an object$/],
    [{ destinations: [{ address: '192.0.2.10' }, {}] }, /^RangeError: destinations\[1\]\.address: not an IP address: undefined$/],
    [{ destinations: [{ address: '192.0.2' }] }, /^RangeError: destinations\[0\]\.address: /],
    ...[0, 65536, 1.5, -1, NaN, '53', null].map((port): [unknown, RegExp] => [
      { destinations: [{ address: '192.0.2.10', port }] },
      /^RangeError: destinations\[0\]\.port: expected a port from 1 to 65535/,
    ]),
  ];
  for (const [filter, message] of bad) await assert.rejects(conntrack.entries(filter as ConntrackFilter), message);
});

test('remove() takes nothing but the columns of entries() and rows that are there', async () => {
  await using netns = await Netns.create();
  await using conntrack = await Conntrack.open({ netns });
  const columns = conntrackColumns([ENTRY, ENTRY]);
  const other = conntrackColumns([ENTRY, ENTRY]);
  const wrong: readonly [unknown, RegExp][] = [
    [undefined, /^TypeError: entries: /],
    [null, /^TypeError: entries: /],
    [{}, /^TypeError: entries: /],
    [[ENTRY], /^TypeError: entries: /],
    [{ ...columns, id: new Uint32Array(2) }, /^TypeError: entries\.id: /],
    [{ ...columns, id: [1, 2] }, /^TypeError: entries: /],
    [{ ...columns, count: 1 }, /^TypeError: entries\.count: expected 2, got 1$/],
    [{ ...columns, replySource: undefined }, /^TypeError: entries\.replySource: /],
    [{ ...columns, replySource: other.replySource }, /^TypeError: entries\.replySource: /],
    [{ ...columns, zone: columns.replySourcePort }, /^TypeError: entries\.zone: /],
    [{ ...columns, family: columns.family.subarray(1) }, /^TypeError: entries\.family: /],
  ];
  for (const [entries, message] of wrong) await assert.rejects(conntrack.remove(entries as ConntrackColumns), message);
  for (const row of [-1, 2, 0.5, NaN, '0', 2 ** 32])
    await assert.rejects(conntrack.remove(columns, [row as number]), /^RangeError: rows: /);
  for (const rows of [5, null, {}])
    await assert.rejects(conntrack.remove(columns, rows as never), /^TypeError: rows: expected row numbers$/);
  // Right columns of entries that are not there: nothing is deleted, and that is no failure.
  assert.deepEqual(await conntrack.remove(columns), { removed: 0, gone: [0, 1], failed: [] });
  assert.deepEqual(await conntrack.remove(columns, []), { removed: 0, gone: [], failed: [] });
  assert.deepEqual(await conntrack.remove(conntrackColumns([])), { removed: 0, gone: [], failed: [] });
});

test('columns with a protocol or family that is none are refused whole: the kernel would read another message', async () => {
  await using netns = await Netns.create();
  await using conntrack = await Conntrack.open({ netns });
  for (const [name, value] of [
    ['family', 0],
    ['family', 10],
    ['protocol', 1],
    ['protocol', 47],
    ['zoneDirections', 4],
  ] as const) {
    const columns = conntrackColumns([ENTRY]);
    columns[name][0] = value;
    await assert.rejects(conntrack.remove(columns), { name: 'ProtocolError' });
  }
  const detached = conntrackColumns([ENTRY]);
  structuredClone(null, { transfer: [detached.id.buffer as ArrayBuffer] });
  await assert.rejects(conntrack.remove(detached), isTypeError);
});

test('objects and columns are the same entries', () => {
  const six: ConntrackEntry = {
    ...ENTRY,
    protocol: 'sctp',
    original: { source: { address: '2001:db8::9', port: 1 }, destination: { address: '2001:db8::10', port: 36412 } },
    reply: { source: { address: 'fd00::1', port: 36412 }, destination: { address: '2001:db8::9', port: 1 } },
    id: 0xffff_ffff,
    zone: 300,
    zoneDirection: 'original',
  };
  const columns = conntrackColumns([ENTRY, six]);
  assert.deepEqual(
    [0, 1].map((row) => conntrackEntryAt(columns, row)),
    [ENTRY, six],
  );
  assert.throws(() => conntrackEntryAt(columns, 2), RangeError);
  assert.throws(() => cutColumns(new ArrayBuffer(92)), RangeError);
  const mixed = { ...ENTRY, reply: six.reply };
  assert.throws(() => conntrackColumns([mixed]), /^RangeError: entries\[0\]\.reply\.source\.address: /);
  assert.throws(() => conntrackColumns([{ ...ENTRY, protocol: 'icmp' as 'udp' }]), /^RangeError: entries\[0\]\.protocol: /);
});

test("the addon's own methods refuse wrong arguments and wrong receivers", async () => {
  await using netns = await Netns.create();
  const open = (addon() as unknown as Methods)['conntrackOpen']!;
  const handle = netnsHandle(netns);
  for (const args of [[], [handle], [handle, '1', 1], [{}, 1, 1], [null, 1, 1], [handle, 1]]) await bothWays(() => open(...args));
  const native = (await open(handle, 1000, 65536)) as Methods;
  const junk: unknown[] = [null, 1, 'x', {}, [], Symbol('x'), () => 0, 5n, new Uint16Array(1), new ArrayBuffer(3)];
  await bothWays(() => native['entries']!());
  await bothWays(() => native['remove']!());
  for (const value of junk) {
    await bothWays(() => native['entries']!(value, value, value));
    await bothWays(() => native['entries']!(4, 17, value));
    await bothWays(() => native['remove']!(value, value, value));
    await bothWays(() => native['remove']!(new ArrayBuffer(93), 1, value));
  }
  for (const [bytes, count, rows] of [
    [92, 1, [0]],
    [93, 2, [0]],
    [93, 1, [1]],
    [93, 1, [0]], // all zero: no family
    [0, 0, [0]],
    [0, 0xffff_ffff, [0]],
  ] as const) {
    assert.throws(() => native['remove']!(new ArrayBuffer(bytes), count, Uint32Array.from(rows)), { name: 'ProtocolError' });
  }
  const like: unknown = Object.create((native.constructor as { prototype: object }).prototype);
  for (const name of ['usage', 'entries', 'remove', 'close']) {
    for (const receiver of [undefined, null, {}, handle, like]) {
      await bothWays(() => native[name]!.call(receiver, 4, 17, undefined));
    }
  }
  const Constructor = native.constructor as unknown as new () => unknown;
  assert.throws(() => new Constructor(), isTypeError);
  await native['close']!();
  await native['close']!();
});

test('methods of the class refuse other receivers', async () => {
  const methods = Conntrack.prototype as unknown as Methods;
  for (const name of ['usage', 'entries', 'remove', 'close']) {
    for (const receiver of [{}, Object.create(Conntrack.prototype) as unknown]) {
      await bothWays(() => methods[name]!.call(receiver, name === 'remove' ? conntrackColumns([ENTRY]) : {}));
    }
  }
});

test('after close() every method says so, and close() may be repeated', async () => {
  await using netns = await Netns.create();
  const conntrack = await Conntrack.open({ netns });
  const running = conntrack.usage();
  const closing = conntrack.close();
  assert.equal((await running).entries, 0);
  await closing;
  await conntrack.close();
  const closed = { name: 'ClosedError' };
  await assert.rejects(conntrack.usage(), closed);
  await assert.rejects(conntrack.entries(), closed);
  await assert.rejects(conntrack.remove(conntrackColumns([ENTRY])), closed);
});

test('closing the namespace ends what waits in it', async () => {
  const netns = await Netns.create();
  const conntrack = await Conntrack.open({ netns });
  const calls = Array.from({ length: 200 }, () => conntrack.entries());
  const closing = netns.close();
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === 'rejected') assert.equal((outcome.reason as Error).name, 'ClosedError');
  }
  await closing;
  await assert.rejects(conntrack.usage(), { name: 'ClosedError' });
  await conntrack.close();
});

test('many calls leave no memory behind', async () => {
  await using netns = await Netns.create();
  await using conntrack = await Conntrack.open({ netns });
  const columns = conntrackColumns(Array.from({ length: 100 }, () => ENTRY));
  const round = async (count: number): Promise<number> => {
    for (let k = 0; k < count; k++) await Promise.all([conntrack.entries(), conntrack.remove(columns), conntrack.usage()]);
    (globalThis as { gc?: () => void }).gc?.();
    return process.memoryUsage().rss / 2 ** 20;
  };
  const before = await round(200);
  const after = await round(800);
  assert.ok(after - before < 24, `resident memory grew from ${before.toFixed(1)} to ${after.toFixed(1)} MiB`);
});
