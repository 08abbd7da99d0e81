/** What we read of links, and what we write, is what ip(8) shows. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { suite, test } from 'node:test';
import { KernelError, UnsupportedError } from '../../src/native/errors.ts';
import type { LinkOperation } from '../../src/native/link-types.ts';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';
import { ip, ipJson, within } from './tools.ts';
import { pairOf, addressNamed } from './links-support.ts';

/** IFA_F_NOPREFIXROUTE, IFA_F_NODAD (linux/if_addr.h). */
const IFA_F_NOPREFIXROUTE = 0x200;
const IFA_F_NODAD = 0x02;
const FOREVER = 0xffff_ffff;

async function onlyError(links: Links, operation: LinkOperation): Promise<KernelError> {
  const { applied, failed } = await links.apply([operation]);
  assert.equal(applied, 0);
  assert.equal(failed.length, 1);
  assert.equal(failed[0]!.operation, operation);
  assert.ok(failed[0]!.error instanceof KernelError);
  return failed[0]!.error;
}

suite('links against ip(8)', () => {
  test('links() is what `ip link` shows', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await ip(netns, 'link', 'add', 'br0', 'mtu', '1400', 'type', 'bridge');
    await ip(netns, 'link', 'set', 'right', 'arp', 'off');
    await using links = await Links.open({ netns });
    const theirs = (await ipJson(netns, 'link')).map((link) => {
      const flags = link['flags'] as string[];
      return {
        index: link['ifindex'],
        name: link['ifname'],
        kind: (link['linkinfo'] as { info_kind?: string } | undefined)?.info_kind,
        mac: link['address'],
        mtu: link['mtu'],
        up: flags.includes('UP'),
        running: flags.includes('LOWER_UP'),
        noArp: flags.includes('NOARP'),
      };
    });
    const ours = (await links.links()).filter(({ name }) => theirs.some((link) => link.name === name));
    assert.deepEqual(
      ours,
      theirs.filter(({ name }) => ours.some((link) => link.name === name)),
    );
    assert.deepEqual(
      ours
        .map(({ name }) => name)
        .filter((name) => ['lo', 'left', 'right', 'br0'].includes(name))
        .sort(),
      ['br0', 'left', 'lo', 'right'],
    );
  });

  test('addresses() is what `ip addr` shows, in a namespace made by `ip netns add`', async (t) => {
    await promisify(execFile)('ip', ['netns', 'add', 'ravel-links-test']);
    t.after(() => promisify(execFile)('ip', ['netns', 'del', 'ravel-links-test']));
    await using netns = await Netns.fromPath('/run/netns/ravel-links-test');
    await pairOf(netns);
    await ip(netns, 'addr', 'add', '192.0.2.1/24', 'dev', 'left');
    await ip(netns, 'addr', 'add', '192.0.2.2/32', 'peer', '192.0.2.9', 'dev', 'left');
    await ip(netns, 'addr', 'add', '2001:db8::1/64', 'dev', 'right', 'nodad');
    await using links = await Links.open({ netns });
    const theirs = (await ipJson(netns, 'addr')).flatMap((link) =>
      (link['addr_info'] as Record<string, unknown>[]).map((info) => ({
        interfaceIndex: link['ifindex'],
        address: info['local'],
        prefix: info['prefixlen'],
        scope: info['scope'] === 'global' ? 'universe' : info['scope'],
        validSeconds: info['valid_life_time'],
        preferredSeconds: info['preferred_life_time'],
      })),
    );
    const ours = (await links.addresses()).map(({ interfaceIndex, address, prefix, scope, validSeconds, preferredSeconds }) => ({
      interfaceIndex,
      address,
      prefix,
      scope,
      validSeconds,
      preferredSeconds,
    }));
    const byAddress = (a: { address: unknown }, b: { address: unknown }) => String(a.address).localeCompare(String(b.address));
    assert.deepEqual(ours.sort(byAddress), theirs.sort(byAddress));
    assert.ok(ours.some(({ address }) => address === '2001:db8::1'));
  });

  test('an address keeps its protocol, lifetimes and flags, and `ip` sees it', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await using links = await Links.open({ netns });
    const { failed } = await links.apply([
      { op: 'addAddress', interface: 'left', address: '192.0.2.10', prefix: 32, protocol: 77 },
      { op: 'addAddress', interface: 'left', address: '192.0.2.11', prefix: 24, validSeconds: 300, preferredSeconds: 200 },
      { op: 'addAddress', interface: 'left', address: '192.0.2.12', prefix: 24, noPrefixRoute: true },
      { op: 'addAddress', interface: 'left', address: '2001:db8::10', prefix: 128, noDad: true, protocol: 78 },
    ]);
    assert.deepEqual(failed, []);
    const index = (await links.links()).find(({ name }) => name === 'left')!.index;
    assert.deepEqual(await addressNamed(links, '192.0.2.10'), {
      interfaceIndex: index,
      address: '192.0.2.10',
      prefix: 32,
      protocol: 77,
      scope: 'universe',
      flags: 0x80 | IFA_F_NOPREFIXROUTE, // IFA_F_PERMANENT
      validSeconds: FOREVER,
      preferredSeconds: FOREVER,
    });
    const limited = await addressNamed(links, '192.0.2.11');
    assert.ok(limited !== undefined && limited.validSeconds > 290 && limited.validSeconds <= 300, String(limited?.validSeconds));
    assert.ok(limited.preferredSeconds > 190 && limited.preferredSeconds <= 200);
    assert.equal(limited.flags & IFA_F_NOPREFIXROUTE, 0);
    assert.equal((await addressNamed(links, '192.0.2.12'))!.flags & IFA_F_NOPREFIXROUTE, IFA_F_NOPREFIXROUTE);
    const six = await addressNamed(links, '2001:db8::10');
    assert.equal(six!.protocol, 78);
    assert.equal(six!.flags & IFA_F_NODAD, IFA_F_NODAD);

    const seen = (await ipJson(netns, 'addr', 'show', 'dev', 'left'))[0]!['addr_info'] as Record<string, unknown>[];
    const ten = seen.find((info) => info['local'] === '192.0.2.10');
    assert.equal(ten!['prefixlen'], 32);
    assert.equal(ten!['noprefixroute'], true);
    // Only the address without the flag has a route for its prefix.
    assert.equal((await ipJson(netns, 'route', 'show', '192.0.2.0/24')).length, 1);

    const removed = await links.apply([
      { op: 'deleteAddress', interface: 'left', address: '192.0.2.10', prefix: 32 },
      { op: 'deleteAddress', interface: 'left', address: '2001:db8::10', prefix: 128 },
    ]);
    assert.deepEqual(removed, { applied: 2, failed: [] });
    assert.equal(await addressNamed(links, '192.0.2.10'), undefined);
    assert.equal(await addressNamed(links, '2001:db8::10'), undefined);
  });

  test('an address that is there is EEXIST, one that is not EADDRNOTAVAIL; others of the batch ran', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await using links = await Links.open({ netns });
    const add = (address: string): LinkOperation => ({ op: 'addAddress', interface: 'left', address, prefix: 32 });
    const result = await links.apply([
      add('192.0.2.10'),
      add('192.0.2.10'),
      { op: 'deleteAddress', interface: 'left', address: '192.0.2.99', prefix: 32 },
      { op: 'addAddress', interface: 'missing0', address: '192.0.2.10', prefix: 32 },
      add('192.0.2.11'),
    ]);
    assert.equal(result.applied, 2);
    assert.deepEqual(
      result.failed.map(({ index, error }) => [index, error.index, error.op, error.subject, error.code]),
      [
        [1, 1, 'links.addAddress', '192.0.2.10/32 on left', 'EEXIST'],
        [2, 2, 'links.deleteAddress', '192.0.2.99/32 on left', 'EADDRNOTAVAIL'],
        [3, 3, 'links.addAddress', '192.0.2.10/32 on missing0', 'ENODEV'],
      ],
    );
    // The kernel's own words, where it has some (6.6 and newer for these).
    for (const { error } of result.failed) assert.match(error.message, /^links\.\w+ \S+ on \w+: E[A-Z]+.*\(operation \d of the batch\)$/);
    assert.ok(await addressNamed(links, '192.0.2.11'));
  });

  test('2,000 addresses in one call, then without them again', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await using links = await Links.open({ netns });
    const addresses = Array.from({ length: 2000 }, (_, i) => `10.9.${i >> 8}.${i & 255}`);
    const of = (op: 'addAddress' | 'deleteAddress') =>
      addresses.map((address): LinkOperation => ({ op, interface: 'left', address, prefix: 32 }));
    assert.deepEqual(await links.apply(of('addAddress')), { applied: 2000, failed: [] });
    assert.equal((await links.addresses()).filter(({ prefix, address }) => prefix === 32 && address.startsWith('10.9.')).length, 2000);
    // Every one of them refused: 2,000 answers, none lost.
    const again = await links.apply(of('addAddress'));
    assert.equal(again.applied, 0);
    assert.deepEqual(
      again.failed.map(({ index }) => index),
      addresses.map((_, i) => i),
    );
    assert.deepEqual(await links.apply(of('deleteAddress')), { applied: 2000, failed: [] });
  });

  test('a route as `ip route` shows it, and gone again', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await ip(netns, 'addr', 'add', '192.0.2.1/24', 'dev', 'left');
    await using links = await Links.open({ netns });
    const routes: LinkOperation[] = [
      { op: 'addRoute', destination: '198.51.100.0', prefix: 24, gateway: '192.0.2.2', table: 1000, protocol: 201, metric: 5 },
      { op: 'addRoute', destination: '203.0.113.0', prefix: 24, interface: 'left' },
    ];
    assert.deepEqual(await links.apply(routes), { applied: 2, failed: [] });
    const [seen] = await ipJson(netns, 'route', 'show', 'table', '1000');
    assert.deepEqual(
      [seen!['dst'], seen!['gateway'], seen!['dev'], seen!['metric'], seen!['protocol']],
      ['198.51.100.0/24', '192.0.2.2', 'left', 5, '201'],
    );
    const left = (await links.links()).find(({ name }) => name === 'left')!.index;
    assert.deepEqual(
      (await links.routes()).filter(({ protocol }) => protocol === 201),
      [
        {
          family: 'ipv4',
          destination: '198.51.100.0',
          prefix: 24,
          gateway: '192.0.2.2',
          interfaceIndex: left,
          table: 1000,
          protocol: 201,
          metric: 5,
          type: 1,
          scope: 0,
        },
      ],
    );
    assert.deepEqual(await links.apply(routes.map((route) => ({ ...route, op: 'deleteRoute' }) as LinkOperation)), {
      applied: 2,
      failed: [],
    });
    assert.deepEqual(await ipJson(netns, 'route', 'show', 'table', 'all', 'proto', '201'), []);
    assert.equal((await onlyError(links, { op: 'deleteRoute', destination: '198.51.100.0', prefix: 24, table: 1000 })).code, 'ESRCH');
    const unreachable = await onlyError(links, { op: 'addRoute', destination: '198.51.100.0', prefix: 24, gateway: '10.255.255.1' });
    assert.equal(unreachable.code, 'ENETUNREACH');
    assert.equal(unreachable.extack?.message, 'Nexthop has invalid gateway');
  });

  test('neighbours() is what `ip neigh` shows', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await ip(netns, 'neigh', 'add', '192.0.2.7', 'lladdr', '02:00:00:00:00:07', 'nud', 'permanent', 'dev', 'left');
    await ip(netns, 'neigh', 'add', '2001:db8::7', 'lladdr', '02:00:00:00:00:08', 'nud', 'permanent', 'dev', 'left');
    await using links = await Links.open({ netns });
    const left = (await links.links()).find(({ name }) => name === 'left')!.index;
    const permanent = (await links.neighbours()).filter(({ state }) => state === 0x80);
    assert.deepEqual(
      permanent.sort((a, b) => a.mac.localeCompare(b.mac)),
      [
        { interfaceIndex: left, address: '192.0.2.7', mac: '02:00:00:00:00:07', state: 0x80 },
        { interfaceIndex: left, address: '2001:db8::7', mac: '02:00:00:00:00:08', state: 0x80 },
      ],
    );
  });

  test('setLink changes only what it names', async () => {
    await using netns = await Netns.create();
    await pairOf(netns);
    await using links = await Links.open({ netns });
    const left = async () => (await links.links()).find(({ name }) => name === 'left')!;
    await links.apply([{ op: 'setLink', name: 'left', mtu: 1280, noArp: true }]);
    assert.deepEqual([(await left()).mtu, (await left()).noArp, (await left()).up], [1280, true, true]);
    await links.apply([{ op: 'setLink', name: 'left', up: false }]);
    assert.deepEqual([(await left()).mtu, (await left()).noArp, (await left()).up], [1280, true, false]);
    const error = await onlyError(links, { op: 'setLink', name: 'missing0', up: true });
    assert.deepEqual([error.op, error.subject, error.code], ['links.setLink', 'missing0', 'ENODEV']);
    assert.equal((await onlyError(links, { op: 'deleteLink', name: 'missing0' })).code, 'ENODEV');
    assert.deepEqual(await links.apply([{ op: 'deleteLink', name: 'left' }]), { applied: 1, failed: [] });
    assert.deepEqual(
      (await ipJson(netns, 'link')).filter((link) => ['left', 'right'].includes(link['ifname'] as string)),
      [],
    );
  });

  test('addDummy does what `ip link add type dummy` can do here, or names the module', async () => {
    await using netns = await Netns.create();
    await using links = await Links.open({ netns });
    const possible = await within(netns, 'ip', 'link', 'add', 'probe0', 'type', 'dummy').then(
      () => true,
      () => false,
    );
    const operations: LinkOperation[] = [
      { op: 'addDummy', name: 'ravel0' },
      { op: 'addAddress', interface: 'ravel0', address: '192.0.2.10', prefix: 32 },
    ];
    if (possible) {
      assert.deepEqual(await links.apply(operations), { applied: 2, failed: [] });
    } else {
      await assert.rejects(links.apply(operations), (error) => error instanceof UnsupportedError && error.hint === 'modprobe dummy');
    }
  });
});

suite('operations of tunnels and addresses that are no source', () => {
  test('wrong kinds and lifetimes are refused at their path', async () => {
    await using netns = await Netns.create();
    await using links = await Links.open({ netns });
    await assert.rejects(links.apply([{ op: 'addTunnel', name: 'tunl0', kind: 'sit' as 'ipip' }]), {
      message: 'operations[0].kind: expected ipip, ip6tnl, gre, ip6gre, got "sit"',
    });
    const address = { op: 'addAddress', interface: 'lo', prefix: 128, address: '2001:db8::1' } as const;
    await assert.rejects(links.apply([{ ...address, validSeconds: 0 }]), RangeError);
    await assert.rejects(links.apply([{ ...address, address: '192.0.2.1', prefix: 32, preferredSeconds: 0 }]), RangeError);
  });

  test('preferredSeconds 0 is an address that lives for ever and is deprecated', async () => {
    await using netns = await Netns.create();
    await using links = await Links.open({ netns });
    const operation = { op: 'addAddress', interface: 'lo', prefix: 128, address: '2001:db8::1', noDad: true } as const;
    await links.apply([
      { ...operation, preferredSeconds: 0 },
      { ...operation, address: '2001:db8::2' },
    ]);
    const ours = (await links.addresses()).filter(({ address }) => address.startsWith('2001:'));
    assert.deepEqual(ours.map(({ address, preferredSeconds, validSeconds }) => [address, preferredSeconds, validSeconds]).sort(), [
      ['2001:db8::1', 0, 0xffff_ffff],
      ['2001:db8::2', 0xffff_ffff, 0xffff_ffff],
    ]);
    const [theirs] = await ipJson(netns, '-6', 'address', 'show', 'dev', 'lo');
    const deprecated = (theirs!['addr_info'] as Record<string, unknown>[]).filter((info) => info['deprecated'] === true);
    assert.deepEqual(
      deprecated.map(({ local }) => local),
      ['2001:db8::1'],
    );
  });
});
