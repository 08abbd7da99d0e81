/** The checks of `check` that ask the source of the cluster. None leaves anything behind in the Kubernetes API. */
import { verbAndResource, type ApiRequest, type KubernetesApi } from '../kubernetes/api.ts';
import type { ClusterState } from '../model/cluster.ts';
import { systemClock } from '../reconcile/clock.ts';
import { firstPublication, InputRefusedError, SourceTimeoutError, type Origin } from '../modes/origin.ts';
import type { Places } from '../modes/kubernetes.ts';
import type { Mode } from '../modes/options.ts';
import { permissions, type Permission } from '../modes/permissions.ts';
import type { Finding } from './check.ts';
import { refusalLines } from './refusal.ts';

export interface SourceFindings {
  /** Undefined where there is none, or it was refused. */
  readonly state: ClusterState | undefined;
  readonly findings: readonly Finding[];
}

/** Everything is allowed at this point, so a healthy server answers at once. */
const stateMilliseconds = 10_000;
/** A name that no Lease or Event has: what is asked about it is allowed or not, and changes nothing either way. */
const nobody = 'ravel-agent-check';

type Verb = Permission['verbs'][number];

/** One call that needs the right and has no effect. */
function attempt({ resource, scope }: Permission, verb: Verb, { config, agentNamespace }: Places): ApiRequest {
  const named = verb === 'get' || verb === 'update' || verb === 'patch';
  const writes = verb === 'create' || verb === 'update' || verb === 'patch';
  const namespace = scope === 'configMap' ? config.namespace : scope === 'agentNamespace' || writes || named ? agentNamespace : undefined;
  const query: Record<string, string> = {
    ...(scope === 'configMap' && !named ? { fieldSelector: `metadata.name=${config.name}` } : {}),
    ...(verb === 'list' ? { limit: '1' } : {}),
    ...(verb === 'watch' ? { watch: 'true', timeoutSeconds: '1' } : {}),
    ...(writes ? { dryRun: 'All' } : {}),
  };
  return {
    ...{ method: writes ? ({ create: 'POST', update: 'PUT', patch: 'PATCH' } as const)[verb] : 'GET', resource, query },
    ...(namespace === undefined ? {} : { namespace }),
    ...(named ? { name: scope === 'configMap' ? config.name : nobody } : {}),
    // Rights are looked at before the body: an empty one is refused even by a server that knows no dry run.
    ...(writes ? { body: {} } : {}),
    ...(verb === 'patch' ? { contentType: 'application/merge-patch+json' } : {}),
  };
}

async function statusOf(api: KubernetesApi, request: ApiRequest): Promise<{ status: number; body: unknown }> {
  if (request.query?.['watch'] === undefined) return api.request(request);
  const stop = new AbortController();
  try {
    const { refused } = await api.stream({ ...request, signal: stop.signal, idleMilliseconds: 5000 });
    return refused ?? { status: 200, body: undefined };
  } finally {
    stop.abort();
  }
}

/** The server's own words in a Status object. */
function messageOf(body: unknown): string {
  const message = typeof body === 'object' && body !== null && 'message' in body ? body.message : undefined;
  return typeof message === 'string' && message !== '' ? `: ${message.slice(0, 500)}` : '';
}

/** Nobody is told what somebody unknown may do. */
class CredentialsRefusedError extends Error {}

async function permissionFindings(api: KubernetesApi, mode: Mode, places: Places): Promise<Finding[]> {
  const findings: Finding[] = [];
  const allowed: string[] = [];
  for (const permission of permissions[mode]) {
    for (const verb of permission.verbs) {
      const { status, body } = await statusOf(api, attempt(permission, verb, places));
      const name = verbAndResource(verb, permission.resource);
      const where = permission.scope === 'cluster' ? '' : ` in ${attempt(permission, verb, places).namespace ?? ''}`;
      if (status === 401) throw new CredentialsRefusedError(`the credentials are refused (401)${messageOf(body)}`);
      if (status === 403) {
        const message = `${mode} may not ${name}${where} (${permission.why})${messageOf(body)}`;
        findings.push({ level: 'fail', check: 'RBAC', message, mend: `kubectl auth can-i ${verb} ${permission.resource.resource} --list` });
      } else if (status >= 500 || status === 429) {
        findings.push({ level: 'warn', check: 'RBAC', message: `${name}: not found out, status ${status}${messageOf(body)}`, mend: null });
      } else allowed.push(name);
    }
  }
  if (allowed.length > 0) findings.push({ level: 'ok', check: 'RBAC', message: `${mode} may ${allowed.join(', ')}`, mend: null });
  return findings;
}

async function configurationFinding(origin: Origin): Promise<SourceFindings> {
  const file = origin.kubernetes === undefined ? origin.place : undefined;
  const finding = (level: Finding['level'], message: string): Finding => ({
    ...{ level, check: file === undefined ? 'configuration' : 'cluster file', message },
    mend: level === 'fail' && file !== undefined ? `ravel-agent validate ${file}` : null,
  });
  try {
    const { state } = await firstPublication(origin, systemClock, stateMilliseconds);
    return { state, findings: [finding('ok', `${origin.place} is valid, ${state.addresses.length} VIPs`)] };
  } catch (error) {
    if (error instanceof SourceTimeoutError) return { state: undefined, findings: [finding('fail', error.message)] };
    if (!(error instanceof InputRefusedError)) throw error;
    const [first = '', ...others] = refusalLines(origin.place, error.problems);
    return { state: undefined, findings: [finding('fail', others.length === 0 ? first : `${first} (and ${others.length} more)`)] };
  }
}

/** Whether the API can be reached, each right is there, and the ConfigMap is there and valid. */
export async function originFindings(origin: Origin, modes: readonly Mode[]): Promise<SourceFindings> {
  const { kubernetes } = origin;
  if (kubernetes === undefined) return configurationFinding(origin);
  const { api, places } = kubernetes;
  const findings: Finding[] = [];
  try {
    for (const mode of modes) findings.push(...(await permissionFindings(api, mode, places)));
  } catch (error) {
    const message = `${api.server}: ${error instanceof Error ? error.message : String(error)}`;
    const mend = error instanceof CredentialsRefusedError ? null : `curl -k ${api.server}/version`;
    return { state: undefined, findings: [{ level: 'fail', check: 'Kubernetes API', message, mend }] };
  }
  findings.unshift({ level: 'ok', check: 'Kubernetes API', message: `${api.server} answers`, mend: null });
  // Without its rights the source would only wait for them.
  if (findings.some(({ level }) => level === 'fail')) return { state: undefined, findings };
  const { state, findings: configuration } = await configurationFinding(origin);
  return { state, findings: [...findings, ...configuration] };
}
