/** docs/kubernetes.md says what the agent asks of the API, and the annotations and flags that there are. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { flags } from '../../src/cli/flags.ts';
import { permissions } from '../../src/modes/permissions.ts';
import { leaseNamePrefix, programmedRevisionAnnotation } from '../../src/kubernetes/realserver-lease.ts';
import { drainStepsAnnotation, drainTimeoutAnnotation } from '../../src/sources/kubernetes/reduce.ts';

const page = readFileSync('docs/kubernetes.md', 'utf8');

test('the rights on the page are those that the modes ask for', () => {
  const where = { cluster: 'cluster', configMap: 'the one ConfigMap, by name', agentNamespace: 'the agents’ namespace' };
  const expected = (['director', 'realserver'] as const).flatMap((mode) =>
    permissions[mode].map(({ resource: { group, resource }, verbs, scope, why }) =>
      [mode, group === '' ? resource : `${resource}.${group}`, verbs.join(', '), where[scope].replace('’', "'"), why].join(' | '),
    ),
  );
  const rows = [...page.matchAll(/^\| `([a-z0-9.]+)` \| ([a-z, ]+) \| ([^|]+) \| (yes|no) \| (yes|no) \| ([^|]+) \|$/gm)];
  const told = rows.flatMap(([, resource = '', verbs = '', place = '', director, realserver, why = '']) => [
    ...(director === 'yes' ? [['director', resource, verbs, place, why].join(' | ')] : []),
    ...(realserver === 'yes' ? [['realserver', resource, verbs, place, why].join(' | ')] : []),
  ]);
  assert.ok(told.length >= 10);
  assert.deepEqual(told.sort(), expected.sort());
});

test('no mode may read Secrets or pods, or write what it does not own', () => {
  for (const rights of Object.values(permissions)) {
    for (const { resource, verbs, scope } of rights) {
      assert.ok(!['secrets', 'pods', 'endpoints'].includes(resource.resource));
      const writes = verbs.some((verb) => !['get', 'list', 'watch'].includes(verb));
      assert.ok(!writes || resource.resource === 'events' || (resource.resource === 'leases' && scope === 'agentNamespace'));
    }
  }
});

test('annotations and flags on the page exist', () => {
  for (const word of [drainTimeoutAnnotation, drainStepsAnnotation, programmedRevisionAnnotation, leaseNamePrefix])
    assert.ok(page.includes(word), word);
  const named = [...page.matchAll(/--([a-z][a-z-]+)/g)].map(([, name = '']) => name);
  const others = new Set([
    ...['namespace', 'create-namespace', 'set', 'set-json', 'field-selector', 'once'],
    ...['coordinator-port', 'failover-timeout'],
  ]);
  for (const name of named) assert.ok(name in flags || others.has(name), `--${name}`);
});

test('its links lead somewhere', () => {
  for (const [, target = ''] of page.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g))
    assert.ok(existsSync(join(dirname('docs/kubernetes.md'), target)), target);
});
