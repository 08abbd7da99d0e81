import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ProcSysctls } from '../../src/drivers/proc-sysctls.ts';
import { temporaryDirectory } from '../temporary-directory.ts';

test('settings are read in one place and written through the other, which may hold only a part', async () => {
  const folder = temporaryDirectory('sysctls');
  for (const place of ['own', 'mounted']) mkdirSync(join(folder, place, 'net/ipv4/conf/eth0'), { recursive: true });
  writeFileSync(join(folder, 'own/net/ipv4/ip_forward'), '1\n');
  for (const place of ['own', 'mounted']) writeFileSync(join(folder, place, 'net/ipv4/conf/eth0/arp_ignore'), '0\n');
  const sysctls = new ProcSysctls(join(folder, 'own'), join(folder, 'mounted'));
  assert.equal(await sysctls.read('net/ipv4/ip_forward'), '1');
  assert.deepEqual(await sysctls.names('net/ipv4/conf/eth0'), ['arp_ignore']);
  assert.deepEqual(await sysctls.names('net/ipv4/vs'), []);
  await sysctls.write('net/ipv4/conf/eth0/arp_ignore', '1');
  assert.equal(readFileSync(join(folder, 'mounted/net/ipv4/conf/eth0/arp_ignore'), 'utf8'), '1\n');
  assert.equal(readFileSync(join(folder, 'own/net/ipv4/conf/eth0/arp_ignore'), 'utf8'), '0\n');
  await assert.rejects(sysctls.write('net/ipv4/ip_forward', '0'), { code: 'ENOENT', subject: 'net/ipv4/ip_forward' });
});
