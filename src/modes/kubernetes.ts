/** A Kubernetes cluster as the origin: the connection, the source, and what the agent tells the cluster. */
import type { KubernetesApi } from '../kubernetes/api.ts';
import { openConnection } from '../kubernetes/connection.ts';
import { loadAccess } from '../kubernetes/kubeconfig.ts';
import { KubernetesSource } from '../sources/kubernetes/source.ts';
import type { KubernetesDocument } from '../observe/agent-document.ts';
import { RevisionLease } from '../observe/kubernetes/confirmation.ts';
import { EventReporter } from '../observe/kubernetes/events.ts';
import { schedulerOf, type Correspondent, type Origin, type OriginOptions, type OriginParts } from './origin.ts';
import { ReasonEvents } from './reason-events.ts';
import type { SourceOptions } from './options.ts';

export type KubernetesOptions = OriginOptions & { readonly source: Extract<SourceOptions, { kind: 'kubernetes' }> };

/** A connection, and the namespace that its credentials belong to. */
export interface Connected {
  readonly api: KubernetesApi;
  readonly namespace: string | undefined;
}

export type Connect = (kubeconfig: string | undefined, parts: OriginParts) => Promise<Connected>;

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

/** Throws what a person can mend: no credentials, no namespace. */
export async function openKubernetes(options: KubernetesOptions, parts: OriginParts, connect: Connect = connectByClient): Promise<Origin> {
  const { source, mode, defaultListener } = options;
  const { api, namespace } = await connect(source.kubeconfig, parts);
  const { clock, random } = parts;
  const places = placesOf(options, namespace);
  const correspondence = correspondenceOf(options, places, { ...parts, api });
  const follows = mode === 'realserver' ? 'realserver' : 'director';
  // One for all runs: it remembers the last good configuration, should the newest be refused when it lists anew.
  const follower = new KubernetesSource({
    ...{ api, clock, random, mode: follows, config: places.config, defaultScheduler: schedulerOf(mode) },
    ...(follows === 'director' ? { leases: { namespace: places.agentNamespace } } : {}),
    ...(defaultListener === undefined ? {} : { defaultListener }),
  });
  return {
    place: `ConfigMap ${places.config.namespace}/${places.config.name}`,
    source: () => follower,
    correspondent: correspondence.correspondent,
    kubernetes: {
      ...{ api, places },
      document: () => ({
        ...{ server: api.server, configMap: places.config, watches: follower.status() },
        ...correspondence.document(),
      }),
    },
    close: () => api.close(),
  };
}

interface Correspondence {
  readonly correspondent: Correspondent;
  readonly document: () => Pick<KubernetesDocument, 'lease' | 'events'>;
}

type Writing = OriginParts & { readonly api: KubernetesApi };

/** A machine that is both writes what each does. */
function correspondenceOf(options: KubernetesOptions, places: Places, parts: Writing): Correspondence {
  if (options.mode === 'realserver') return realserverWrites(options, places, parts);
  const directors = directorWrites(options, places, parts);
  if (options.combined !== true) return directors;
  const realservers = realserverWrites(options, places, parts);
  return {
    correspondent: {
      ...directors.correspondent,
      run: async (signal) => {
        await Promise.all([directors.correspondent.run(signal), realservers.correspondent.run(signal)]);
      },
      programmed: (revision, pressing) => realservers.correspondent.programmed(revision, pressing),
    },
    document: () => ({ ...directors.document(), lease: realservers.document().lease }),
  };
}

const silent: Correspondent = { run: () => Promise.resolve(), programmed: () => {}, reason: () => {}, refused: () => {} };

/** A director says why something is not in force. */
function directorWrites({ events, nodeName }: KubernetesOptions, { config }: Places, parts: Writing): Correspondence {
  if (!events) return { correspondent: silent, document: () => ({ lease: null, events: null }) };
  const reporter = new EventReporter({ ...parts, instance: nodeName });
  const reasons = new ReasonEvents(reporter, config);
  return {
    correspondent: {
      ...silent,
      run: (signal) => reporter.run(signal),
      reason: (change) => reasons.change(change),
      refused: (problems) => reasons.refused(problems),
    },
    document: () => ({ lease: null, events: reporter.status() }),
  };
}

/** A realserver says how far it has got. */
function realserverWrites({ nodeName }: KubernetesOptions, { agentNamespace }: Places, parts: Writing): Correspondence {
  const lease = new RevisionLease({ ...parts, namespace: agentNamespace, node: nodeName });
  return {
    correspondent: {
      ...silent,
      run: (signal) => lease.run(signal),
      programmed: (revision, pressing) => lease.programmed(revision, pressing),
    },
    document: () => ({ lease: lease.status(), events: null }),
  };
}

const connectByClient: Connect = async (kubeconfig, { clock, log }) => {
  const access = await loadAccess({ kubeconfig });
  for (const warning of access.warnings) log.warn(warning);
  const api = await openConnection({ access, clock, onNotice: (message) => log.warn(message) });
  log.debug('the Kubernetes API', { server: api.server, as: access.origin, namespace: access.namespace });
  return { api, namespace: access.namespace };
};
