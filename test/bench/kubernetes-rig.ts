/** What the benches on an API server share: the server, and the released agent as a process of its own. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startFakeServer, type FakeServer } from '../fake-api/server.ts';
import { benchStore, configName, configNamespace, nodeName } from './kubernetes-cluster.ts';

/** In a bundle as well as in the checkout, two folders below its root. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../..');

/** Idle before memory is read: what stays resident, not what the start needed for a moment. */
export const idleMilliseconds = 10_000;

export interface Rig {
  readonly server: FakeServer;
  readonly kubeconfig: string;
  /** For state and keys; gone with the rig. */
  readonly folder: string;
}

function credentials(folder: string): { key: string; cert: string } {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const subject = ['-subj', '/CN=bench', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
  const form = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  execFileSync('openssl', ['req', '-x509', ...form, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
}

/** An API server with the cluster of kubernetes-cluster.ts, over HTTPS, for as long as `work` takes. */
export async function withServer<Result>(work: (rig: Rig) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'ravel-bench-'));
  const server = await startFakeServer({ tls: credentials(folder), token: 'bench', store: benchStore() });
  try {
    const kubeconfig = join(folder, 'kubeconfig');
    writeFileSync(kubeconfig, server.kubeconfig);
    return await work({ server, kubeconfig, folder });
  } finally {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Throws when the program ends first, or nothing happens for three minutes. */
export async function until(what: string, subject: ChildProcess, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 180_000;
  while (!(await condition())) {
    if (subject.exitCode !== null || subject.signalCode !== null)
      throw new Error(`ended with ${subject.signalCode ?? `exit code ${subject.exitCode}`} before ${what}`);
    if (performance.now() > deadline) throw new Error(`not within 180 s: ${what}`);
    await wait(20);
  }
}

export async function end(subject: ChildProcess): Promise<void> {
  if (subject.exitCode !== null || subject.signalCode !== null) return;
  const ended = new Promise((resolve) => subject.once('exit', resolve));
  subject.kill('SIGTERM');
  await ended;
}

export function startAgent(
  mode: 'director' | 'realserver',
  { kubeconfig, folder }: Rig,
  log: 'inherit' | 'ignore' = 'inherit',
): ChildProcess {
  const words = [
    `--mode=${mode}`,
    // A director that is a node of the cluster leaves its own pods out.
    `--nodename=${mode === 'director' ? 'director' : nodeName(0)}`,
    '--compute-iface=segment0',
    '--vip-interface=vip0',
    `--state-dir=${folder}`,
  ];
  const cluster = [
    `--kubeconfig=${kubeconfig}`,
    `--config-namespace=${configNamespace}`,
    `--config-name=${configName}`,
    '--config-key=config',
  ];
  return spawn(process.execPath, [join(root, 'dist/ravel-agent.js'), ...words, ...cluster, '--log-level=error'], {
    stdio: ['ignore', 'inherit', log],
  });
}
