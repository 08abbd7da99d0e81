import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { suite, test } from 'node:test';
import { Arp } from '../../src/native/arp.ts';
import type { ArpEvent } from '../../src/native/arp.ts';
import { ClosedError, KernelError, TimeoutError } from '../../src/native/errors.ts';
import { Netns } from '../../src/native/netns.ts';
import { ip, ipJson, until, within } from './tools.ts';

const LEFT_MAC = '02:00:00:00:00:01';
const RIGHT_MAC = '02:00:00:00:00:02';
const BROADCAST = 'ffffffffffff';
const plain = (mac: string) => mac.replaceAll(':', '');
const hex = (address: string) =>
  address
    .split('.')
    .map((octet) => Number(octet).toString(16).padStart(2, '0'))
    .join('');

/** The frame RFC 826 and RFC 5944 section 4.6 describe, put together by hand. */
function announcement(operation: 1 | 2, mac: string, address: string): string {
  const target = operation === 1 ? '000000000000' : plain(mac);
  return `${BROADCAST}${plain(mac)}0806000108000604000${operation}${plain(mac)}${hex(address)}${target}${hex(address)}`;
}

/** Two namespaces joined by a cable: `left` in one, `right` in the other, both up. */
async function cable(): Promise<{ left: Netns; right: Netns } & AsyncDisposable> {
  const left = await Netns.create();
  const right = await Netns.create();
  await ip(left, 'link', 'add', 'left', 'address', LEFT_MAC, 'type', 'veth', 'peer', 'name', 'right', 'address', RIGHT_MAC);
  await ip(left, 'link', 'set', 'right', 'netns', right.path);
  await ip(left, 'link', 'set', 'left', 'up');
  await ip(right, 'link', 'set', 'right', 'up');
  return {
    left,
    right,
    [Symbol.asyncDispose]: async () => {
      await left.close();
      await right.close();
    },
  };
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

/** What tcpdump sees of ARP on an interface; stop() gives the frames in hexadecimal. */
async function capture(netns: Netns, interfaceName: string): Promise<{ frames(): string[]; stop(): Promise<void> }> {
  const child = spawn('nsenter', [`--net=${netns.path}`, 'tcpdump', '-i', interfaceName, '--immediate-mode', '-U', '-w', '-', 'arp'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  const chunks: Buffer[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  await until('tcpdump listens', () => said.includes('listening on'));
  return {
    frames: () => framesOf(Buffer.concat(chunks)),
    stop: async () => {
      const exited = once(child, 'exit');
      child.kill('SIGINT');
      await exited;
    },
  };
}

/** Sends frames that our own code never would, one after another. */
async function sendRaw(netns: Netns, interfaceName: string, frames: readonly string[]): Promise<void> {
  const program = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for frame in sys.argv[2:]: s.send(bytes.fromhex(frame))
`;
  await within(netns, 'python3', '-c', program, interfaceName, ...frames);
}

suite('announcing', () => {
  test('the peer receives exactly the frames of the RFCs, in order', async () => {
    await using wire = await cable();
    const seen = await capture(wire.right, 'right');
    await using arp = await Arp.open({ netns: wire.left });
    assert.equal(await arp.announce('left', ['192.0.2.10', '198.51.100.255'], 'both'), 4);
    assert.equal(await arp.announce('left', ['203.0.113.1'], 'request'), 1);
    assert.equal(await arp.announce('left', ['203.0.113.2'], 'reply'), 1);
    assert.equal(await arp.announce('left', [], 'both'), 0);
    await until('six frames', () => seen.frames().length >= 6);
    await seen.stop();
    assert.deepEqual(seen.frames(), [
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

  test('1,500 addresses in one call', async () => {
    await using wire = await cable();
    await using listener = await Arp.open({ netns: wire.right });
    const watch = listener.watch('right');
    await watch.started;
    const heard = new Set<string>();
    let overrun = false;
    const over = (async () => {
      for await (const event of watch) {
        if ('type' in event) overrun = true;
        else heard.add(`${event.operation} ${event.senderAddress}`);
      }
    })();
    await using arp = await Arp.open({ netns: wire.left });
    const addresses = Array.from({ length: 1500 }, (_, i) => `10.9.${i >> 8}.${i & 255}`);
    assert.equal(await arp.announce('left', addresses, 'both'), 3000);
    await until('all of them', () => heard.size === 3000 || overrun);
    assert.equal(overrun, false);
    await watch.return();
    await over;
  });

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

  test('refusals name the interface and the reason', async () => {
    await using wire = await cable();
    await using arp = await Arp.open({ netns: wire.left });
    const failing = async (interfaceName: string): Promise<KernelError> => {
      const error: unknown = await arp.announce(interfaceName, ['192.0.2.10'], 'both').then(
        () => undefined,
        (reason: unknown) => reason,
      );
      assert.ok(error instanceof KernelError, String(error));
      assert.deepEqual([error.op, error.subject], ['arp.announce', interfaceName]);
      return error;
    };
    assert.equal((await failing('missing0')).code, 'ENODEV');
    assert.match((await failing('lo')).message, /EAFNOSUPPORT: not an Ethernet device$/);
    await ip(wire.left, 'link', 'set', 'left', 'down');
    assert.equal((await failing('left')).code, 'ENETDOWN');
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

  test('an interface that is missing, not Ethernet, or goes down is said', async () => {
    await using wire = await cable();
    await using arp = await Arp.open({ netns: wire.left });
    await assert.rejects(
      arp.watch('missing0').next(),
      (error) => KernelError.is(error, 'ENODEV') && error.op === 'arp.watch' && error.subject === 'missing0',
    );
    await assert.rejects(arp.watch('lo').next(), (error) => KernelError.is(error, 'EAFNOSUPPORT'));
    const watch = arp.watch('left');
    await watch.started;
    const refused = assert.rejects(watch.next(), (error) => KernelError.is(error, 'ENETDOWN') && error.subject === 'left');
    await ip(wire.left, 'link', 'set', 'left', 'down');
    await refused;
    assert.deepEqual(await watch.next(), { done: true, value: undefined });
  });

  test('the signal, close() and the namespace end a watch', async () => {
    const wire = await cable();
    const arp = await Arp.open({ netns: wire.left });
    const abort = new AbortController();
    const first = arp.watch('left', { signal: abort.signal });
    await first.started;
    const waiting = first.next();
    abort.abort();
    assert.deepEqual(await waiting, { done: true, value: undefined });
    assert.deepEqual(await arp.watch('left', { signal: abort.signal }).next(), { done: true, value: undefined });
    const second = arp.watch('left');
    await second.started;
    const alsoWaiting = second.next();
    await wire[Symbol.asyncDispose]();
    assert.deepEqual(await alsoWaiting, { done: true, value: undefined });
    await assert.rejects(arp.announce('left', ['192.0.2.1']), ClosedError);
    await arp.close();
    await assert.rejects(arp.announce('left', ['192.0.2.1']), ClosedError);
  });
});
