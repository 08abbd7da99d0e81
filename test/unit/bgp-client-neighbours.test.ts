/** Neighbours by the client, as daemons of either version report and take them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BgpDaemon } from '../../src/announce/bgp/daemon.ts';
import { fails, open, start } from './bgp-client-rig.ts';
import { bytes, number } from './gobgp-server.ts';
import type { GobgpServer } from './gobgp-server.ts';

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
