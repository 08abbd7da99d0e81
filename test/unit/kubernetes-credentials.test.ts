/** Tokens that rotate and certificates that change, against a real server on the loopback. */
import assert from 'node:assert/strict';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, before, beforeEach, test } from 'node:test';
import { inspect } from 'node:util';
import type { Access } from '../../src/kubernetes/access.ts';
import { resources, type KubernetesApi } from '../../src/kubernetes/api.ts';
import { openConnection } from '../../src/kubernetes/connection.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';
import { json, storeAuthority, storeCertificate, pathOf, read, TestServer } from './kubernetes-server.ts';
import { failureOf, until } from './waiting.ts';

let server: TestServer;
let api: KubernetesApi | undefined;
let clock = new FakeClock();
let notices: string[] = [];

before(() => {
  storeAuthority('one');
  storeAuthority('two');
  storeCertificate('server', 'one', ['127.0.0.1']);
  storeCertificate('moved', 'two', ['127.0.0.1']);
  storeCertificate('elsewhere', 'one', ['kubernetes.default']);
  storeCertificate('expired', 'one', ['127.0.0.1'], -1);
  storeCertificate('client', 'one', ['client']);
});
beforeEach(async () => {
  clock = new FakeClock();
  notices = [];
  copyFileSync(pathOf('one.crt'), pathOf('ca.crt'));
  writeFileSync(pathOf('token'), 'first-token\n');
  server = await new TestServer((_seen, response) => json(response, {})).listen();
});
afterEach(async () => {
  api?.close();
  api = undefined;
  await server.close();
});

const services = { method: 'GET', resource: resources.services } as const;

function access(changes: Partial<Access> = {}): Access {
  return {
    ...{ server: server.url, origin: 'a test', serverName: undefined, insecure: false, namespace: undefined, warnings: [] },
    identity: { token: { file: pathOf('token') }, certificate: undefined, key: undefined },
    authority: { file: pathOf('ca.crt') },
    ...changes,
  };
}

async function connected(changes: Partial<Access> = {}): Promise<KubernetesApi> {
  api = await openConnection({ access: access(changes), clock, onNotice: (message) => notices.push(message) });
  return api;
}

const tokens = (): (string | undefined)[] => server.seen.map(({ headers }) => headers.authorization);

/** A server that knows one token. */
function accept(token: string): void {
  server.handler = ({ headers }, response) => {
    if (headers.authorization === `Bearer ${token}`) json(response, {});
    else json(response, { kind: 'Status', code: 401, reason: 'Unauthorized' }, 401);
  };
}

test('a token that was replaced is sent within ten seconds, on the same connection', async () => {
  const api = await connected();
  await api.request(services);
  writeFileSync(pathOf('token'), 'second-token\n');
  await clock.advance(9999);
  await api.request(services);
  await clock.advance(1);
  await api.request(services);
  assert.deepEqual(tokens(), ['Bearer first-token', 'Bearer first-token', 'Bearer second-token']);
  assert.equal(server.connections, 1);
});

test('a token that the server refuses is read at once, and the request sent again', async () => {
  const api = await connected();
  accept('second-token');
  writeFileSync(pathOf('token'), 'second-token\n');
  assert.equal((await api.request(services)).status, 200);
  const { refused } = await api.stream({ ...services, idleMilliseconds: 1000 });
  assert.equal(refused, undefined);
  assert.deepEqual(tokens(), ['Bearer first-token', 'Bearer second-token', 'Bearer second-token']);
});

test('a token that is refused and did not change is asked once', async () => {
  const api = await connected();
  accept('second-token');
  assert.equal((await api.request(services)).status, 401);
  assert.equal((await api.stream({ ...services, idleMilliseconds: 1000 })).refused?.status, 401);
  assert.equal(server.seen.length, 2);
});

test('a token that is refused twice ends there', async () => {
  const api = await connected();
  accept('third-token');
  writeFileSync(pathOf('token'), 'second-token\n');
  assert.equal((await api.request(services)).status, 401);
  assert.deepEqual(tokens(), ['Bearer first-token', 'Bearer second-token']);
});

test('a token file that is gone, empty or rubbish leaves the last token in use, and is told once', async () => {
  const api = await connected();
  for (const [change, words] of [
    [() => rmSync(pathOf('token')), /token: cannot be read \(ENOENT\); what was read before stays in use$/],
    [() => writeFileSync(pathOf('token'), ' \n'), /token: the token is empty; what/],
    [() => writeFileSync(pathOf('token'), 's3same\nX-Evil: yes'), /token: the token has characters that no token has; what/],
  ] as const) {
    notices = [];
    change();
    for (let count = 0; count < 3; count += 1) {
      await clock.advance(10_000);
      assert.equal((await api.request(services)).status, 200);
    }
    assert.equal(notices.length, 1);
    assert.match(notices[0] ?? '', words);
    assert.doesNotMatch(notices[0] ?? '', /s3same/);
  }
  assert.deepEqual(new Set(tokens()), new Set(['Bearer first-token']));
  notices = [];
  writeFileSync(pathOf('token'), 'second-token');
  await clock.advance(10_000);
  await api.request(services);
  assert.deepEqual(notices, ['a test: credentials can be read again']);
  assert.equal(tokens().at(-1), 'Bearer second-token');
});

test('without a readable token at the start there is no connection', async () => {
  rmSync(pathOf('token'));
  const error = await failureOf(connected());
  assert.equal(error.name, 'AccessError');
  assert.match(error.message, /token: cannot be read \(ENOENT\)$/);
});

for (const [what, certificate, code, words] of [
  ['signed by another authority', 'moved', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', /the server's certificate is not accepted/],
  ['for another name', 'elsewhere', 'ERR_TLS_CERT_ALTNAME_INVALID', /is not accepted: .*127\.0\.0\.1/],
  ['that has expired', 'expired', 'CERT_HAS_EXPIRED', /has expired, or this machine's clock is ahead/],
] as const) {
  test(`a certificate ${what} is named with its code and the server, and nothing is sent`, async () => {
    const api = await connected();
    server.useCertificate(certificate);
    for (const ask of [() => api.request(services), () => api.stream({ ...services, idleMilliseconds: 1000 })]) {
      const error = await failureOf(ask());
      assert.equal(error.name, 'ApiTransportError');
      assert.equal(error.code, code);
      assert.ok(error.message.startsWith(`${server.url.origin}: `));
      assert.ok(error.message.endsWith(`(${code})`), error.message);
      assert.match(error.message, words);
    }
    assert.equal(server.seen.length, 0);
    // Negative: with the right one it was only that.
    server.useCertificate('server');
    assert.equal((await api.request(services)).status, 200);
  });
}

test('a name of its own in the kubeconfig is the one that the certificate must have', async () => {
  server.useCertificate('elsewhere');
  const api = await connected({ serverName: 'kubernetes.default' });
  assert.equal((await api.request(services)).status, 200);
});

test('a certificate is not looked at only where the kubeconfig says so', async () => {
  const api = await connected({ insecure: true });
  server.useCertificate('moved');
  assert.equal((await api.request(services)).status, 200);
});

test('an authority that was replaced together with the certificate costs no failure', async () => {
  const api = await connected();
  await api.request(services);
  server.useCertificate('moved');
  copyFileSync(pathOf('two.crt'), pathOf('ca.crt'));
  for (const socket of server.sockets) socket.destroy();
  await until('the connection is gone', () => server.sockets.size === 0);
  assert.equal((await api.request(services)).status, 200);
  assert.deepEqual(notices, ['a test: certificates have changed; new connections use them']);
});

test('an authority that was replaced ends no watch, and kept connections of the old one are not used again', async () => {
  const api = await connected();
  await api.request(services);
  server.handler = (seen, response) => {
    if (seen.url.includes('watch')) response.writeHead(200).flushHeaders();
    else json(response, {});
    if (seen.url.includes('watch')) sides.push(response);
  };
  const sides: http.ServerResponse[] = [];
  const stop = new AbortController();
  const { documents } = await api.stream({ ...services, query: { watch: 'true' }, idleMilliseconds: 600_000, signal: stop.signal });
  copyFileSync(pathOf('two.crt'), pathOf('ca.crt'));
  server.useCertificate('moved');
  await clock.advance(10_000);
  assert.equal((await api.request(services)).status, 200);
  assert.equal(server.connections, 3);
  sides[0]?.write('{"still":"here"}\n');
  for await (const document of documents) {
    assert.deepEqual(document, { still: 'here' });
    break;
  }
  stop.abort();
  await until('the old connections are gone', () => server.sockets.size === 1);
});

test('a request that was under way while the authority changed is answered, and its connection not kept', async () => {
  const api = await connected();
  let answerLate = (): void => {};
  server.handler = (_seen, response) => {
    answerLate = () => json(response, { late: true });
  };
  const late = api.request(services);
  await until('the request is there', () => server.seen.length === 1);
  copyFileSync(pathOf('two.crt'), pathOf('ca.crt'));
  server.useCertificate('moved');
  await clock.advance(10_000);
  const answerOld = answerLate;
  server.handler = (_seen, response) => json(response, {});
  assert.equal((await api.request(services)).status, 200);
  assert.equal(server.sockets.size, 2);
  answerOld();
  assert.deepEqual((await late).body, { late: true });
  await until('the old connection is gone', () => server.sockets.size === 1);
});

test('an authority that is empty, rubbish or cut off leaves the last one in use', async () => {
  const api = await connected();
  const good = read('one.crt').toString();
  for (const text of ['', 'rubbish', '-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n', good + good.slice(0, 200)]) {
    notices = [];
    writeFileSync(pathOf('ca.crt'), text);
    await clock.advance(10_000);
    assert.equal((await api.request(services)).status, 200);
    assert.equal(notices.length, 1);
    assert.match(notices[0] ?? '', /^a test: certificate authority, client certificate or key: .*; what was read before stays in use$/);
    assert.doesNotMatch(notices[0] ?? '', /rubbish/);
    writeFileSync(pathOf('ca.crt'), good);
    await clock.advance(10_000);
    await api.request(services);
  }
  // Negative: two whole ones are good.
  notices = [];
  writeFileSync(pathOf('ca.crt'), good + read('two.crt').toString());
  await clock.advance(10_000);
  server.useCertificate('moved');
  assert.equal((await api.request(services)).status, 200);
  assert.deepEqual(notices, ['a test: certificates have changed; new connections use them']);
});

test("a client certificate is shown, and its absence is said to be the server's refusal", async () => {
  await server.close();
  server = await new TestServer(
    (_seen, response, socket) =>
      json(response, {
        name: (socket as unknown as { getPeerCertificate(): { subject: { CN: string } } }).getPeerCertificate().subject.CN,
      }),
    { cert: read('server.crt'), key: read('server.key'), ca: read('one.crt'), requestCert: true, rejectUnauthorized: true },
  ).listen();
  const identity = { token: undefined, certificate: { file: pathOf('client.crt') }, key: { data: read('client.key') } };
  assert.deepEqual((await (await connected({ identity })).request(services)).body, { name: 'client' });
  api?.close();
  const error = await failureOf(
    (await connected({ identity: { token: undefined, certificate: undefined, key: undefined } })).request(services),
  );
  assert.match(error.message, /: the server refuses the TLS connection, perhaps the client certificate: |: the connection broke/);
});

test('a certificate and a key that do not belong together are refused at the start, without a word of them', async () => {
  const identity = { token: undefined, certificate: { file: pathOf('client.crt') }, key: { file: pathOf('server.key') } };
  const error = await failureOf(connected({ identity }));
  assert.equal(error.name, 'AccessError');
  assert.match(error.message, /client certificate or key: .*mismatch/);
});

test('a server without TLS is told as that', async () => {
  const plain = http.createServer(() => {});
  await new Promise<void>((resolve) => void plain.listen(0, '127.0.0.1', resolve));
  const error = await failureOf(
    (await connected({ server: new URL(`https://127.0.0.1:${(plain.address() as AddressInfo).port}`) })).request(services),
  );
  assert.match(error.message, /: the other side speaks no TLS \(/);
  plain.closeAllConnections();
  await new Promise((resolve) => plain.close(resolve));
});

test('no token is in any error, however deep one looks, nor in what the connection shows of itself', async () => {
  const api = await connected();
  server.useCertificate('moved');
  const errors = [await failureOf(api.request(services))];
  server.useCertificate('server');
  server.handler = (_seen, _response, socket) => socket.destroy();
  errors.push(await failureOf(api.request(services)));
  server.handler = (_seen, _response, socket) => void socket.end('HTTP/1.1 200 OK\r\nBad Header\r\n\r\nfirst-token');
  errors.push(await failureOf(api.request(services)));
  for (const error of errors) {
    const words = inspect(error, { depth: 20, showHidden: true, maxArrayLength: null });
    assert.doesNotMatch(words, /first-token/);
    // As inspect() shows the bytes of a buffer.
    assert.ok(
      !words.includes(
        Buffer.from('first-token')
          .toString('hex')
          .replace(/..(?!$)/g, '$& '),
      ),
    );
  }
  assert.equal(new Set(errors.map(({ code }) => code)).size, 3);
  assert.doesNotMatch(JSON.stringify(api), /first-token/);
});
