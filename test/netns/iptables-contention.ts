/** Eight writers on one nat table of legacy iptables at a time: four of ours, each with a prefix of its own, and four others. */
import { spawn } from 'node:child_process';
import type { Netns } from '../../src/native/netns.ts';
import { answer, chainOf, ended, saved, start } from './iptables-support.ts';

const PREFIXES = ['RAVA', 'RAVB', 'RAVC', 'RAVD'];
/** The last two have names that begin as ours do. */
const CHAINS = ['OTHER-A', 'OTHER-B', 'RAVAIN', 'RAVEL'];

export const WRITERS = PREFIXES.length + CHAINS.length;

/** A shell that appends `count` different rules to a chain of its own, one iptables-legacy each. Words when it failed. */
async function foreignWriter(netns: Netns, chain: string, count: number): Promise<string> {
  const script = `
    iptables-legacy -w -t nat -N ${chain} && iptables-legacy -w -t nat -A PREROUTING -p 99 -j ${chain} || exit 1
    i=0
    while [ $i -lt ${count} ]; do
      iptables-legacy -w -t nat -A ${chain} -d 10.$((i / 65536)).$((i / 256 % 256)).$((i % 256))/32 -j RETURN || exit 1
      i=$((i + 1))
    done`;
  const child = spawn('nsenter', [`--net=${netns.path}`, 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  const { status, stderr } = await ended(child);
  return status === 0 ? '' : `${chain}: status ${String(status)}: ${stderr}`;
}

/** How many of `wanted` are not in `found`, each as often as it is wanted. */
export function missing(wanted: readonly string[], found: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const each of found) left.set(each, (left.get(each) ?? 0) + 1);
  return wanted.filter((each) => {
    const count = left.get(each) ?? 0;
    left.set(each, count - 1);
    return count <= 0;
  });
}

export interface Contention {
  /** Commits of all writers together. */
  readonly commits: number;
  /** Rules and elements that others wrote, and which must be there. */
  readonly foreign: number;
  /** Those of them that are not. */
  readonly lost: readonly string[];
  /** Everything else that is not as it should be, in words. */
  readonly problems: readonly string[];
  /** Longest wait of ours for the lock, or for one commit where there is none, milliseconds. */
  readonly longestMs: number;
}

/** `commits` by all of them together, in a namespace without a nat table. */
export async function contend(netns: Netns, commits: number): Promise<Contention> {
  const each = Math.ceil(commits / WRITERS);
  const [theirs, ours] = await Promise.all([
    Promise.all(CHAINS.map((chain) => foreignWriter(netns, chain, each))),
    Promise.all(
      PREFIXES.map(
        async (prefix) => (await answer(start(netns, 'many', [prefix, String(each)]))) as { changed: number; lockWaitMs: number },
      ),
    ),
  ]);
  const table = saved(netns);
  const rules = Array.from({ length: each }, (_, i) => `-d 10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32 -j RETURN`);
  const jumps = chainOf(table, 'PREROUTING');
  const lost = [
    ...CHAINS.flatMap((chain) => missing(rules, chainOf(table, chain)).map((rule) => `-A ${chain} ${rule}`)),
    ...missing(
      CHAINS.map((chain) => `-p 99 -j ${chain}`),
      jumps,
    ),
  ];
  const problems = theirs.filter((words) => words !== '');
  for (const [index, prefix] of PREFIXES.entries()) {
    if (ours[index]?.changed !== each)
      problems.push(`${prefix}: ${String(ours[index]?.changed)} of ${String(each)} commits changed something`);
    if (chainOf(table, prefix).length !== 2 * (1 + (each % 5))) problems.push(`${prefix}: not the rules of the last commit`);
    if (jumps.filter((jump) => jump === `-j ${prefix}`).length !== 1) problems.push(`${prefix}: not one jump`);
  }
  const extra = jumps.length - WRITERS;
  if (extra > 0) problems.push(`${String(extra)} jumps that nobody made`);
  return {
    commits: each * WRITERS,
    foreign: CHAINS.length * (each + 1),
    lost,
    problems,
    longestMs: Math.max(...ours.map(({ lockWaitMs }) => lockWaitMs)),
  };
}
