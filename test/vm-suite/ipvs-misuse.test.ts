/** Open handles used wrongly: every method closed, borrowed, with wrong arguments, while things end. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { addon } from '../../src/native/addon.ts';
import { ClosedError, KernelError, ProtocolError } from '../../src/native/errors.ts';
import { toObjects } from '../../src/native/ipvs-columns.ts';
import { Ipvs } from '../../src/native/ipvs.ts';
import type { IpvsOperation, SyncDaemon } from '../../src/native/ipvs-types.ts';
import { Netns, netnsHandle } from '../../src/native/netns.ts';

type Method = (...args: unknown[]) => Promise<unknown>;
type RawHandle = Record<string, Method>;

const service = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const;
const addService: IpvsOperation = { op: 'addService', service, spec: { scheduler: 'rr' } };
const daemon: SyncDaemon = { role: 'backup', interface: 'lo', syncId: 1 };

const methods: Readonly<Record<string, (ipvs: Ipvs) => Promise<unknown>>> = {
  info: (ipvs) => ipvs.info(),
  timeouts: (ipvs) => ipvs.timeouts(),
  setTimeouts: (ipvs) => ipvs.setTimeouts({ tcp: 900 }),
  snapshot: (ipvs) => ipvs.snapshot(),
  services: (ipvs) => ipvs.services(),
  destinations: (ipvs) => ipvs.destinations(service),
  apply: (ipvs) => ipvs.apply([addService]),
  zero: (ipvs) => ipvs.zero(),
  syncDaemons: (ipvs) => ipvs.syncDaemons(),
  startSyncDaemon: (ipvs) => ipvs.startSyncDaemon(daemon),
  stopSyncDaemon: (ipvs) => ipvs.stopSyncDaemon('backup'),
};

async function rawHandle(netns: Netns): Promise<RawHandle> {
  const open = addon()['ipvsOpen'] as Method;
  return (await open(netnsHandle(netns), 2000, 1 << 20)) as RawHandle;
}

/** A method of the prototype, without its object. */
function methodOf(handle: RawHandle, name: string): Method {
  return Object.getOwnPropertyDescriptor(Object.getPrototypeOf(handle), name)?.value as Method;
}

for (const [name, call] of Object.entries(methods)) {
  test(`${name}() on a closed handle, and in a closed namespace, is a ClosedError`, async () => {
    const netns = await Netns.create();
    const closed = await Ipvs.open({ netns });
    const orphan = await Ipvs.open({ netns });
    await closed.close();
    await assert.rejects(call(closed), ClosedError);
    await closed.close();
    await netns.close();
    await assert.rejects(call(orphan), ClosedError);
    await orphan.close().catch((error: unknown) => {
      assert.ok(error instanceof ClosedError);
    });
  });
}

test('a borrowed method refuses what is not its handle', async () => {
  await using netns = await Netns.create();
  const handle = await rawHandle(netns);
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(handle))) {
    if (name === 'constructor') continue;
    const method = methodOf(handle, name);
    for (const self of [undefined, {}, netnsHandle(netns), Object.create(handle) as object, new Proxy(handle, {})]) {
      await assert.rejects(async () => await method.call(self), TypeError, name);
    }
  }
  const Constructor = handle.constructor as unknown as new () => object;
  assert.throws(() => new Constructor(), TypeError);
  await handle['close']?.();
});

test("the addon's own methods refuse blocks that are none", async () => {
  await using netns = await Netns.create();
  const handle = await rawHandle(netns);
  const row = new ArrayBuffer(79);
  const detached = new ArrayBuffer(79);
  structuredClone(detached, { transfer: [detached] });
  const wrong: readonly unknown[][] = [
    [],
    [row],
    [row, 1],
    [1, 1, ['']],
    [new Uint8Array(79), 1, ['']],
    [row, '1', ['']],
    [row, 1, 'names'],
    [row, 1, [1]],
    [row, 1, ['', 'a-name-of-more-than-fifteen-bytes']],
    [row, 0, ['']],
    [row, 2, ['']],
    [row, -1, ['']],
    [row, Number.NaN, ['']],
    [row, 2 ** 32 + 1e9, ['']],
    // All zero: family 0.
    [row, 1, ['']],
    // No names: scheduler 0 is past the end.
    [row, 1, []],
    [detached, 1, ['']],
  ];
  for (const args of wrong) {
    for (const name of ['apply', 'destinations', 'zero']) {
      if (name === 'zero' && args.length === 0) continue;
      await assert.rejects(
        async () => await methodOf(handle, name).apply(handle, args),
        (error) => error instanceof TypeError || error instanceof ProtocolError,
        `${name}(${args.map(String).join(', ')})`,
      );
    }
  }
  for (const name of ['startDaemon', 'stopDaemon']) {
    for (const args of [[], [1], ['master'], [null]])
      await assert.rejects(async () => await methodOf(handle, name).apply(handle, args), TypeError);
  }
  // Fields of the wrong kind are as good as absent; the kernel then refuses.
  await assert.rejects(async () => await handle['startDaemon']?.({ state: 'x', interface: 7, group: new Uint8Array(5) }), KernelError);
  assert.deepEqual(await handle['daemons']?.(), []);
  await handle['close']?.();
});

test('what a caller does to its objects after the call does not reach the kernel', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const list: IpvsOperation[] = [addService];
  const applying = ipvs.apply(list);
  list[0] = { op: 'deleteService', service };
  list.push(addService);
  assert.deepEqual(await applying, { applied: 1, failed: [] });
  assert.equal((await ipvs.services()).length, 1);
});

test('a refused argument sends nothing, and later calls go on', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const bad: IpvsOperation = { op: 'addService', service: { ...service, port: 70_000 }, spec: { scheduler: 'rr' } };
  const refused = assert.rejects(ipvs.apply([addService, bad]), { name: 'RangeError', message: /^operations\[1\]\.service\.port/ });
  const after = ipvs.services();
  await refused;
  assert.deepEqual(await after, []);
  await assert.rejects(ipvs.apply('nonsense' as unknown as IpvsOperation[]), TypeError);
  await assert.rejects(ipvs.apply([null] as unknown as IpvsOperation[]), { name: 'TypeError', message: /^operations\[0\]/ });
});

test('a refused argument far into a large batch names its place and leaves the handle usable', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const many = Array.from({ length: 9000 }, (_, i): IpvsOperation => ({ ...addService, service: { ...service, port: i + 1 } }));
  many[7777] = { op: 'deleteService', service: { ...service, address: 'x' } };
  await assert.rejects(ipvs.apply(many), { name: 'TypeError', message: /^operations\[7777\]\.service\.address/ });
  const there = new Set(toObjects(await ipvs.snapshot()).map(({ id }) => ('port' in id ? id.port : 0)));
  // In order, nothing after the refused one.
  assert.ok(there.size <= 7777 && [...there].every((port) => port <= 7777), String(there.size));
});

test('failures of a large batch carry their place in the whole batch', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const many = Array.from({ length: 6000 }, (_, i): IpvsOperation => ({
    op: 'addService',
    service: { ...service, port: i + 1 },
    spec: { scheduler: 'rr' },
  }));
  const twice = [100, 2500, 5999];
  for (const index of twice) many[index] = { ...addService, service: { ...service, port: 1 } };
  const { applied, failed } = await ipvs.apply(many);
  assert.equal(applied, 5997);
  assert.deepEqual(
    failed.map(({ index, operation, error }) => [index, operation === many[index], error.code, error.index]),
    twice.map((index) => [index, true, 'EEXIST', index]),
  );
});

test('calls that wait when the namespace closes reject or finish, none hangs', async () => {
  const netns = await Netns.create();
  const ipvs = await Ipvs.open({ netns });
  await ipvs.apply(Array.from({ length: 500 }, (_, i): IpvsOperation => ({ ...addService, service: { ...service, port: i + 1 } })));
  const calls = Promise.allSettled([...Array.from({ length: 30 }, () => ipvs.snapshot()), ipvs.apply([addService]), ipvs.close()]);
  await netns.close();
  for (const settled of await calls)
    if (settled.status === 'rejected') assert.ok(settled.reason instanceof ClosedError, String(settled.reason));
});

test('close() lets the calls before it finish', async () => {
  await using netns = await Netns.create();
  const ipvs = await Ipvs.open({ netns });
  const calls = [ipvs.apply([addService]), ipvs.services()] as const;
  await ipvs.close();
  assert.equal((await calls[0]).applied, 1);
  assert.equal((await calls[1]).length, 1);
});

function netlinkSockets(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // the descriptor of the listing itself
    }
  }).length;
}

test('handles that nobody closed give their sockets back', async () => {
  await using netns = await Netns.create();
  const before = netlinkSockets();
  for (let i = 0; i < 50; i++) await rawHandle(netns);
  assert.ok(netlinkSockets() >= before + 25);
  const deadline = performance.now() + 20_000;
  while (netlinkSockets() > before + 2) {
    assert.ok(performance.now() < deadline, `${String(netlinkSockets())} sockets are left of ${String(before)}`);
    (globalThis as { gc?: () => void }).gc?.();
    await pause(20);
  }
});

test('200 handles opened, used and closed leave nothing', async () => {
  await using netns = await Netns.create();
  const before = netlinkSockets();
  for (let i = 0; i < 200; i++) {
    await using ipvs = await Ipvs.open({ netns });
    await ipvs.snapshot();
  }
  assert.equal(netlinkSockets(), before);
});
