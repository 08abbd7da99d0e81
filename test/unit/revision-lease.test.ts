/** The Lease of a realserver, against an API server in memory and a clock that moves when told to. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, test } from 'node:test';
import { ApiTransportError } from '../../src/kubernetes/api.ts';
import { RevisionLease, type RevisionLeaseOptions } from '../../src/observe/kubernetes/confirmation.ts';
import { FakeClock, seededRandom, settle } from '../fake-kernel/fake-clock.ts';
import { answer, Lines, ObjectsApi, status, type Call } from './kubernetes-objects.ts';

/** A wall clock that can be set, beside one that only goes on. */
class ClockOnTheWall extends FakeClock {
  offset = 0;

  override date(): Date {
    return new Date(super.date().getTime() + this.offset);
  }
}

let api = new ObjectsApi();
let clock = new ClockOnTheWall();
let log = new Lines();
let stop = new AbortController();
let running: Promise<void> = Promise.resolve();

beforeEach(() => {
  api = new ObjectsApi();
  clock = new ClockOnTheWall();
  log = new Lines();
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await running;
  assert.equal(clock.timers, 0);
});

function started(options: Partial<RevisionLeaseOptions> = {}): RevisionLease {
  const lease = new RevisionLease({ api, clock, log, random: seededRandom(7), namespace: 'ravel', node: 'n1', ...options });
  running = lease.run(stop.signal);
  return lease;
}

const stored = () => api.get('leases', 'ravel/ravel-realserver-n1');
const annotation = 'ravel.io/programmed-revision';
const told = (): unknown => (stored()?.metadata['annotations'] as Record<string, unknown> | undefined)?.[annotation];
const writes = (): Call[] => api.calls.filter(({ method }) => method !== 'GET');
const transport = (): Error => new ApiTransportError('ECONNREFUSED', 'https://192.0.2.1:443: connection refused (ECONNREFUSED)');

test('the first word is a Lease that says nothing yet, with everything a reader looks for', async () => {
  started();
  await settle();
  const { metadata, spec, ...rest } = stored()!;
  assert.deepEqual(rest, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' });
  assert.deepEqual(metadata['labels'], { 'app.kubernetes.io/component': 'realserver' });
  assert.equal(metadata.namespace, 'ravel');
  assert.deepEqual(metadata['annotations'], {});
  const now = '2030-01-01T00:00:01.000000Z';
  assert.deepEqual(spec, { holderIdentity: 'n1', leaseDurationSeconds: 40, acquireTime: now, renewTime: now });
  assert.deepEqual(api.log, ['GET leases', 'POST leases']);
  assert.ok(api.calls.every(({ urgent }) => urgent === true));
});

test('what an earlier life has programmed is taken back: after a reboot the kernel is empty', async () => {
  api.put('leases', {
    metadata: { name: 'ravel-realserver-n1', namespace: 'ravel', annotations: { [annotation]: '900', other: 'stays' } },
  });
  const lease = started();
  await settle();
  assert.deepEqual(stored()?.metadata['annotations'], { other: 'stays' });
  lease.programmed(7);
  await clock.advance(250);
  assert.equal(told(), '7');
});

test('a pressing revision is written at once, others with the next renewal', async () => {
  const lease = started();
  await settle();
  await clock.advance(1000);
  lease.programmed(10, false);
  await settle();
  assert.equal(told(), undefined);
  lease.programmed(11, true);
  await settle();
  assert.equal(told(), '11');
  assert.equal(lease.status().confirmed, 11);
  lease.programmed(12, false);
  await clock.advance(9999);
  assert.equal(told(), '11');
  await clock.advance(1);
  assert.equal(told(), '12');
});

test('pressing revisions are written four times a second at most, and the last one is among them', async () => {
  const lease = started();
  await settle();
  await clock.advance(1000);
  const before = writes().length;
  for (let revision = 1; revision < 200; revision += 1) {
    lease.programmed(revision);
    await clock.advance(5);
  }
  assert.equal(writes().length - before, 4);
  await clock.advance(250);
  assert.equal(told(), '199');
  // Negative: the same revision again is no news.
  const then = writes().length;
  lease.programmed(199);
  await clock.advance(1000);
  assert.equal(writes().length, then);
});

test('a quiet hour is a renewal every ten seconds, without a read', async () => {
  const lease = started();
  await settle();
  lease.programmed(5);
  await clock.advance(250);
  const before = api.calls.length;
  await clock.advance(3_600_000);
  assert.equal(api.calls.length - before, 360);
  assert.ok(api.calls.slice(before).every(({ method }) => method === 'PUT'));
  assert.equal((stored()?.['spec'] as { acquireTime: string }).acquireTime, '2030-01-01T00:00:01.000000Z');
  assert.ok((lease.status().silentMilliseconds ?? Infinity) < 10_000);
  assert.equal(getEventListeners(stop.signal, 'abort').length, 1);
});

test('another writer costs a read, and what it wrote beside stays', async () => {
  const lease = started();
  await settle();
  await clock.advance(1000);
  const other = structuredClone(stored()!);
  Object.assign(other.metadata, {
    labels: { team: 'net' },
    ownerReferences: [{ kind: 'Node', name: 'n1' }],
    annotations: { [annotation]: '1' },
  });
  api.put('leases', other);
  api.calls.length = 0;
  lease.programmed(20);
  await settle();
  assert.deepEqual(api.log, ['PUT leases', 'GET leases', 'PUT leases']);
  assert.equal(told(), '20');
  assert.deepEqual(stored()?.metadata['labels'], { team: 'net', 'app.kubernetes.io/component': 'realserver' });
  assert.deepEqual(stored()?.metadata['ownerReferences'], [{ kind: 'Node', name: 'n1' }]);
  assert.deepEqual(log.lines, []);
});

test('a Lease that was deleted is made again', async () => {
  const lease = started();
  await settle();
  api.objects.clear();
  api.calls.length = 0;
  lease.programmed(3);
  await clock.advance(250);
  assert.deepEqual(api.log, ['PUT leases', 'GET leases', 'POST leases']);
  assert.equal(told(), '3');
});

test('conflicts without an end are waited out, and told once', async () => {
  api.fault = ({ method }) => (method === 'GET' ? undefined : status(409, 'the object has been modified', 'Conflict'));
  api.put('leases', { metadata: { name: 'ravel-realserver-n1', namespace: 'ravel' } });
  const lease = started();
  await clock.advance(60_000);
  assert.ok(writes().length <= 3 * 10, String(writes().length));
  assert.deepEqual(log.lines, [
    'warn the Lease cannot be written: directors wait for --readiness-timeout before they send traffic to new pods here',
  ]);
  assert.match(lease.status().error ?? '', /^update leases\.coordination\.k8s\.io: somebody else writes it, too/);
});

test("a forbidden Lease names verb, resource and the server's words; told once, tried ever more rarely, well again by itself", async () => {
  const words = 'leases.coordination.k8s.io "ravel-realserver-n1" is forbidden: User "x" cannot get resource';
  api.fault = () => status(403, words, 'Forbidden');
  const lease = started();
  lease.programmed(30);
  await clock.advance(600_000);
  assert.equal(log.lines.length, 1);
  assert.equal(log.fields[0]?.['error'], `get leases.coordination.k8s.io: forbidden (403): ${words}`);
  assert.equal(lease.status().error, log.fields[0]['error']);
  assert.equal(lease.status().confirmed, null);
  // 0.25 to 0.5 s at first, 15 to 30 s at last.
  assert.ok(api.calls.length >= 20 && api.calls.length <= 50, String(api.calls.length));
  assert.equal(lease.status().failures, api.calls.length);
  api.fault = () => undefined;
  await clock.advance(30_000);
  assert.equal(told(), '30');
  assert.deepEqual(log.lines.slice(1), ['info the Lease is written again']);
  assert.deepEqual(
    { ...lease.status(), silentMilliseconds: 0 },
    {
      ...{ lease: 'ravel/ravel-realserver-n1', programmed: 30, confirmed: 30, silentMilliseconds: 0, failures: 0, error: null },
    },
  );
});

test('pressing revisions do not shorten the wait after a failure', async () => {
  api.fault = transport;
  const lease = started();
  await clock.advance(60_000);
  const before = api.calls.length;
  for (let revision = 1; revision < 100; revision += 1) {
    lease.programmed(revision);
    await clock.advance(50);
  }
  assert.ok(api.calls.length - before <= 1);
  api.fault = () => undefined;
  await clock.advance(30_000);
  assert.equal(told(), '99');
});

test('a server that asks for patience gets it, up to five minutes', async () => {
  api.fault = () => answer(429, {}, 60);
  started();
  await settle();
  assert.equal(api.calls.length, 1);
  await clock.advance(59_999);
  assert.equal(api.calls.length, 1);
  // What is asked for, and the spread of the first delay on top.
  await clock.advance(1 + 250);
  assert.equal(api.calls.length, 2);
  api.fault = () => answer(503, {}, 86_400);
  await clock.advance(60_000);
  const before = api.calls.length;
  await clock.advance(300_000 + 1000);
  assert.ok(api.calls.length > before);
});

test('a write that is lost on the way back is written again, and the conflict settled', async () => {
  const lease = started();
  await settle();
  await clock.advance(1000);
  let lost = 0;
  api.fault = (call) => {
    if (call.method !== 'PUT' || lost > 0) return undefined;
    lost += 1;
    // The server has done it; the answer never came.
    api.put('leases', call.body as Parameters<ObjectsApi['put']>[1]);
    return transport();
  };
  lease.programmed(40);
  await settle();
  assert.equal(lease.status().confirmed, null);
  await clock.advance(500);
  assert.equal(told(), '40');
  assert.equal(lease.status().confirmed, 40);
});

test('while a write is under way the next revision waits, and no two are ever under way', async () => {
  const held = Promise.withResolvers<undefined>();
  const lease = started();
  await settle();
  api.fault = ({ method }) => (method === 'PUT' ? held.promise : undefined);
  lease.programmed(1);
  await clock.advance(250);
  lease.programmed(2);
  lease.programmed(3);
  await clock.advance(5000);
  assert.equal(api.calls.filter(({ method }) => method === 'PUT').length, 1);
  api.fault = () => undefined;
  held.resolve(undefined);
  await settle();
  assert.equal(told(), '3');
  assert.equal(api.mostUnderWay, 1);
});

test('a wall clock that jumps either way changes what is written, and nothing else', async () => {
  const lease = started();
  lease.programmed(1);
  await clock.advance(1000);
  for (const offset of [-86_400_000, 3_600_000, 0]) {
    clock.offset = offset;
    const before = writes().length;
    await clock.advance(10_000);
    assert.equal(writes().length - before, 1);
    const { renewTime } = stored()?.['spec'] as { renewTime: string };
    assert.ok(Math.abs(Date.parse(renewTime) - clock.date().getTime()) <= 10_000);
  }
  assert.deepEqual(log.lines, []);
});

test('a machine that slept writes once, not once for every renewal that it missed', async () => {
  started();
  await settle();
  const before = writes().length;
  // All timers late by an hour.
  const late = clock.now.bind(clock);
  clock.now = () => late() + 3_600_000;
  await clock.advance(10_000);
  assert.ok(writes().length - before <= 2);
});

test('answers that make no sense are a failure or a new read, never a crash', async () => {
  const lease = started();
  await settle();
  for (const body of [
    undefined,
    null,
    7,
    'text',
    [],
    {},
    { metadata: null },
    { metadata: { resourceVersion: 7 } },
    { metadata: {}, spec: 7 },
  ]) {
    api.fault = () => answer(200, body);
    await clock.advance(35_000);
  }
  api.fault = () => undefined;
  lease.programmed(50);
  await clock.advance(30_000);
  assert.equal(told(), '50');
});

test('labels from outside bring no prototype along', async () => {
  const evil = JSON.parse('{"metadata":{"name":"ravel-realserver-n1","namespace":"ravel","labels":{"__proto__":{"polluted":"yes"}}}}') as {
    metadata: { name: string };
  };
  api.put('leases', evil);
  started();
  await settle();
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
});

test('the end comes at once, also in the middle of a request, and is no failure', async () => {
  const lease = started();
  await settle();
  api.fault = ({ signal }) =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(new ApiTransportError('ABORT_ERR', 'given up')));
    });
  lease.programmed(1);
  await clock.advance(250);
  stop.abort();
  await running;
  assert.deepEqual(log.lines, []);
  assert.equal(lease.status().failures, 0);
});
