/** The agent as a whole with a Kubernetes API as its source: what it follows, tells, and does when the API lets it down. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statusSchema } from '../../src/cli/status-schema.ts';
import { printStatus } from '../../src/cli/status-text.ts';
import { statusDocument } from '../../src/cli/status-document.ts';
import { resources } from '../../src/kubernetes/api.ts';
import { firstStateMilliseconds } from '../../src/modes/origin.ts';
import type { StoredObject } from '../fake-api/store.ts';
import { ClusterRig, webAt } from './cluster-rig.ts';
import { freshKernel } from './rig.ts';

const both = ['tcp 10.50.0.1:80 10.20.0.11=1 10.20.0.12=1'];
/** The nodes of these tests run no realserver that could confirm anything. */
const unconfirmed = { readinessMilliseconds: 0 } as const;

const text = (rig: ClusterRig): string => {
  let printed = '';
  printStatus(
    { print: (part) => void (printed += part), complain: () => {}, colour: false },
    statusDocument(rig.agent.document().mode, new Set(), [], rig.document),
  );
  return printed;
};
const field = (object: StoredObject | undefined, name: string): Record<string, unknown> =>
  (object?.[name] ?? {}) as Record<string, unknown>;
const events = (rig: ClusterRig): { on: string; reason: unknown; note: string }[] =>
  rig.api.objects(resources.events).map((event) => {
    const { kind, namespace, name } = field(event, 'regarding') as Record<string, string>;
    return { on: `${kind ?? ''} ${namespace ?? ''}/${name ?? ''}`, reason: event['reason'], note: String(event['note']) };
  });

/** What the API server has acknowledged of the lease. */
const confirmedBy = (rig: ClusterRig): number => rig.kubernetes.lease?.confirmed ?? Number.NaN;
/** Reasons that Events tell of. */
const holding = (rig: ClusterRig): number | undefined => rig.kubernetes.events?.holding;

test('a director follows the cluster with five watches and balances it', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  await rig.start();
  await rig.advance(1000);
  assert.deepEqual(rig.balanced, both);
  assert.equal(rig.api.mostWatches, 5);
  rig.pods('web', [
    { address: '10.244.1.2', node: 'n1' },
    { address: '10.244.1.3', node: 'n1' },
    { address: '10.244.2.2', node: 'n2' },
  ]);
  await rig.advance(100);
  assert.deepEqual(rig.balanced, ['tcp 10.50.0.1:80 10.20.0.11=2 10.20.0.12=1'], 'a new endpoint within a tenth of a second');
  const { source } = rig.document;
  assert.deepEqual([source.kind, source.file, source.refused], ['kubernetes', null, null]);
  assert.deepEqual(rig.kubernetes.configMap, { namespace: 'lb', name: 'ravel', key: 'config' });
  assert.deepEqual(
    rig.kubernetes.watches.map(({ resource, state, objects, error }) => [resource, state, objects, error]),
    [
      ['services', 'watching', 1, null],
      ['endpointslices', 'watching', 1, null],
      ['configmaps', 'watching', 1, null],
      ['nodes', 'watching', 2, null],
      ['leases', 'watching', 0, null],
    ],
  );
  assert.equal(rig.kubernetes.lease, null);
  statusSchema.parse(statusDocument('director', new Set(), [], rig.document));
  assert.match(text(rig), /^ConfigMap lb\/ravel: in force since .*\nfake:\/\/api: followed\n {2}services +watching +1 objects/m);
  await rig.stop();
});

test('a realserver follows with three, and confirms in its lease what is in the kernel, at once', async () => {
  const rig = await ClusterRig.create('realserver');
  await rig.start();
  assert.equal(rig.api.mostWatches, 3);
  const confirmed = (): number => {
    const [lease] = rig.api.objects(resources.leases);
    return Number(lease?.metadata.annotations?.['ravel.io/programmed-revision']);
  };
  await rig.advance(500);
  rig.pods('web', [{ address: '10.244.1.9', node: 'n1' }]);
  const revision = Number(rig.api.objects(resources.endpointSlices)[0]?.metadata.resourceVersion);
  assert.ok(confirmed() < revision);
  await rig.advance(400);
  assert.ok(confirmed() >= revision, 'a pod of this node: now, not with the next renewal');
  assert.equal(rig.kubernetes.lease?.error, null);
  assert.equal(rig.kubernetes.lease.lease, 'lb/ravel-realserver-n1');
  assert.equal(rig.kubernetes.lease.confirmed, confirmed());
  assert.equal(rig.kubernetes.events, null);
  statusSchema.parse(statusDocument('realserver', new Set(), [], rig.document));
  assert.match(text(rig), /lease lb\/ravel-realserver-n1 +kept/);
  await rig.stop();
});

test('what the kernel refused is not confirmed', async () => {
  const rig = await ClusterRig.create('realserver');
  await rig.start();
  await rig.advance(500);
  const before = confirmedBy(rig);
  rig.kernel.faults.failNext({ op: 'nftables.commit', code: 'EPERM', times: Infinity });
  rig.pods('web', [{ address: '10.244.1.9', node: 'n1' }]);
  await rig.advance(15_000);
  assert.equal(confirmedBy(rig), before, 'renewed, and still the old revision');
  rig.kernel.faults.heal();
  await rig.advance(40_000);
  assert.ok(confirmedBy(rig) > before);
  await rig.stop();
});

test('a right that is missing from the start: named with verb and resource, nothing written, the rest followed', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  rig.api.faults.forbid('list', 'nodes');
  await rig.start();
  await rig.advance(60_000);
  assert.equal(rig.kernel.writes, 0);
  assert.equal(rig.document.source.synced, false);
  const states = new Map(rig.kubernetes.watches.map((watch) => [watch.resource, watch]));
  assert.match(states.get('nodes')?.error ?? '', /^list nodes: forbidden \(403\): .*cannot list resource/);
  assert.equal(states.get('services')?.error, null);
  assert.equal(states.get('endpointslices')?.state, 'watching');
  assert.match(text(rig), /not followed as it should be[^]*nodes +waiting .*list nodes/);
  assert.equal(rig.said(/list nodes/).length, 1, 'once in the log');
  rig.api.faults.heal();
  await rig.advance(40_000);
  assert.deepEqual(rig.balanced, both);
  assert.equal(rig.said(/nodes: followed again/).length, 1);
  await rig.stop();
});

test('a right that is taken away: the last state of that kind stays, the others go on', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  await rig.start();
  await rig.advance(1000);
  rig.api.faults.forbid('list', 'nodes');
  rig.api.faults.forbid('watch', 'nodes');
  for (const watch of rig.api.watching('nodes')) watch.end();
  await rig.advance(60_000);
  assert.match(rig.kubernetes.watches.find(({ resource }) => resource === 'nodes')?.error ?? '', /(watch|list) nodes.*403/);
  rig.pods('web', [
    { address: '10.244.1.2', node: 'n1' },
    { address: '10.244.1.3', node: 'n1' },
    { address: '10.244.2.2', node: 'n2' },
  ]);
  await rig.advance(200);
  assert.deepEqual(rig.balanced, ['tcp 10.50.0.1:80 10.20.0.11=2 10.20.0.12=1']);
  await rig.stop();
});

test('a director that serves its own pods confirms them in its lease, and tells reasons in Events, like the two it is', async () => {
  const kernel = freshKernel();
  kernel.sysctls.values.set('net/ipv4/vs/conntrack', '0');
  const options = { ...unconfirmed, combined: true, colocation: 'nftables', nodeName: 'n1' } as const;
  const rig = await ClusterRig.create('director', options, kernel);
  await rig.start();
  assert.equal(rig.kubernetes.watches.length, 5);
  assert.equal(rig.kubernetes.lease?.lease, 'lb/ravel-realserver-n1');
  assert.equal(rig.kubernetes.lease.error, null);
  await rig.advance(1000);
  const confirmed = confirmedBy(rig);
  assert.ok(confirmed > 0, JSON.stringify(rig.agent.document().failures));
  rig.pods('web', [{ address: '10.244.1.3', node: 'n1' }]);
  await rig.advance(1500);
  assert.ok(confirmedBy(rig) > confirmed);
  assert.notEqual(rig.kubernetes.events, null);
  const { mode, nat } = rig.agent.document();
  assert.equal(mode, 'director,realserver');
  assert.equal(nat?.kind, 'nftables');
  assert.match(text(rig), /director,realserver[^]*translation by nftables: asked for/);
  await rig.stop();
});

test('leases that may not be read cost the confirmation, not the balancing', async () => {
  const rig = await ClusterRig.create('director', { readinessMilliseconds: 10_000, handoverMilliseconds: 100 });
  rig.api.faults.forbid('list', 'leases');
  await rig.start();
  await rig.advance(2000);
  assert.deepEqual(rig.balanced, both);
  assert.match(rig.kubernetes.watches.find(({ resource }) => resource === 'leases')?.error ?? '', /list leases\.coordination\.k8s\.io/);
  await rig.stop();
});

for (const mode of ['director', 'realserver'] as const) {
  test(`${mode}: the API is away for two minutes: nothing is written, status says so, and afterwards what happened is applied`, async () => {
    const rig = await ClusterRig.create(mode, unconfirmed);
    await rig.start();
    await rig.advance(5000);
    const writes = rig.kernel.writes;
    assert.ok(writes > 0);
    rig.api.down = true;
    rig.pods('web', [
      { address: '10.244.1.7', node: 'n1' },
      { address: '10.244.2.2', node: 'n2' },
    ]);
    await rig.advance(120_000);
    assert.equal(rig.kernel.writes, writes);
    for (const { resource, state, error, silentMilliseconds } of rig.kubernetes.watches) {
      assert.equal(state, 'waiting', resource);
      assert.match(error ?? '', /ECONNREFUSED/, resource);
      assert.ok((silentMilliseconds ?? 0) >= 100_000, resource);
    }
    if (mode === 'realserver') assert.match(rig.kubernetes.lease?.error ?? '', /ECONNREFUSED/);
    assert.match(text(rig), /not followed as it should be; the last state stays in force/);
    rig.api.down = false;
    await rig.advance(40_000);
    assert.ok(rig.kubernetes.watches.every(({ error }) => error === null));
    if (mode === 'realserver') assert.ok(rig.kernel.writes > writes, 'the pod with another address');
    await rig.stop();
  });
}

test('an API that is away from the start: nothing is written, whatever the kernel holds', async () => {
  const first = await ClusterRig.create('director', unconfirmed);
  await first.start();
  await first.advance(1000);
  await first.stop();
  const rig = await ClusterRig.create('director', unconfirmed, first.kernel);
  rig.api.down = true;
  const { writes } = rig.kernel;
  await rig.start();
  await rig.advance(300_000);
  assert.equal(rig.kernel.writes, writes);
  assert.deepEqual(rig.balanced, both);
  assert.equal(rig.document.source.synced, false);
  await rig.stop();
});

test('a broken ConfigMap: refused with its path in status, log and an Event; endpoints go on; mended, all of that ends', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  await rig.start();
  await rig.advance(1000);
  rig.configure({
    config: { '10.50.0.1': { '80': { namespace: 'shop', service: 'web', portName: 'http' }, '99999': { service: 'web' } } },
  });
  await rig.advance(2000);
  const path = 'config."10.50.0.1"."99999"';
  assert.equal(rig.document.source.refused?.problems[0]?.path, path);
  assert.equal(rig.said(/input refused; the last good configuration stays in force/).length, 1);
  const [event, ...others] = events(rig).filter(({ reason }) => reason === 'ConfigurationRefused');
  assert.deepEqual(others, []);
  assert.equal(event?.on, 'ConfigMap lb/ravel');
  assert.ok(event.note.startsWith(`${path}: `), event.note);
  rig.pods('web', [
    { address: '10.244.1.2', node: 'n1' },
    { address: '10.244.1.3', node: 'n1' },
    { address: '10.244.2.2', node: 'n2' },
  ]);
  await rig.advance(200);
  assert.deepEqual(rig.balanced, ['tcp 10.50.0.1:80 10.20.0.11=2 10.20.0.12=1']);
  assert.notEqual(rig.document.source.refused, null, 'a change of endpoints does not end the refusal');
  rig.configure(webAt('10.50.0.1'));
  await rig.advance(2000);
  assert.equal(rig.document.source.refused, null);
  assert.equal(holding(rig), 0);
  await rig.stop();
});

test('a deleted ConfigMap keeps the last good one, also through a reload, and endpoints go on', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  await rig.start();
  await rig.advance(1000);
  rig.api.store.remove(resources.configMaps, 'lb/ravel');
  await rig.advance(1000);
  assert.match(rig.document.source.refused?.problems[0]?.message ?? '', /ConfigMap lb\/ravel was deleted/);
  rig.agent.reload();
  await rig.advance(2000);
  assert.match(rig.document.source.refused?.problems[0]?.message ?? '', /ConfigMap lb\/ravel does not exist/);
  assert.deepEqual(rig.balanced, both);
  rig.pods('web', [
    { address: '10.244.1.2', node: 'n1' },
    { address: '10.244.1.3', node: 'n1' },
    { address: '10.244.2.2', node: 'n2' },
  ]);
  await rig.advance(200);
  assert.deepEqual(rig.balanced, ['tcp 10.50.0.1:80 10.20.0.11=2 10.20.0.12=1'], 'followed after the reload');
  assert.notEqual(rig.document.source.refused, null);
  assert.equal(rig.api.watches.size, 5);
  await rig.stop();
});

test('no ConfigMap at the start: nothing is written, and that is said', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  rig.api.store.remove(resources.configMaps, 'lb/ravel');
  await rig.start();
  await rig.advance(60_000);
  assert.equal(rig.kernel.writes, 0);
  assert.equal(rig.said(/input refused; nothing is changed until one is accepted/).length, 1);
  rig.configure(webAt('10.50.0.1'));
  await rig.advance(2000);
  assert.deepEqual(rig.balanced, both);
  await rig.stop();
});

test('a reload lists anew', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  await rig.start();
  await rig.advance(1000);
  const lists = rig.api.received.filter(({ verb }) => verb === 'list').length;
  const { writes } = rig.kernel;
  rig.agent.reload();
  await rig.advance(1000);
  assert.equal(rig.api.received.filter(({ verb }) => verb === 'list').length, 2 * lists);
  assert.equal(rig.kernel.writes, writes, 'and nothing was different');
  await rig.stop();
});

test('reasons: once in the log, an Event on the Service, on the ConfigMap where there is none', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  rig.configure(webAt('10.50.0.1', 'absent'));
  await rig.start();
  await rig.advance(5000);
  const log = (reason: string) =>
    rig.lines.filter(({ level, fields }) => level !== 'debug' && fields['reason'] === reason && 'virtualService' in fields);
  assert.equal(log('ServiceMissing').length, 1);
  assert.deepEqual(log('ServiceMissing')[0]?.fields['service'], 'shop/absent');
  const missing = events(rig).filter(({ reason }) => reason === 'ServiceMissing');
  assert.deepEqual(
    missing.map(({ on }) => on),
    ['ConfigMap lb/ravel'],
  );
  assert.match(missing[0]?.note ?? '', /^tcp 10\.50\.0\.1:80: service shop\/absent does not exist/);

  rig.service('absent');
  await rig.advance(5000);
  assert.equal(log('NoEndpoints').length, 1);
  assert.deepEqual(
    events(rig)
      .filter(({ reason }) => reason === 'NoEndpoints')
      .map(({ on }) => on),
    ['Service shop/absent'],
  );
  assert.equal(holding(rig), 1, 'that on the ConfigMap holds no longer');

  rig.pods('absent', [{ address: '10.244.1.2', node: 'n1' }]);
  await rig.advance(5000);
  assert.equal(holding(rig), 0);
  assert.equal(rig.said(/tcp 10\.50\.0\.1:80: in force/).length, 1);
  await rig.advance(300_000);
  assert.equal(log('ServiceMissing').length + log('NoEndpoints').length, 2, 'audits say nothing again');
  await rig.stop();
});

test('an Event that may not be written is named, once, and holds nothing up', async () => {
  const rig = await ClusterRig.create('director', unconfirmed);
  rig.api.faults.forbid('create', 'events');
  rig.configure({ config: { ...webAt('10.50.0.1').config, ...webAt('10.50.0.2', 'absent').config } });
  await rig.start();
  await rig.advance(60_000);
  assert.deepEqual(rig.balanced, both);
  assert.match(rig.kubernetes.events?.error ?? '', /create events\.events\.k8s\.io/);
  assert.equal(rig.said(/Event cannot be written/).length, 1);
  await rig.stop();
});

test('without Events none is asked for', async () => {
  const rig = await ClusterRig.create('director', { ...unconfirmed, events: false });
  rig.configure(webAt('10.50.0.1', 'absent'));
  await rig.start();
  await rig.advance(10_000);
  assert.equal(rig.kubernetes.events, null);
  assert.ok(rig.api.received.every(({ resource }) => resource !== 'events'));
  await rig.stop();
});

for (const mode of ['director', 'realserver'] as const) {
  for (const down of [false, true]) {
    test(`${mode}: stopping ${down ? 'while the API is away ' : ''}leaves no watch, no request and no timer`, async () => {
      const rig = await ClusterRig.create(mode, unconfirmed);
      await rig.start();
      await rig.advance(3000);
      rig.api.down = down;
      await rig.advance(3000);
      await rig.stop();
      assert.equal(rig.api.watches.size, 0);
      assert.equal(rig.clock.timers, 0);
      const { length } = rig.api.received;
      await rig.advance(100_000);
      assert.equal(rig.api.received.length, length);
    });
  }
}

test('--once: the first whole state, or an error that says what it waited for', async () => {
  const good = await ClusterRig.create('director', { ...unconfirmed, handoverMilliseconds: 0 });
  const done = good.agent.once();
  await good.advance(1000);
  assert.deepEqual(await done, { failures: [], held: undefined });
  assert.equal(good.api.watches.size, 0);

  const bad = await ClusterRig.create('director', unconfirmed);
  bad.api.faults.forbid('list', 'services');
  const failed = assert.rejects(bad.agent.once(), /no whole state within 30 s\n {2}services: list services.*403/);
  await bad.advance(firstStateMilliseconds);
  await failed;
  assert.equal(bad.kernel.writes, 0);
});
