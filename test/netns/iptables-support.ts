/** Services of the cases, and iptables-legacy as the oracle. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { DesiredNatService, MasqueradePolicy } from '../../src/desired/types.ts';
import { iptablesProgram } from '../../src/diff/iptables.ts';
import { chainHash } from '../../src/native/iptables-hash.ts';
import type { IptablesFamily, IptablesProgram } from '../../src/native/iptables-types.ts';
import type { Netns } from '../../src/native/netns.ts';
import { inside } from './nftables-support.ts';

export function natService(address: string, port: number, comment: string, pods: readonly string[], protocol = 6): DesiredNatService {
  const name = protocol === 6 ? 'tcp' : 'udp';
  const key = address.includes(':') ? `${name} [${address}]:${port}` : `${name} ${address}:${port}`;
  return { key, address, port, protocol, comment, pods: pods.map((pod) => ({ address: pod, port: 8080 })) };
}

export function programOf(
  services: readonly DesiredNatService[],
  masquerade: MasqueradePolicy = { enabled: true },
  { prefix = 'RAVEL', family = 'ip' }: { prefix?: string; family?: IptablesFamily } = {},
): IptablesProgram {
  return iptablesProgram(services, { family, prefix, masquerade, hash: chainHash });
}

/** The nat table as iptables-legacy-save prints it, with counters, without the dates. */
export function saved(netns: Netns, family: IptablesFamily = 'ip'): string {
  const tool = family === 'ip' ? 'iptables-legacy-save' : 'ip6tables-legacy-save';
  return inside(netns, [tool, '-c', '-t', 'nat']).replace(/^#.*\n/gm, '');
}

/** Its lines of the chain, without counters. */
export const chainOf = (table: string, chain: string): string[] =>
  table.split('\n').flatMap((line) => {
    const rule = line.replace(/^\[\d+:\d+\] /, '');
    return rule.startsWith(`-A ${chain} `) ? [rule.slice(4 + chain.length)] : [];
  });

/** Loads a table, counters included; what is not in it goes. */
export function load(netns: Netns, table: string): void {
  inside(netns, ['iptables-legacy-restore', '-w', '--counters'], table);
}

/** A program of our own inside the namespace. */
export function start(netns: Netns, task: string, words: readonly string[], wrapper: readonly string[] = []): ChildProcess {
  const writer = fileURLToPath(new URL('iptables-writer.ts', import.meta.url));
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', writer, task, ...words];
  return spawn('nsenter', [`--net=${netns.path}`, ...wrapper, ...node], { stdio: ['pipe', 'pipe', 'pipe'] });
}

export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | null;
}

export async function ended(child: ChildProcess): Promise<Ended> {
  const text = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (part: string) => (text.stdout += part));
  child.stderr?.setEncoding('utf8').on('data', (part: string) => (text.stderr += part));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { ...text, status };
}

/** What the program printed, as JSON; throws with its words when it failed. */
export async function answer(child: ChildProcess): Promise<unknown> {
  const { stdout, stderr, status } = await ended(child);
  if (status !== 0) throw new Error(`status ${String(status)}: ${stderr}`);
  return JSON.parse(stdout) as unknown;
}
