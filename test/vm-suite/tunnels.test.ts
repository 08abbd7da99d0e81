/** Tunnel devices, UDP ports and announced IPv6 VIPs on a kernel that has the modules, with packets. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { tunnelRequirements } from '../../src/diff/tunnels.ts';
import { AddressDriver } from '../../src/drivers/addresses.ts';
import { AnnouncedAddressDriver } from '../../src/drivers/announced-addresses.ts';
import { SysctlJournal } from '../../src/drivers/journal.ts';
import { TunnelDriver } from '../../src/drivers/tunnels.ts';
import type { TunnelEncapsulation } from '../../src/model/cluster.ts';
import { addon } from '../../src/native/addon.ts';
import { ClosedError, KernelError } from '../../src/native/errors.ts';
import { Fou } from '../../src/native/fou.ts';
import { Links } from '../../src/native/links.ts';
import type { FouPortEntry } from '../../src/native/link-types.ts';
import { Netns, netnsHandle } from '../../src/native/netns.ts';
import { ip, ipJson, until, within } from '../netns/tools.ts';
import { temporaryDirectory } from '../temporary-directory.ts';

// Other files of the suite need the module; what is left of their namespaces may hold it for a moment.
await until('the module is gone', async () => {
  await promisify(execFile)('modprobe', ['-r', 'fou6', 'fou']).catch(() => undefined);
  return !existsSync('/sys/module/fou');
});
const beforehand = await Fou.open().then(
  async (fou) => fou.close().then(() => 'open'),
  (error: unknown) => String(error),
);
// What a machine that is to take GUE does when it starts; `fou6` is for the sender.
await promisify(execFile)('modprobe', ['-a', 'fou', 'fou6']);

test('without its module foo-over-UDP is unsupported, and the error says what to load', () => {
  assert.equal(beforehand, 'UnsupportedError: fou: not supported by this kernel; try: modprobe fou');
});

const GUE: FouPortEntry = { port: 6080, family: 'ipv4', encapsulation: 'gue', protocol: 0 };

/** A sender and a realserver on one cable, the VIPs on the realserver's own device. */
async function tiers() {
  const sender = await Netns.create();
  const realserver = await Netns.create();
  await ip(sender, 'link', 'add', 'left', 'type', 'veth', 'peer', 'name', 'right');
  await ip(sender, 'link', 'set', 'right', 'netns', realserver.path);
  for (const [netns, name, host] of [
    [sender, 'left', 1],
    [realserver, 'right', 2],
  ] as const) {
    await ip(netns, 'link', 'set', 'lo', 'up');
    await ip(netns, 'link', 'set', name, 'up');
    await ip(netns, 'address', 'add', `10.9.0.${host}/24`, 'dev', name);
    await ip(netns, 'address', 'add', `fd09::${host}/64`, 'dev', name, 'nodad');
  }
  // What arrives through tunl0 has its way back through another interface; the agent sees to that with its sysctls.
  await within(realserver, 'sh', '-c', 'for i in all default; do echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done');
  const links = await Links.open({ netns: realserver });
  const fou = await Fou.open({ netns: realserver });
  const folder = temporaryDirectory('tunnels');
  const journal = new SysctlJournal(folder, '1', 'boot');
  const driver = new TunnelDriver(links, fou, journal);
  const addresses = new AddressDriver(links, 'ravel0');
  const { up } = await addresses.plan(['192.0.2.10', '2001:db8::10']);
  assert.deepEqual((await addresses.apply(up)).failures, []);
  return {
    ...{ sender, realserver, links, fou, driver },
    pass: async (requirements: Parameters<typeof driver.plan>[0]) => {
      const plan = await driver.plan(requirements);
      const { failures, written } = await driver.apply(plan.operations);
      assert.deepEqual([...plan.failures, ...failures], []);
      return written;
    },
    cleanup: async () => {
      assert.deepEqual((await driver.apply(await driver.cleanupOperations())).failures, []);
    },
    [Symbol.asyncDispose]: async () => {
      await fou.close();
      await links.close();
      await sender.close();
      await realserver.close();
    },
  };
}

type Tiers = Awaited<ReturnType<typeof tiers>>;

/** `ip link` words for the sender's end of each kind; the VIP's family is that of the tunnel. */
const ends: Readonly<Record<string, { tunnel: TunnelEncapsulation; four: string[]; six?: string[] }>> = {
  ipip: { tunnel: { type: 'ipip' }, four: ['ipip'], six: ['ip6tnl', 'mode', 'ip6ip6'] },
  gre: { tunnel: { type: 'gre' }, four: ['gre'], six: ['ip6gre'] },
  gue: {
    tunnel: { type: 'gue', port: 6080 },
    four: ['ipip', 'encap', 'gue', 'encap-sport', 'auto', 'encap-dport', '6080'],
    six: ['ip6tnl', 'mode', 'ip6ip6', 'encap', 'gue', 'encap-sport', 'auto', 'encap-dport', '6080'],
  },
};

async function openEnd({ sender }: Tiers, words: readonly string[], vip: string): Promise<void> {
  const six = vip.includes(':');
  const [kind = '', ...rest] = words;
  const own = six ? 'fd09::1' : '10.9.0.1';
  await ip(
    sender,
    'link',
    'add',
    'out',
    'type',
    kind,
    'local',
    own,
    'remote',
    six ? 'fd09::2' : '10.9.0.2',
    ...rest,
    ...(six ? ['encaplimit', 'none'] : []),
  );
  await ip(sender, 'link', 'set', 'out', 'up');
  await ip(sender, 'route', 'add', vip, 'dev', 'out', 'src', own);
}

/** Nobody listens on the port: a host that has the VIP refuses the datagram, all others stay silent or say something else. */
async function answers({ sender }: Tiers, vip: string): Promise<boolean> {
  const program = `
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
try:
    s.connect((sys.argv[1], 9)); s.send(b'x'); s.recv(1)
except ConnectionRefusedError: print('refused')
except OSError as error: print(error)
`;
  return (await within(sender, 'python3', '-c', program, vip)).trim() === 'refused';
}

suite('a realserver takes tunnelled packets as long as it is to', () => {
  for (const [name, { tunnel, four, six }] of Object.entries(ends)) {
    for (const [vip, words] of [
      ['192.0.2.10', four],
      ['2001:db8::10', six],
    ] as const) {
      if (words === undefined) continue;
      test(`${name} to ${vip}`, async () => {
        await using bench = await tiers();
        await openEnd(bench, words, vip);
        assert.equal(await answers(bench, vip), false, 'before');
        const requirements = tunnelRequirements([{ address: vip, forward: 'tunnel', tunnel }]);
        assert.ok((await bench.pass(requirements)) > 0);
        await until('packets are taken', () => answers(bench, vip));
        assert.equal(await bench.pass(requirements), 0, 'a second pass changes nothing');
        await bench.cleanup();
        assert.equal(await answers(bench, vip), false, 'after cleanup');
        assert.deepEqual(await bench.fou.list(), []);
        const left = (await bench.links.links()).filter(({ kind, up }) => up && ['ipip', 'ip6tnl', 'gre', 'ip6gre'].includes(kind ?? ''));
        assert.deepEqual(left, []);
      });
    }
  }
});

suite('foo-over-UDP ports', () => {
  test('are what `ip fou show` lists', async () => {
    await using netns = await Netns.create();
    await using fou = await Fou.open({ netns });
    assert.deepEqual(await fou.list(), []);
    const direct: FouPortEntry = { port: 6081, family: 'ipv6', encapsulation: 'fou', protocol: 41 };
    await fou.add(GUE);
    await fou.add(direct);
    assert.deepEqual(new Set(await fou.list()), new Set([GUE, direct]));
    const theirs = await within(netns, 'ip', 'fou', 'show');
    assert.match(theirs, /port 6080 gue/);
    assert.match(theirs, /port 6081 ipproto 41 .*-6|port 6081 ipproto 41/);
    await within(netns, 'ip', 'fou', 'add', 'port', '6082', 'gue');
    assert.deepEqual((await fou.list()).map(({ port }) => port).sort(), [6080, 6081, 6082]);
    for (const entry of await fou.list()) await fou.delete(entry);
    assert.equal((await within(netns, 'ip', 'fou', 'show')).trim(), '');
  });

  test('one that is held, or is not there, is refused by its number', async () => {
    await using netns = await Netns.create();
    await using fou = await Fou.open({ netns });
    await fou.add(GUE);
    const code = (call: Promise<unknown>) =>
      call.then(
        () => 'done',
        (error: unknown) => (error instanceof KernelError ? `${error.op} ${error.subject}: ${error.code}` : String(error)),
      );
    assert.equal(await code(fou.add(GUE)), 'fou.add UDP port 6080 (ipv4): EADDRINUSE');
    assert.equal(await code(fou.delete({ port: 6080, family: 'ipv6' })), 'fou.delete UDP port 6080 (ipv6): EINVAL');
    assert.equal(await code(fou.delete(GUE)), 'done');
    assert.equal(await code(fou.delete(GUE)), 'fou.delete UDP port 6080 (ipv4): EINVAL');
  });

  test('wrong fields are refused before anything is sent', async () => {
    await using netns = await Netns.create();
    await using fou = await Fou.open({ netns });
    for (const change of [
      { port: 0 },
      { port: 65536 },
      { port: 1.5 },
      { family: 'ipx' as 'ipv4' },
      { encapsulation: 'sit' as 'gue' },
      { protocol: 4 },
      { encapsulation: 'fou' as const, protocol: 0 },
      { encapsulation: 'fou' as const, protocol: 256 },
    ]) {
      await assert.rejects(fou.add({ ...GUE, ...change }), RangeError, JSON.stringify(change));
    }
    await assert.rejects(fou.delete({ port: -1, family: 'ipv4' }), RangeError);
    assert.deepEqual(await fou.list(), []);
  });

  test('a handle that is closed, or whose namespace is, says so; methods of others are refused', async () => {
    const netns = await Netns.create();
    const fou = await Fou.open({ netns });
    const open = addon()['fouOpen'] as (...args: unknown[]) => Promise<Record<string, (...args: unknown[]) => unknown>>;
    const raw = await open(netnsHandle(netns), 1000, 65536);
    for (const method of ['list', 'add', 'remove', 'close']) {
      assert.throws(() => (Object.getPrototypeOf(raw) as typeof raw)[method]!.call({}), TypeError, method);
    }
    for (const args of [[], ['6080', 4, 2, 0], [6080, 4], [Symbol('s'), {}, null, 0]]) assert.throws(() => raw['add']!(...args), TypeError);
    await fou.close();
    await assert.rejects(fou.list(), ClosedError);
    await netns.close();
    await assert.rejects(Promise.resolve(raw['list']!()), ClosedError);
  });
});

test('an announced IPv6 VIP is on both devices, a withdrawn one on ours alone', async () => {
  await using bench = await tiers();
  const { realserver, sender, links } = bench;
  const driver = new AnnouncedAddressDriver(links, 'right', 'ravel0');
  await ip(sender, 'route', 'add', '2001:db8::/64', 'dev', 'left');
  assert.equal(await answers(bench, '2001:db8::10'), false, 'nobody answers for what is on the dummy alone');
  assert.deepEqual((await driver.apply((await driver.plan(['2001:db8::10'])).up)).failures, []);
  const on = async (name: string) => JSON.stringify(await ipJson(realserver, '-6', 'address', 'show', 'dev', name, 'scope', 'global'));
  assert.match(await on('right'), /2001:db8::10/);
  assert.match(await on('ravel0'), /2001:db8::10/);
  await ip(sender, '-6', 'neigh', 'flush', 'all');
  await until('it is found', () => answers(bench, '2001:db8::10'));
  // A new agent knows its own by IFA_PROTO.
  const restarted = new AnnouncedAddressDriver(links, 'right', 'ravel0');
  assert.deepEqual([...(await restarted.observe())], ['2001:db8::10']);
  assert.deepEqual((await restarted.apply(await restarted.cleanupOperations())).failures, []);
  assert.doesNotMatch(await on('right'), /2001:db8::10/);
  assert.match(await on('ravel0'), /2001:db8::10/);
});

test('the device has the largest MTU that is asked for', async () => {
  await using bench = await tiers();
  const driver = new AddressDriver(bench.links, 'ravel0');
  const { up } = await driver.plan(['192.0.2.10'], 9000);
  assert.deepEqual((await driver.apply(up)).failures, []);
  const [link] = await ipJson(bench.realserver, 'link', 'show', 'ravel0');
  assert.equal(link?.['mtu'], 9000);
});
