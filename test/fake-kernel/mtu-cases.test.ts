import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { readCluster } from '../../src/model/cluster-file.ts';
import { runThrough } from '../../src/model/slices.ts';
import type { Mode } from '../../src/modes/options.ts';
import { freshKernel, Rig } from './rig.ts';

const VIPS = ['192.0.2.10', '192.0.2.11', '192.0.2.12'];

function cluster(mtu: Record<string, string>, forwarding = 'g') {
  const config = Object.fromEntries(
    VIPS.map((vip) => [
      vip,
      { '80': { namespace: 'shop', service: 'api', portName: 'http', tcpEnabled: true, ipvsOptions: { forwardingMethod: forwarding } } },
    ]),
  );
  const endpoints = [{ address: '10.50.1.2', port: 8080, portName: 'http', node: 'n1', ready: true, terminating: false }];
  return {
    nodes: [{ name: 'n1', addresses: ['10.20.0.11'], ready: true }],
    services: [{ namespace: 'shop', name: 'api', ports: [{ name: 'http', port: 8080, protocol: 'tcp' }], endpoints }],
    ...{ config, mtuConfig: mtu },
  };
}

/** The device and the warnings after a pass. */
async function placed(mode: Mode, mtu: Record<string, string>) {
  const result = runThrough(readCluster(JSON.stringify(cluster(mtu)), { carrier: 'cluster' }));
  const { state } = result;
  const warnings = [...result.coercions, ...result.warnings];
  assert.ok(state, JSON.stringify(result));
  const rig = new Rig(mode, freshKernel());
  try {
    await rig.publish({ state, change: { all: true }, warnings });
    const device = (await rig.kernel.links.links()).find(({ name }) => name === 'ravel0');
    const held = (await rig.kernel.links.addresses()).filter(
      ({ interfaceIndex, scope }) => interfaceIndex === device?.index && scope !== 'link',
    );
    return {
      mtu: device?.mtu,
      warnings: warnings.filter(({ path }) => path.startsWith('mtuConfig')),
      held: held.map(({ address }) => address).sort(),
    };
  } finally {
    await rig.kill();
  }
}

suite('C15b MTU of VIPs', () => {
  for (const mode of ['director', 'bgp', 'realserver'] as const) {
    for (const bytes of ['1500', '4000', '9000']) {
      test(`${mode}: "${bytes}" is applied to the device`, async () => {
        const { mtu, warnings, held } = await placed(mode, { [VIPS[0]!]: bytes });
        assert.deepEqual([mtu, warnings, held], [Number(bytes), [], VIPS]);
      });
    }

    for (const wrong of ['', 'abc', '1400', '9001', '-1', '1e3', '1500.5']) {
      test(`${mode}: "${wrong}" is not applied, is warned about, and touches no other VIP`, async () => {
        const alone = await placed(mode, { [VIPS[0]!]: wrong });
        assert.deepEqual([alone.mtu, alone.held, alone.warnings.length], [1500, VIPS, 1]);
        assert.match(alone.warnings[0]?.message ?? '', /not applied/);
        const beside = await placed(mode, { [VIPS[0]!]: wrong, [VIPS[1]!]: '4000' });
        assert.deepEqual([beside.mtu, beside.held, beside.warnings.length], [4000, VIPS, 1]);
      });
    }

    test(`${mode}: of several the largest, since they share the device`, async () => {
      assert.equal((await placed(mode, { [VIPS[0]!]: '1500', [VIPS[1]!]: '9000', [VIPS[2]!]: '4000' })).mtu, 9000);
    });

    test(`${mode}: the MTU of an address that is no VIP is none of the device's`, async () => {
      assert.equal((await placed(mode, { '192.0.2.99': '9000' })).mtu, 1500);
    });
  }
});
