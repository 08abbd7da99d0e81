/** Everything in a namespace that the agent could have touched, as text to compare byte by byte. */
import type { Namespace } from './namespace.ts';

export interface Snapshot {
  readonly ipvs: string;
  readonly nftables: string;
  readonly addresses: string;
  readonly routes: string;
  readonly sysctls: string;
}

/** Settings that count something, and so change by themselves. */
const VOLATILE = /nf_conntrack_count/;

export async function snapshot(namespace: Namespace): Promise<Snapshot> {
  const text = async (...command: string[]): Promise<string> => (await namespace.run(command)).stdout;
  const settings = await text('sh', '-c', 'cd /proc/sys/net && grep -rs "" ipv4 netfilter 2>/dev/null | sort');
  return {
    ipvs: await text('ipvsadm', '-Sn'),
    nftables: await text('nft', 'list', 'ruleset'),
    addresses: await text('ip', 'addr'),
    routes: await text('ip', 'route', 'show', 'table', 'all'),
    sysctls: settings
      .split('\n')
      .filter((line) => !VOLATILE.test(line))
      .join('\n'),
  };
}

/** What differs, as lines with - and +; empty when nothing does. */
export function differences(before: Snapshot, after: Snapshot): string[] {
  const found: string[] = [];
  for (const part of Object.keys(before) as (keyof Snapshot)[]) {
    if (before[part] === after[part]) continue;
    const [old, now] = [before[part].split('\n'), after[part].split('\n')];
    found.push(`${part} differ:`, ...old.filter((line) => !now.includes(line)).map((line) => `  - ${line}`));
    found.push(...now.filter((line) => !old.includes(line)).map((line) => `  + ${line}`));
  }
  return found;
}
