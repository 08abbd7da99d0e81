/** Requests against a real server on the loopback: connections, limits, failures. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, before, test } from 'node:test';
import type { Access } from '../../src/kubernetes/access.ts';
import { ApiTransportError, resources, type KubernetesApi } from '../../src/kubernetes/api.ts';
import { openConnection, type ConnectionOptions } from '../../src/kubernetes/connection.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';
import { json, storeAuthority, storeCertificate, pathOf, TestServer, type Handler } from './kubernetes-server.ts';
import { failureOf, until } from './waiting.ts';

let server: TestServer | undefined;
let api: KubernetesApi | undefined;
let clock = new FakeClock();

before(() => {
  storeAuthority('ca');
  storeCertificate('server', 'ca', ['127.0.0.1']);
});
afterEach(async () => {
  api?.close();
  await server?.close();
  api = undefined;
  server = undefined;
});

function accessTo(url: URL): Access {
  return {
    ...{ server: url, origin: 'a test', serverName: undefined, insecure: false, namespace: undefined, warnings: [] },
    identity: { token: { text: 'sesame-open' }, certificate: undefined, key: undefined },
    authority: { file: pathOf('ca.crt') },
  };
}

async function connected(handler: Handler, options: Partial<ConnectionOptions> = {}): Promise<{ server: TestServer; api: KubernetesApi }> {
  clock = new FakeClock();
  server = await new TestServer(handler).listen();
  api = await openConnection({ access: accessTo(server.url), clock, ...options });
  return { server, api };
}

const services = { method: 'GET', resource: resources.services } as const;
const never: Handler = () => {};
const empty: Handler = (_seen, response) => json(response, {});

test('a hundred requests one after another share one connection', async () => {
  const { server, api } = await connected(empty);
  for (let count = 0; count < 100; count += 1) assert.equal((await api.request(services)).status, 200);
  assert.equal(server.seen.length, 100);
  assert.equal(server.connections, 1);
});

test('a hundred requests at once share eight', async () => {
  const { server, api } = await connected(empty);
  await Promise.all(Array.from({ length: 100 }, () => api.request(services)));
  assert.equal(server.seen.length, 100);
  assert.equal(server.connections, 8);
});

test('what is urgent waits for no other request', async () => {
  const { server, api } = await connected((seen, response) => {
    if (seen.url.includes('leases')) json(response, { urgent: true });
  });
  const stuck = Array.from({ length: 20 }, () => failureOf(api.request(services)));
  await until('eight are under way', () => server.seen.length === 8);
  const lease = { method: 'GET', resource: resources.leases, namespace: 'ravel', name: 'n1' } as const;
  assert.deepEqual((await api.request({ ...lease, urgent: true })).body, { urgent: true });
  // Negative: the same without the word waits with the others.
  let answered = false;
  const patient = failureOf(api.request(lease).then(() => (answered = true)));
  await api.request({ ...lease, urgent: true });
  assert.equal(answered, false);
  api.close();
  await Promise.all([...stuck, patient]);
});

test('a request says what it wants where the API serves it', async () => {
  const { server, api } = await connected(empty, { userAgent: 'ravel-agent/1 (director)' });
  await api.request({
    ...{ method: 'PATCH', resource: resources.events, namespace: 'shop', name: 'a/../b', contentType: 'application/merge-patch+json' },
    ...{ query: { fieldSelector: 'metadata.name=a&b', limit: '500' }, body: { note: 'ü' } },
  });
  await api.request({ method: 'GET', resource: resources.configMaps, namespace: 'ravel' });
  const [patch, get] = server.seen;
  assert.equal(patch?.method, 'PATCH');
  assert.equal(patch.url, '/apis/events.k8s.io/v1/namespaces/shop/events/a%2F..%2Fb?fieldSelector=metadata.name%3Da%26b&limit=500');
  assert.equal(patch.headers['content-type'], 'application/merge-patch+json');
  assert.equal(patch.headers['content-length'], '13');
  assert.equal(patch.headers.authorization, 'Bearer sesame-open');
  assert.equal(patch.headers['user-agent'], 'ravel-agent/1 (director)');
  assert.equal(patch.body, '{"note":"ü"}');
  assert.equal(get?.url, '/api/v1/namespaces/ravel/configmaps');
  assert.equal(get.headers['content-type'], undefined);
});

test('a path in front of the API is kept, and seen in the name of the server', async () => {
  const { server } = await connected(empty);
  const behind = await openConnection({ access: accessTo(new URL('k8s/clusters/c-1/', server.url)), clock });
  await behind.request(services);
  behind.close();
  assert.equal(server.seen[0]?.url, '/k8s/clusters/c-1/api/v1/services');
  assert.equal(behind.server, `${server.url.origin}/k8s/clusters/c-1`);
});

test('an answer is an answer, whatever its status and whatever is in it', async () => {
  const answers = [
    [404, 'application/json', '{"kind":"Status","code":404}', { kind: 'Status', code: 404 }],
    [500, 'text/plain', 'Internal Server Error', undefined],
    [200, 'application/json', '{"half":', undefined],
    [200, 'text/plain', '', undefined],
    [200, 'text/plain', '"text"', 'text'],
  ] as const;
  const { api } = await connected(({ url }, response) => {
    const [status, type, text] = answers[Number(url.slice(-1))] ?? [200, '', ''];
    response.writeHead(status, { 'Content-Type': type }).end(text);
  });
  for (const [index, [status, , , body]] of answers.entries()) {
    const answer = await api.request({ ...services, query: { n: String(index) } });
    assert.deepEqual({ status: answer.status, body: answer.body }, { status, body });
  }
});

test('Retry-After is a number of seconds, or nothing', async () => {
  const values = [
    ['7', 7],
    ['0', 0],
    ['99999', 300],
    ['-1', undefined],
    ['1e9', undefined],
    ['Wed, 21 Oct 2015 07:28:00 GMT', undefined],
  ] as const;
  const { api } = await connected(({ url }, response) => {
    response.writeHead(429, { 'Retry-After': String(values[Number(url.slice(-1))]?.[0]) }).end();
  });
  for (const [index, [, seconds]] of values.entries()) {
    assert.equal((await api.request({ ...services, query: { n: String(index) } })).retryAfterSeconds, seconds, values[index]?.[0]);
  }
  server!.handler = empty;
  assert.equal((await api.request(services)).retryAfterSeconds, undefined);
});

test('an answer that is too long is given up, and its connection with it', async () => {
  const { server, api } = await connected((seen, response) => void response.end('x'.repeat(seen.url.includes('long') ? 1001 : 1000)), {
    answerLimit: 1000,
  });
  assert.equal((await api.request(services)).status, 200);
  const error = await failureOf(api.request({ ...services, query: { long: '' } }));
  assert.equal(error.code, 'ANSWER_TOO_LONG');
  assert.match(error.message, /^https:\/\/127\.0\.0\.1:\d+: the answer is longer than 1000 bytes/);
  await until('no connection is left', () => server.sockets.size === 0);
});

for (const [kind, urgent, limit] of [
  ['a request', false, 30_000],
  ['an urgent request', true, 10_000],
] as const) {
  test(`${kind} that is not answered is given up after ${limit / 1000} s, and the next has a connection of its own`, async () => {
    const { server, api } = await connected(empty);
    await api.request({ ...services, urgent });
    server.handler = never;
    const failures: string[] = [];
    const waiting = failureOf(api.request({ ...services, urgent })).then(({ code = '' }) => failures.push(code));
    await until('the request is there', () => server.seen.length === 2);
    await clock.advance(limit - 1);
    assert.deepEqual(failures, []);
    await clock.advance(1);
    await waiting;
    assert.deepEqual(failures, ['ANSWER_TIMEOUT']);
    server.handler = empty;
    await api.request({ ...services, urgent });
    assert.equal(server.connections, 2);
    assert.equal(clock.timers, 0);
  });
}

test('after a silence no kept connection is believed any more', async () => {
  const { server, api } = await connected(empty);
  await Promise.all([api.request(services), api.request(services)]);
  assert.equal(server.connections, 2);
  server.handler = never;
  const waiting = failureOf(api.request(services));
  await until('the request is there', () => server.seen.length === 3);
  await clock.advance(30_000);
  await waiting;
  server.handler = empty;
  await api.request(services);
  assert.equal(server.connections, 3);
});

test('an answer that stops half way is given up, too', async () => {
  const { server, api } = await connected((_seen, response) => void response.writeHead(200, { 'Content-Length': '100' }).write('half'));
  const waiting = failureOf(api.request(services));
  await until('the request is there', () => server.seen.length === 1);
  await clock.advance(30_000);
  assert.equal((await waiting).code, 'ANSWER_TIMEOUT');
});

test('a server that accepts and says nothing is no connection after 10 s', async () => {
  const sockets = new Set<net.Socket>();
  const mute = net.createServer((socket) => void sockets.add(socket.on('error', () => {})));
  await new Promise<void>((resolve) => void mute.listen(0, '127.0.0.1', resolve));
  clock = new FakeClock();
  api = await openConnection({ access: accessTo(new URL(`https://127.0.0.1:${(mute.address() as AddressInfo).port}`)), clock });
  const failures: string[] = [];
  const waiting = failureOf(api.request(services)).then(({ code = '' }) => failures.push(code));
  await until('it is connected', () => sockets.size === 1);
  await clock.advance(9999);
  assert.deepEqual(failures, []);
  await clock.advance(1);
  await waiting;
  assert.deepEqual(failures, ['CONNECT_TIMEOUT']);
  assert.equal(clock.timers, 0);
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => mute.close(resolve));
});

test('nobody there is a refused connection with the name of the server', async () => {
  const { server, api } = await connected(empty);
  const { url } = server;
  await server.close();
  const error = await failureOf(api.request(services));
  assert.ok(error instanceof ApiTransportError);
  assert.equal(error.message, `${url.origin}: connection refused (ECONNREFUSED)`);
});

test('a kept connection that the server has closed meanwhile costs nothing', async () => {
  const { server, api } = await connected(empty);
  await api.request(services);
  const [kept] = server.sockets;
  // The request meets its end: the server reads it, and the connection is gone.
  server.handler = (_seen, response) => {
    if (response.socket?.remotePort === kept?.remotePort) kept?.destroy();
    else json(response, { fresh: true });
  };
  assert.deepEqual((await api.request(services)).body, { fresh: true });
  assert.equal(server.connections, 2);
});

test('a connection that breaks at its first request is a failure, and is not tried again', async () => {
  const { server, api } = await connected((_seen, _response, socket) => socket.destroy());
  assert.equal((await failureOf(api.request(services))).code, 'ECONNRESET');
  assert.equal(server.seen.length, 1);
});

test('giving up leaves nothing behind, at whatever moment', async () => {
  const { server, api } = await connected(never);
  const before = new AbortController();
  before.abort();
  assert.equal((await failureOf(api.request({ ...services, signal: before.signal }))).code, 'ABORT_ERR');

  const during = new AbortController();
  const waiting = failureOf(api.request({ ...services, signal: during.signal }));
  await until('the request is there', () => server.seen.length === 1);
  during.abort();
  assert.equal((await waiting).code, 'ABORT_ERR');
  await until('no connection is left', () => server.sockets.size === 0);

  server.handler = empty;
  const afterwards = new AbortController();
  await api.request({ ...services, signal: afterwards.signal });
  for (const { signal } of [before, during, afterwards]) assert.equal(getEventListeners(signal, 'abort').length, 0);
  assert.equal(clock.timers, 0);
  // An end that comes after the answer does no harm.
  afterwards.abort();
  assert.equal((await api.request(services)).status, 200);
  assert.equal(server.connections, 2);
});

test('after close nothing is sent, and what was under way fails', async () => {
  const { server, api } = await connected(never);
  const waiting = failureOf(api.request(services));
  await until('the request is there', () => server.seen.length === 1);
  api.close();
  assert.equal((await waiting).code, 'CLOSED');
  assert.equal((await failureOf(api.request(services))).code, 'CLOSED');
  assert.equal(server.seen.length, 1);
  await until('no connection is left', () => server.sockets.size === 0);
});
