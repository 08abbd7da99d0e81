/**
 * A Kubernetes control plane on this host's loopback: etcd, kube-apiserver, kube-controller-manager; TLS, Node and
 * RBAC authorization, service account tokens. There is no kubelet and no scheduler: tests write nodes and pods with
 * their status themselves, the endpointslice controller does the rest.
 */
import { copyFileSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { waitFor } from '../../lab/wait.ts';
import { ApiClient, type ClientOptions } from './client.ts';
import { CertificateAuthority, serviceAccountKeys, type KeyPair } from './pki.ts';
import { Program } from './program.ts';

/**
 * Whatever an API object needs to live, and no more. node-lifecycle is left out: no kubelet renews the nodes' leases
 * here, so it would taint every node after 40 s and evict its pods; what tests say of a node's readiness stands.
 */
const CONTROLLERS = [
  'endpointslice-controller',
  'endpointslice-mirroring-controller',
  'serviceaccount-controller',
  'serviceaccount-token-controller',
  'namespace-controller',
  'garbage-collector-controller',
  'root-ca-certificate-publisher-controller',
];

/** The names by which the API server is known: here, from a VM's user network, and on the lab's segment. */
const NAMES = ['DNS:localhost', 'DNS:kubernetes.default.svc', 'IP:127.0.0.1', 'IP:10.0.2.2', 'IP:10.96.0.1'];

/** Tells of every request of a service account, its begin and its end: which watches are open, which verbs are used. */
const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  rules: [{ level: 'Metadata', userGroups: ['system:serviceaccounts:ravel'] }, { level: 'None' }],
};

export class ControlPlane {
  readonly port: number;
  readonly folder: string;
  /** PEM of the authority that signs for the API server, and of one that has nothing to do with it. */
  readonly authority: string;
  readonly client: ApiClient;
  readonly clientOptions: ClientOptions;
  readonly #binaries: string;
  readonly #etcdPort: number;
  readonly #serving: Readonly<Record<'right' | 'foreign', KeyPair>>;
  readonly #programs = new Map<string, Program>();
  #starts = 0;

  private constructor(options: {
    port: number;
    etcdPort: number;
    folder: string;
    binaries: string;
    authority: string;
    admin: ClientOptions;
    serving: Readonly<Record<'right' | 'foreign', KeyPair>>;
  }) {
    this.port = options.port;
    this.folder = options.folder;
    this.authority = options.authority;
    this.clientOptions = options.admin;
    this.client = new ApiClient(options.admin);
    this.#binaries = options.binaries;
    this.#etcdPort = options.etcdPort;
    this.#serving = options.serving;
  }

  /**
   * @param binaries folder that scripts/go-programs printed
   * @param segmentNames further subject alternative names of the API server: `IP:10.20.0.2`
   */
  static async start(binaries: string, segmentNames: readonly string[] = []): Promise<ControlPlane> {
    const folder = mkdtempSync(join(tmpdir(), 'ravel-control-plane-'));
    mkdirSync(join(folder, 'pki'), { mode: 0o700 });
    const authority = await CertificateAuthority.create(join(folder, 'pki'), 'authority');
    const foreign = await CertificateAuthority.create(join(folder, 'pki'), 'foreign-authority');
    const names = [...NAMES, ...segmentNames];
    const serving = { right: await authority.server('kube-apiserver', names), foreign: await foreign.server('foreign-apiserver', names) };
    const administrator = await authority.client('e2e-admin', 'system:masters');
    const [port = 0, etcdPort = 0] = await freePorts(2);
    const pem = readFileSync(authority.pair.certificate, 'utf8');
    const plane = new ControlPlane({
      ...{ port, etcdPort, folder, binaries, authority: pem, serving },
      admin: {
        ...{ host: '127.0.0.1', port, authority: pem },
        certificate: readFileSync(administrator.certificate, 'utf8'),
        key: readFileSync(administrator.key, 'utf8'),
      },
    });
    serviceAccountKeys(join(folder, 'pki'));
    writeFileSync(join(folder, 'audit-policy.json'), JSON.stringify(AUDIT_POLICY));
    const manager = await authority.client('system:kube-controller-manager');
    writeFileSync(join(folder, 'controller-manager.json'), JSON.stringify(kubeconfig(port, authority.pair.certificate, manager)));
    try {
      plane.#startEtcd();
      await plane.startApiServer();
      plane.#startControllerManager();
      await plane.client.get('/api/v1/namespaces/default');
      await waitFor('the controllers', () => plane.#hasDefaultAccount());
    } catch (error) {
      await plane.close();
      throw error;
    }
    return plane;
  }

  /** Resolves when it says that it is ready. `certificate`: what it shows to its clients. */
  async startApiServer(certificate: 'right' | 'foreign' = 'right'): Promise<void> {
    this.#starts += 1;
    const serving = this.#serving[certificate];
    const pki = (name: string): string => join(this.folder, 'pki', name);
    const api = this.#start('kube-apiserver', [
      '--bind-address=127.0.0.1',
      // Endpoints may not be loopback addresses; nobody in this cluster uses the service `kubernetes`.
      '--advertise-address=10.0.2.2',
      '--endpoint-reconciler-type=none',
      `--secure-port=${this.port}`,
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      `--tls-cert-file=${serving.certificate}`,
      `--tls-private-key-file=${serving.key}`,
      `--client-ca-file=${pki('authority.crt')}`,
      `--service-account-issuer=https://kubernetes.default.svc`,
      `--service-account-key-file=${pki('service-accounts.pub')}`,
      `--service-account-signing-key-file=${pki('service-accounts.key')}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      '--authorization-mode=Node,RBAC',
      // Its taint of new nodes is taken away by the node-lifecycle controller, see CONTROLLERS.
      '--disable-admission-plugins=TaintNodesByCondition',
      `--audit-policy-file=${join(this.folder, 'audit-policy.json')}`,
      `--audit-log-path=${this.auditLog}`,
      // Tests stop it to see it gone; nothing is to be handed over.
      '--shutdown-delay-duration=0s',
      '--profiling=false',
    ]);
    if (certificate === 'foreign') return;
    await waitFor('the API server to be ready', async () => {
      api.assertRunning();
      return (await this.client.text('GET', '/readyz')) === 'ok';
    });
    // In a cluster it ends when it cannot renew its lease, and is started again; here nobody does that for us.
    const manager = this.#programs.get('kube-controller-manager');
    if (manager === undefined) return;
    await manager.stop('SIGKILL');
    this.#startControllerManager();
  }

  async stopApiServer(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#programs.get('kube-apiserver')?.stop(signal);
    this.#programs.delete('kube-apiserver');
  }

  get apiServerRuns(): boolean {
    return this.#programs.get('kube-apiserver')?.exit === undefined && this.#programs.has('kube-apiserver');
  }

  /** What the API server that runs now was asked by service accounts, a JSON object a line; a new file each start. */
  get auditLog(): string {
    return join(this.folder, `audit-${this.#starts}.log`);
  }

  /** Stops everything and removes its data; the logs are kept in `keepLogsIn`. */
  async close(keepLogsIn?: string): Promise<void> {
    this.client.close();
    for (const program of [...this.#programs.values()].reverse()) await program.stop();
    if (keepLogsIn !== undefined) {
      mkdirSync(keepLogsIn, { recursive: true });
      for (const log of globSync(join(this.folder, '*.log'))) copyFileSync(log, join(keepLogsIn, basename(log)));
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #start(name: string, flags: readonly string[]): Program {
    const program = new Program([join(this.#binaries, name), ...flags], join(this.folder, `${name}.log`));
    this.#programs.set(name, program);
    return program;
  }

  #startEtcd(): void {
    const here = `http://127.0.0.1:${this.#etcdPort}`;
    this.#start('etcd', [
      `--data-dir=${join(this.folder, 'etcd')}`,
      `--listen-client-urls=${here}`,
      `--advertise-client-urls=${here}`,
      '--listen-peer-urls=http://127.0.0.1:0',
      // What a test loses with the machine is nothing.
      '--unsafe-no-fsync',
      '--log-level=warn',
    ]);
  }

  #startControllerManager(): void {
    this.#start('kube-controller-manager', [
      `--kubeconfig=${join(this.folder, 'controller-manager.json')}`,
      `--service-account-private-key-file=${join(this.folder, 'pki/service-accounts.key')}`,
      `--root-ca-file=${join(this.folder, 'pki/authority.crt')}`,
      `--controllers=${CONTROLLERS.join(',')}`,
      // Each controller with an account and rights of its own, as in every cluster.
      '--use-service-account-credentials=true',
      '--leader-elect=false',
      '--bind-address=127.0.0.1',
      '--secure-port=0',
      // A thousand services are made at once here; the default of 20 requests a second is for shared clusters.
      '--kube-api-qps=1000',
      '--kube-api-burst=2000',
      '--concurrent-service-endpoint-syncs=10',
    ]);
  }

  async #hasDefaultAccount(): Promise<boolean> {
    for (const program of this.#programs.values()) program.assertRunning();
    await this.client.get('/api/v1/namespaces/default/serviceaccounts/default');
    return true;
  }
}

function kubeconfig(port: number, authority: string, user: KeyPair): object {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'e2e', cluster: { server: `https://127.0.0.1:${port}`, 'certificate-authority': authority } }],
    users: [{ name: 'user', user: { 'client-certificate': user.certificate, 'client-key': user.key } }],
    contexts: [{ name: 'e2e', context: { cluster: 'e2e', user: 'user' } }],
    'current-context': 'e2e',
  };
}

/** Ports of the loopback that are free now: held all at once, so that no two are the same. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
