/** Makes and changes objects of the test's cluster, in the place of kubelet, scheduler and users. */
import { waitFor } from '../../lab/wait.ts';
import { ApiRefusal, type ApiClient, type ApiObject } from './client.ts';
import { pathOf, type Manifest } from './manifest.ts';

export interface NodeSpec {
  readonly name: string;
  /** InternalIP. */
  readonly address: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface PodSpec {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly address: string;
  readonly port: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface ServiceSpec {
  readonly namespace: string;
  readonly name: string;
  /** Labels of its pods; absent: its slices are written by the test. */
  readonly selector?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly portName: string;
  readonly port: number;
  readonly targetPort: number;
}

export interface SliceEndpoint {
  readonly address: string;
  /** null: written without nodeName. */
  readonly node: string | null;
  readonly ready?: boolean;
  readonly terminating?: boolean;
}

export class TestCluster {
  readonly client: ApiClient;

  constructor(client: ApiClient) {
    this.client = client;
  }

  /** Resolves when pods can be made in it, which takes its default service account. */
  async createNamespace(name: string): Promise<void> {
    await this.client.post('/api/v1/namespaces', { metadata: { name } });
    await waitFor(`the default account of ${name}`, () => this.client.get(`/api/v1/namespaces/${name}/serviceaccounts/default`));
  }

  async createNode({ name, address, labels = {} }: NodeSpec): Promise<void> {
    const status = { addresses: [{ type: 'Hostname', address: name }, ...internal(address)], conditions: [readiness(true)] };
    await this.client.post('/api/v1/nodes', { metadata: { name, labels }, status });
  }

  async setNodeReady(name: string, ready: boolean): Promise<void> {
    await this.client.patch(`/api/v1/nodes/${name}/status`, { status: { conditions: [readiness(ready)] } }, 'strategic');
  }

  async cordon(name: string, unschedulable: boolean): Promise<void> {
    await this.client.patch(`/api/v1/nodes/${name}`, { spec: { unschedulable } });
  }

  /** A running pod; ready unless said otherwise. */
  async createPod(pod: PodSpec, ready = true): Promise<void> {
    const { namespace, name, node, address, labels, port } = pod;
    const container = { name: 'main', image: 'example.invalid/pod', ports: [{ containerPort: port }] };
    const spec = { nodeName: node, automountServiceAccountToken: false, containers: [container] };
    await this.client.post(`/api/v1/namespaces/${namespace}/pods`, { metadata: { name, labels }, spec });
    const conditions = ['Ready', 'ContainersReady', 'PodScheduled', 'Initialized'].map((type) => condition(type, ready));
    const status = { phase: 'Running', podIP: address, podIPs: [{ ip: address }], conditions };
    await this.client.patch(`/api/v1/namespaces/${namespace}/pods/${name}/status`, { status }, 'strategic');
  }

  async setPodReady(namespace: string, name: string, ready: boolean): Promise<void> {
    const conditions = ['Ready', 'ContainersReady'].map((type) => condition(type, ready));
    await this.client.patch(`/api/v1/namespaces/${namespace}/pods/${name}/status`, { status: { conditions } }, 'strategic');
  }

  /** Begins the end of a pod: it is terminating until {@link removePod}, as a kubelet would leave it. */
  async terminatePod(namespace: string, name: string, graceSeconds = 30): Promise<void> {
    await this.client.delete(`/api/v1/namespaces/${namespace}/pods/${name}`, { gracePeriodSeconds: graceSeconds });
  }

  /** Its containers have ended. */
  async removePod(namespace: string, name: string): Promise<void> {
    await this.client.delete(`/api/v1/namespaces/${namespace}/pods/${name}`, { gracePeriodSeconds: 0 });
  }

  async createService(service: ServiceSpec): Promise<void> {
    const { namespace, name, selector, annotations = {}, portName, port, targetPort } = service;
    const spec = { ...(selector === undefined ? {} : { selector }), ports: [{ name: portName, port, targetPort, protocol: 'TCP' }] };
    await this.client.post(`/api/v1/namespaces/${namespace}/services`, { metadata: { name, annotations }, spec });
  }

  /** A slice that no controller manages; `service` has no selector then. */
  async putSlice(
    namespace: string,
    service: string,
    name: string,
    portName: string,
    port: number,
    endpoints: readonly SliceEndpoint[],
  ): Promise<void> {
    const path = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;
    const slice = sliceObject(service, name, portName, port, endpoints);
    try {
      await this.client.post(path, slice);
    } catch (error) {
      if (!(error instanceof ApiRefusal && error.reason === 'AlreadyExists')) throw error;
      await this.client.patch(`${path}/${name}`, slice);
    }
  }

  /** The addresses of a service's endpoints that are ready, from all its slices. */
  async readyAddresses(namespace: string, service: string): Promise<string[]> {
    const path = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D${service}`;
    const { items } = (await this.client.get(path)) as unknown as { items: { endpoints?: SliceItem[] | null }[] };
    const endpoints = items.flatMap((item) => item.endpoints ?? []).filter((endpoint) => endpoint.conditions.ready !== false);
    return endpoints.flatMap((endpoint) => endpoint.addresses).sort();
  }

  /** Creates the ConfigMap or replaces what it holds. */
  async putConfigMap(namespace: string, name: string, data: Readonly<Record<string, string>>): Promise<void> {
    await this.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name }, data });
  }

  /** Server-side apply, strict: unknown and repeated fields are errors. */
  async apply(manifest: Manifest, dryRun = false): Promise<ApiObject> {
    const query = `fieldManager=e2e&force=true&fieldValidation=Strict${dryRun ? '&dryRun=All' : ''}`;
    return this.client.patch(`${pathOf(manifest)}?${query}`, manifest, 'apply');
  }

  /** A token as a pod of this account gets it; at least ten minutes. With `boundTo`, it dies with that secret. */
  async token(namespace: string, account: string, seconds = 3600, boundTo?: string): Promise<string> {
    const bound = boundTo === undefined ? {} : { boundObjectRef: { apiVersion: 'v1', kind: 'Secret', name: boundTo } };
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: seconds, ...bound } };
    const answer = await this.client.post(`/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, request);
    return (answer['status'] as { token: string }).token;
  }
}

interface SliceItem {
  readonly addresses: string[];
  readonly conditions: { readonly ready?: boolean };
}

export function sliceObject(service: string, name: string, portName: string, port: number, endpoints: readonly SliceEndpoint[]): ApiObject {
  return {
    metadata: { name, labels: { 'kubernetes.io/service-name': service, 'endpointslice.kubernetes.io/managed-by': 'e2e' } },
    addressType: 'IPv4',
    ports: [{ name: portName, port, protocol: 'TCP' }],
    endpoints: endpoints.map(({ address, node, ready = true, terminating = false }) => ({
      addresses: [address],
      conditions: { ready, serving: true, terminating },
      ...(node === null ? {} : { nodeName: node }),
    })),
  };
}

const internal = (address: string): object[] => [{ type: 'InternalIP', address }];

function condition(type: string, holds: boolean): object {
  return { type, status: holds ? 'True' : 'False', lastTransitionTime: new Date().toISOString().replace(/\.\d+/, '') };
}

const readiness = (ready: boolean): object => ({ ...condition('Ready', ready), reason: 'Test', message: 'set by a test' });

/** What is there already is as good as made. */
export async function onceOnly(creation: Promise<unknown>): Promise<void> {
  await creation.catch((error: unknown) => {
    if (!(error instanceof ApiRefusal && error.reason === 'AlreadyExists')) throw error;
  });
}
