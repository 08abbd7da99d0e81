/** Rendered manifests of the chart, as the tests read them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import type { V1ClusterRole, V1ClusterRoleBinding, V1DaemonSet, V1PolicyRule, V1Role, V1RoleBinding } from '@kubernetes/client-node';
import { renderedFile } from '../../../scripts/chart.ts';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels: Readonly<Record<string, string>> };
}

export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text)
    .map((document) => {
      assert.deepEqual(document.errors, []);
      return document.toJS() as Manifest | null;
    })
    .filter((manifest) => manifest !== null);
}

export const manifestsOf = (set: string): Manifest[] => parseManifests(readFileSync(renderedFile(set), 'utf8'));

export type Component = 'director' | 'realserver';

const components: readonly Component[] = ['director', 'realserver'];

/** The modes that a set of manifests runs. */
export const componentsOf = (manifests: readonly Manifest[]): Component[] =>
  components.filter((component) =>
    workloads(manifests).some(({ metadata }) => metadata.labels['app.kubernetes.io/component'] === component),
  );

function workloads(manifests: readonly Manifest[]): Manifest[] {
  return manifests.filter(({ kind }) => kind === 'DaemonSet' || kind === 'Deployment');
}

/** The DaemonSet or Deployment of a mode: what the tests read is the same in both. */
export function workloadOf(manifests: readonly Manifest[], component: Component): V1DaemonSet & Manifest {
  const found = workloads(manifests).filter(({ metadata }) => metadata.labels['app.kubernetes.io/component'] === component);
  assert.equal(found.length, 1, component);
  return found[0] as unknown as V1DaemonSet & Manifest;
}

export function podOf(manifests: readonly Manifest[], component: Component) {
  const { spec } = workloadOf(manifests, component).spec!.template;
  assert.ok(spec);
  const [container] = spec.containers;
  assert.ok(container);
  return { spec, container };
}

/** `get services`, `list configmaps/vips in platform`, `create leases.coordination.k8s.io in ravel`: one word per right. */
export function rightsIn(rules: readonly V1PolicyRule[], namespace: string | undefined): string[] {
  const place = namespace === undefined ? '' : ` in ${namespace}`;
  return rules.flatMap(({ apiGroups = [], resources = [], verbs, resourceNames = [''], nonResourceURLs = [] }) => {
    assert.deepEqual(nonResourceURLs, []);
    return apiGroups.flatMap((group) =>
      resources.flatMap((resource) =>
        verbs.flatMap((verb) =>
          resourceNames.map((name) => `${verb} ${resource}${group === '' ? '' : `.${group}`}${name === '' ? '' : `/${name}`}${place}`),
        ),
      ),
    );
  });
}

/** All that the bindings give to the ServiceAccount of a mode. */
export function rightsOf(manifests: readonly Manifest[], component: Component): string[] {
  const account = podOf(manifests, component).spec.serviceAccountName;
  const home = workloadOf(manifests, component).metadata.namespace;
  return manifests.flatMap((manifest) => {
    if (manifest.kind !== 'ClusterRoleBinding' && manifest.kind !== 'RoleBinding') return [];
    const { roleRef, subjects = [] } = manifest as unknown as V1ClusterRoleBinding | V1RoleBinding;
    if (!subjects.some(({ kind, name, namespace }) => kind === 'ServiceAccount' && name === account && namespace === home)) return [];
    const namespace = manifest.kind === 'RoleBinding' ? manifest.metadata.namespace : undefined;
    const role = manifests.find(
      ({ kind, metadata }) =>
        kind === roleRef.kind && metadata.name === roleRef.name && (kind === 'ClusterRole' || metadata.namespace === namespace),
    ) as unknown as V1ClusterRole | V1Role | undefined;
    assert.ok(role, `${manifest.kind} ${manifest.metadata.name} names a role that is not there`);
    return rightsIn(role.rules ?? [], namespace);
  });
}
