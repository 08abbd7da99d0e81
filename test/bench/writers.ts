/**
 * What others lose while they write where we write: eight writers at a time, 10,000 commits together, on legacy iptables
 * (one table for all of them) and on nftables (tables beside ours).
 *   node test/bench/writers.ts [commits]
 */
import { pathToFileURL } from 'node:url';
import { Netns } from '../../src/native/netns.ts';
import { contend as contendIptables, type Contention } from '../netns/iptables-contention.ts';
import { contend as contendNftables } from '../netns/nftables-contention.ts';
import { round, type BenchRow } from './row.ts';

const COMMITS = 10_000;

async function measure(
  backend: string,
  contend: (netns: Netns, commits: number) => Promise<Contention>,
  commits: number,
): Promise<BenchRow> {
  await using netns = await Netns.create();
  const began = performance.now();
  const { lost, problems, foreign, longestMs, ...done } = await contend(netns, commits);
  const seconds = (performance.now() - began) / 1000;
  for (const each of [...lost, ...problems].slice(0, 20)) process.stderr.write(`writers, ${backend}: ${each}\n`);
  // What went wrong otherwise is no figure: the run did not do what its row says.
  if (problems.length > 0) throw new Error(`${backend}: ${problems.slice(0, 3).join('; ')}`);
  return {
    ...{ name: `8 writers on the nat table at once, ${done.commits.toLocaleString('en')} commits, ${backend}`, value: lost.length },
    ...{ unit: `foreign rules lost of ${foreign.toLocaleString('en')}`, peerValue: null, ratio: null, goal: '0', met: lost.length === 0 },
    peer: `none; ${String(round(seconds, 0))} s, the longest of our waits ${String(round(longestMs, 0))} ms`,
  };
}

/** Rows for the table of `make bench`. Needs CAP_SYS_ADMIN for namespaces of its own, nft and iptables-legacy. */
export async function runWritersBench(commits = COMMITS): Promise<BenchRow[]> {
  return [await measure('nftables', contendNftables, commits), await measure('iptables', contendIptables, commits)];
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const row of await runWritersBench(Number(process.argv[2] ?? COMMITS))) process.stdout.write(`${JSON.stringify(row)}\n`);
}
