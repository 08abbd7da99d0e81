/** Death at any point of a director that runs pods itself, and what holds at every moment of its passes. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Endpoint } from '../../src/model/cluster.ts';
import { whole } from './cluster.ts';
import { API, apiAt, stateOf } from './fixture.ts';
import { traceIptables } from './iptables-trace.ts';
import type { FakeKernel } from './kernel.ts';
import { mortal } from './mortal.ts';
import { freshKernel, holdings, Rig } from './rig.ts';
import { traceDirector, traceNode } from './trace.ts';

type Backend = 'nftables' | 'iptables';
const backends: readonly Backend[] = ['nftables', 'iptables'];
const vip = '192.0.2.10';
const packet = { source: '198.51.100.7', destination: vip, protocol: 6, port: 80 };

const here = API.filter(({ node, ready }) => node === 'n1' && ready);
const elsewhere = API.filter(({ node }) => node === 'n2');
const more: Endpoint = { ...elsewhere[0]!, address: '10.50.2.9' };

/** Who has pods: three here, one elsewhere; and so on. */
const scenes: Readonly<Record<string, readonly Endpoint[]>> = {
  both: [...here, ...elsewhere],
  'only here': here,
  'only elsewhere': elsewhere,
  'more elsewhere': [...here, ...elsewhere, more],
  'fewer here': [...here.slice(0, 1), ...elsewhere],
};

const stateAt = (scene: string) => stateOf({ [vip]: { '80': apiAt() } }, { api: scenes[scene] ?? [] });

function machine(): FakeKernel {
  const kernel = freshKernel();
  kernel.sysctls.values.set('net/ipv4/vs/conntrack', '0');
  return kernel;
}

const options = (backend: Backend) => ({ nodeName: 'n1', colocation: backend, drainMilliseconds: 0 }) as const;

/** Connections that the rules leave over find a destination; none meets a VIP that nobody serves. */
function assertServed(kernel: FakeKernel, backend: Backend, when: string): void {
  const arrivals = backend === 'nftables' ? traceNode(kernel, packet) : traceIptables(kernel, packet);
  const left = arrivals.filter(({ at }) => at === `${vip}:80`).reduce((sum, { share }) => sum + share, 0);
  const open = traceDirector(kernel, packet).size;
  assert.ok(left === 0 || open > 0, `${when}: ${left.toFixed(2)} of the connections are left to IPVS, which has nobody`);
}

async function resultOf(backend: Backend, scene: string): Promise<unknown> {
  const rig = new Rig('director', machine(), options(backend));
  await rig.publish(whole(stateAt(scene)));
  const result = await holdings(rig.kernel);
  await rig.kill();
  return { result, iptables: rig.kernel.iptables.ip.dump() };
}

for (const backend of backends) {
  suite(`a director with pods of its own, killed after any number of operations, ${backend}`, () => {
    for (const from of Object.keys(scenes)) {
      for (const to of Object.keys(scenes).filter((scene) => scene !== from)) {
        test(`${from} -> ${to}`, async () => {
          const expected = await resultOf(backend, to);
          for (let allowed = 0; ; allowed += 1) {
            const first = new Rig('director', machine(), options(backend));
            await first.publish(whole(stateAt(from)));
            assertServed(first.kernel, backend, from);
            await first.kill();
            const second = new Rig('director', first.kernel, options(backend), first.folder, mortal(first.kernel, allowed));
            await second.publish(whole(stateAt(to)));
            const finished = second.loop.status().failures.length === 0;
            assertServed(first.kernel, backend, `${from} -> ${to}, killed after ${allowed} operations`);
            await second.kill();
            const third = new Rig('director', first.kernel, options(backend), first.folder);
            await third.publish(whole(stateAt(to)));
            await third.advance(3000);
            assert.deepEqual(third.loop.status().failures, [], `after ${allowed} operations`);
            assert.deepEqual({ result: await holdings(first.kernel), iptables: first.kernel.iptables.ip.dump() }, expected);
            first.kernel.journal.clear();
            await third.advance(61_000);
            assert.equal(first.kernel.writes, 0);
            await third.kill();
            if (!finished) continue;
            assert.ok(allowed > 0, 'the kill did strike');
            return;
          }
        });
      }
    }
  });
}
