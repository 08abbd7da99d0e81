/** Changes of links as they happen, and the end of watching them. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ClosedError } from '../../src/native/errors.ts';
import type { LinkEvent, LinkOperation } from '../../src/native/link-types.ts';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';
import { ip, until } from './tools.ts';
import { pairOf, addressNamed } from './links-support.ts';

suite('watching links', () => {
  async function collect(iterator: AsyncIterable<LinkEvent>, into: LinkEvent[]): Promise<void> {
    for await (const event of iterator) into.push(event);
  }

  test('events come in order with the same objects as the lists; the signal ends them', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await using links = await Links.open({ netns });
    const abort = new AbortController();
    const watch = links.watch(['link', 'address', 'route', 'neighbour'], { signal: abort.signal });
    await watch.started;
    const events: LinkEvent[] = [];
    const over = collect(watch, events);
    await links.apply([{ op: 'addAddress', interface: 'left', address: '192.0.2.10', prefix: 24, protocol: 9 }]);
    const added = await addressNamed(links, '192.0.2.10');
    await ip(netns, 'addr', 'del', '192.0.2.10/24', 'dev', 'left');
    await ip(netns, 'neigh', 'add', '192.0.2.7', 'lladdr', '02:00:00:00:00:07', 'nud', 'permanent', 'dev', 'left');
    await ip(netns, 'link', 'set', 'right', 'down');
    const find = (type: string, change: string, about: string) =>
      events.find((event) => event.type === type && 'change' in event && event.change === change && JSON.stringify(event).includes(about));
    await until('all events', () => {
      const link = events.some((event) => event.type === 'link' && event.link.name === 'right' && !event.link.up);
      return link && find('neighbour', 'new', '192.0.2.7') !== undefined;
    });
    assert.deepEqual(find('address', 'new', '192.0.2.10'), { type: 'address', change: 'new', address: added });
    assert.ok(find('address', 'deleted', '192.0.2.10'));
    assert.ok(find('route', 'new', '"destination":"192.0.2.0"'));
    assert.ok(find('route', 'deleted', '"destination":"192.0.2.0"'));
    const order = events.flatMap((event) => (event.type === 'address' && event.address.address === '192.0.2.10' ? [event.change] : []));
    assert.deepEqual(order, ['new', 'deleted']);
    abort.abort();
    await over;
  });

  test('groups not asked for stay silent; an unknown group is refused', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await using links = await Links.open({ netns });
    assert.throws(() => links.watch(['rule' as 'route']), RangeError);
    const watch = links.watch(['address']);
    await watch.started;
    await ip(netns, 'link', 'set', 'left', 'mtu', '1300');
    await ip(netns, 'addr', 'add', '192.0.2.10/32', 'dev', 'left');
    const first = await watch.next();
    assert.ok(first.done !== true && first.value.type === 'address' && first.value.address.address === '192.0.2.10');
    await watch.return();
    assert.deepEqual(await watch.next(), { done: true, value: undefined });
  });

  test('a flood that the socket cannot hold ends in an explicit overrun, and events go on', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await using links = await Links.open({ netns, receiveBufferBytes: 4096 });
    const watch = links.watch(['address']);
    await watch.started;
    const events: LinkEvent[] = [];
    const over = collect(watch, events);
    // One batch on the thread that also reads the events: they pile up in the socket meanwhile.
    const operations = Array.from({ length: 500 }, (_, i): LinkOperation => ({
      op: 'addAddress',
      interface: 'left',
      address: `10.9.${i >> 8}.${i & 255}`,
      prefix: 32,
    }));
    await using other = await Links.open({ netns });
    await other.apply(operations);
    await until('the overrun', () => events.some(({ type }) => type === 'overrun'));
    await other.apply([{ op: 'addAddress', interface: 'left', address: '10.10.0.1', prefix: 32 }]);
    await until('a later event', () => events.some((event) => event.type === 'address' && event.address.address === '10.10.0.1'));
    await watch.return();
    await over;
  });

  test('closing the handle, or the namespace, ends a watch', async () => {
    const netns = await Netns.create();
    const links = await Links.open({ netns });
    const first = links.watch(['link']);
    await first.started;
    const waiting = first.next();
    await links.close();
    assert.deepEqual(await waiting, { done: true, value: undefined });
    const again = await Links.open({ netns });
    const second = again.watch(['link']);
    await second.started;
    const alsoWaiting = second.next();
    await netns.close();
    assert.deepEqual(await alsoWaiting, { done: true, value: undefined });
    await assert.rejects(again.links(), ClosedError);
    await assert.rejects(again.watch(['link']).next(), ClosedError);
    await again.close();
  });
});
