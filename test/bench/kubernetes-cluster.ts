/**
 * A cluster as an API server would tell it: 1,000 Services of ten pods on 100 nodes, behind 1,000 VIPs. The objects carry what
 * real ones do and the agent does not need (managed fields, the images of a node, where an endpoint came from), because
 * that is what a client has to read and may keep.
 */
import { resources } from '../../src/kubernetes/api.ts';
import type { ApiObject } from '../fake-api/objects.ts';
import { Store } from '../fake-api/store.ts';

export const serviceCount = 1000;
export const endpointCount = 10;
export const nodeCount = 100;
export const configNamespace = 'ravel';
export const configName = 'vips';

export const nodeName = (index: number): string => `node-${index}`;

export const podAddress = (service: number, endpoint: number, generation = 0): string =>
  `10.${100 + endpoint + 10 * (generation % 10)}.${service >> 8}.${service & 255}`;

/** Pods of neighbouring Services are on neighbouring nodes, so that each node has as many. */
const nodeOf = (service: number, endpoint: number): number => (service + endpoint * (nodeCount / endpointCount)) % nodeCount;

/** Services that have a pod on the node, and which of its ten it is. */
export function podsOn(node: number): { service: number; endpoint: number }[] {
  return Array.from({ length: serviceCount }, (_, service) => service).flatMap((service) =>
    Array.from({ length: endpointCount }, (_, endpoint) => endpoint)
      .filter((endpoint) => nodeOf(service, endpoint) === node)
      .map((endpoint) => ({ service, endpoint })),
  );
}

const managedFields = (manager: string, fields: Readonly<Record<string, unknown>>): unknown[] => [
  { manager, operation: 'Update', apiVersion: 'v1', time: '2026-01-01T00:00:00Z', fieldsType: 'FieldsV1', fieldsV1: fields },
];

const uid = (index: number): string => `7d3b7c1e-0000-4000-8000-${String(index).padStart(12, '0')}`;

function service(index: number): ApiObject {
  const name = `web-${index}`;
  return {
    ...{ apiVersion: 'v1', kind: 'Service' },
    metadata: {
      ...{ name, namespace: 'bench', labels: { app: name, 'app.kubernetes.io/managed-by': 'Helm' } },
      ...{ annotations: { 'meta.helm.sh/release-name': name }, creationTimestamp: '2026-01-01T00:00:00Z' },
      managedFields: managedFields('helm', { 'f:spec': { 'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { '.': {}, 'f:name': {} } } } }),
    },
    spec: {
      ...{ type: 'ClusterIP', clusterIP: `10.96.${index >> 8}.${index & 255}`, selector: { app: name }, sessionAffinity: 'None' },
      ...{ ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack', internalTrafficPolicy: 'Cluster' },
      ports: [{ name: 'http', port: 80, protocol: 'TCP', targetPort: 8080 }],
    },
    status: { loadBalancer: {} },
  } as ApiObject;
}

/** `moved`: the endpoint that has the address of that generation. */
export function slice(index: number, moved?: { endpoint: number; generation: number }): ApiObject {
  const name = `web-${index}`;
  return {
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
    metadata: {
      ...{ name: `${name}-x7k2p`, namespace: 'bench', generateName: `${name}-`, creationTimestamp: '2026-01-01T00:00:00Z' },
      ...{ labels: { 'kubernetes.io/service-name': name, 'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io' } },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid: uid(index), controller: true, blockOwnerDeletion: true }],
      managedFields: managedFields('kube-controller-manager', { 'f:endpoints': {}, 'f:metadata': { 'f:labels': {} }, 'f:ports': {} }),
    },
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: Array.from({ length: endpointCount }, (_, endpoint) => ({
      addresses: [podAddress(index, endpoint, moved?.endpoint === endpoint ? moved.generation : 0)],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: nodeName(nodeOf(index, endpoint)),
      targetRef: { kind: 'Pod', namespace: 'bench', name: `${name}-${endpoint}`, uid: uid(index * endpointCount + endpoint) },
      zone: 'z1',
    })),
  } as ApiObject;
}

function node(index: number): ApiObject {
  const condition = (type: string, status: string): object => ({ type, status, reason: `Kubelet${type}`, message: 'kubelet says so' });
  return {
    ...{ apiVersion: 'v1', kind: 'Node' },
    metadata: { name: nodeName(index), labels: { 'kubernetes.io/hostname': nodeName(index), 'kubernetes.io/os': 'linux' } },
    spec: { podCIDR: `10.244.${index}.0/24`, providerID: `metal://${index}` },
    status: {
      addresses: [
        { type: 'InternalIP', address: `10.20.${index >> 8}.${(index & 255) + 10}` },
        { type: 'Hostname', address: nodeName(index) },
      ],
      conditions: [condition('MemoryPressure', 'False'), condition('DiskPressure', 'False'), condition('Ready', 'True')],
      // A kubelet reports fifty at most.
      images: Array.from({ length: 50 }, (_, image) => ({
        names: [`registry.example/team/image-${image}@sha256:${String(image).padStart(64, '0')}`, `registry.example/team/image-${image}:1`],
        sizeBytes: 50_000_000 + image,
      })),
    },
  };
}

export const vip = (index: number): string => `10.50.${index >> 8}.${index & 255}`;

function configMap(): ApiObject {
  const config = Object.fromEntries(
    Array.from({ length: serviceCount }, (_, index) => [
      vip(index),
      { '80': { namespace: 'bench', service: `web-${index}`, portName: 'http' } },
    ]),
  );
  return {
    ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: configNamespace, name: configName } },
    data: { config: JSON.stringify({ config }) },
  };
}

export function benchStore(): Store {
  const store = new Store();
  for (let index = 0; index < nodeCount; index += 1) store.put(resources.nodes, node(index));
  for (let index = 0; index < serviceCount; index += 1) {
    store.put(resources.services, service(index));
    store.put(resources.endpointSlices, slice(index));
  }
  store.put(resources.configMaps, configMap());
  return store;
}
