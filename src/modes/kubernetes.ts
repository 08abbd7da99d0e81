/** A Kubernetes cluster as the origin: the connection, the source, and what the agent tells the cluster. */
import type { KubernetesApi } from '../kubernetes/api.ts';
import { KubernetesSource } from '../sources/kubernetes/source.ts';
import type { Origin, OriginOptions, OriginParts } from './origin.ts';
import type { SourceOptions } from './options.ts';

export type KubernetesOptions = OriginOptions & { readonly source: Extract<SourceOptions, { kind: 'kubernetes' }> };

/** A connection, and the namespace that its credentials belong to. */
export interface Connected {
  readonly api: KubernetesApi;
  readonly namespace: string | undefined;
}

export type Connect = (kubeconfig: string | undefined) => Promise<Connected>;

/** Where the parts of the agent are in the cluster. */
export interface Places {
  readonly config: { readonly namespace: string; readonly name: string; readonly key: string };
  /** Of the Leases. */
  readonly agentNamespace: string;
}

/** Throws when neither the flags nor the credentials say a namespace. */
export function placesOf(
  { source, agentNamespace }: Pick<KubernetesOptions, 'source' | 'agentNamespace'>,
  own: string | undefined,
): Places {
  const namespace = source.namespace ?? own;
  const agent = agentNamespace ?? own ?? namespace;
  if (namespace === undefined || agent === undefined) {
    throw new Error('--config-namespace: the credentials name no namespace, so say which one the ConfigMap is in');
  }
  return { config: { namespace, name: source.name, key: source.key }, agentNamespace: agent };
}

/** What the agent writes into its cluster. */
export async function openKubernetes(options: KubernetesOptions, parts: OriginParts, connect: Connect = connectByClient): Promise<Origin> {
  const { api, namespace } = await connect(options.source.kubeconfig);
  const places = placesOf(options, namespace);
  const { defaultListener } = options;
  return {
    place: `ConfigMap ${places.config.namespace}/${places.config.name}`,
    source: () =>
      new KubernetesSource({
        ...{ api, clock: parts.clock, random: parts.random, mode: options.mode, config: places.config },
        ...(options.mode === 'director' ? { leases: { namespace: places.agentNamespace } } : {}),
        ...(defaultListener === undefined ? {} : { defaultListener }),
      }),
    kubernetes: {
      ...{ api, places },
      document: (source) => ({
        ...{ server: api.server, configMap: places.config, watches: source?.status?.() ?? [] },
        lease: null,
      }),
    },
    close: () => api.close(),
  };
}

const connectByClient: Connect = () => Promise.reject(new Error('no client'));
