/**
 * The released agent as its pod would start it: arguments and account from the chart, the API server from the
 * environment, token and authority from the place where a kubelet puts them.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabAgent } from '../../lab/agent.ts';
import type { Namespace } from '../../lab/namespace.ts';
import type { TestCluster } from '../harness/cluster.ts';
import type { Chart } from './chart.ts';

const MOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface ApiServerPlace {
  readonly address: string;
  readonly port: number;
}

export class KubeAgent extends LabAgent {
  readonly server: ApiServerPlace;
  readonly account: string;
  readonly #cluster: TestCluster;
  readonly #accountFolder: string;
  readonly #agentNamespace: string;
  /** Of the token that it was given last. */
  credential = '';

  constructor(
    parts: {
      readonly namespace: Namespace;
      readonly mode: 'director' | 'realserver';
      readonly nodeName: string;
      readonly server: ApiServerPlace;
    },
    chart: Chart,
    cluster: TestCluster,
    extra: readonly string[] = [],
  ) {
    const { namespace, mode, nodeName, server } = parts;
    const pod = chart.pod(mode, nodeName);
    super(namespace, mode, undefined, [...pod.flags, ...extra], nodeName);
    this.server = server;
    this.account = pod.account;
    this.#cluster = cluster;
    this.#agentNamespace = chart.namespace;
    this.#accountFolder = `/run/lab/${namespace.name}/serviceaccount`;
    mkdirSync(this.#accountFolder, { recursive: true });
    this.#write('namespace', chart.namespace);
  }

  /** What a kubelet does before it starts a pod, and again before a token expires. */
  async giveToken(options: { readonly seconds?: number; readonly boundTo?: string } = {}): Promise<void> {
    const token = await this.#cluster.token(this.#agentNamespace, this.account, options.seconds, options.boundTo);
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { jti: string };
    this.credential = `JTI=${claims.jti}`;
    this.#write('token', token);
  }

  giveAuthority(pem: string): void {
    this.#write('ca.crt', pem);
  }

  /** The variables and the mount that the agent finds in its pod. */
  override start(wrapper: readonly string[] = []): void {
    const { address, port } = this.server;
    const variables = ['env', `KUBERNETES_SERVICE_HOST=${address}`, `KUBERNETES_SERVICE_PORT=${port}`];
    // `ip netns exec` has a mount namespace of its own.
    const mount = `mkdir -p ${MOUNT} && mount --bind ${this.#accountFolder} ${MOUNT} && exec "$@"`;
    super.start([...variables, 'sh', '-c', mount, 'sh', ...wrapper]);
  }

  /** Resident memory, MiB. */
  residentMebibytes(): number {
    const status = readFileSync(`/proc/${this.process.child.pid ?? 0}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
  }

  #write(name: string, content: string): void {
    const file = join(this.#accountFolder, name);
    writeFileSync(`${file}.new`, content, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
}
