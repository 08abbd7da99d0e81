import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { AnnouncedAddressDriver } from '../../src/drivers/announced-addresses.ts';
import { Links } from '../../src/native/links.ts';
import { Ndp } from '../../src/native/ndp.ts';
import type { NdpEvent } from '../../src/native/ndp.ts';
import { Netns } from '../../src/native/netns.ts';
import { cable, LEFT_MAC, plainMac, RIGHT_MAC, sendRaw, tcpdump, type Cable } from './cable.ts';
import { framePortSuite } from './frame-port.ts';
import { ip, ipJson, until, within } from './tools.ts';

const VIP = '2001:db8::10';
const OTHER = '2001:db8::11';

/** Each end with an address of its own, and link-local ones that can be used. */
async function addressedCable(): Promise<Cable> {
  const wire = await cable();
  for (const [netns, name, address] of [
    [wire.left, 'left', '2001:db8::1/64'],
    [wire.right, 'right', '2001:db8::2/64'],
  ] as const) {
    await ip(netns, 'link', 'set', 'lo', 'up');
    await ip(netns, 'address', 'add', address, 'dev', name, 'nodad');
  }
  for (const netns of [wire.left, wire.right]) {
    await until('link-local addresses are usable', async () => {
      const text = await within(netns, 'ip', '-6', '-o', 'address', 'show', 'scope', 'link');
      return text.includes('fe80::') && !text.includes('tentative');
    });
  }
  return wire;
}

/** What tcpdump says about what passes its filter. */
const capture = async (netns: Netns, ...filter: string[]) => {
  const dump = await tcpdump(netns, 'right', '-n', '-e', '-vvv', '-l', ...filter);
  return { text: () => dump.bytes().toString(), stop: () => dump.stop() };
};

/** Of ICMPv6 in an IPv6 packet (RFC 8200 section 8.1): the one's complement sum with the pseudo-header. */
function checksumOf(source: string, destination: string, icmp: string): number {
  const summed = Buffer.from(`${source}${destination}0000003a${icmp}`, 'hex');
  let sum = icmp.length / 2;
  for (let at = 0; at < summed.length; at += 2) sum += summed.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum ^ 0xffff;
}

const hex = (host: string) => `20010db80000000000000000000000${host}`;

interface Shape {
  readonly type?: string;
  readonly code?: string;
  readonly flags?: string;
  readonly hops?: string;
  readonly source?: string;
  readonly destination?: string;
  readonly target?: string;
  readonly options?: string;
  readonly checksum?: 'right' | 'wrong';
}

/** A message from `right`, put together by hand; by default the advertisement of a VIP to all nodes. */
function message(shape: Shape = {}): string {
  const { type = '88', code = '00', flags = '20000000', hops = 'ff', source = hex('10'), target = hex('10') } = shape;
  const { destination = 'ff020000000000000000000000000001', options = `0201${plainMac(RIGHT_MAC)}`, checksum = 'right' } = shape;
  const length = (24 + options.length / 2).toString(16).padStart(4, '0');
  const header = `333300000001${plainMac(RIGHT_MAC)}86dd60000000${length}3a${hops}${source}${destination}`;
  const rest = `${flags}${target}${options}`;
  const right = checksumOf(source, destination, `${type}${code}0000${rest}`);
  const sent = checksum === 'right' ? right : right ^ 1;
  return `${header}${type}${code}${sent.toString(16).padStart(4, '0')}${rest}`;
}

async function groups(netns: Netns, interfaceName: string): Promise<string[]> {
  const [link] = await ipJson(netns, 'maddress', 'show', 'dev', interfaceName);
  return ((link?.['maddr'] as { address?: string; family?: string }[] | undefined) ?? [])
    .filter(({ family }) => family === 'inet6')
    .map(({ address = '' }) => address);
}

const ask = (address: string) => `import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(b'x', ('${address}', 9))`;

framePortSuite({
  name: 'ndp',
  open: (options) => Ndp.open(options),
  cable: addressedCable,
  address: (i) => `2001:db8:1::${i.toString(16)}`,
  framesPerAddress: 1,
  announced: ({ kind, senderMac, targetAddress }) => (kind === 'advertisement' && senderMac === LEFT_MAC ? targetAddress : undefined),
});

suite('announcing', () => {
  test('the peer sees what RFC 4861 section 7.2.6 describes, and tcpdump finds the checksum right', async () => {
    await using wire = await addressedCable();
    const seen = await capture(wire.right, 'ip6', 'dst', 'ff02::1');
    await using ndp = await Ndp.open({ netns: wire.left });
    assert.equal(await ndp.announce('left', [VIP, OTHER]), 2);
    assert.equal(await ndp.announce('left', []), 0);
    await until('two advertisements', () => (seen.text().match(/neighbor advertisement/g) ?? []).length >= 2);
    await seen.stop();
    const text = seen.text();
    assert.match(text, new RegExp(`${LEFT_MAC} > 33:33:00:00:00:01, ethertype IPv6 \\(0x86dd\\), length 86`));
    assert.match(text, /hlim 255, next-header ICMPv6 \(58\) payload length: 32\) 2001:db8::10 > ff02::1: \[icmp6 sum ok\]/);
    assert.match(text, /neighbor advertisement, length 32, tgt is 2001:db8::10, Flags \[override\]/);
    assert.match(text, new RegExp(`destination link-address option \\(2\\), length 8 \\(1\\): ${LEFT_MAC}`));
    assert.match(text, /tgt is 2001:db8::11/);
  });

  test("a neighbour's stale entry learns the new hardware address", async () => {
    await using wire = await addressedCable();
    await ip(wire.right, 'neigh', 'add', VIP, 'lladdr', '02:00:00:00:00:99', 'nud', 'stale', 'dev', 'right');
    await using ndp = await Ndp.open({ netns: wire.left });
    await ndp.announce('left', [VIP]);
    await until('the new owner in the table', async () => {
      const [entry] = await ipJson(wire.right, '-6', 'neigh', 'show', VIP);
      return entry?.['lladdr'] === LEFT_MAC;
    });
  });

  test('an advertisement without the override flag leaves the entry alone: the flag is what does it', async () => {
    await using wire = await addressedCable();
    await ip(wire.left, 'neigh', 'add', VIP, 'lladdr', '02:00:00:00:00:99', 'nud', 'stale', 'dev', 'left');
    await ip(wire.left, 'neigh', 'add', OTHER, 'lladdr', '02:00:00:00:00:99', 'nud', 'stale', 'dev', 'left');
    const marker = message({ source: hex('11'), target: hex('11') });
    await sendRaw(wire.right, 'right', [message({ flags: '00000000' }), marker]);
    await until('the marker took effect', async () => {
      const [entry] = await ipJson(wire.left, '-6', 'neigh', 'show', OTHER);
      return entry?.['lladdr'] === RIGHT_MAC;
    });
    const [entry] = await ipJson(wire.left, '-6', 'neigh', 'show', VIP);
    assert.equal(entry?.['lladdr'], '02:00:00:00:00:99');
  });

  test('bad arguments are refused at their path', async () => {
    await using netns = await Netns.create();
    await using ndp = await Ndp.open({ netns });
    await assert.rejects(ndp.announce('left', [VIP, '2001:db8::g']), { message: 'addresses[1]: not an IPv6 address: "2001:db8::g"' });
    await assert.rejects(ndp.announce('left', ['192.0.2.1']), RangeError);
    await assert.rejects(ndp.announce('left', ['ff02::1']), { message: 'addresses[0]: not a unicast address: ff02::1' });
    await assert.rejects(ndp.announce('left', ['::']), RangeError);
    await assert.rejects(ndp.announce('left', [7 as unknown as string]), RangeError);
    await assert.rejects(ndp.announce(7 as unknown as string, [VIP]), TypeError);
  });
});

suite('VIPs on the announcing interface', () => {
  /** `vips0` stands in for the VIP device: dummy is not in every kernel. */
  async function director() {
    const wire = await addressedCable();
    await ip(wire.left, 'link', 'add', 'vips0', 'type', 'bridge');
    await ip(wire.left, 'link', 'set', 'vips0', 'up');
    for (const vip of [VIP, OTHER]) await ip(wire.left, 'address', 'add', `${vip}/128`, 'dev', 'vips0', 'nodad');
    const links = await Links.open({ netns: wire.left });
    const driver = new AnnouncedAddressDriver(links, 'left', 'vips0');
    const announce = async (...vips: string[]) => {
      const { up, down } = await driver.plan(vips);
      assert.deepEqual((await driver.apply([...down, ...up])).failures, []);
    };
    return {
      wire,
      links,
      announce,
      [Symbol.asyncDispose]: async () => {
        await links.close();
        await wire[Symbol.asyncDispose]();
      },
    };
  }

  test('the kernel answers for one that is announced and not for one that is on the VIP device alone', async () => {
    await using bench = await director();
    const { wire, announce } = bench;
    await announce(VIP);
    const seen = await capture(wire.right, 'icmp6');
    // The one that nobody answers for is asked for first: its three questions take longer than the other's answer.
    for (const vip of [OTHER, VIP]) await within(wire.right, 'python3', '-c', ask(vip));
    await until('the announced one is resolved, the other one given up', async () => {
      const entries = await ipJson(wire.right, '-6', 'neigh', 'show', 'dev', 'right');
      const state = (vip: string) => entries.find((entry) => entry['dst'] === vip);
      return state(VIP)?.['lladdr'] === LEFT_MAC && JSON.stringify(state(OTHER)?.['state']) === '["FAILED"]';
    });
    await until('the answer was captured', () => seen.text().includes('neighbor advertisement'));
    await seen.stop();
    assert.match(seen.text(), /who has 2001:db8::11/);
    assert.match(seen.text(), /tgt is 2001:db8::10, Flags \[.*solicited, override\]/);
    assert.doesNotMatch(seen.text(), /tgt is 2001:db8::11/);
  });

  test('its solicited-node group is joined as long as it is announced', async () => {
    await using bench = await director();
    const { wire, announce } = bench;
    const before = await groups(wire.left, 'left');
    assert.ok(!before.includes('ff02::1:ff00:10'));
    await announce(VIP, OTHER);
    const joined = await groups(wire.left, 'left');
    assert.ok(joined.includes('ff02::1:ff00:10') && joined.includes('ff02::1:ff00:11'), joined.join(' '));
    await announce(OTHER);
    assert.deepEqual((await groups(wire.left, 'left')).sort(), [...before, 'ff02::1:ff00:11'].sort());
    await announce();
    assert.deepEqual((await groups(wire.left, 'left')).sort(), before.sort());
  });

  test('it is usable at once, never tentative and never a source', async () => {
    await using bench = await director();
    const { wire, announce } = bench;
    const seen = await capture(wire.right, 'icmp6');
    await announce(VIP);
    const [link] = await ipJson(wire.left, '-6', 'address', 'show', 'dev', 'left');
    const info = (link?.['addr_info'] as Record<string, unknown>[]).find(({ local }) => local === VIP);
    assert.deepEqual([info?.['tentative'], info?.['deprecated'], info?.['nodad'], info?.['prefixlen']], [undefined, true, true, 128]);
    assert.ok([82, 0, '0x52', 'undefined', undefined].includes(info?.['protocol'] as string));
    // Even where it is the only address of that network on the interface.
    await ip(wire.left, 'address', 'del', '2001:db8::1/64', 'dev', 'left');
    await ip(wire.left, 'address', 'add', '2001:db8:9::1/64', 'dev', 'left', 'nodad');
    await ip(wire.left, 'route', 'add', '2001:db8::/64', 'dev', 'left');
    const [route] = await ipJson(wire.left, '-6', 'route', 'get', '2001:db8::2');
    assert.equal(route?.['prefsrc'], '2001:db8:9::1');
    await within(wire.left, 'python3', '-c', ask('2001:db8::2'));
    await until('the neighbour is asked for', () => /who has 2001:db8::2\b/.test(seen.text()));
    await seen.stop();
    assert.doesNotMatch(seen.text(), /:: > ff02::1:ff00:10/, 'no duplicate address detection');
  });
});

suite('listening', () => {
  test("advertisements and solicitations of others' kernels are read", async () => {
    await using wire = await addressedCable();
    await using ndp = await Ndp.open({ netns: wire.left });
    const watch = ndp.watch('left');
    await watch.started;
    await within(wire.right, 'python3', '-c', ask('2001:db8::1'));
    const events: NdpEvent[] = [];
    const next = async (kind: string) => {
      for await (const event of watch) {
        events.push(event);
        if (!('type' in event) && event.kind === kind && event.targetAddress.startsWith('2001:')) return event;
      }
      return undefined;
    };
    assert.deepEqual(await next('solicitation'), {
      ...{ kind: 'solicitation', senderMac: RIGHT_MAC, senderAddress: '2001:db8::2', targetAddress: '2001:db8::1' },
      ...{ linkLayerAddress: RIGHT_MAC, router: false, solicited: false, override: false },
    });
  });

  test('answers of the other side are read with their flags', async () => {
    await using wire = await addressedCable();
    await using ndp = await Ndp.open({ netns: wire.left });
    const watch = ndp.watch('left');
    await watch.started;
    await within(wire.left, 'python3', '-c', ask('2001:db8::2'));
    for await (const event of watch) {
      if ('type' in event || event.kind !== 'advertisement') continue;
      assert.deepEqual(event, {
        ...{ kind: 'advertisement', senderMac: RIGHT_MAC, senderAddress: '2001:db8::2', targetAddress: '2001:db8::2' },
        ...{ linkLayerAddress: RIGHT_MAC, router: false, solicited: true, override: true },
      });
      break;
    }
  });

  test('what RFC 4861 has a receiver throw away never arrives', async () => {
    await using wire = await addressedCable();
    await using ndp = await Ndp.open({ netns: wire.left });
    const watch = ndp.watch('left');
    await watch.started;
    await sendRaw(wire.right, 'right', [
      message({ hops: 'fe' }),
      message({ checksum: 'wrong' }),
      message({ code: '01' }),
      message({ type: '85' }), // a router's question
      message({ target: 'ff020000000000000000000000000001' }),
      message({ flags: '60000000' }), // solicited, but to a group
      message({ options: `0200${plainMac(RIGHT_MAC)}` }),
      message({ options: `0202${plainMac(RIGHT_MAC)}` }),
      message({ type: '87', source: '0'.repeat(32), options: `0101${plainMac(RIGHT_MAC)}` }),
      message({ source: hex('99'), target: hex('99') }), // the marker
    ]);
    for await (const event of watch) {
      if ('type' in event || event.targetAddress.startsWith('fe80')) continue;
      assert.equal(event.targetAddress, '2001:db8::99');
      break;
    }
  });

  test('our own announcements are not heard', async () => {
    await using wire = await addressedCable();
    await using ndp = await Ndp.open({ netns: wire.left });
    const watch = ndp.watch('left');
    await watch.started;
    await ndp.announce('left', [VIP]);
    await sendRaw(wire.right, 'right', [message({ source: hex('99'), target: hex('99') })]);
    for await (const event of watch) {
      if ('type' in event || event.targetAddress.startsWith('fe80')) continue;
      assert.equal(event.targetAddress, '2001:db8::99');
      break;
    }
  });
});
