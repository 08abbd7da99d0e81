/**
 * Reads where the API is and who the agent is there: from a kubeconfig file, or from the service account of the Pod. Files
 * that are named there (tokens, certificates) are read again while the agent runs: see credentials.ts.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import { AccessError, type Access, type Identity, type Material } from './access.ts';
import { readKubeconfig } from './kubeconfig-file.ts';

export interface AccessOptions {
  /** Path of a kubeconfig file; absent: the service account of this Pod. */
  readonly kubeconfig?: string | undefined;
  /** In front of the path of the service account's folder. Default "". */
  readonly root?: string;
}

const loopback = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/;

type Cluster = NonNullable<ReturnType<KubeConfig['getCurrentCluster']>>;
type User = NonNullable<ReturnType<KubeConfig['getCurrentUser']>>;

/** @throws AccessError that names the file and what is wrong with it, never what is in it. */
export async function loadAccess(options: AccessOptions = {}): Promise<Access> {
  // Loaded here, not above: who takes the cluster from a file has no use for it.
  const { KubeConfig } = await import('@kubernetes/client-node/dist/config.js');
  const config = new KubeConfig();
  return options.kubeconfig === undefined ? fromPod(config, options.root ?? '') : fromFile(config, path.resolve(options.kubeconfig));
}

/** The system's own word for what happened to a file: ENOENT, EACCES, … */
function systemCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unreadable';
}

async function fromPod(config: KubeConfig, root: string): Promise<Access> {
  const host = process.env['KUBERNETES_SERVICE_HOST'];
  const port = process.env['KUBERNETES_SERVICE_PORT'];
  if (host === undefined || host === '' || port === undefined || port === '') {
    throw new AccessError(
      'not in a Pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; outside of a cluster say --kubeconfig=FILE',
    );
  }
  try {
    config.loadFromCluster(root);
  } catch (error) {
    throw new AccessError(`service account: its namespace file cannot be read (${systemCode(error)})`);
  }
  const cluster = config.getCurrentCluster();
  const authProvider: unknown = config.getCurrentUser()?.authProvider;
  const tokenFile = (authProvider as { config?: { tokenFile?: string } } | undefined)?.config?.tokenFile;
  if (cluster?.caFile === undefined || tokenFile === undefined) throw new AccessError('service account: incomplete');
  for (const file of [cluster.caFile, tokenFile]) {
    await stat(file).catch((error: unknown) => {
      throw new AccessError(`service account: ${file}: ${systemCode(error)}; does the Pod mount its token (automountServiceAccountToken)?`);
    });
  }
  const origin = 'the service account';
  return {
    ...{ origin, ...serverOf(cluster, origin), authority: { file: cluster.caFile } },
    identity: { token: { file: tokenFile }, certificate: undefined, key: undefined },
    namespace: config.getContextObject(config.getCurrentContext())?.namespace?.trim(),
    warnings: [],
  };
}

async function fromFile(config: KubeConfig, file: string): Promise<Access> {
  const { text, tokenFiles } = await readKubeconfig(file);
  try {
    // What it throws names a missing field by its place.
    config.loadFromString(text);
  } catch (error) {
    throw new AccessError(`${file}: ${error instanceof Error ? error.message : 'not a kubeconfig'}`);
  }
  // Relative paths are meant from where the file lies.
  config.makePathsAbsolute(path.dirname(file));
  const name: string | undefined = config.getCurrentContext();
  if (typeof name !== 'string' || name === '') throw new AccessError(`${file}: has no current-context`);
  const context = config.getContextObject(name);
  if (context === null) throw new AccessError(`${file}: current-context is ${JSON.stringify(name)}, and there is no such context`);
  const cluster = config.getCurrentCluster();
  if (cluster === null)
    throw new AccessError(`${file}: context ${name} names cluster ${JSON.stringify(context.cluster)}, and there is none`);
  const user = config.getCurrentUser();
  if (user === null) throw new AccessError(`${file}: context ${name} names user ${JSON.stringify(context.user)}, and there is none`);
  const origin = `${file}, context ${name}`;
  const where = serverOf(cluster, origin);
  refuseUnsupported(cluster, user, origin);
  const tokenFile = tokenFiles.get(user.name);
  return {
    ...{ origin, ...where, authority: material(cluster.caFile, cluster.caData) },
    identity: identityOf(user, tokenFile === undefined ? undefined : path.resolve(path.dirname(file), tokenFile), origin),
    namespace: context.namespace,
    warnings: where.insecure
      ? [`${origin}: insecure-skip-tls-verify: anybody on the way can read the token and answer for the server`]
      : [],
  };
}

function serverOf(cluster: Cluster, origin: string): Pick<Access, 'server' | 'serverName' | 'insecure'> {
  const server = URL.parse(cluster.server);
  if (server === null || (server.protocol !== 'https:' && server.protocol !== 'http:')) {
    throw new AccessError(`${origin}: the server is no https:// URL`);
  }
  if (server.username !== '' || server.password !== '') throw new AccessError(`${origin}: the server's URL holds a password`);
  if (server.protocol === 'http:' && !loopback.test(server.hostname)) {
    throw new AccessError(
      `${origin}: ${server.origin}: without TLS everybody on the way could read the token; only a loopback address may be http`,
    );
  }
  return { server, serverName: cluster.tlsServerName, insecure: cluster.skipTLSVerify };
}

/** Ways to log in that start a program, or that say something else than what would happen. */
function refuseUnsupported(cluster: Cluster, user: User, origin: string): void {
  const given = (value: unknown): boolean => value !== undefined && value !== null && value !== '';
  const why = 'the agent starts no process: use a token, a token file, or a client certificate';
  if (given(user.exec)) throw new AccessError(`${origin}: user ${user.name} logs in through an exec plugin; ${why}`);
  if (given(user.authProvider)) throw new AccessError(`${origin}: user ${user.name} logs in through an auth-provider; ${why}`);
  if (given(user.username) || given(user.password)) {
    throw new AccessError(
      `${origin}: user ${user.name} has a password, which API servers no longer take; use a token or a client certificate`,
    );
  }
  if (given(user.impersonateUser)) throw new AccessError(`${origin}: user ${user.name} impersonates another (as), which is not supported`);
  if (given(cluster.proxyUrl))
    throw new AccessError(`${origin}: cluster ${cluster.name} is behind a proxy (proxy-url), which is not supported`);
}

function identityOf(user: User, tokenFile: string | undefined, origin: string): Identity {
  const certificate = material(user.certFile, user.certData);
  const key = material(user.keyFile, user.keyData);
  if ((certificate === undefined) !== (key === undefined)) {
    throw new AccessError(`${origin}: user ${user.name} has a client certificate without its key, or a key without a certificate`);
  }
  // kubectl prefers the file, too: a token beside it is what the file held once.
  const token = tokenFile !== undefined ? { file: tokenFile } : typeof user.token === 'string' ? { text: user.token } : undefined;
  return { token, certificate, key };
}

/** A file wins over data only when there are no data, as in kubectl. */
function material(file: unknown, data: unknown): Material | undefined {
  if (typeof data === 'string' && data !== '') return { data: Buffer.from(data, 'base64') };
  return typeof file === 'string' && file !== '' ? { file } : undefined;
}
