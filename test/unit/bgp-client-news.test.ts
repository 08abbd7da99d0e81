/** What the daemon has to say by itself, and how its silence is found out. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BgpDaemon, DaemonEvent } from '../../src/announce/bgp/daemon.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';
import { until } from '../netns/tools.ts';
import { fails, open, start } from './bgp-client-rig.ts';
import { bytes, identity, number } from './gobgp-server.ts';
import type { GobgpServer } from './gobgp-server.ts';

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
