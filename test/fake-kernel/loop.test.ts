import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterState, Publication } from '../../src/model/cluster.ts';
import { changed, cluster, whole } from './cluster.ts';
import type { Fault } from './faults.ts';
import { freshKernel, holdings, Rig, variants, type Variant } from './rig.ts';

const vips = [
  ['10.50.0.1', 80, 'web'],
  ['10.50.0.1', 443, 'api'],
  ['10.50.0.2', 80, 'api'],
] as const;
const before = cluster({ pods: { web: ['n1', 'n2'], api: ['n1', 'n1', 'n2'] }, vips });
const scaled = cluster({ pods: { web: ['n1', 'n1', 'n2'], api: ['n1', 'n1', 'n2'] }, vips });
const moved = cluster({
  pods: { web: ['n1', 'n1', 'n2'], api: ['n2'] },
  vips: [vips[0], ['10.50.0.3', 80, 'api', 'tunnel']],
});

/** A history with every kind of change: appear, scale, move, go. */
const history: readonly Publication[] = [whole(before), changed(scaled, 'web'), whole(moved)];

async function cleanResult({ mode, options }: Variant, state: ClusterState): Promise<{ kernel: unknown; writes: number }> {
  const rig = new Rig(mode, undefined, options);
  for (const publication of history) {
    await rig.publish(publication);
    if (publication.state === state) break;
  }
  const result = { kernel: await holdings(rig.kernel), writes: rig.kernel.writes };
  await rig.kill();
  return result;
}

for (const { name, mode, options } of variants) {
  test(`${name}: each state of a history is reached at once, and a second look writes nothing`, async () => {
    const rig = new Rig(mode, undefined, options);
    for (const publication of history) {
      await rig.publish(publication);
      assert.deepEqual(rig.loop.status().failures, []);
      const fresh = new Rig(mode, undefined, options);
      await fresh.publish(whole(publication.state));
      assert.deepEqual(fresh.loop.status().failures, []);
      assert.equal(fresh.loop.status().passes, 1);
      assert.deepEqual(await holdings(rig.kernel), await holdings(fresh.kernel), 'the way does not matter');
      await fresh.kill();
    }
    rig.kernel.journal.clear();
    await rig.advance(130_000);
    assert.equal(rig.kernel.writes, 0);
    assert.ok(rig.kernel.journal.reads > 0, 'the audit did read');
    await rig.kill();
  });

  test(`${name}: a restart with nothing changed writes nothing`, async () => {
    const first = new Rig(mode, undefined, options);
    await first.publish(whole(moved));
    await first.kill();
    first.kernel.journal.clear();
    const second = new Rig(mode, first.kernel, options, first.folder);
    await second.publish(whole(moved));
    await second.advance(61_000);
    assert.equal(first.kernel.writes, 0);
    assert.deepEqual(second.loop.status().failures, []);
    await second.kill();
  });

  test(`${name}: nothing is written before the source has spoken, whatever the kernel says`, async () => {
    const kernel = freshKernel();
    const previous = new Rig(mode, kernel, options);
    await previous.publish(whole(before));
    await previous.kill();
    kernel.journal.clear();
    const rig = new Rig(mode, kernel, options, previous.folder);
    kernel.links.overrun();
    kernel.nftables.overrun();
    await rig.advance(300_000);
    assert.equal(kernel.writes, 0);
    assert.equal(rig.loop.status().passes, 0);
    await rig.kill();
  });

  test(`${name}: many publications during one pass become one more pass`, async () => {
    const rig = new Rig(mode, undefined, options);
    rig.loop.publish(whole(before));
    await Promise.resolve();
    assert.ok(rig.loop.active);
    for (let round = 0; round < 50; round += 1) rig.loop.publish(changed(round % 2 === 0 ? scaled : before, 'web'));
    rig.loop.publish(changed(scaled, 'web'));
    await rig.advance(0);
    assert.ok(rig.loop.status().passes <= 3, `${rig.loop.status().passes} passes`);
    const fresh = new Rig(mode, undefined, options);
    await fresh.publish(whole(scaled));
    assert.deepEqual(await holdings(rig.kernel), await holdings(fresh.kernel));
    await Promise.all([rig.kill(), fresh.kill()]);
  });

  test(`${name}: one changed Service costs its own operations and no read`, async () => {
    const rig = new Rig(mode, undefined, options);
    await rig.publish(whole(before));
    rig.kernel.journal.clear();
    await rig.publish(changed(scaled, 'web'));
    assert.equal(rig.kernel.journal.reads, 0);
    assert.ok(rig.kernel.writes >= 1 && rig.kernel.writes <= 6, `${rig.kernel.writes} writes`);
    assert.ok(rig.kernel.journal.calls.every(({ subject }) => !subject.includes('10.50.0.2')));
    await rig.kill();
  });
}

const sysctlFaults: readonly Fault[] = [
  { op: 'sysctl.read', code: 'EACCES' },
  { op: 'sysctl.write', code: 'EROFS' },
];

const ipvsFaults: readonly Fault[] = [
  ...['INTERRUPTED', 'ENOBUFS', 'EINTR', 'TIMEOUT', 'UNSUPPORTED', 'EPERM'].map((code) => ({ op: 'ipvs.snapshot', code })),
  ...['addService', 'addDestination', 'setDestination', 'deleteDestination', 'deleteService'].flatMap((op) =>
    ['ENOMEM', 'EINTR', 'TIMEOUT'].map((code) => ({ op: `ipvs.${op}`, code })),
  ),
];

const faults: Readonly<Record<string, readonly Fault[]>> = {
  'director among several': [...ipvsFaults, ...sysctlFaults],
  director: [
    ...ipvsFaults,
    { op: 'arp.announce', code: 'ENETDOWN' },
    { op: 'arp.announce', code: 'ENOBUFS' },
    { op: 'arp.watch', code: 'EPERM' },
  ],
  realserver: [
    ...['list', 'elements', 'generation'].flatMap((op) =>
      ['INTERRUPTED', 'ENOBUFS', 'EINTR'].map((code) => ({ op: `nftables.${op}`, code })),
    ),
    ...['ENOBUFS', 'EINTR', 'TIMEOUT', 'ENOMEM', 'EBUSY', 'EPERM'].map((code) => ({ op: 'nftables.commit', code })),
    { op: 'nftables.watch', code: 'EPERM' },
    ...sysctlFaults,
  ],
  'realserver on iptables': [
    ...['EPERM', 'EAGAIN', 'TIMEOUT'].map((code) => ({ op: 'iptables.list', code })),
    ...['EAGAIN', 'TIMEOUT', 'ENOMEM', 'EINVAL', 'EPERM', 'UNSUPPORTED'].map((code) => ({ op: 'iptables.commit', code })),
    { op: 'iptables.present', code: 'EACCES' },
    ...sysctlFaults,
  ],
};
const commonFaults: readonly Fault[] = [
  ...['links.links', 'links.addresses'].flatMap((op) => ['INTERRUPTED', 'ENOBUFS', 'TIMEOUT'].map((code) => ({ op, code }))),
  { op: 'links.addDummy', code: 'EOPNOTSUPP' },
  { op: 'links.addAddress', code: 'ENOBUFS' },
  { op: 'links.addAddress', code: 'TIMEOUT' },
  { op: 'links.deleteAddress', code: 'EPERM' },
  { op: 'links.watch', code: 'EPERM' },
];

for (const variant of variants) {
  const { name, mode, options } = variant;
  for (const fault of [...faults[name]!, ...commonFaults]) {
    for (const [after, times] of [
      [0, 1],
      [1, 2],
      [0, 6],
    ] as const) {
      test(`${name}: every history converges after ${fault.op} fails ${times} times with ${fault.code}, ${after} spared`, async () => {
        const clean = await cleanResult(variant, moved);
        const rig = new Rig(mode, undefined, options);
        for (const publication of history) {
          rig.kernel.faults.failNext({ ...fault, after, times });
          await rig.publish(publication);
          await rig.advance(300);
        }
        await rig.advance(20_000);
        rig.kernel.faults.heal();
        await rig.advance(40_000);
        assert.deepEqual(await holdings(rig.kernel), clean.kernel);
        assert.deepEqual(rig.loop.status().failures, []);
        assert.ok(rig.kernel.writes <= clean.writes * 4, `${rig.kernel.writes} writes, ${clean.writes} without the fault`);
        rig.kernel.journal.clear();
        await rig.advance(61_000);
        assert.equal(rig.kernel.writes, 0);
        await rig.kill();
      });
    }
  }
}

test('a failure is visible with its count and the next attempt, and retries grow apart up to a bound', async () => {
  const rig = new Rig('director');
  rig.kernel.withoutModule('ipvs');
  await rig.publish(whole(before));
  await rig.advance(10_000);
  const early = rig.loop.status();
  assert.ok(early.attempts >= 5 && early.attempts <= 12, `${early.attempts} attempts in 10 s`);
  assert.ok((early.nextRetryMilliseconds ?? 0) > 0);
  assert.match(early.failures[0]?.message ?? '', /not supported|modprobe/);
  await rig.advance(600_000);
  assert.ok(rig.loop.status().attempts <= early.attempts + 40, 'bounded');
  assert.ok(rig.loop.status().attempts >= early.attempts + 15, 'but for ever');
  assert.equal(rig.lines.filter(({ level }) => level === 'error').length, 1, 'the same failure is logged once');
  assert.equal(rig.kernel.writes, 0, 'no address without the services behind it');
  const over = (): number => rig.lines.filter(({ message }) => message === 'no failure stands any more').length;
  assert.equal(over(), 0);
  rig.kernel.faults.heal();
  await rig.advance(120_000);
  assert.deepEqual(rig.loop.status().failures, []);
  assert.equal(over(), 1, 'and its end is told, once');
  await rig.kill();
});

test('a service that the kernel refuses does not hold up the others', async () => {
  const rig = new Rig('director');
  rig.kernel.faults.failNext({ op: 'ipvs.addService', code: 'ENOENT', subject: '10.50.0.1:443', times: Infinity });
  await rig.publish(whole(before));
  assert.equal(rig.kernel.ipvs.services().length, 2);
  await rig.advance(30_000);
  rig.kernel.journal.clear();
  await rig.publish(changed(scaled, 'web'));
  assert.ok(rig.kernel.journal.calls.some(({ op, failed }) => op === 'ipvs.setDestination' && failed === undefined));
  assert.equal(rig.kernel.journal.reads, 0, 'and the refused one does not make others dear');
  assert.ok(rig.loop.status().failures.some(({ key }) => key === 'tcp 10.50.0.1:443'));
  await rig.kill();
});
