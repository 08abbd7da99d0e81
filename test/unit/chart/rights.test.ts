/** The RBAC of the chart: what the agent asks of the API, mode by mode, and nothing more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { valueSets } from '../../../scripts/chart.ts';
import { resources, verbAndResource } from '../../../src/kubernetes/api.ts';
import { permissions } from '../../../src/modes/permissions.ts';
import { componentsOf, manifestsOf, rightsIn, rightsOf, type Component, type Manifest } from './manifests.ts';

function needed(modes: readonly Component[], config: { namespace: string; name: string }, events = true): string[] {
  const places = { cluster: '', agentNamespace: ' in ravel', configMap: `/${config.name} in ${config.namespace}` };
  const rights = modes
    .flatMap((mode) => permissions[mode])
    .filter(({ resource }) => events || resource !== resources.events)
    .flatMap(({ resource, verbs, scope }) => verbs.map((verb) => `${verbAndResource(verb, resource)}${places[scope]}`));
  return [...new Set(rights)];
}

const configOf: Readonly<Record<string, { namespace: string; name: string }>> = {
  full: { namespace: 'platform', name: 'vips' },
  realservers: { namespace: 'platform', name: 'ravel-config' },
};

/** What no Role of the chart may say, whatever the needs. */
function tooWide(manifests: readonly Manifest[]): string[] {
  const rights = manifests
    .filter(({ kind }) => kind === 'ClusterRole' || kind === 'Role')
    .flatMap((role) => rightsIn((role as unknown as { rules: Parameters<typeof rightsIn>[0] }).rules, role.metadata.namespace));
  return rights.filter(
    (right) =>
      right.includes('*') ||
      /\b(secrets|pods|serviceaccounts|roles|clusterroles)\b/.test(right) ||
      /^(delete|bind|escalate|imperson)/.test(right),
  );
}

test('each mode has the rights that it needs, and no other; none to write Events where they are off', () => {
  for (const set of valueSets().keys()) {
    const manifests = manifestsOf(set);
    for (const component of componentsOf(manifests)) {
      const config = configOf[set] ?? { namespace: 'ravel', name: 'ravel-config' };
      // A director that serves its own pods does the work of both.
      const modes: readonly Component[] = set === 'combined' && component === 'director' ? ['director', 'realserver'] : [component];
      const expected = needed(modes, config, set !== 'directors');
      assert.deepEqual(rightsOf(manifests, component).sort(), expected.sort(), `${set} ${component}`);
    }
  }
});

test('no wildcard, no Secret, no Pod, nothing to delete', () => {
  for (const set of valueSets().keys()) assert.deepEqual(tooWide(manifestsOf(set)), [], set);
});

test('a rule that is too wide is found', () => {
  const role = (rule: object): Manifest =>
    ({ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name: 'x', labels: {} }, rules: [rule] }) as Manifest;
  for (const rule of [
    { apiGroups: [''], resources: ['secrets'], verbs: ['get'] },
    { apiGroups: [''], resources: ['pods'], verbs: ['list'] },
    { apiGroups: ['*'], resources: ['services'], verbs: ['get'] },
    { apiGroups: [''], resources: ['*'], verbs: ['get'] },
    { apiGroups: [''], resources: ['services'], verbs: ['*'] },
    { apiGroups: [''], resources: ['services'], verbs: ['deletecollection'] },
  ])
    assert.equal(tooWide([role(rule)]).length, 1, JSON.stringify(rule));
});

test('a right that is taken away or added is noticed', () => {
  const manifests = manifestsOf('minimal');
  const expected = needed(['director'], { namespace: 'ravel', name: 'ravel-config' }).sort();
  const without = manifests.filter(({ kind, metadata }) => !(kind === 'RoleBinding' && metadata.name === 'ravel-agent-config'));
  assert.notDeepEqual(rightsOf(without, 'director').sort(), expected);
  const copy = structuredClone(manifests);
  const role = copy.find(({ kind, metadata }) => kind === 'ClusterRole' && metadata.name === 'ravel-agent-director');
  (role as unknown as { rules: { verbs: string[] }[] }).rules[0]?.verbs.push('update');
  assert.notDeepEqual(rightsOf(copy, 'director').sort(), expected);
});

test('nobody else is given the rights, and no role is without a binding', () => {
  for (const set of valueSets().keys()) {
    const manifests = manifestsOf(set);
    const accounts = new Set(manifests.filter(({ kind }) => kind === 'ServiceAccount').map(({ metadata }) => metadata.name));
    assert.equal(accounts.size, componentsOf(manifests).length);
    const bindings = manifests.filter(({ kind }) => kind.endsWith('RoleBinding')) as unknown as {
      roleRef: { name: string };
      subjects: { kind: string; name: string; namespace: string }[];
    }[];
    for (const { subjects } of bindings)
      for (const subject of subjects)
        assert.ok(subject.kind === 'ServiceAccount' && subject.namespace === 'ravel' && accounts.has(subject.name));
    const roles = manifests.filter(({ kind }) => kind === 'Role' || kind === 'ClusterRole');
    assert.equal(bindings.length, roles.length);
  }
});
