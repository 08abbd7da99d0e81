/** Kubeconfig files and service accounts: what is read from them, what is refused, and that nothing secret is said. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { inspect } from 'node:util';
import { loadAccess } from '../../src/kubernetes/kubeconfig.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { failureOf } from './waiting.ts';

const folder = temporaryDirectory('kubeconfig');
const file = join(folder, 'config');
afterEach(() => {
  delete process.env['KUBERNETES_SERVICE_HOST'];
  delete process.env['KUBERNETES_SERVICE_PORT'];
});

/** Stands wherever a secret may stand, and never in an error. */
const secret = 's3same-open';
const encoded = Buffer.from(secret).toString('base64');

interface Parts {
  readonly cluster?: Record<string, unknown>;
  readonly user?: Record<string, unknown>;
  readonly context?: Record<string, unknown>;
  readonly rest?: Record<string, unknown>;
}

function kubeconfig({ cluster = {}, user = {}, context = {}, rest = {} }: Parts = {}): string {
  return JSON.stringify({
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'lab' },
    clusters: [{ name: 'c1', cluster: { server: 'https://192.0.2.1:6443', ...cluster } }],
    users: [{ name: 'u1', user: { token: secret, ...user } }],
    contexts: [{ name: 'lab', context: { cluster: 'c1', user: 'u1', ...context } }],
    ...rest,
  });
}

async function load(text: string): ReturnType<typeof loadAccess> {
  writeFileSync(file, text);
  return loadAccess({ kubeconfig: file });
}

async function refusalOf(text: string): Promise<string> {
  const error = await failureOf(load(text));
  assert.equal(error.name, 'AccessError', error.message);
  assert.doesNotMatch(inspect(error, { depth: 20 }), new RegExp(`${secret}|${encoded}`));
  return error.message;
}

test('a kubeconfig says where and who; paths are meant from where the file lies', async () => {
  const access = await load(
    kubeconfig({
      cluster: { 'certificate-authority': 'pki/ca.crt', 'tls-server-name': 'kubernetes' },
      user: { token: undefined, 'client-certificate-data': encoded, 'client-key': '/etc/key.pem' },
      context: { namespace: 'ravel' },
    }),
  );
  assert.equal(access.server.href, 'https://192.0.2.1:6443/');
  assert.equal(access.serverName, 'kubernetes');
  assert.deepEqual(access.authority, { file: join(folder, 'pki/ca.crt') });
  assert.deepEqual(access.identity, { token: undefined, certificate: { data: Buffer.from(secret) }, key: { file: '/etc/key.pem' } });
  assert.equal(access.namespace, 'ravel');
  assert.equal(access.origin, `${file}, context lab`);
  assert.deepEqual({ insecure: access.insecure, warnings: access.warnings }, { insecure: false, warnings: [] });
});

test('a token file is remembered as a file, and preferred to the token that stands beside it', async () => {
  for (const [path, expected] of [
    ['run/token', join(folder, 'run/token')],
    ['/run/token', '/run/token'],
  ]) {
    const access = await load(kubeconfig({ user: { tokenFile: path } }));
    assert.deepEqual(access.identity.token, { file: expected });
  }
  assert.deepEqual((await load(kubeconfig())).identity.token, { text: secret });
});

test('data that are there win over the file of the same name', async () => {
  const access = await load(kubeconfig({ cluster: { 'certificate-authority': 'ca.crt', 'certificate-authority-data': encoded } }));
  assert.deepEqual(access.authority, { data: Buffer.from(secret) });
});

test('a server that is not looked at is taken, with a warning', async () => {
  const access = await load(kubeconfig({ cluster: { 'insecure-skip-tls-verify': true } }));
  assert.equal(access.insecure, true);
  assert.match(access.warnings.join(), /insecure-skip-tls-verify: anybody on the way can read the token/);
});

for (const [what, text, words] of [
  ['no context', kubeconfig({ rest: { 'current-context': '' } }), /: has no current-context$/],
  [
    'a context that is not there',
    kubeconfig({ rest: { 'current-context': 'other' } }),
    /: current-context is "other", and there is no such context$/,
  ],
  ['a cluster that is not there', kubeconfig({ context: { cluster: 'c2' } }), /: context lab names cluster "c2", and there is none$/],
  ['a user that is not there', kubeconfig({ context: { user: 'u2' } }), /: context lab names user "u2", and there is none$/],
  ['no server', kubeconfig({ cluster: { server: undefined } }), /: clusters\[0\]\.cluster\.server is missing$/],
  ['a server that is no URL', kubeconfig({ cluster: { server: 'kubernetes' } }), /: the server is no https:\/\/ URL$/],
  ['a server of another kind', kubeconfig({ cluster: { server: 'ftp://192.0.2.1' } }), /: the server is no https:\/\/ URL$/],
  ['a password in the URL', kubeconfig({ cluster: { server: `https://me:${secret}@192.0.2.1` } }), /: the server's URL holds a password$/],
  ['a server without TLS', kubeconfig({ cluster: { server: 'http://192.0.2.1' } }), /: http:\/\/192\.0\.2\.1: without TLS everybody/],
  [
    'an exec plugin',
    kubeconfig({ user: { exec: { command: secret } } }),
    /: user u1 logs in through an exec plugin; the agent starts no process/,
  ],
  [
    'an auth-provider',
    kubeconfig({ user: { 'auth-provider': { name: 'gcp' } } }),
    /: user u1 logs in through an auth-provider; the agent starts/,
  ],
  ['a password', kubeconfig({ user: { username: 'me', password: secret } }), /: user u1 has a password, which API servers no longer take/],
  ['impersonation', kubeconfig({ user: { as: 'admin' } }), /: user u1 impersonates another \(as\), which is not supported$/],
  ['a proxy', kubeconfig({ cluster: { 'proxy-url': `http://me:${secret}@proxy` } }), /: cluster c1 is behind a proxy \(proxy-url\)/],
  [
    'a certificate without its key',
    kubeconfig({ user: { 'client-certificate-data': encoded } }),
    /: user u1 has a client certificate without its key/,
  ],
  ['no YAML', `users: [{ token: ${secret} }`, /: is no YAML \([A-Z_]+ at character \d+\)$/],
  ['a text', secret, /: is no kubeconfig: a map is expected$/],
  ['nothing', '', /: is no kubeconfig: a map is expected$/],
  [
    'lists where maps belong',
    '{"clusters": [[]], "users": 7, "contexts": null}',
    /: clusters\[0\]: Invalid input: expected object, received array$/,
  ],
  ['a number as server', kubeconfig({ cluster: { server: 7 } }), /: clusters\[0\]\.cluster\.server: Invalid input: expected string/],
  [
    'a number as context',
    kubeconfig({ rest: { 'current-context': 7 } }),
    /: current-context: Invalid input: expected string, received number$/,
  ],
  [
    'aliases that grow',
    `a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [${'*a,'.repeat(20)}]\nc: &c [${'*b,'.repeat(20)}]\nd: [${'*c,'.repeat(20)}]\n`,
    /: has aliases that stand for too much/,
  ],
] as const) {
  test(`a kubeconfig with ${what} is refused with the file and the reason`, async () => {
    const message = await refusalOf(text);
    assert.ok(message.startsWith(file), message);
    assert.match(message, words);
  });
}

test('a kubeconfig with lists for maps, in every place, is refused or read, and never a crash', async () => {
  const values = [null, 7, '', 'x', [], {}, [null], [{}], { __proto__: null }];
  for (const part of ['cluster', 'user', 'context', 'rest'] as const) {
    const keys =
      part === 'rest'
        ? ['clusters', 'users', 'contexts', 'current-context']
        : part === 'cluster'
          ? ['server', 'certificate-authority', 'certificate-authority-data', 'tls-server-name', 'proxy-url']
          : part === 'user'
            ? ['token', 'tokenFile', 'client-certificate', 'client-key', 'client-key-data', 'exec', 'username']
            : ['cluster', 'user', 'namespace'];
    for (const key of keys) {
      for (const value of values) {
        await load(kubeconfig({ [part]: { [key]: value } })).catch((error: unknown) => {
          assert.equal((error as Error).name, 'AccessError', `${part}.${key} = ${JSON.stringify(value)}: ${String(error)}`);
        });
      }
    }
  }
});

test('a file that is not there is named', async () => {
  assert.equal((await failureOf(loadAccess({ kubeconfig: join(folder, 'none') }))).message, `${folder}/none: no such file`);
  assert.match((await failureOf(loadAccess({ kubeconfig: folder }))).message, /: cannot be read \(EISDIR\)$/);
});

test('http is taken on the loopback, where kubectl proxy listens', async () => {
  for (const server of ['http://127.0.0.1:8001', 'http://localhost:8001', 'http://[::1]:8001']) {
    assert.equal((await load(kubeconfig({ cluster: { server } }))).server.origin, server);
  }
  // Negative: a name that begins alike is another machine.
  assert.match(await refusalOf(kubeconfig({ cluster: { server: 'http://127.0.0.1.example' } })), /without TLS/);
});

const mount = '/var/run/secrets/kubernetes.io/serviceaccount';

function serviceAccount(...files: readonly string[]): string {
  const root = temporaryDirectory('kubeconfig-root');
  mkdirSync(join(root, mount), { recursive: true });
  for (const name of files) writeFileSync(join(root, mount, name), name === 'namespace' ? 'ravel\n' : secret);
  return root;
}

test('in a Pod the service account says it all', async () => {
  for (const [host, server] of [
    ['10.96.0.1', 'https://10.96.0.1'],
    ['fd00::1', 'https://[fd00::1]'],
  ] as const) {
    process.env['KUBERNETES_SERVICE_HOST'] = host;
    process.env['KUBERNETES_SERVICE_PORT'] = '443';
    const root = serviceAccount('token', 'ca.crt', 'namespace');
    const access = await loadAccess({ root });
    assert.equal(access.server.origin, server);
    assert.deepEqual(access.identity.token, { file: join(root, mount, 'token') });
    assert.deepEqual(access.authority, { file: join(root, mount, 'ca.crt') });
    assert.equal(access.namespace, 'ravel');
    assert.equal(access.origin, 'the service account');
  }
});

test('a Pod without a namespace file has no namespace', async () => {
  Object.assign(process.env, { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' });
  assert.equal((await loadAccess({ root: serviceAccount('token', 'ca.crt') })).namespace, undefined);
});

test('a Pod without a token is told which file is missing', async () => {
  Object.assign(process.env, { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' });
  const error = await failureOf(loadAccess({ root: serviceAccount('ca.crt') }));
  assert.match(error.message, /serviceaccount\/token: ENOENT; does the Pod mount its token \(automountServiceAccountToken\)\?$/);
});

test('outside of a Pod the flag is named', async () => {
  assert.match((await failureOf(loadAccess())).message, /^not in a Pod: .* say --kubeconfig=FILE$/);
});
