/** The dummy device, which the kernel of a development machine may lack. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LinkEvent } from '../../src/native/link-types.ts';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';
import { ipJson, until } from '../netns/tools.ts';

test('addDummy makes the device up and without ARP from its first moment', async () => {
  await using netns = await Netns.create();
  await using links = await Links.open({ netns });
  const watch = links.watch(['link']);
  await watch.started;
  const events: LinkEvent[] = [];
  const over = (async () => {
    for await (const event of watch) events.push(event);
  })();
  assert.deepEqual(await links.apply([{ op: 'addDummy', name: 'ravel0', mtu: 1400 }]), { applied: 1, failed: [] });
  await until('its event', () => events.some((event) => event.type === 'link' && event.link.name === 'ravel0'));
  for (const event of events) {
    if (event.type === 'link' && event.link.name === 'ravel0') assert.ok(event.link.noArp, JSON.stringify(event));
  }
  const ours = (await links.links()).find(({ name }) => name === 'ravel0');
  assert.deepEqual([ours?.kind, ours?.up, ours?.noArp, ours?.mtu], ['dummy', true, true, 1400]);
  const [theirs] = await ipJson(netns, 'link', 'show', 'ravel0');
  assert.deepEqual((theirs!['linkinfo'] as { info_kind: string }).info_kind, 'dummy');
  assert.ok((theirs!['flags'] as string[]).includes('NOARP'));
  assert.ok((theirs!['flags'] as string[]).includes('UP'));
  await watch.return();
  await over;
});

test('one batch makes the device, its addresses and removes one again', async () => {
  await using netns = await Netns.create();
  await using links = await Links.open({ netns });
  const result = await links.apply([
    { op: 'addDummy', name: 'ravel0' },
    { op: 'addAddress', interface: 'ravel0', address: '192.0.2.10', prefix: 32, protocol: 77 },
    { op: 'addAddress', interface: 'ravel0', address: '192.0.2.11', prefix: 32, protocol: 77 },
    { op: 'addAddress', interface: 'ravel0', address: '2001:db8::10', prefix: 128, protocol: 77, noDad: true },
    { op: 'deleteAddress', interface: 'ravel0', address: '192.0.2.11', prefix: 32 },
  ]);
  assert.deepEqual(result, { applied: 5, failed: [] });
  const ours = (await links.addresses()).filter(({ protocol }) => protocol === 77).map(({ address, prefix }) => `${address}/${prefix}`);
  assert.deepEqual(ours.sort(), ['192.0.2.10/32', '2001:db8::10/128']);
  const [theirs] = await ipJson(netns, 'addr', 'show', 'ravel0');
  const seen = (theirs!['addr_info'] as Record<string, unknown>[])
    .filter((info) => info['scope'] === 'global')
    .map((info) => `${String(info['local'])}/${String(info['prefixlen'])}`);
  assert.deepEqual(seen.sort(), ours);
});

test('a device that is there is EEXIST; without it addresses are ENODEV', async () => {
  await using netns = await Netns.create();
  await using links = await Links.open({ netns });
  const { applied, failed } = await links.apply([
    { op: 'addDummy', name: 'ravel0' },
    { op: 'addDummy', name: 'ravel0' },
    { op: 'deleteLink', name: 'ravel0' },
    { op: 'addAddress', interface: 'ravel0', address: '192.0.2.10', prefix: 32 },
  ]);
  assert.equal(applied, 2);
  assert.deepEqual(
    failed.map(({ index, error }) => [index, error.op, error.subject, error.code]),
    [
      [1, 'links.addDummy', 'ravel0', 'EEXIST'],
      [3, 'links.addAddress', '192.0.2.10/32 on ravel0', 'ENODEV'],
    ],
  );
  assert.deepEqual(
    (await links.links()).filter(({ name }) => name === 'ravel0'),
    [],
  );
});

test('an address with a lifetime goes by itself, and its end is an event', async () => {
  await using netns = await Netns.create();
  await using links = await Links.open({ netns });
  await links.apply([
    { op: 'addDummy', name: 'ravel0' },
    { op: 'addAddress', interface: 'ravel0', address: '192.0.2.10', prefix: 32, validSeconds: 2 },
  ]);
  assert.ok((await links.addresses()).some(({ address, validSeconds }) => address === '192.0.2.10' && validSeconds <= 2));
  const watch = links.watch(['address']);
  for await (const event of watch) {
    if (event.type === 'address' && event.change === 'deleted') {
      assert.equal(event.address.address, '192.0.2.10');
      break;
    }
  }
  assert.ok(!(await links.addresses()).some(({ address }) => address === '192.0.2.10'));
});
