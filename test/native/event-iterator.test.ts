/** The queue between the kernel's events and a slow reader. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { EventIterator } from '../../src/native/event-iterator.ts';
import type { Deliver } from '../../src/native/event-iterator.ts';

type Numbered = { readonly type: 'event'; readonly number: number } | { readonly type: 'overrun' };

function stream(): { readonly iterator: EventIterator<Numbered>; readonly deliver: Deliver<Numbered> } {
  const taken: Deliver<Numbered>[] = [];
  const iterator = new EventIterator<Numbered>((deliver) => {
    taken.push(deliver);
    return Promise.resolve(() => undefined);
  });
  const [deliver] = taken;
  assert.ok(deliver !== undefined);
  return { iterator, deliver };
}

async function read(iterator: EventIterator<Numbered>, count: number): Promise<Numbered[]> {
  const events: Numbered[] = [];
  for (let i = 0; i < count; i++) events.push((await iterator.next()).value as Numbered);
  return events;
}

const overruns = (events: readonly Numbered[]): number => events.filter(({ type }) => type === 'overrun').length;

suite('the queue of an event iterator', () => {
  // More than it holds.
  const many = 10_000;

  test('one overrun stands for all that was thrown away at a time', async () => {
    const { iterator, deliver } = stream();
    for (let number = 0; number < many; number++) deliver({ type: 'event', number });
    const held = await read(iterator, 8193);
    assert.deepEqual(held.at(8191), { type: 'event', number: 8191 });
    assert.deepEqual(held.at(8192), { type: 'overrun' });
    assert.equal(overruns(held), 1);
    deliver({ type: 'event', number: many });
    assert.deepEqual((await iterator.next()).value, { type: 'event', number: many });
    await iterator.return();
  });

  test('events thrown away after the reader saw an overrun are a second one, though the queue was never empty', async () => {
    const { iterator, deliver } = stream();
    let number = 0;
    for (; number < many; number++) deliver({ type: 'event', number });
    await read(iterator, 100);
    // Room again: one that comes after the overrun keeps the queue from being empty when that is read.
    deliver({ type: 'event', number: number++ });
    assert.deepEqual((await read(iterator, 8093)).at(-1), { type: 'overrun' });
    for (let more = 0; more < many; more++) deliver({ type: 'event', number: number++ });
    assert.equal(overruns(await read(iterator, 8193)), 1);
    await iterator.return();
  });
});
