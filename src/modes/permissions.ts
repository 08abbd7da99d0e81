/** What each mode asks of the Kubernetes API, and nothing else: `check` tries it, docs/kubernetes.md and the chart list it. */
import { resources, type ApiResource } from '../kubernetes/api.ts';
import type { Mode } from './options.ts';

/** Where a right is needed: everywhere, on the one ConfigMap, or in the namespace of the agent. */
export type Scope = 'cluster' | 'configMap' | 'agentNamespace';

export interface Permission {
  readonly resource: ApiResource;
  readonly verbs: readonly ('get' | 'list' | 'watch' | 'create' | 'update' | 'patch')[];
  readonly scope: Scope;
  /** What happens with it, for people. */
  readonly why: string;
}

const followed = ['get', 'list', 'watch'] as const;

const common: readonly Permission[] = [
  { resource: resources.services, verbs: followed, scope: 'cluster', why: 'ports, kind and annotations of the Services that VIPs lead to' },
  {
    resource: resources.endpointSlices,
    verbs: followed,
    scope: 'cluster',
    why: 'the pods behind them, their nodes and whether they are ready',
  },
  { resource: resources.configMaps, verbs: followed, scope: 'configMap', why: 'the VIPs' },
];

const ofDirectors: readonly Permission[] = [
  ...common,
  { resource: resources.nodes, verbs: followed, scope: 'cluster', why: 'addresses of the backends, and whether they may be backends' },
  { resource: resources.leases, verbs: followed, scope: 'agentNamespace', why: 'what the realservers say they have programmed' },
  { resource: resources.events, verbs: ['create', 'patch'], scope: 'cluster', why: 'why a VIP or port is not in force' },
];

export const permissions: Readonly<Record<Mode, readonly Permission[]>> = {
  director: ofDirectors,
  bgp: ofDirectors,
  realserver: [
    ...common,
    { resource: resources.leases, verbs: ['get', 'create', 'update'], scope: 'agentNamespace', why: 'to say what it has programmed' },
  ],
};
