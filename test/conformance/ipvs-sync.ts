/** Connection synchronization daemons of IPVS: one per role, what is filled in, errno by misuse. `d0` is there, with an address. */
import assert from 'node:assert/strict';
import type { IpvsSyncPort } from '../../src/native/ipvs-types.ts';
import { refuses, type ConformanceCase } from './expect.ts';

const master = { role: 'master', interface: 'd0', syncId: 7 } as const;
const backup = { role: 'backup', interface: 'd0', syncId: 7 } as const;

export const ipvsSyncCases: readonly ConformanceCase<IpvsSyncPort>[] = [
  {
    name: 'none runs at first, and none can be stopped',
    async run(port) {
      assert.deepEqual(await port.syncDaemons(), []);
      await refuses(port.stopSyncDaemon('master'), 'ESRCH');
      await refuses(port.stopSyncDaemon('backup'), 'ESRCH');
    },
  },
  {
    name: 'what was not asked for is filled in',
    async run(port) {
      await port.startSyncDaemon(master);
      const [{ maxLength = 0, ...rest } = { maxLength: 0 }, ...others] = await port.syncDaemons();
      assert.deepEqual(rest, { ...master, group: '224.0.0.81', port: 8848, ttl: 1 });
      assert.deepEqual(others, []);
      assert.ok(maxLength > 1000 && maxLength < 1500, String(maxLength));
      await port.stopSyncDaemon('master');
      assert.deepEqual(await port.syncDaemons(), []);
    },
  },
  {
    name: 'both roles side by side, each once, the master first',
    async run(port) {
      await port.startSyncDaemon(backup);
      await port.startSyncDaemon(master);
      assert.deepEqual(
        (await port.syncDaemons()).map(({ role, syncId }) => [role, syncId]),
        [
          ['master', 7],
          ['backup', 7],
        ],
      );
      await refuses(port.startSyncDaemon({ ...master, syncId: 8 }), 'EEXIST');
      await refuses(port.startSyncDaemon(backup), 'EEXIST');
      await port.stopSyncDaemon('master');
      assert.deepEqual(
        (await port.syncDaemons()).map(({ role }) => role),
        ['backup'],
      );
      await port.stopSyncDaemon('backup');
    },
  },
  {
    name: 'an interface that is not there, before whether the role is taken',
    async run(port) {
      await refuses(port.startSyncDaemon({ ...master, interface: 'd7' }), 'ENODEV');
      await port.startSyncDaemon(master);
      await refuses(port.startSyncDaemon({ ...master, interface: 'd7' }), 'ENODEV');
      await port.stopSyncDaemon('master');
    },
  },
];
