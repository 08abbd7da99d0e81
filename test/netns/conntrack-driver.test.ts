/** A sender of 1,000 datagrams a second that never pauses is never served for long by what is gone. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { ConntrackService } from '../../src/diff/conntrack.ts';
import { ConntrackDriver } from '../../src/drivers/conntrack.ts';
import { Conntrack } from '../../src/native/conntrack.ts';
import { CLIENT, CLIENT6, lab, oracle, peer, POD_PORT, PODS, PODS6, PORT, route, VIP, VIP6 } from './conntrack-support.ts';

/** The whole of what an agent needs after its rules are written, as the goal has it; milliseconds. */
const LIMIT_MS = 1000;

for (const family of [4, 6] as const) {
  test(`IPv${family}: pod replaced, none left, back again, service deleted, agent restarted`, { timeout: 60_000 }, async () => {
    const here = await lab();
    const conntrack = await Conntrack.open({ netns: here.node });
    const [client, vip, pods] = family === 4 ? [CLIENT, VIP, PODS] : [CLIENT6, VIP6, PODS6];
    const sender = peer(here.client, ['flood', client, '20000', vip, String(PORT)]);
    try {
      const lines = createInterface({ input: sender.stdout! })[Symbol.asyncIterator]();
      const heard = async (): Promise<unknown> => {
        const next = await lines.next();
        assert.ok(next.done !== true, 'the sender has ended');
        return next.value;
      };
      const key = `udp ${vip}:${PORT}`;
      const to = (...which: readonly (0 | 1)[]): ReadonlyMap<string, ConntrackService> =>
        new Map([[key, { key, address: vip, protocol: 17, port: PORT, pods: which.map((k) => ({ address: pods[k], port: POD_PORT })) }]]);
      let driver = new ConntrackDriver(conntrack);
      const pass = async (services: ReadonlyMap<string, ConntrackService>): Promise<number> => {
        const { written, failures } = await driver.apply(await driver.plan(services));
        assert.deepEqual(failures, []);
        return written;
      };
      /** One pass brings the sender from one answer to another in time. */
      const moves = async (services: ReadonlyMap<string, ConntrackService>, answer: string): Promise<void> => {
        const start = performance.now();
        assert.equal(await pass(services), 1);
        // A refusal that was under way may be heard after the first answer.
        while ((await heard()) !== answer) assert.ok(performance.now() - start <= LIMIT_MS, `${answer} was not reached`);
        const took = performance.now() - start;
        assert.ok(took <= LIMIT_MS, `${answer} was reached after ${took.toFixed(0)} ms`);
        assert.equal(await pass(services), 0);
      };
      assert.equal(await heard(), 'pod0');
      // Foreign: another port of the VIP, and what an unchanged start finds.
      assert.equal(await here.udp.ask(20001, family, 99), '-');
      assert.equal(await pass(to(0)), 0);
      const foreign = (): unknown => oracle(here.node).filter(({ original }) => original.source.port === 20001);
      const before = foreign();

      route(here.node, 1);
      await moves(to(1), 'pod1');
      route(here.node, undefined);
      await moves(to(), '-');
      route(here.node, 0);
      await moves(to(0), 'pod0');
      driver = new ConntrackDriver(conntrack);
      assert.equal(await pass(to(0)), 0);
      route(here.node, undefined);
      await moves(new Map(), '-');
      // Served again by an agent that never saw the service before.
      route(here.node, 1);
      driver = new ConntrackDriver(conntrack);
      await moves(to(1), 'pod1');
      assert.deepEqual(foreign(), before);
    } finally {
      const over = once(sender, 'close');
      sender.kill();
      await over;
      await conntrack.close();
      await here.stop();
    }
  });
}
