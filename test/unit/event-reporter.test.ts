/** Reasons as Events, against an API server in memory and a clock that moves when told to. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { ApiTransportError } from '../../src/kubernetes/api.ts';
import { eventName, type EventSubject } from '../../src/observe/kubernetes/event-object.ts';
import { EventReporter, type EventReporterOptions } from '../../src/observe/kubernetes/events.ts';
import { FakeClock, seededRandom, settle } from '../fake-kernel/fake-clock.ts';
import { answer, Lines, ObjectsApi, status, type Call, type StoredObject } from './kubernetes-objects.ts';

let api = new ObjectsApi();
let clock = new FakeClock();
let log = new Lines();
let stop = new AbortController();
let running: Promise<void>[] = [];

beforeEach(() => {
  api = new ObjectsApi();
  clock = new FakeClock();
  log = new Lines();
  stop = new AbortController();
  running = [];
  for (let index = 0; index < 60; index += 1)
    api.put('services', { metadata: { name: `web-${index}`, namespace: 'shop', uid: `u-${index}` } });
});
afterEach(async () => {
  stop.abort();
  await Promise.all(running);
  assert.equal(clock.timers, 0);
});

function started(options: Partial<EventReporterOptions> = {}): EventReporter {
  const reporter = new EventReporter({ api, clock, log, random: seededRandom(3), instance: 'n1', ...options });
  running.push(reporter.run(stop.signal));
  return reporter;
}

const service = (index: number, matter?: string): EventSubject => ({
  ...{ kind: 'Service', namespace: 'shop', name: `web-${index}` },
  ...(matter === undefined ? {} : { matter }),
});
const noEndpoints = { code: 'NoEndpoints', message: 'shop/web has no ready endpoint' };
const posts = (): Call[] => api.calls.filter(({ method }) => method === 'POST');
const series = (event: StoredObject | undefined): unknown => (event?.['series'] as { count?: number } | undefined)?.count;

test('an Event has what the API demands and what kubectl describe looks for', async () => {
  started().report(service(1, 'tcp 192.0.2.10:80'), noEndpoints);
  await settle();
  const [event] = api.all('events');
  const { metadata, ...rest } = event!;
  assert.match(metadata.name, /^web-1\.[0-9a-f]{16}$/);
  assert.equal(metadata.namespace, 'shop');
  assert.deepEqual(rest, {
    ...{ apiVersion: 'events.k8s.io/v1', kind: 'Event', type: 'Warning', reason: 'NoEndpoints', action: 'Programming' },
    note: 'shop/web has no ready endpoint',
    regarding: { apiVersion: 'v1', kind: 'Service', namespace: 'shop', name: 'web-1', uid: 'u-1' },
    ...{ reportingController: 'ravel.io/agent', reportingInstance: 'n1', eventTime: '2030-01-01T00:00:01.000000Z' },
  });
  assert.ok(api.calls.every(({ urgent }) => urgent !== true));
});

test('several directors share one Event, and count it up', async () => {
  const reporters = ['n1', 'n2', 'n3'].map((instance) => started({ instance }));
  for (const reporter of reporters) {
    reporter.report(service(1), noEndpoints);
    await settle();
  }
  assert.equal(api.all('events').length, 1);
  assert.equal(series(api.all('events')[0]), 2);
  const patches = api.calls.filter(({ method }) => method === 'PATCH');
  assert.equal(patches.length, 2);
  assert.ok(patches.every(({ contentType }) => contentType === 'application/merge-patch+json'));
  assert.deepEqual(patches[0]?.body, { series: { count: 2, lastObservedTime: '2030-01-01T00:00:01.000000Z' } });
});

test('the same reason again is no news; gone and back it is counted up', async () => {
  const reporter = started();
  for (let count = 0; count < 100; count += 1) reporter.report(service(1), noEndpoints);
  await settle();
  assert.equal(api.log.filter((line) => line === 'POST events').length, 1);
  for (let count = 2; count <= 4; count += 1) {
    reporter.report(service(1), undefined);
    reporter.report(service(1), noEndpoints);
    await settle();
    assert.equal(series(api.all('events')[0]), count);
  }
  assert.equal(api.all('events').length, 1);
});

test('another reason, another matter, other words or another object are other Events', async () => {
  const reporter = started();
  const reports: [EventSubject, typeof noEndpoints][] = [
    [service(1), noEndpoints],
    [service(1), { ...noEndpoints, code: 'PortMissing' }],
    [service(1, 'a'), noEndpoints],
    [service(1, 'a'), { ...noEndpoints, message: 'other words' }],
    [service(2), noEndpoints],
    [{ ...service(1), kind: 'ConfigMap' }, noEndpoints],
  ];
  api.put('configmaps', { metadata: { name: 'web-1', namespace: 'shop' } });
  for (const [subject, reason] of reports) {
    reporter.report(subject, reason);
    await settle();
  }
  assert.equal(new Set(api.all('events').map(({ metadata }) => metadata.name)).size, reports.length);
  // A Service that was made anew has another uid, and Events of its own.
  assert.notEqual(eventName(service(1), noEndpoints, 'a'), eventName(service(1), noEndpoints, 'b'));
  assert.equal(eventName(service(1), noEndpoints, 'a'), eventName(service(1), noEndpoints, 'a'));
});

test('what is gone before it was written is never written', async () => {
  const reporter = started({ burst: 1 });
  reporter.report(service(1), noEndpoints);
  await settle();
  reporter.report(service(2), noEndpoints);
  reporter.report(service(3), noEndpoints);
  reporter.report(service(2), undefined);
  await clock.advance(10_000);
  assert.deepEqual(
    posts().map(({ body }) => (body as { regarding: { name: string } }).regarding.name),
    ['web-1', 'web-3'],
  );
});

test('a storm is a burst and then one in a second, in the order of its coming, and none is lost', async () => {
  const reporter = started();
  for (let index = 0; index < 60; index += 1) reporter.report(service(index), noEndpoints);
  await settle();
  await settle();
  await settle();
  await settle();
  assert.equal(posts().length, 25);
  assert.equal(reporter.status().waiting, 35);
  await clock.advance(10_000);
  assert.equal(posts().length, 35);
  await clock.advance(25_000);
  assert.deepEqual(
    posts().map(({ body }) => (body as { regarding: { name: string } }).regarding.name),
    Array.from({ length: 60 }, (_, index) => `web-${index}`),
  );
  assert.deepEqual(reporter.status(), { holding: 60, waiting: 0, written: 60, dropped: 0, failures: 0, error: null });
});

test('more reasons than have room are counted, and told once', () => {
  const reporter = new EventReporter({ api, clock, log, random: Math.random, instance: 'n1' });
  for (let index = 0; index < 1500; index += 1) reporter.report(service(index), noEndpoints);
  assert.deepEqual(reporter.status(), { holding: 1000, waiting: 1000, written: 0, dropped: 500, failures: 0, error: null });
  assert.deepEqual(log.lines, ['warn more reasons than Events are written for; see status']);
});

test('a reason that stays is told again every half hour, because the server forgets', async () => {
  started().report(service(1), noEndpoints);
  await settle();
  // The server's memory: an hour without a change.
  for (let half = 0; half < 4; half += 1) await clock.advance(1_800_000);
  const count = Number(series(api.all('events')[0]));
  assert.ok(count >= 4 && count <= 6, String(count));
  api.objects.delete([...api.objects.keys()].find((key) => key.startsWith('events'))!);
  await clock.advance(2_000_000);
  assert.equal(api.all('events').length, 1);
  assert.equal(series(api.all('events')[0]), undefined);
});

test('forbidden Events are told once with verb and resource, tried a few times, counted, and given up', async () => {
  api.fault = ({ method }) =>
    method === 'POST' ? status(403, 'events.events.k8s.io is forbidden: User "x" cannot create', 'Forbidden') : undefined;
  const reporter = started();
  for (let index = 0; index < 10; index += 1) reporter.report(service(index), noEndpoints);
  await clock.advance(1_500_000);
  assert.deepEqual(log.lines, ['warn an Event cannot be written']);
  assert.match(
    String(log.fields[0]?.['error']),
    /^create events\.events\.k8s\.io: forbidden \(403\): events\.events\.k8s\.io is forbidden/,
  );
  const { dropped, failures, error, waiting } = reporter.status();
  assert.deepEqual({ dropped, failures, waiting }, { dropped: 10, failures: 60, waiting: 0 });
  assert.match(error ?? '', /forbidden/);
  assert.equal(posts().length, 60);
  // Well again: the next one is written, and the others when they are due.
  api.fault = () => undefined;
  reporter.report(service(20), noEndpoints);
  await clock.advance(30_000);
  assert.equal(api.all('events').length, 1);
  assert.equal(reporter.status().error, null);
  await clock.advance(2_000_000);
  assert.equal(api.all('events').length, 11);
});

test('an Event that the server finds invalid holds up no other', async () => {
  api.fault = ({ method, body }) =>
    method === 'POST' && JSON.stringify(body).includes('web-1"') ? status(422, 'note: too odd', 'Invalid') : undefined;
  const reporter = started();
  for (let index = 0; index < 4; index += 1) reporter.report(service(index), noEndpoints);
  await settle();
  assert.equal(api.all('events').length, 3);
  assert.equal(reporter.status().dropped, 1);
});

test('a Service that is gone meanwhile gets no Event', async () => {
  const reporter = started();
  reporter.report({ kind: 'Service', namespace: 'shop', name: 'gone' }, noEndpoints);
  await settle();
  assert.equal(posts().length, 0);
  assert.equal(reporter.status().dropped, 1);
  assert.deepEqual(log.lines, []);
});

test('an object that may not be read gets its Event without a uid', async () => {
  api.fault = ({ method }) => (method === 'GET' ? status(403, 'no') : undefined);
  started().report(service(1), noEndpoints);
  await settle();
  assert.deepEqual(api.all('events')[0]?.['regarding'], { apiVersion: 'v1', kind: 'Service', namespace: 'shop', name: 'web-1' });
});

test('a server that is away is waited for, ever more rarely, and then told everything that still holds', async () => {
  api.fault = () => new ApiTransportError('ECONNREFUSED', 'connection refused (ECONNREFUSED)');
  const reporter = started();
  reporter.report(service(1), noEndpoints);
  reporter.report(service(2), noEndpoints);
  await clock.advance(20_000);
  const tried = api.calls.length;
  assert.ok(tried >= 4 && tried <= 8, String(tried));
  reporter.report(service(1), undefined);
  api.fault = () => undefined;
  await clock.advance(30_000);
  assert.deepEqual(
    posts().map(({ body }) => (body as { regarding: { name: string } }).regarding.name),
    ['web-2'],
  );
  assert.deepEqual(log.lines, ['warn an Event cannot be written']);
});

test('failures of another kind are told, those of the same kind are not', async () => {
  const reporter = started({ burst: 100 });
  for (let index = 0; index < 20; index += 1) {
    const fault = index < 10 ? status(422, `odd ${index}`) : status(403, `no ${index}`);
    api.fault = ({ method }) => (method === 'POST' ? fault : undefined);
    reporter.report(service(index), noEndpoints);
    await clock.advance(100);
  }
  await clock.advance(60_000);
  assert.equal(log.lines.length, 2);
});

test('Retry-After is heeded', async () => {
  api.fault = ({ method }) => (method === 'POST' ? answer(429, {}, 90) : undefined);
  const reporter = started();
  reporter.report(service(1), noEndpoints);
  reporter.report(service(2), noEndpoints);
  await clock.advance(89_999);
  assert.equal(posts().length, 1);
  // What is asked for, and the spread of the first delay on top.
  await clock.advance(1 + 250);
  assert.equal(posts().length, 2);
});

test('words that are too long are cut off between two characters, names too', async () => {
  const name = `${'a'.repeat(229)}.${'b'.repeat(23)}`;
  api.put('configmaps', { metadata: { name, namespace: 'shop' } });
  started({ instance: 'i'.repeat(300) }).report(
    { kind: 'ConfigMap', namespace: 'shop', name },
    { code: 'X', message: `${'x'.repeat(1020)}€€€` },
  );
  await settle();
  const [event] = api.all('events');
  const note = String(event?.['note']);
  assert.ok(Buffer.byteLength(note) <= 1024);
  assert.match(note, /x\.\.\.$/);
  assert.match(event?.metadata.name ?? '', /^a{229}\.[0-9a-f]{16}$/);
  assert.equal(String(event?.['reportingInstance']).length, 128);
});

test('reporting never waits, and the end comes at once', async () => {
  api.fault = ({ signal }) =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(new ApiTransportError('ABORT_ERR', 'given up')));
    });
  const reporter = started();
  for (let index = 0; index < 10; index += 1) reporter.report(service(index), noEndpoints);
  await settle();
  assert.equal(api.calls.length, 1);
  stop.abort();
  await Promise.all(running);
  assert.deepEqual(log.lines, []);
});

test('answers that make no sense are a failure, never a crash', async () => {
  const reporter = started();
  for (const [index, body] of [undefined, null, 7, [], { metadata: 7 }, { metadata: { uid: 7 } }].entries()) {
    api.fault = ({ method }) => (method === 'GET' ? answer(200, body) : answer(500, body));
    reporter.report(service(index), noEndpoints);
    await clock.advance(100);
  }
  api.fault = () => undefined;
  await clock.advance(60_000);
  assert.equal(api.all('events').length, 6);
});
