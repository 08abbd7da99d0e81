/** The client against servers that answer as gobgpd does, as something else does, or not at all. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import http from 'node:http';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { status } from '@grpc/grpc-js';
import { openDaemon } from '../../src/announce/bgp/client.ts';
import { DaemonError } from '../../src/announce/bgp/daemon.ts';
import type { BgpDaemon, DaemonCode, DaemonEvent, DaemonOptions } from '../../src/announce/bgp/daemon.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';
import { until } from '../netns/tools.ts';
import { Refusal, bytes, identity, number, serve } from './gobgp-server.ts';
import type { GobgpServer } from './gobgp-server.ts';

const opened: { close(): void }[] = [];
after(() => {
  for (const item of opened) item.close();
});

function open(options: Partial<DaemonOptions> & { endpoint: string }): BgpDaemon {
  const daemon = openDaemon({ clock: systemClock, ...options });
  opened.push(daemon);
  return daemon;
}

async function start(...words: Parameters<typeof serve>): Promise<GobgpServer> {
  const server = await serve(...words);
  opened.push(server);
  return server;
}

/** A server of another protocol, on the loopback. */
async function listen(server: net.Server): Promise<string> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push({
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** For `assert.rejects`. */
const fails =
  (code: DaemonCode, text: RegExp = /./) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof DaemonError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  };

const vip = (host: number): { prefix: string; nextHop: string; communities: number[]; largeCommunities: [] } => ({
  prefix: `192.0.2.${host}/32`,
  nextHop: '0.0.0.0',
  communities: [],
  largeCommunities: [],
});

/** Last byte of the address in a request about a path. */
const hostOf = (request: Buffer): number => request[request.indexOf(Buffer.from('20c00002', 'hex')) + 4]!;

const page = (host: number, neighbour: string): Buffer =>
  bytes(
    1,
    bytes(
      2,
      bytes(15, neighbour),
      number(18, 0x7261766c),
      bytes(20, Buffer.of(32, 192, 0, 2, host)),
      bytes(21, Buffer.from('40030400000000', 'hex')),
    ),
  );

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

describe('paths', () => {
  test('many at once, 64 at most, and those of one prefix in their order', async () => {
    let running = 0;
    let most = 0;
    const order: string[] = [];
    const slow =
      (name: string) =>
      async (request: Buffer): Promise<Buffer> => {
        most = Math.max(most, (running += 1));
        // The first of a prefix takes longest: without an order the later ones would pass it.
        if (hostOf(request) === 7) await new Promise((resolve) => setTimeout(resolve, 20 - 5 * order.length));
        else await new Promise((resolve) => setTimeout(resolve, 2));
        if (hostOf(request) === 7) order.push(`${name} ${request.includes(Buffer.from('c00804', 'hex')) ? request.at(-1) : ''}`.trim());
        running -= 1;
        return Buffer.alloc(0);
      };
    const server = await start(4, { unary: { AddPath: slow('add'), DeletePath: slow('withdraw') } });
    const daemon = open(server);
    const others = Array.from({ length: 200 }, (_, host) => vip(host)).filter((_, host) => host !== 7);
    const [added, withdrawn, again] = await Promise.all([
      daemon.add([{ ...vip(7), communities: [1] }, { ...vip(7), communities: [2] }, ...others]),
      daemon.withdraw([{ prefix: '192.0.2.7/32' }]),
      daemon.add([{ ...vip(7), communities: [3] }]),
    ]);
    assert.deepEqual([added, withdrawn, again], [[], [], []]);
    assert.deepEqual(order, ['add 1', 'add 2', 'withdraw', 'add 3']);
    assert.ok(most > 8 && most <= 66, `${most} at once`);
    assert.deepEqual(await daemon.add([]), []);
  });

  test('when the connection breaks in the middle the whole fails, and nothing more is sent', async () => {
    let count = 0;
    const server = await start(4, {
      unary: {
        AddPath: () => {
          if ((count += 1) === 100) setImmediate(() => server.close());
          return Buffer.alloc(0);
        },
      },
    });
    await assert.rejects(open(server).add(Array.from({ length: 5000 }, (_, index) => vip(index % 250))), fails('Unreachable'));
    assert.ok(count < 1000, `${count} calls`);
  });

  test('a list of both families; of prefixes in requests of 2,000', async () => {
    const asked: { length: number; family: number }[] = [];
    const server = await start(4, {
      stream: {
        ListPath: (request, call) => {
          const family = request[request.indexOf(Buffer.from('1a0408', 'hex')) + 3]!;
          asked.push({ family, length: request.toString('latin1').split('/32').length - 1 });
          if (family === 1) for (const host of [1, 2]) call.write(page(host, host === 1 ? '' : '10.0.0.2'));
          call.end();
        },
      },
    });
    const daemon = open(server);
    assert.deepEqual(
      (await daemon.list()).map(({ path, ours }) => [path.prefix, ours]),
      [['192.0.2.1/32', true]],
    );
    assert.deepEqual(asked.splice(0), [
      { family: 1, length: 0 },
      { family: 2, length: 0 },
    ]);
    const prefixes = Array.from({ length: 4500 }, (_, index) => `10.0.${index >> 8}.${index & 255}/32`);
    const listed = await daemon.list(prefixes);
    assert.deepEqual(
      asked.map(({ length }) => length),
      [2000, 2000, 500],
    );
    assert.equal(listed.filter(({ neighbour }) => neighbour === '10.0.0.2').length, 3, 'learned ones are told when they are asked for');
    assert.deepEqual(await daemon.list([]), []);
  });

  test('a list that stops in the middle; one that goes on is waited for', async () => {
    const clock = new FakeClock();
    let write: ((host: number) => void) | undefined;
    const server = await start(4, {
      stream: {
        ListPath: (_request, call) => {
          write = (host) => void call.write(page(host, ''));
          write(0);
        },
      },
    });
    const daemon = open({ ...server, clock });
    const listing = assert.rejects(daemon.list(), fails('Timeout', /no answer in 30 s/));
    await until('the list to begin', () => write !== undefined && clock.timers === 1);
    for (const host of [1, 2, 3]) {
      const before = clock.now();
      write!(host);
      // What was written has arrived when a later answer on the same connection has.
      await daemon.identity();
      await clock.advance(30_000);
      assert.equal(clock.now(), before + 30_000);
      assert.equal(clock.timers, 1, 'it still waits');
    }
    await clock.advance(30_000);
    await listing;
  });

  test('a message that is too large, damaged, or of a server that ends', async () => {
    let answer: (call: { write(message: Buffer): unknown; emit(event: 'error', error: Error): unknown }) => void = () => undefined;
    const server = await start(4, { stream: { ListPath: (_request, call) => answer(call) } });
    const daemon = open(server);
    answer = (call) => call.write(Buffer.alloc(5 << 20));
    await assert.rejects(daemon.list(), fails('Refused', /RESOURCE_EXHAUSTED/));
    answer = (call) => call.write(Buffer.from('0aff', 'hex'));
    await assert.rejects(daemon.list(), fails('NotGobgp', /not understood/));
    answer = (call) => call.emit('error', new Refusal(status.UNKNOWN, 'address family: ipv6-unicast not supported'));
    await assert.rejects(daemon.list(), fails('Refused', /not supported/));
    answer = () => server.close();
    await assert.rejects(daemon.list(), fails('Unreachable'));
  });
});

describe('news', () => {
  const peerEvent = (state: number): Buffer =>
    bytes(2, number(1, 3), bytes(2, bytes(2, bytes(4, '10.0.0.2')), bytes(5, number(13, state))));

  async function watched(clock = new FakeClock()): Promise<{
    clock: FakeClock;
    daemon: BgpDaemon;
    server: GobgpServer;
    tell: (message: Buffer) => void;
    end: () => void;
    cancelled: () => boolean;
    state: { asn: number; silent: boolean };
    stop: AbortController;
    news: AsyncIterator<DaemonEvent>;
  }> {
    const state = { asn: 65000, silent: false };
    let tell: (message: Buffer) => void = () => undefined;
    let end = (): void => undefined;
    let cancelled = false;
    const server = await start(4, {
      unary: { GetBgp: () => (state.silent ? new Promise<Buffer>(() => undefined) : identity(state.asn)) },
      stream: {
        WatchEvent: (_request, call) => {
          call.on('cancelled', () => (cancelled = true));
          tell = (message) => void call.write(message);
          end = () => void call.end();
          tell(peerEvent(3));
          tell(bytes(2, number(1, 2)));
        },
      },
    });
    const daemon = open({ ...server, clock });
    const stop = new AbortController();
    const news = daemon.watch(stop.signal)[Symbol.asyncIterator]();
    assert.deepEqual((await news.next()).value, { kind: 'peer', address: '10.0.0.2', state: 'active' });
    assert.deepEqual((await news.next()).value, { kind: 'gap' });
    return { clock, daemon, server, state, stop, news, tell: (message) => tell(message), end: () => end(), cancelled: () => cancelled };
  }

  test('as they come, until the signal', async () => {
    const { tell, stop, news, cancelled, daemon } = await watched();
    tell(bytes(3, bytes(2, 'a path, which was not asked for')));
    tell(peerEvent(6));
    assert.deepEqual((await news.next()).value, { kind: 'peer', address: '10.0.0.2', state: 'established' });
    const last = news.next();
    stop.abort();
    assert.deepEqual(await last, { done: true, value: undefined });
    await until('the daemon to be told', cancelled);
    assert.equal((await daemon.identity()).major, 4, 'the connection is as good as before');
    assert.deepEqual(await daemon.watch(stop.signal)[Symbol.asyncIterator]().next(), { done: true, value: undefined });
  });

  test('whoever stops listening ends it', async () => {
    const { news, cancelled } = await watched();
    await news.return?.();
    await until('the daemon to be told', cancelled);
  });

  test('the stream ends, breaks, or is not understood', async () => {
    const ended = await watched();
    ended.end();
    await assert.rejects(ended.news.next(), fails('Unreachable', /ended the stream/));
    const broken = await watched();
    broken.server.close();
    await assert.rejects(broken.news.next(), fails('Unreachable'));
    const damaged = await watched();
    damaged.tell(Buffer.from('12ff', 'hex'));
    await assert.rejects(damaged.news.next(), fails('NotGobgp', /not understood/));
  });

  test('a daemon that is stopped is found out by asking it: 10 s of silence, 5 s for an answer', async () => {
    const { clock, state, news, server } = await watched();
    await until(
      'the first question to be answered',
      () => server.calls.filter((name) => name === 'GetBgp').length === 2 && clock.timers === 1,
    );
    await clock.advance(10_000);
    await until('the next one to be answered', () => server.calls.filter((name) => name === 'GetBgp').length === 3 && clock.timers === 1);
    state.silent = true;
    const broken = assert.rejects(news.next(), fails('Timeout', /watch .*no answer in 5 s/));
    await clock.advance(15_000);
    await broken;
    assert.equal(clock.timers, 0);
  });

  test('so is one that has begun anew behind the same connection', async () => {
    const { clock, state, news } = await watched();
    await until('the first question to be answered', () => clock.timers === 1);
    state.asn = 0;
    const broken = assert.rejects(news.next(), fails('Unreachable', /it was AS 65000, and is AS 0 now/));
    await clock.advance(10_000);
    await broken;
  });
});

describe('neighbours', () => {
  const listed = (up: number, hold: number): Buffer =>
    bytes(
      1,
      bytes(2, bytes(1, 'old secret'), bytes(2, 'ravel-agent'), bytes(4, '10.0.0.2'), number(5, 65001)),
      bytes(5, number(13, up > 0 ? 6 : 3)),
      bytes(6, bytes(1, number(1, 120), number(2, hold), number(3, Math.floor(hold / 3))), bytes(2, bytes(6, number(1, up)))),
      bytes(10, bytes(2, bytes(1, number(1, 1), number(2, 1)), number(2, 1))),
    );

  async function neighbours(major: 3 | 4, answers: readonly Buffer[]): Promise<{ daemon: BgpDaemon; server: GobgpServer }> {
    const left = [...answers];
    const server = await start(major, {
      unary: { AddPeer: () => Buffer.alloc(0), UpdatePeer: () => Buffer.alloc(0), DeletePeer: () => Buffer.alloc(0) },
      stream: {
        ListPeer: (_request, call) => {
          const next = left.shift();
          if (next !== undefined) call.write(next);
          call.end();
        },
      },
    });
    return { daemon: open(server), server };
  }

  const wanted = { address: '10.0.0.2', asn: 65001, password: 'old secret' };
  const writes = ({ calls }: GobgpServer): string[] => calls.filter((name) => /^(Add|Update|Delete)/.test(name));

  test('what each was sent is counted by a daemon of few routes only', async () => {
    for (const [routes, flag, advertised] of [
      [10_000, '1001', 0],
      [10_001, '', undefined],
    ] as const) {
      let asked: string | undefined;
      const server = await start(4, {
        unary: { GetTable: () => number(1, routes) },
        stream: {
          ListPeer: (request, call) => {
            asked = request.toString('hex');
            call.write(listed(0, 90));
            call.end();
          },
        },
      });
      const [status] = await open(server).peers();
      assert.deepEqual([asked, status?.advertised], [flag, advertised], 'of each family');
      assert.deepEqual(
        ['old secret', 'new'].map((word) => status?.hasPassword?.(word)),
        [true, false],
      );
    }
  });

  test('an update that changes nothing is not sent', async () => {
    const { daemon, server } = await neighbours(4, [listed(0, 90)]);
    assert.deepEqual(await daemon.updatePeer(wanted), { resets: false });
    assert.deepEqual(writes(server), []);
  });

  test('resets: an established session is not the one that it was', async () => {
    for (const [before, behind, resets] of [
      [1000, 0, true],
      [1000, 1001, true],
      [1000, 1000, false],
      [0, 0, false],
      [0, 1000, false],
    ] as const) {
      const { daemon, server } = await neighbours(4, [listed(before, 90), listed(behind, 9)]);
      assert.deepEqual(await daemon.updatePeer({ ...wanted, holdSeconds: 9 }), { resets }, `${before} ${behind}`);
      assert.deepEqual(writes(server), ['UpdatePeer']);
    }
  });

  test('what counts as a change', async () => {
    for (const change of [
      { asn: 65002 },
      { password: 'new secret' },
      { multihop: 2 },
      { holdSeconds: 9 },
      { keepaliveSeconds: 29 },
      { connectRetrySeconds: 5 },
      { passive: true },
      { gracefulRestartSeconds: 120 },
      { bfd: { transmitMilliseconds: 300, receiveMilliseconds: 300, multiplier: 3 } },
      { families: [4 as const, 6 as const] },
    ]) {
      const { daemon, server } = await neighbours(4, [listed(0, 90), listed(0, 90)]);
      await daemon.updatePeer({ ...wanted, ...change });
      assert.deepEqual(writes(server), ['UpdatePeer'], JSON.stringify(change));
    }
    const { daemon, server } = await neighbours(4, [listed(0, 90)]);
    await daemon.updatePeer({
      ...wanted,
      holdSeconds: 90,
      keepaliveSeconds: 30,
      connectRetrySeconds: 120,
      passive: false,
      families: [4],
    });
    assert.deepEqual(writes(server), [], 'the defaults, said');
  });

  test('GoBGP 3 does not look at the number of hops, so the neighbour is set up anew', async () => {
    const { daemon, server } = await neighbours(3, [listed(1000, 90), listed(0, 90)]);
    assert.deepEqual(await daemon.updatePeer({ ...wanted, multihop: 2 }), { resets: true });
    assert.deepEqual(writes(server), ['DeletePeer', 'AddPeer']);
  });

  test('one that is not there', async () => {
    const { daemon, server } = await neighbours(4, []);
    await assert.rejects(
      daemon.updatePeer(wanted),
      (error) => fails('Refused', /no such neighbour/)(error) && !String(error).includes('secret'),
    );
    assert.deepEqual(writes(server), []);
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
