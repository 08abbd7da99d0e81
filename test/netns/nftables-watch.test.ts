/** Events of the kernel: one's own, foreign ones, lost ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Netns } from '../../src/native/netns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import type { NftEvent, NftOperation } from '../../src/native/nftables-types.ts';
import { ADDRESSES, nft, reference, skeleton, TABLE } from './nftables-support.ts';

/** Events up to and with the next one that `last` accepts. */
async function until(events: AsyncIterator<NftEvent>, last: (event: NftEvent) => boolean): Promise<NftEvent[]> {
  const seen: NftEvent[] = [];
  for (;;) {
    const next = await events.next();
    assert.ok(next.done !== true, `the watch ended after ${JSON.stringify(seen)}`);
    seen.push(next.value);
    if (last(next.value)) return seen;
  }
}

const isGeneration = (event: NftEvent): boolean => event.type === 'change' && event.message === 'newgen';

test('one event for each kind of object in a transaction, marked as our own, and the generation last', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const events = nftables.watch();
  await events.started;
  await nftables.commit(reference());
  const seen = await until(events, isGeneration);
  const changes = seen.flatMap((event) => (event.type === 'change' ? [event] : []));
  assert.equal(changes.length, seen.length);
  assert.ok(changes.every(({ own }) => own === true));
  assert.ok(changes.slice(0, -1).every(({ table, family }) => table === 'ravel' && family === 2));
  const counts = new Map<string, number>();
  for (const { message, count } of changes) counts.set(message, (counts.get(message) ?? 0) + (count ?? 1));
  assert.deepEqual(Object.fromEntries(counts), { newtable: 1, newset: 4, newchain: 4, newrule: 6, newsetelem: 8, newgen: 1 });
  const last = changes.at(-1);
  assert.equal(last?.generation, await nftables.generation());
  assert.equal(last.table, undefined);
  await events.return();
  assert.deepEqual(await events.next(), { done: true, value: undefined });
});

test('changes by others are not marked as our own, and say whose they are', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await using other = await Nftables.open({ netns });
  const events = nftables.watch();
  await events.started;
  nft(netns, 'add', 'table', 'ip', 'foreign');
  const [table, generation] = await until(events, isGeneration);
  assert.ok(table?.type === 'change' && generation?.type === 'change');
  assert.deepEqual([table.message, table.table, table.own], ['newtable', 'foreign', false]);
  assert.ok(generation.pid !== undefined && generation.pid !== process.pid);
  // Another handle of this process is another writer, too.
  await other.commit(skeleton());
  const seen = await until(events, isGeneration);
  assert.ok(seen.every((event) => event.type === 'change' && event.own === false));
  await events.return();
});

test('what the kernel could not queue is one overrun, and the watch goes on', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await nftables.commit(skeleton());
  const events = nftables.watch({ receiveBufferBytes: 4096 });
  await events.started;
  const elements = Array.from({ length: 5000 }, (_, k) => ({ key: [`10.0.${k >> 8}.${k & 255}`] }));
  await nftables.commit([{ op: 'addElements', table: TABLE, set: ADDRESSES, elements }]);
  const seen = await until(events, ({ type }) => type === 'overrun');
  const counted = seen.reduce((sum, event) => sum + (event.type === 'change' ? (event.count ?? 1) : 0), 0);
  assert.ok(counted < 5000, `${counted} events came through`);
  await nftables.commit([{ op: 'addTable', table: { family: 'ip6', name: 'later' } }]);
  await until(events, (event) => event.type === 'change' && event.table === 'later');
  await events.return();
});

test('a watch ends with its signal, its handle and its namespace', async () => {
  const netns = await Netns.create();
  const nftables = await Nftables.open({ netns });
  const controller = new AbortController();
  const aborted = nftables.watch({ signal: controller.signal });
  await aborted.started;
  const waiting = aborted.next();
  controller.abort();
  assert.deepEqual(await waiting, { done: true, value: undefined });
  assert.deepEqual(await nftables.watch({ signal: AbortSignal.abort() }).next(), { done: true, value: undefined });

  const another = await Nftables.open({ netns });
  const closed = another.watch();
  await closed.started;
  const pending = closed.next();
  await another.close();
  assert.deepEqual(await pending, { done: true, value: undefined });
  await assert.rejects(another.watch().next(), { name: 'ClosedError' });

  const orphaned = nftables.watch();
  await orphaned.started;
  const last = orphaned.next();
  await netns.close();
  assert.deepEqual(await last, { done: true, value: undefined });
  await assert.rejects(nftables.generation(), { name: 'ClosedError' });
});

test('events of one namespace stay in it', async () => {
  await using netns = await Netns.create();
  await using elsewhere = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await using other = await Nftables.open({ netns: elsewhere });
  const events = nftables.watch();
  await events.started;
  await other.commit(skeleton());
  const mine: NftOperation = { op: 'addTable', table: { family: 'ip', name: 'mine' } };
  await nftables.commit([mine]);
  const seen = await until(events, isGeneration);
  assert.deepEqual(
    seen.map((event) => (event.type === 'change' ? event.table : event.type)),
    ['mine', undefined],
  );
  await events.return();
});
