/** Routes by the client: told, listed, and what becomes of them when the connection breaks. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { FakeClock } from '../fake-kernel/fake-clock.ts';
import { until } from '../netns/tools.ts';
import { fails, hostOf, open, page, start, vip } from './bgp-client-rig.ts';
import { Refusal } from './gobgp-server.ts';

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
