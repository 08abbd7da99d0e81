/** The client against servers that answer as gobgpd does, as something else does, or not at all. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { status } from '@grpc/grpc-js';
import { openDaemon } from '../../src/announce/bgp/client.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';
import { until } from '../netns/tools.ts';
import { fails, hostOf, listen, open, start, vip } from './bgp-client-rig.ts';
import { Refusal, bytes } from './gobgp-server.ts';

describe('who answers', () => {
  test('a gobgpd of either version, asked once per connection', async () => {
    for (const major of [3, 4] as const) {
      const server = await start(major, { unary: { AddPath: () => bytes(1, 'sixteen bytes...') } });
      const daemon = open(server);
      assert.deepEqual(await daemon.add([vip(1), vip(2)]), []);
      assert.deepEqual(await daemon.identity(), { major, asn: 65000, routerId: '10.0.0.1', listenPort: 179 });
      assert.deepEqual(server.calls, ['GetBgp', 'AddPath', 'AddPath', 'GetBgp']);
    }
  });

  test('after a restart another version may answer, and is asked anew', async () => {
    const first = await start(3);
    const daemon = open(first);
    assert.equal((await daemon.identity()).major, 3);
    first.close();
    await assert.rejects(
      until('the connection to be noticed as broken', async () => {
        await daemon.identity();
        return false;
      }),
      fails('Unreachable'),
    );
    await start(4, { port: first.port });
    await until('version 4 to answer', async () => (await daemon.identity().catch(() => undefined))?.major === 4);
  });

  test('something else', async () => {
    const stranger = http2.createServer((_request, response) => response.end('hello'));
    const answers: readonly (readonly [string, string, RegExp])[] = [
      ['a web server', await listen(http.createServer((_request, response) => response.end('hello'))), /does not speak gRPC/],
      [
        'a server that speaks first',
        await listen(net.createServer((socket) => socket.on('error', () => undefined).write('SSH-2.0-x\r\n'))),
        /gRPC/,
      ],
      ['HTTP/2, and no gRPC', await listen(stranger), /RESOURCE_EXHAUSTED|no gRPC service/],
      ['another service', (await start(undefined)).endpoint, /neither GoBGP 3 nor GoBGP 4/],
      [
        'one that answers in another form',
        (await start(4, { unary: { GetBgp: () => Buffer.from('ffff', 'hex') } })).endpoint,
        /not understood/,
      ],
    ];
    for (const [what, endpoint, words] of answers) await assert.rejects(open({ endpoint }).identity(), fails('NotGobgp', words), what);
  });

  test('nobody', async () => {
    const closed = await start(4);
    closed.close();
    await assert.rejects(open(closed).identity(), fails('Unreachable', /ECONNREFUSED/));
    await assert.rejects(open({ endpoint: 'unix:/nonexistent/gobgpd.sock' }).identity(), fails('Unreachable', /ENOENT/));
    await assert.rejects(open({ endpoint: 'nobody.invalid:50051' }).identity(), fails('Unreachable', /resolution/));
    const shut = await listen(net.createServer((socket) => void socket.on('error', () => undefined).destroy()));
    await assert.rejects(open({ endpoint: shut }).identity(), fails('Unreachable', /closes the connection before/));
    assert.throws(() => openDaemon({ endpoint: 'nowhere', clock: systemClock }), TypeError);
  });

  test('one that says nothing, for as long as a call may take', async () => {
    const clock = new FakeClock();
    const daemon = open({ endpoint: await listen(net.createServer((socket) => socket.on('error', () => undefined))), clock });
    const asked = assert.rejects(daemon.identity(), fails('Timeout', /no answer in 5 s/));
    await until('the call to wait', () => clock.timers === 1);
    await clock.advance(4999);
    assert.equal(clock.timers, 1);
    await clock.advance(1);
    await asked;
    assert.equal(clock.timers, 0);
  });
});

describe('what a daemon refuses', () => {
  const words = "bgp server hasn't started yet";

  test('by status', async () => {
    let refusal = new Refusal(status.UNKNOWN, words);
    const server = await start(4, {
      unary: {
        AddPath: () => {
          throw refusal;
        },
      },
    });
    const daemon = open(server);
    await assert.rejects(daemon.add([vip(1)]), fails('NotStarted'));
    refusal = new Refusal(status.UNKNOWN, 'nexthop not\n\u001b[31m found');
    const [failure] = await daemon.add([vip(1)]);
    assert.equal(failure?.prefix, '192.0.2.1/32');
    assert.equal(failure.error.message, 'addPath 192.0.2.1/32: nexthop not [31m found');
    for (const [code, expected] of [
      [status.PERMISSION_DENIED, 'Refused'],
      [status.RESOURCE_EXHAUSTED, 'Refused'],
      [status.INVALID_ARGUMENT, 'Refused'],
    ] as const) {
      refusal = new Refusal(code, 'no');
      const failures = await daemon.add([vip(1)]);
      assert.deepEqual([failures[0]?.error.code, failures[0]?.error.message], [expected, `addPath 192.0.2.1/32: ${status[code]}: no`]);
    }
    refusal = new Refusal(status.UNAVAILABLE, 'going away');
    await assert.rejects(daemon.add([vip(1)]), fails('Unreachable', /going away/));
    await assert.rejects(daemon.deletePeer('10.0.0.2'), fails('NotGobgp', /does not know the call/));
  });

  test('one path of several: the others are there', async () => {
    const added = new Set<number>();
    const server = await start(4, {
      unary: {
        AddPath: (request) => {
          const host = hostOf(request);
          if (host % 10 === 3) throw new Refusal(status.UNKNOWN, `not ${host}`);
          added.add(host);
          return Buffer.alloc(0);
        },
      },
    });
    const failures = await open(server).add([...Array.from({ length: 200 }, (_, host) => vip(host)), { ...vip(250), nextHop: '::' }]);
    assert.deepEqual(
      failures.map(({ prefix }) => prefix).sort(),
      [...Array.from({ length: 20 }, (_, ten) => `192.0.2.${ten * 10 + 3}/32`), '192.0.2.250/32'].sort(),
    );
    assert.ok(failures.every(({ error }) => error.code === 'Refused'));
    assert.match(failures.find(({ prefix }) => prefix === '192.0.2.250/32')!.error.message, /no next hop/);
    assert.equal(added.size, 180);
  });
});

test('closed: what is under way fails, and everything after it', async () => {
  const server = await start(4, {
    unary: { AddPath: () => new Promise<Buffer>(() => undefined) },
    stream: { WatchEvent: () => undefined, ListPath: () => undefined },
  });
  const daemon = open(server);
  await daemon.identity();
  const news = daemon.watch(new AbortController().signal)[Symbol.asyncIterator]().next();
  const pending = [daemon.add([vip(1)]), daemon.list(), news].map((call) => assert.rejects(call, fails('Unreachable', /closed/)));
  await until('all to be under way', () => ['AddPath', 'ListPath', 'WatchEvent'].every((name) => server.calls.includes(name)));
  daemon.close();
  await Promise.all(pending);
  await assert.rejects(daemon.identity(), fails('Unreachable', /the client is closed/));
  await assert.rejects(daemon.watch(new AbortController().signal)[Symbol.asyncIterator]().next(), fails('Unreachable'));
  daemon.close();
});

test('no code is made at run time', async () => {
  const server = await start(4, { unary: { AddPath: () => Buffer.alloc(0) } });
  const program = `
    const { openDaemon } = await import('./src/announce/bgp/client.ts');
    const { systemClock } = await import('./src/reconcile/clock.ts');
    const daemon = openDaemon({ endpoint: process.argv[1], clock: systemClock });
    await daemon.add([${JSON.stringify(vip(1))}]);
    console.log((await daemon.identity()).major);
    daemon.close();
    try { new Function('') } catch (error) { console.log(error.name) }`;
  const flags = ['--disallow-code-generation-from-strings', '--disable-warning=ExperimentalWarning', '--input-type=module'];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, '-e', program, server.endpoint]);
  assert.deepEqual(stdout.trim().split('\n'), ['4', 'EvalError']);
});
