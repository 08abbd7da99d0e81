import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Arp } from '../../src/native/arp.ts';
import type { ArpEvent } from '../../src/native/arp.ts';
import { TimeoutError } from '../../src/native/errors.ts';
import { Netns } from '../../src/native/netns.ts';
import { cable, LEFT_MAC, plainMac, RIGHT_MAC, sendRaw, tcpdump, type Dump } from './cable.ts';
import { framePortSuite } from './frame-port.ts';
import { ip, ipJson, until, within } from './tools.ts';

const BROADCAST = 'ffffffffffff';
const hex = (address: string) =>
  address
    .split('.')
    .map((octet) => Number(octet).toString(16).padStart(2, '0'))
    .join('');

/** The frame RFC 826 and RFC 5944 section 4.6 describe, put together by hand. */
function announcement(operation: 1 | 2, mac: string, address: string): string {
  const target = operation === 1 ? '000000000000' : plainMac(mac);
  return `${BROADCAST}${plainMac(mac)}0806000108000604000${operation}${plainMac(mac)}${hex(address)}${target}${hex(address)}`;
}

/** Frames in a capture file (pcap-savefile(5), host byte order). */
function framesOf(capture: Buffer): string[] {
  const frames: string[] = [];
  for (let at = 24; at + 16 <= capture.length;) {
    const length = capture.readUInt32LE(at + 8);
    if (at + 16 + length > capture.length) break;
    frames.push(capture.subarray(at + 16, at + 16 + length).toString('hex'));
    at += 16 + length;
  }
  return frames;
}

const capture = (netns: Netns): Promise<Dump> => tcpdump(netns, 'right', '-U', '-w', '-', 'arp');

framePortSuite({
  name: 'arp',
  open: (options) => Arp.open(options),
  cable,
  address: (i) => `10.9.${i >> 8}.${i & 255}`,
  framesPerAddress: 2,
  announced: ({ operation, senderAddress }) => `${operation} ${senderAddress}`,
});

suite('announcing', () => {
  test('the peer receives exactly the frames of the RFCs, in order', async () => {
    await using wire = await cable();
    const seen = await capture(wire.right);
    await using arp = await Arp.open({ netns: wire.left });
    assert.equal(await arp.announce('left', ['192.0.2.10', '198.51.100.255'], 'both'), 4);
    assert.equal(await arp.announce('left', ['203.0.113.1'], 'request'), 1);
    assert.equal(await arp.announce('left', ['203.0.113.2'], 'reply'), 1);
    assert.equal(await arp.announce('left', [], 'both'), 0);
    await until('six frames', () => framesOf(seen.bytes()).length >= 6);
    await seen.stop();
    assert.deepEqual(framesOf(seen.bytes()), [
      announcement(1, LEFT_MAC, '192.0.2.10'),
      announcement(2, LEFT_MAC, '192.0.2.10'),
      announcement(1, LEFT_MAC, '198.51.100.255'),
      announcement(2, LEFT_MAC, '198.51.100.255'),
      announcement(1, LEFT_MAC, '203.0.113.1'),
      announcement(2, LEFT_MAC, '203.0.113.2'),
    ]);
  });

  for (const form of ['request', 'reply'] as const) {
    test(`the ${form} form takes a neighbour's stale entry over`, async () => {
      await using wire = await cable();
      await ip(wire.right, 'addr', 'add', '192.0.2.2/24', 'dev', 'right');
      await ip(wire.right, 'neigh', 'add', '192.0.2.10', 'lladdr', '02:00:00:00:00:99', 'nud', 'stale', 'dev', 'right');
      await using arp = await Arp.open({ netns: wire.left });
      await until('the new owner in the table', async () => {
        await arp.announce('left', ['192.0.2.10'], form);
        const [entry] = await ipJson(wire.right, 'neigh', 'show', '192.0.2.10');
        return entry?.['lladdr'] === LEFT_MAC;
      });
    });
  }

  test('an interface that holds frames back does not hold the namespace', async (t) => {
    await using wire = await cable();
    const shaped = ['dev', 'left', 'root', 'tbf', 'rate', '1kbit', 'burst', '2kb', 'latency', '100000s'];
    try {
      await within(wire.left, 'tc', 'qdisc', 'add', ...shaped);
    } catch (error) {
      if (!String(error).includes('qdisc kind is unknown')) throw error;
      t.skip('the kernel has no sch_tbf');
      return;
    }
    await using arp = await Arp.open({ netns: wire.left, timeoutMs: 300 });
    const addresses = Array.from({ length: 3000 }, (_, i) => `10.9.${i >> 8}.${i & 255}`);
    await assert.rejects(arp.announce('left', addresses), (error) => {
      assert.ok(error instanceof TimeoutError, String(error));
      assert.match(error.message, /^arp\.announce left: after \d+ of 6000 frames$/);
      return true;
    });
  });

  test('bad arguments are refused at their path', async () => {
    await using netns = await Netns.create();
    await using arp = await Arp.open({ netns });
    await assert.rejects(arp.announce('left', ['192.0.2.1', '192.0.2.999']), {
      message: 'addresses[1]: not an IPv4 address: "192.0.2.999"',
    });
    await assert.rejects(arp.announce('left', ['2001:db8::1']), RangeError);
    await assert.rejects(arp.announce('left', [7 as unknown as string]), RangeError);
    await assert.rejects(arp.announce('left', ['192.0.2.1'], 'shout' as 'both'), RangeError);
    await assert.rejects(arp.announce(7 as unknown as string, ['192.0.2.1']), TypeError);
  });
});

suite('listening', () => {
  test('real requests and replies are read', async () => {
    await using wire = await cable();
    await ip(wire.left, 'addr', 'add', '192.0.2.1/24', 'dev', 'left');
    await ip(wire.right, 'addr', 'add', '192.0.2.2/24', 'dev', 'right');
    await using arp = await Arp.open({ netns: wire.left });
    const watch = arp.watch('left');
    await watch.started;
    // The kernel of the other side asks who has 192.0.2.1.
    const program = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))";
    await within(wire.right, 'python3', '-c', program);
    assert.deepEqual(await watch.next(), {
      done: false,
      value: {
        operation: 'request',
        senderMac: RIGHT_MAC,
        senderAddress: '192.0.2.2',
        targetMac: '00:00:00:00:00:00',
        targetAddress: '192.0.2.1',
      },
    });
    await watch.return();
  });

  test('frames that lie about themselves, other protocols and other VLANs never arrive', async () => {
    await using wire = await cable();
    await using arp = await Arp.open({ netns: wire.left });
    const watch = arp.watch('left');
    await watch.started;
    const good = announcement(2, RIGHT_MAC, '192.0.2.10');
    const changed = (at: number, bytes: string) => good.slice(0, at * 2) + bytes + good.slice(at * 2 + bytes.length);
    await sendRaw(wire.right, 'right', [
      good.slice(0, 41 * 2), // one byte short
      good.slice(0, 20 * 2),
      changed(12, '0800'), // ethertype
      changed(14, '0006'), // hardware type
      changed(16, '86dd'), // protocol type
      changed(18, 'ff'), // hardware address length
      changed(19, '10'), // protocol address length
      changed(20, '0003'), // RARP
      changed(20, '0000'),
      `${good.slice(0, 24)}81000007${good.slice(24)}`, // tagged: VLAN 7
      `${good}${'00'.repeat(200)}`, // longer than it need be: padding is legal
    ]);
    const first = await watch.next();
    assert.deepEqual(first.value, {
      operation: 'reply',
      senderMac: RIGHT_MAC,
      senderAddress: '192.0.2.10',
      targetMac: RIGHT_MAC,
      targetAddress: '192.0.2.10',
    });
    // Nothing else was queued before the marker.
    await sendRaw(wire.right, 'right', [announcement(1, RIGHT_MAC, '192.0.2.99')]);
    const second = await watch.next();
    assert.ok(second.done !== true && 'senderAddress' in second.value && second.value.senderAddress === '192.0.2.99');
    await watch.return();
  });

  test('our own announcements are not heard', async () => {
    await using wire = await cable();
    await using arp = await Arp.open({ netns: wire.left });
    const watch = arp.watch('left');
    await watch.started;
    await arp.announce('left', ['192.0.2.10'], 'both');
    await sendRaw(wire.right, 'right', [announcement(1, RIGHT_MAC, '192.0.2.99')]);
    const first = await watch.next();
    assert.ok(first.done !== true && 'senderAddress' in first.value && first.value.senderAddress === '192.0.2.99');
    await watch.return();
  });

  test('a storm that the socket cannot hold ends in an explicit overrun', async () => {
    await using wire = await cable();
    await using arp = await Arp.open({ netns: wire.left, receiveBufferBytes: 4096 });
    const events: ArpEvent[] = [];
    const watch = arp.watch('left');
    await watch.started;
    const over = (async () => {
      for await (const event of watch) events.push(event);
    })();
    await using loud = await Arp.open({ netns: wire.right });
    const addresses = Array.from({ length: 1000 }, (_, i) => `10.9.${i >> 8}.${i & 255}`);
    await until('the overrun', async () => {
      await loud.announce('right', addresses, 'both');
      return events.some((event) => 'type' in event);
    });
    await watch.return();
    await over;
  });
});
