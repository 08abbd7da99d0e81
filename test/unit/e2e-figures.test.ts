/** What the e2e tests measure with: when this is wrong, their table is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requestsByAgent } from '../e2e/harness/audit.ts';
import { manifests, pathOf } from '../e2e/harness/manifest.ts';
import { percentiles, renderTable, slope } from '../e2e/lab/table.ts';

test('percentiles are of the nearest rank', () => {
  const samples = Array.from({ length: 200 }, (_, index) => 200 - index);
  assert.deepEqual(percentiles(samples), { p50: 100, p99: 198, max: 200 });
  assert.deepEqual(percentiles([7]), { p50: 7, p99: 7, max: 7 });
});

test('the slope is that of a line, noise or not', () => {
  const line = Array.from({ length: 100 }, (_, seconds) => ({ seconds, value: 50 + seconds / 100 + (seconds % 2 === 0 ? 1 : -1) }));
  assert.ok(Math.abs(slope(line) - 0.01) < 0.002);
  assert.ok(Number.isNaN(slope([{ seconds: 1, value: 1 }])));
});

test('a figure without a goal is neither met nor missed', () => {
  const row = { name: 'a', goal: '<= 1', measured: '1', met: true };
  const text = renderTable([row, { ...row, name: 'b', goal: '-', met: false }, { ...row, name: 'c', met: false, note: 'why' }]);
  assert.match(text, /1 of 2 goals met/);
  assert.match(text, /^c .*MISSED$/m);
  assert.match(text, /^c: why$/m);
  assert.doesNotMatch(text, /^b .*(met|MISSED)/m);
});

test('open watches are those that began and did not end, by token', () => {
  const event = (fields: object): string =>
    JSON.stringify({
      ...{ stage: 'ResponseStarted', auditID: '1', verb: 'watch', objectRef: { resource: 'nodes' } },
      user: { username: 'u', extra: { 'authentication.kubernetes.io/credential-id': ['A'] } },
      ...fields,
    });
  const lines = [
    event({}),
    event({ auditID: '2', objectRef: { resource: 'leases', apiGroup: 'coordination.k8s.io' } }),
    event({ stage: 'ResponseComplete', responseStatus: { code: 200 } }),
    event({ auditID: '3', user: { username: 'u', extra: { 'authentication.kubernetes.io/credential-id': ['B'] } } }),
    event({ auditID: '4', verb: 'list', stage: 'ResponseComplete', responseStatus: { code: 403 } }),
    '{"stage":"Resp',
  ];
  const [a, b] = requestsByAgent(lines.join('\n'));
  assert.deepEqual(a?.watches, ['leases.coordination.k8s.io']);
  assert.deepEqual(a.answers, { 'watch nodes 200': 1, 'list nodes 403': 1 });
  assert.deepEqual([b?.credential, b?.watches], ['B', ['nodes']]);
});

test('manifests are served where the API has them', () => {
  const [role, config, lease] = manifests(
    [
      '# nothing',
      'apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: { name: a }',
      'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: b }',
      'apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: { name: c, namespace: other }',
    ].join('\n---\n'),
    'own',
  );
  assert.equal(pathOf(role!), '/apis/rbac.authorization.k8s.io/v1/clusterroles/a');
  assert.equal(pathOf(config!), '/api/v1/namespaces/own/configmaps/b');
  assert.equal(pathOf(lease!), '/apis/coordination.k8s.io/v1/namespaces/other/leases/c');
});
