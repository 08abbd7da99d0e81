import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ArpAnnouncer } from '../../src/announce/arp.ts';
import { SegmentAnnouncer } from '../../src/announce/announcer.ts';
import { TokenBucket } from '../../src/announce/bucket.ts';
import { advertisementJudge, judge } from '../../src/announce/conflicts.ts';
import { NdpAnnouncer } from '../../src/announce/ndp.ts';
import { KernelError } from '../../src/native/errors.ts';
import type { NdpPacket } from '../../src/native/link-types.ts';
import { FakeClock, seededRandom } from './fake-clock.ts';

interface Frames {
  readonly at: number;
  readonly addresses: readonly string[];
  readonly form: string;
}

function bench(options: { framesPerSecond?: number; refreshMilliseconds?: number } = {}) {
  const clock = new FakeClock();
  const sent: Frames[] = [];
  let failure: Error | undefined;
  const announced: string[] = [];
  const announcer = new ArpAnnouncer({
    port: {
      announce(_interface, addresses, form) {
        if (failure !== undefined) return Promise.reject(failure);
        sent.push({ at: clock.now(), addresses: [...addresses], form });
        return Promise.resolve(addresses.length * (form === 'both' ? 2 : 1));
      },
    },
    interface: 'eth0',
    clock,
    random: seededRandom(7),
    refreshMilliseconds: options.refreshMilliseconds ?? 60_000,
    framesPerSecond: options.framesPerSecond ?? 2000,
    onAnnounced: (addresses) => announced.push(...addresses),
  });
  const frames = (from = 0, to = Number.POSITIVE_INFINITY) =>
    sent
      .filter(({ at }) => at >= from && at < to)
      .reduce((sum, { addresses, form }) => sum + addresses.length * (form === 'both' ? 2 : 1), 0);
  return { clock, sent, announcer, announced, frames, fail: (error: Error | undefined) => void (failure = error) };
}

const vips = (count: number) => Array.from({ length: count }, (_, index) => `10.50.${index >> 8}.${index & 255}`);
const netDown = () => new KernelError({ op: 'arp.announce', subject: 'eth0', errno: 100, code: 'ENETDOWN' });

test('a take-over is five announcements in both forms over two seconds, the first at once', async () => {
  const { clock, sent, announcer } = bench();
  const start = clock.now();
  announcer.announce(['10.50.0.1']);
  assert.equal(sent.length, 1, 'the first leaves before anything else happens');
  await clock.advance(5000);
  assert.deepEqual(
    sent.map(({ at, form }) => [at - start, form]),
    [0, 500, 1000, 1500, 2000].map((at) => [at, 'both']),
  );
});

test('after the burst one request each minute, give or take a tenth', async () => {
  const { clock, sent, announcer } = bench();
  announcer.announce(['10.50.0.1']);
  await clock.advance(600_000);
  const refreshes = sent.filter(({ form }) => form === 'request').map(({ at }) => at);
  assert.ok(refreshes.length >= 9 && refreshes.length <= 11, `${refreshes.length} refreshes in ten minutes`);
  const gaps = refreshes.slice(1).map((at, index) => at - (refreshes[index] ?? 0));
  assert.ok(gaps.every((gap) => gap >= 54_000 && gap <= 66_000));
  assert.ok(new Set(gaps.map(Math.round)).size > 1, 'the gaps differ');
});

test('500 VIPs taken over: every first announcement within a second, within the frame rate', async () => {
  const { clock, sent, announcer, announced, frames } = bench();
  const start = clock.now();
  announcer.announce(vips(500));
  await clock.advance(999);
  assert.equal(new Set(sent.flatMap(({ addresses }) => addresses)).size, 500);
  assert.equal(announced.length, 500);
  await clock.advance(10_000);
  assert.ok(frames(start, start + 2600) >= 5000, 'all five rounds in both forms');
  for (let at = start; at < start + 3000; at += 100) assert.ok(frames(at, at + 1000) <= 4000, 'rate plus one bucket');
});

test('500 VIPs at rest: at most ten frames in any second, each VIP about once a minute', async () => {
  const { clock, sent, announcer } = bench();
  announcer.announce(vips(500));
  await clock.advance(10_000);
  const from = clock.now();
  await clock.advance(180_000);
  const times = sent.filter(({ at }) => at >= from).flatMap(({ at, addresses }) => addresses.map(() => at));
  times.forEach((at, index) => {
    const inSecond = times.slice(index).findIndex((other) => other >= at + 1000);
    assert.ok((inSecond === -1 ? times.length - index : inSecond) <= 10, `more than ten frames from ${at}`);
  });
  const count = new Map<string, number>();
  for (const { addresses } of sent.filter(({ at }) => at >= from))
    for (const address of addresses) count.set(address, (count.get(address) ?? 0) + 1);
  assert.equal(count.size, 500);
  assert.ok([...count.values()].every((times) => times >= 2 && times <= 4));
});

test('a low frame rate delays, and does not lose; first announcements go before repetitions', async () => {
  const { clock, sent, announcer, frames } = bench({ framesPerSecond: 100 });
  const start = clock.now();
  announcer.announce(vips(200));
  await clock.advance(60_000);
  assert.ok(frames(start, start + 1000) <= 200);
  const firstRound = new Set<string>();
  for (const { addresses } of sent) {
    const fresh = addresses.filter((address) => !firstRound.has(address));
    assert.ok(fresh.length === addresses.length || firstRound.size === 200, 'a repetition before all were first announced');
    for (const address of addresses) firstRound.add(address);
    if (firstRound.size === 200) break;
  }
  assert.ok(frames() >= 2000, 'all of the bursts left in the end');
});

test('withdrawn VIPs are silent at once, the others go on', async () => {
  const { clock, sent, announcer } = bench();
  announcer.announce(['10.50.0.1', '10.50.0.2']);
  await clock.advance(700);
  announcer.withdraw(['10.50.0.1']);
  const before = sent.length;
  await clock.advance(200_000);
  assert.ok(sent.slice(before).every(({ addresses }) => !addresses.includes('10.50.0.1')));
  assert.ok(sent.slice(before).length >= 3);
  announcer.withdraw(['10.50.0.2']);
  await clock.advance(200_000);
  assert.equal(clock.timers, 0, 'nothing is left to wake up for');
});

test('a link that comes up starts the burst again, once per VIP', async () => {
  const { clock, announcer, frames } = bench();
  announcer.announce(vips(3));
  await clock.advance(1200);
  const from = clock.now();
  announcer.announceAgain();
  await clock.advance(4000);
  assert.equal(frames(from), 30, 'the interrupted burst does not go on beside the new one');
});

test('a conflict is counted each time and answered at most every ten seconds', async () => {
  const { clock, announcer, frames } = bench();
  announcer.announce(['10.50.0.1']);
  await clock.advance(5000);
  const from = clock.now();
  for (let second = 0; second < 9; second += 1) {
    announcer.conflict('10.50.0.1', '02:00:00:00:00:99');
    await clock.advance(1000);
  }
  assert.equal(frames(from), 10, 'one burst');
  const status = announcer.status('10.50.0.1');
  assert.equal(status?.conflicts, 9);
  assert.equal(status.reason?.code, 'AddressConflict');
  assert.match(status.reason.message, /02:00:00:00:00:99/);
  await clock.advance(120_000);
  assert.equal(announcer.status('10.50.0.1')?.reason, undefined, 'over when nobody claims it any more');
  assert.equal(announcer.conflict('10.50.9.9', '02:00:00:00:00:99'), false, 'not ours');
});

test('a send that fails is named, retried with growing gaps, and ends in a full burst', async () => {
  const { clock, sent, announcer, fail } = bench();
  fail(netDown());
  announcer.announce(['10.50.0.1']);
  await clock.advance(60_000);
  assert.equal(sent.length, 0);
  assert.equal(announcer.status('10.50.0.1')?.announced, false);
  assert.equal(announcer.status('10.50.0.1')?.reason?.code, 'InterfaceDown');
  fail(undefined);
  await clock.advance(20_000);
  assert.equal(sent.filter(({ form }) => form === 'both').length, 5);
  assert.equal(announcer.status('10.50.0.1')?.announced, true);
  assert.equal(announcer.status('10.50.0.1')?.reason, undefined);
});

test('only a foreign claim to a VIP that we hold is a conflict', () => {
  const packet = {
    ...{ operation: 'reply' as const, senderMac: '02:00:00:00:00:99', senderAddress: '10.50.0.1' },
    ...{ targetMac: '02:00:00:00:00:01', targetAddress: '10.50.0.7' },
  };
  const options = { holds: (address: string) => address === '10.50.0.1', isOwnMac: (mac: string) => mac === '02:00:00:00:00:01' };
  assert.equal(judge(packet, options), 'conflict');
  assert.equal(judge({ ...packet, operation: 'request' }, options), 'conflict');
  assert.equal(judge({ ...packet, senderMac: '02:00:00:00:00:01' }, options), 'ownFrame');
  assert.equal(judge({ ...packet, senderAddress: '0.0.0.0', targetAddress: '10.50.0.1' }, options), 'probe');
  assert.equal(judge({ ...packet, senderAddress: '10.50.0.2' }, options), 'notOurs');
});

const vips6 = (count: number) => Array.from({ length: count }, (_, index) => `2001:db8::${(index + 1).toString(16)}`);

/** Both families on one interface. */
function segment(framesPerSecond = 2000) {
  const clock = new FakeClock();
  const sent: { at: number; what: string; frames: number; addresses: readonly string[] }[] = [];
  const common = { interface: 'eth0', clock, random: seededRandom(7), refreshMilliseconds: 60_000, framesPerSecond };
  const bucket = new TokenBucket(clock, framesPerSecond, framesPerSecond);
  const note = (what: string, addresses: readonly string[], frames: number) => {
    sent.push({ at: clock.now(), what, frames, addresses: [...addresses] });
    return Promise.resolve(frames);
  };
  const announcer = new SegmentAnnouncer(
    new ArpAnnouncer({
      ...common,
      bucket,
      port: { announce: (_, list, form) => note(form, list, list.length * (form === 'both' ? 2 : 1)) },
    }),
    new NdpAnnouncer({ ...common, bucket, port: { announce: (_, list) => note('advertisement', list, list.length) } }),
  );
  return { clock, sent, announcer };
}

test('an IPv6 VIP is advertised five times over two seconds, then about once a minute', async () => {
  const { clock, sent, announcer } = segment();
  const start = clock.now();
  announcer.announce(['2001:db8::1']);
  await clock.advance(5000);
  assert.deepEqual(
    sent.map(({ at, what }) => [at - start, what]),
    [0, 500, 1000, 1500, 2000].map((at) => [at, 'advertisement']),
  );
  await clock.advance(595_000);
  const refreshes = sent.length - 5;
  assert.ok(refreshes >= 9 && refreshes <= 11, `${refreshes} refreshes in ten minutes`);
  assert.equal(announcer.status('2001:db8::1')?.frames, sent.length);
});

test('each family by its own protocol, and what is withdrawn falls silent', async () => {
  const { clock, sent, announcer } = segment();
  announcer.announce(['10.50.0.1', '2001:db8::1', '2001:db8::2']);
  await clock.advance(0);
  assert.deepEqual(
    sent.map(({ what, addresses }) => [what, addresses]),
    [
      ['both', ['10.50.0.1']],
      ['advertisement', ['2001:db8::1', '2001:db8::2']],
    ],
  );
  assert.deepEqual([...announcer.addresses].sort(), ['10.50.0.1', '2001:db8::1', '2001:db8::2']);
  assert.deepEqual([announcer.has('2001:db8::1'), announcer.has('2001:db8::3')], [true, false]);
  announcer.withdraw(['10.50.0.1', '2001:db8::1']);
  sent.length = 0;
  await clock.advance(120_000);
  assert.deepEqual([...new Set(sent.flatMap(({ addresses }) => addresses))], ['2001:db8::2']);
  assert.equal(announcer.status('2001:db8::1'), undefined);
  announcer.stop();
  sent.length = 0;
  await clock.advance(120_000);
  assert.equal(sent.length, 0);
});

test('one limit holds for the frames of both families together', async () => {
  const { clock, sent, announcer } = segment(200);
  const start = clock.now();
  announcer.announce([...vips(100), ...vips6(200)]);
  await clock.advance(20_000);
  const within = (from: number) => sent.filter(({ at }) => at >= from && at < from + 1000).reduce((sum, { frames }) => sum + frames, 0);
  for (let at = start; at < start + 10_000; at += 100) assert.ok(within(at) <= 400, `${within(at)} frames: rate plus one bucket`);
  assert.equal(new Set(sent.flatMap(({ addresses }) => addresses)).size, 300, 'neither family starves');
});

test('a link that comes up, and a conflict, start the burst of the family again', async () => {
  const { clock, sent, announcer } = segment();
  announcer.announce(['10.50.0.1', '2001:db8::1']);
  await clock.advance(5000);
  sent.length = 0;
  announcer.announceAgain();
  await clock.advance(5000);
  assert.equal(sent.filter(({ what }) => what === 'advertisement').length, 5);
  assert.equal(sent.filter(({ what }) => what === 'both').length, 5);
  sent.length = 0;
  assert.equal(announcer.conflict('2001:db8::1', '02:00:00:00:00:99'), true);
  assert.equal(announcer.conflict('2001:db8::9', '02:00:00:00:00:99'), false);
  await clock.advance(5000);
  assert.deepEqual([...new Set(sent.map(({ what }) => what))], ['advertisement']);
  assert.equal(announcer.status('2001:db8::1')?.reason?.code, 'AddressConflict');
});

test('only an advertisement of a VIP that we hold by a foreign hardware address is a conflict', () => {
  const found: string[] = [];
  const onPacket = advertisementJudge({
    holds: (address) => address === '2001:db8::1',
    isOwnMac: (mac) => mac === '02:00:00:00:00:01',
    onConflict: (address, mac) => found.push(`${address} ${mac}`),
    onOverrun: () => found.push('overrun'),
  });
  const packet = (change: Partial<NdpPacket>): NdpPacket => ({
    ...{ kind: 'advertisement', senderMac: '02:00:00:00:00:99', senderAddress: 'fe80::9', targetAddress: '2001:db8::1' },
    ...{ linkLayerAddress: undefined, router: false, solicited: false, override: true, ...change },
  });
  onPacket(packet({ targetAddress: '2001:db8::2' }));
  onPacket(packet({ senderMac: '02:00:00:00:00:01' }));
  onPacket(packet({ kind: 'solicitation', senderAddress: '::' }));
  assert.deepEqual(found, []);
  onPacket(packet({}));
  onPacket({ type: 'overrun' });
  assert.deepEqual(found, ['2001:db8::1 02:00:00:00:00:99', 'overrun']);
});
