/** The way to an address, against ip(8). */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { KernelError } from '../../src/native/errors.ts';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';
import { ip, ipJson } from './tools.ts';

suite('the way to an address', () => {
  async function routed() {
    const netns = await Netns.create();
    await ip(netns, 'link', 'add', 'left', 'mtu', '1400', 'type', 'veth', 'peer', 'name', 'right');
    for (const name of ['lo', 'left', 'right']) await ip(netns, 'link', 'set', name, 'up');
    await ip(netns, 'address', 'add', '192.0.2.1/24', 'dev', 'left');
    await ip(netns, 'address', 'add', '2001:db8::1/64', 'dev', 'left', 'nodad');
    await ip(netns, 'route', 'add', '198.51.100.0/24', 'via', '192.0.2.254', 'mtu', '1280');
    await ip(netns, 'route', 'add', '203.0.113.0/24', 'via', 'inet6', '2001:db8::fe', 'dev', 'left');
    await ip(netns, 'route', 'add', '2001:db8:9::/48', 'via', '2001:db8::fe', 'mtu', '1300');
    await ip(netns, 'route', 'add', 'prohibit', '192.0.3.0/24');
    return netns;
  }

  test('is what `ip route get` says: device, gateway, source, and the MTU of the route or of the device', async () => {
    await using netns = await routed();
    await using links = await Links.open({ netns });
    const [left] = await ipJson(netns, 'link', 'show', 'left');
    const interfaceIndex = left!['ifindex'];
    const four = { interfaceIndex, source: '192.0.2.1' };
    assert.deepEqual(await links.routeTo('192.0.2.7'), { ...four, mtu: 1400, gateway: undefined });
    assert.deepEqual(await links.routeTo('198.51.100.7'), { ...four, mtu: 1280, gateway: '192.0.2.254' });
    assert.deepEqual(await links.routeTo('203.0.113.7'), { ...four, mtu: 1400, gateway: '2001:db8::fe' });
    const six = { interfaceIndex, source: '2001:db8::1' };
    assert.deepEqual(await links.routeTo('2001:db8::7'), { ...six, mtu: 1400, gateway: undefined });
    assert.deepEqual(await links.routeTo('2001:db8:9::7'), { ...six, mtu: 1300, gateway: '2001:db8::fe' });
    for (const address of ['198.51.100.7', '2001:db8:9::7']) {
      const [theirs] = await ipJson(netns, 'route', 'get', address);
      const ours = await links.routeTo(address);
      assert.deepEqual([theirs?.['gateway'], theirs?.['prefsrc']], [ours.gateway, ours.source]);
    }
  });

  test('where there is none the refusal says which', async () => {
    await using netns = await routed();
    await using links = await Links.open({ netns });
    const code = async (address: string) =>
      links.routeTo(address).then(
        () => 'a route',
        (error: unknown) => (error instanceof KernelError ? `${error.subject} ${error.code}` : String(error)),
      );
    assert.equal(await code('10.9.9.9'), '10.9.9.9 ENETUNREACH');
    assert.equal(await code('2001:db8:ffff::1'), '2001:db8:ffff::1 ENETUNREACH');
    assert.equal(await code('192.0.3.1'), '192.0.3.1 EACCES');
    await assert.rejects(links.routeTo('192.0.2.1/32'), { name: 'RangeError', message: 'address: not an IP address: "192.0.2.1/32"' });
    await assert.rejects(links.routeTo(7 as unknown as string), RangeError);
  });
});
