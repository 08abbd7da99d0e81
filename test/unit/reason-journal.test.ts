/** Reasons are told once per change, at the cost of the change, and never flood. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterState, Reason, ReasonCode, StateChange } from '../../src/model/cluster.ts';
import { ReasonJournal, type ReasonChange } from '../../src/observe/reasons.ts';
import { cluster } from '../fake-kernel/cluster.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';
import { collectingLog, type Line } from '../fake-kernel/rig.ts';

const all: StateChange = { all: true };
const only = (...keys: string[]): StateChange => ({ all: false, virtualServices: new Set(keys) });
const keyOf = (n: number): string => `tcp 10.50.${n >> 8}.${n & 255}:80`;

function many(count: number): ClusterState {
  const vips = Array.from({ length: count }, (_, n) => [`10.50.${n >> 8}.${n & 255}`, 80, 'web'] as const);
  return cluster({ pods: { web: ['n1'] }, vips });
}

function journal() {
  const clock = new FakeClock();
  const lines: Line[] = [];
  const changes: ReasonChange[] = [];
  const reasons = new Map<string, Reason>();
  const vips = new Map<string, Reason>();
  let asked = 0;
  const made = new ReasonJournal({
    ...{ log: collectingLog(lines), clock, onChange: (change: ReasonChange): void => void changes.push(change) },
    reason: (key) => ((asked += 1), reasons.get(key)),
    vipReason: (address) => ((asked += 1), vips.get(address)),
  });
  const set = (key: string, code: ReasonCode | undefined): void => {
    if (code === undefined) reasons.delete(key);
    else reasons.set(key, { code, message: `because of ${code}` });
  };
  return { clock, lines, changes, reasons, vips, set, journal: made, asked: () => asked };
}

test('a reason is told once, its change once, its end once', () => {
  const { journal: told, lines, changes, set } = journal();
  const state = many(1);
  told.update(state, all);
  assert.equal(lines.length, 0, 'what is in force is not worth a word');
  set(keyOf(0), 'ServiceMissing');
  for (let pass = 0; pass < 3; pass += 1) told.update(state, pass === 1 ? only(keyOf(0)) : all);
  set(keyOf(0), 'NoEndpoints');
  told.update(state, only(keyOf(0)));
  set(keyOf(0), undefined);
  told.update(state, all);
  told.update(state, all);
  const where = { vip: '10.50.0.0', virtualService: keyOf(0), service: 'default/web' };
  assert.deepEqual(lines, [
    { level: 'warn', message: `${keyOf(0)}: because of ServiceMissing`, fields: { reason: 'ServiceMissing', ...where } },
    { level: 'info', message: `${keyOf(0)}: because of NoEndpoints`, fields: { reason: 'NoEndpoints', ...where } },
    { level: 'info', message: `${keyOf(0)}: in force`, fields: { was: 'NoEndpoints', ...where } },
  ]);
  assert.deepEqual(
    changes.map(({ reason, before }) => [reason?.code, before]),
    [
      ['ServiceMissing', undefined],
      ['NoEndpoints', 'ServiceMissing'],
      [undefined, 'NoEndpoints'],
    ],
  );
});

test('another message of the same code is no change', () => {
  const { journal: told, lines, reasons } = journal();
  for (const count of [1, 2, 3]) {
    reasons.set(keyOf(0), { code: 'NoEligibleNode', message: `${count} nodes are not ready` });
    told.update(many(1), all);
  }
  assert.equal(lines.length, 1);
});

test('a VIP has its own, told in passes and between them', () => {
  const { journal: told, lines, changes, vips } = journal();
  told.lookAt(['10.50.0.0']);
  assert.equal(lines.length, 0, 'before the first pass nothing is known');
  told.update(many(2), all);
  vips.set('10.50.0.0', { code: 'AddressConflict', message: '02:00:00:00:00:09 also claims it' });
  told.lookAt(['10.50.0.0', '10.50.0.1']);
  assert.deepEqual(
    lines.map(({ level, fields }) => [level, fields]),
    [['warn', { reason: 'AddressConflict', vip: '10.50.0.0', service: 'default/web' }]],
  );
  assert.deepEqual(changes[0]?.subject, { kind: 'vip', address: '10.50.0.0', services: ['default/web'] });
  vips.clear();
  told.update(many(2), only(keyOf(0)));
  assert.equal(lines.at(-1)?.message, '10.50.0.0: in force');
});

test('a pass over one virtual service asks about that one and its VIP only', () => {
  const { journal: told, asked } = journal();
  const state = many(2000);
  told.update(state, all);
  const before = asked();
  told.update(state, only(keyOf(7)));
  assert.equal(asked() - before, 2);
});

test('a thousand at once: a sample, one number, and every one of them to the sink', () => {
  const { journal: told, lines, changes, set } = journal();
  const state = many(1000);
  for (let n = 0; n < 1000; n += 1) set(keyOf(n), 'NoEndpoints');
  told.update(state, all);
  assert.equal(lines.length, 41);
  assert.deepEqual(lines.at(-1)?.fields, { changes: 960 });
  assert.equal(changes.length, 1000);
});

test('what flaps is told four times in a minute, and as it is when it has come to rest', async () => {
  const { journal: told, lines, changes, set, clock } = journal();
  const state = many(2);
  for (let second = 0; second < 50; second += 1) {
    set(keyOf(0), second % 2 === 0 ? 'NoEndpoints' : undefined);
    told.update(state, only(keyOf(0)));
    await clock.advance(1000);
  }
  assert.equal(changes.length, 4);
  set(keyOf(1), 'ServiceMissing');
  told.update(state, only(keyOf(1)));
  assert.equal(lines.at(-1)?.fields['reason'], 'ServiceMissing', 'others are heard meanwhile');
  set(keyOf(0), 'PortMissing');
  told.update(state, only(keyOf(0)));
  assert.equal(changes.length, 5, 'still held back');
  await clock.advance(60_000);
  told.update(state, only(keyOf(1)));
  assert.deepEqual([changes.at(-1)?.reason?.code, changes.at(-1)?.before], ['PortMissing', undefined], 'made up for by any later pass');
});

test('an hour of flapping everywhere: a bounded number of lines', async () => {
  const { journal: told, lines, set, clock } = journal();
  const state = many(50);
  for (let second = 0; second < 600; second += 1) {
    for (let n = 0; n < 50; n += 1) set(keyOf(n), second % 2 === 0 ? 'NoEndpoints' : undefined);
    told.update(state, all);
    await clock.advance(1000);
  }
  // 40 at once, then one in three seconds, and a number every ten.
  assert.ok(lines.length <= 40 + 200 + 60 + 2, String(lines.length));
});

test('what is gone from the configuration is forgotten without a word, and is new when it comes back', () => {
  const { journal: told, lines, set } = journal();
  set(keyOf(1), 'NoEndpoints');
  told.update(many(2), all);
  told.update(many(1), all);
  told.update(many(2), all);
  told.update(many(1), only(keyOf(1)));
  told.update(many(2), only(keyOf(1)));
  assert.deepEqual(
    lines.map(({ fields }) => fields['reason']),
    ['NoEndpoints', 'NoEndpoints', 'NoEndpoints'],
  );
});

test('whoever was told of a reason is told when its subject is gone, or leads elsewhere', () => {
  const { journal: told, changes, lines, set } = journal();
  const to = (service: string): ClusterState => cluster({ pods: { web: [], api: [] }, vips: [['10.50.0.0', 80, service]] });
  set(keyOf(0), 'NoEndpoints');
  told.update(to('web'), all);
  told.update(to('api'), all);
  told.update(cluster({ pods: {}, vips: [] }), all);
  assert.deepEqual(
    changes.map(({ subject, reason }) => [subject.kind === 'virtualService' ? subject.service : '', reason?.code]),
    [
      ['default/web', 'NoEndpoints'],
      ['default/web', undefined],
      ['default/api', 'NoEndpoints'],
      ['default/api', undefined],
    ],
  );
  assert.equal(lines.length, 2, 'the log is told of reasons only');
  const silent = journal();
  silent.journal.update(to('web'), all);
  silent.journal.update(to('api'), all);
  assert.deepEqual(silent.changes, [], 'what had none has nothing to end');
});
