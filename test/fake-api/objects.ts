/** Objects of the API as tests write them: only what matters to the agent. */

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ApiObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: Metadata;
  readonly [field: string]: unknown;
}

export interface ServiceInput {
  readonly namespace?: string;
  readonly name: string;
  readonly ports?: readonly { readonly name?: string; readonly port: number; readonly protocol?: string }[];
  readonly clusterIP?: string;
  readonly type?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export function service({
  namespace = 'default',
  name,
  ports,
  clusterIP = '10.96.0.9',
  type = 'ClusterIP',
  annotations,
}: ServiceInput): ApiObject {
  return {
    ...{ apiVersion: 'v1', kind: 'Service' },
    metadata: { name, namespace, ...(annotations === undefined ? {} : { annotations }) },
    spec: { type, clusterIP, ports: (ports ?? [{ name: 'http', port: 80 }]).map((port) => ({ protocol: 'TCP', ...port })) },
  };
}

export interface EndpointInput {
  readonly address: string;
  readonly node?: string;
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
}

export interface SliceInput {
  readonly namespace?: string;
  /** Default: the Service's with `-1`. */
  readonly name?: string;
  readonly service: string;
  readonly addressType?: string;
  readonly ports?: readonly { readonly name?: string; readonly port: number; readonly protocol?: string }[];
  readonly endpoints: readonly EndpointInput[];
}

/** As the EndpointSlice controller writes it: all three conditions are there. */
export function slice(input: SliceInput): ApiObject {
  const { namespace = 'default', service: owner, name = `${owner}-1`, addressType = 'IPv4', ports, endpoints } = input;
  return {
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType },
    metadata: { name, namespace, labels: { 'kubernetes.io/service-name': owner } },
    ports: (ports ?? [{ name: 'http', port: 8080 }]).map((port) => ({ protocol: 'TCP', ...port })),
    endpoints: endpoints.map(({ address, node, ready = true, terminating = false, serving = ready || terminating }) => ({
      addresses: [address],
      conditions: { ready: ready && !terminating, serving, terminating },
      ...(node === undefined ? {} : { nodeName: node }),
    })),
  };
}

export interface NodeInput {
  readonly name: string;
  readonly address: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly ready?: boolean;
  readonly unschedulable?: boolean;
}

export function node({ name, address, labels = {}, ready = true, unschedulable = false }: NodeInput): ApiObject {
  return {
    ...{ apiVersion: 'v1', kind: 'Node' },
    metadata: { name, labels },
    spec: unschedulable ? { unschedulable } : {},
    status: {
      addresses: [
        { type: 'InternalIP', address },
        { type: 'Hostname', address: name },
      ],
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'Unknown' }],
    },
  };
}

/** A ConfigMap with a configuration under one key. */
export function configMap(namespace: string, name: string, data: Readonly<Record<string, string>>): ApiObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data };
}

/** The lease of a realserver that has programmed everything up to `revision`. */
export function lease(namespace: string, nodeName: string, revision: string | undefined): ApiObject {
  return {
    ...{ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' },
    metadata: {
      name: `ravel-realserver-${nodeName}`,
      namespace,
      labels: { 'app.kubernetes.io/component': 'realserver' },
      annotations: revision === undefined ? {} : { 'ravel.io/programmed-revision': revision },
    },
    spec: { holderIdentity: nodeName, leaseDurationSeconds: 30 },
  };
}
