/** Legacy tables: seen without loading anything, opened when used, closed with the kernel. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ProcLegacyTables } from '../../src/drivers/legacy-tables.ts';
import { UnsupportedError } from '../../src/native/errors.ts';
import type { Iptables } from '../../src/native/iptables.ts';
import { temporaryDirectory } from '../temporary-directory.ts';

const folder = (): string => temporaryDirectory('legacy');

test('a table is there when the kernel lists it, and only then; nothing is opened for that', async () => {
  const place = folder();
  let opened = 0;
  const tables = new ProcLegacyTables(place, () => {
    opened += 1;
    return Promise.reject(new Error('not asked for'));
  });
  assert.equal(await tables.present('ip'), false, 'no such file: the module is not loaded');
  writeFileSync(join(place, 'ip_tables_names'), 'filter\nmangle\n');
  assert.equal(await tables.present('ip'), false);
  writeFileSync(join(place, 'ip_tables_names'), 'filter\nnat\n');
  assert.equal(await tables.present('ip'), true);
  assert.equal(await tables.present('ip6'), false);
  writeFileSync(join(place, 'ip6_tables_names'), 'nat\n');
  assert.equal(await tables.present('ip6'), true);
  await tables.close();
  assert.equal(opened, 0);
});

test('what cannot be read is an error, not an absence', async () => {
  const place = folder();
  writeFileSync(join(place, 'file'), '');
  await assert.rejects(new ProcLegacyTables(join(place, 'file')).present('ip'), { code: 'ENOTDIR' });
});

test('each family and prefix is opened once, at the first call, again after a failure, and closed', async () => {
  const log: string[] = [];
  let broken = true;
  const fake = (text: string) =>
    ({
      list: () => Promise.resolve({ present: false, jumps: [], chains: [] }),
      commit: () => Promise.reject(new Error('unused')),
      close: () => Promise.resolve(void log.push(`close ${text}`)),
    }) as unknown as Iptables;
  const tables = new ProcLegacyTables(folder(), ({ family, chainPrefix }) => {
    log.push(`open ${family} ${chainPrefix ?? ''}`);
    if (broken) return Promise.reject(new UnsupportedError('legacy tables'));
    return Promise.resolve(fake(family));
  });
  const table = tables.table('ip', 'RAVEL');
  assert.deepEqual(log, []);
  await assert.rejects(table.list(), UnsupportedError);
  broken = false;
  await table.list();
  await tables.table('ip', 'RAVEL').list();
  await tables.table('ip6', 'RAVEL').list();
  assert.deepEqual(log, ['open ip RAVEL', 'open ip RAVEL', 'open ip6 RAVEL']);
  await tables.close();
  assert.deepEqual(log.slice(3).sort(), ['close ip', 'close ip6']);
});
