/** Watches against a real server on the loopback: borders of chunks, silence, ends of every kind. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import type { ServerResponse } from 'node:http';
import { afterEach, before, test } from 'node:test';
import { resources, type KubernetesApi } from '../../src/kubernetes/api.ts';
import { openConnection, type ConnectionOptions } from '../../src/kubernetes/connection.ts';
import { LineSplitter, LineTooLongError } from '../../src/kubernetes/json-lines.ts';
import { FakeClock, settle } from '../fake-kernel/fake-clock.ts';
import { json, storeAuthority, storeCertificate, pathOf, TestServer } from './kubernetes-server.ts';
import { failureOf, until } from './waiting.ts';

let server: TestServer | undefined;
let api: KubernetesApi | undefined;

/** Counts what was set, because a watchdog that is set anew leaves as many timers as before. */
class CountingClock extends FakeClock {
  set = 0;

  override after(...parameters: Parameters<FakeClock['after']>): ReturnType<FakeClock['after']> {
    this.set += 1;
    return super.after(...parameters);
  }
}

let clock = new CountingClock();

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

const request = { method: 'GET', resource: resources.nodes, query: { watch: 'true' }, idleMilliseconds: 60_000 } as const;

interface Watched {
  readonly server: TestServer;
  readonly api: KubernetesApi;
  /** The server's side of the newest watch. */
  readonly side: () => ServerResponse;
}

async function watched(options: Partial<ConnectionOptions> = {}): Promise<Watched> {
  clock = new CountingClock();
  let side: ServerResponse | undefined;
  server = await new TestServer((_seen, response) => {
    side = response;
    response.writeHead(200, { 'Content-Type': 'application/json' });
    response.flushHeaders();
  }).listen();
  api = await openConnection({
    ...{ clock, ...options },
    access: {
      ...{ server: server.url, origin: 'a test', serverName: undefined, insecure: false, namespace: undefined, warnings: [] },
      identity: { token: undefined, certificate: undefined, key: undefined },
      authority: { file: pathOf('ca.crt') },
    },
  });
  return { server, api, side: () => side! };
}

async function collect(documents: AsyncIterable<unknown>, into: unknown[] = []): Promise<unknown[]> {
  for await (const document of documents) into.push(document);
  return into;
}

test('lines are whole wherever the bytes are cut, also inside a character', () => {
  const texts = ['{"a":"ü€😀"}', '{"b":"\\n"}', '"c"'];
  const bytes = Buffer.from(`${texts[0]}\n\n${texts[1]}\r\n${texts[2]}`);
  for (let first = 0; first <= bytes.length; first += 1) {
    for (let second = first; second <= bytes.length; second += 1) {
      const splitter = new LineSplitter(100);
      const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
      const lines = pieces.flatMap((piece) => [...splitter.push(piece)]);
      assert.deepEqual([...lines, splitter.rest()], texts, `${first}, ${second}`);
    }
  }
});

test('a line may be as long as the limit and no longer, ended or not', () => {
  const splitter = new LineSplitter(10);
  assert.deepEqual([...splitter.push(Buffer.from('1234567890\n1234567890'))], ['1234567890']);
  assert.throws(() => [...splitter.push(Buffer.from('1'))], LineTooLongError);
  assert.throws(() => [...new LineSplitter(10).push(Buffer.from('12345678901\n'))], LineTooLongError);
});

test('documents come one by one, as they are written, and end with the server', async () => {
  const { api, side } = await watched();
  const { refused, documents } = await api.stream(request);
  assert.equal(refused, undefined);
  const seen: unknown[] = [];
  const all = collect(documents, seen);
  const bytes = Buffer.from('{"type":"ADDED","object":{"name":"€"}}\n{"type":"BOOKMARK"}\n');
  // In the middle of the euro sign.
  const cut = bytes.indexOf(0x82);
  side().write(bytes.subarray(0, cut));
  await settle();
  assert.deepEqual(seen, []);
  side().write(bytes.subarray(cut));
  await until('both are there', () => seen.length === 2);
  side().end('{"last":"without newline"}');
  assert.deepEqual(await all, [{ type: 'ADDED', object: { name: '€' } }, { type: 'BOOKMARK' }, { last: 'without newline' }]);
  assert.equal(clock.timers, 0);
});

test('the connection of a watch that ended in peace is used again', async () => {
  const { server, api, side } = await watched();
  for (let count = 0; count < 3; count += 1) {
    const { documents } = await api.stream(request);
    side().end('{}\n');
    assert.deepEqual(await collect(documents), [{}]);
  }
  assert.equal(server.connections, 1);
});

test('a document that is too long, or none at all, ends the watch; what it held is not repeated', async () => {
  const { server, api, side } = await watched({ documentLimit: 50 });
  for (const [text, code] of [
    [`{"secret":"${'x'.repeat(50)}`, 'ANSWER_TOO_LONG'],
    ['{"secret":"s3same"\n', 'ANSWER_GARBLED'],
    ['{"secret":"s3same', 'ANSWER_GARBLED'],
  ] as const) {
    const { documents } = await api.stream(request);
    if (text.endsWith('\n')) side().write(text);
    else side().end(text);
    const error = await failureOf(collect(documents));
    assert.equal(error.code, code);
    assert.doesNotMatch(error.message, /s3same|xxx/);
  }
  await until('at most the one that ended in peace is left', () => server.sockets.size <= 1);
});

test('silence breaks a watch, a byte in time does not, nor a reader that takes its time', async () => {
  const { server, api, side } = await watched();
  const { documents } = await api.stream(request);
  const iterator = documents[Symbol.asyncIterator]();
  let next = iterator.next();
  await until('the watchdog is set', () => clock.timers === 1);
  for (let count = 0; count < 3; count += 1) {
    const { set } = clock;
    await clock.advance(59_000);
    side().write('\n');
    await until('the watchdog is set anew', () => clock.set > set);
  }
  side().write('{"n":1}\n');
  assert.deepEqual((await next).value, { n: 1 });
  await clock.advance(3_600_000);
  side().write('{"n":2}\n');
  next = iterator.next();
  assert.deepEqual((await next).value, { n: 2 });
  const failing = failureOf(iterator.next());
  await until('the watchdog is set', () => clock.timers === 1);
  await clock.advance(60_000);
  assert.equal((await failing).code, 'IDLE_TIMEOUT');
  await until('no connection is left', () => server.sockets.size === 0);
  assert.equal(clock.timers, 0);
});

test('a server that does not begin to answer a watch is given up after 30 s', async () => {
  const { server, api } = await watched();
  server.handler = () => {};
  const waiting = failureOf(api.stream(request));
  await until('the request is there', () => server.seen.length === 1);
  await clock.advance(30_000);
  assert.equal((await waiting).code, 'ANSWER_TIMEOUT');
});

test('a connection that breaks ends the watch with an error, not with an end', async () => {
  const { server, api, side } = await watched();
  const { documents } = await api.stream(request);
  const seen: unknown[] = [];
  const all = failureOf(collect(documents, seen));
  side().write('{"n":1}\n{"half":');
  await until('the first is there', () => seen.length === 1);
  for (const socket of server.sockets) socket.destroy();
  const error = await all;
  assert.equal(error.name, 'ApiTransportError');
  assert.equal(error.code, 'ECONNRESET');
  assert.equal(clock.timers, 0);
});

test('a watch that is refused has the answer, and its connection is used again', async () => {
  const { server, api } = await watched();
  server.handler = (_seen, response) => json(response, { kind: 'Status', code: 410, reason: 'Expired' }, 410);
  for (let count = 0; count < 3; count += 1) {
    const { refused, documents } = await api.stream(request);
    assert.deepEqual(refused, { status: 410, retryAfterSeconds: undefined, body: { kind: 'Status', code: 410, reason: 'Expired' } });
    assert.deepEqual(await collect(documents), []);
  }
  assert.equal(server.connections, 1);
});

test('ending a watch leaves no connection, no timer and no listener', async () => {
  const { server, api, side } = await watched();
  // Never read, left by its reader, and given up while it waits.
  const unread = new AbortController();
  await api.stream({ ...request, signal: unread.signal });
  unread.abort();
  await until('the unread one is gone', () => server.sockets.size === 0);

  const left = new AbortController();
  const { documents } = await api.stream({ ...request, signal: left.signal });
  side().write('{"n":1}\n{"n":2}\n');
  for await (const document of documents) {
    assert.deepEqual(document, { n: 1 });
    break;
  }
  await until('the one that was left is gone', () => server.sockets.size === 0);

  const waiting = new AbortController();
  const failing = failureOf(collect((await api.stream({ ...request, signal: waiting.signal })).documents));
  await settle();
  waiting.abort();
  assert.equal((await failing).code, 'ABORT_ERR');
  await until('the one that waited is gone', () => server.sockets.size === 0);

  await until('no timer is left', () => clock.timers === 0);
  for (const { signal } of [unread, left, waiting]) assert.equal(getEventListeners(signal, 'abort').length, 0);
});

test('fifty watches that are opened and given up at random moments leak nothing', async () => {
  const { server, api } = await watched();
  await Promise.all(
    Array.from({ length: 50 }, async (_, index) => {
      const stop = new AbortController();
      const run = api
        .stream({ ...request, signal: stop.signal })
        .then(({ documents }) => collect(documents))
        .catch((error: unknown) => (error as { code: string }).code);
      for (let turn = 0; turn < index; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      stop.abort();
      assert.equal(await run, 'ABORT_ERR');
    }),
  );
  await until('no connection is left', () => server.sockets.size === 0);
  assert.equal(clock.timers, 0);
});

test('six watches leave requests all their connections', async () => {
  const { server, api } = await watched();
  const stop = new AbortController();
  const watches = await Promise.all(Array.from({ length: 6 }, () => api.stream({ ...request, signal: stop.signal })));
  assert.equal(watches.length, 6);
  server.handler = (_seen, response) => json(response, {});
  assert.equal((await api.request({ method: 'GET', resource: resources.nodes })).status, 200);
  stop.abort();
});
