/**
 * Eight writers on the nftables of one namespace at a time: ours, and seven others by nft, one process a commit. Theirs
 * are the neighbours of ours: other families' `ravel`, names that begin as ours does, and the tables of everybody's nat.
 */
import { spawn } from 'node:child_process';
import type { DesiredNat, DesiredNatService } from '../../src/desired/types.ts';
import { NatDriver } from '../../src/drivers/nat.ts';
import type { Netns } from '../../src/native/netns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import { missing, type Contention } from './iptables-contention.ts';
import { ended } from './iptables-support.ts';
import { nft } from './nftables-support.ts';

const TABLES = ['inet ravel', 'arp ravel', 'ip ravel-extra', 'ip rave', 'ip nat', 'ip6 nat', 'ip kube-proxy'];

export const WRITERS = TABLES.length + 1;

type Turn = 'rule' | 'element' | 'delete';

/** Turns go by sixes: each adds a rule, an element, or deletes the element of the turn before. */
const TURNS: readonly Turn[] = ['rule', 'element', 'delete', 'rule', 'element', 'rule'];

/** What a writer has left after `count` turns. A rule or an element is known by the number of its turn. */
function left(count: number): string[] {
  const found: string[] = [];
  for (let turn = 0; turn < count; turn++) {
    const kind = TURNS[turn % TURNS.length];
    if (kind === 'delete') found.pop();
    else found.push(`${String(kind)} ${String(turn)}`);
  }
  return found;
}

/** Each turn is one nft. Words when one failed. */
async function foreignWriter(netns: Netns, table: string, count: number): Promise<string> {
  const script = `
    i=0
    while [ $i -lt ${String(count)} ]; do
      case $((i % 6)) in
        1|4) nft add element ${table} numbers "{ $i }" || exit 1 ;;
        2) nft delete element ${table} numbers "{ $((i - 1)) }" || exit 1 ;;
        *) nft add rule ${table} chosen meta mark $i counter || exit 1 ;;
      esac
      i=$((i + 1))
    done`;
  const child = spawn('nsenter', [`--net=${netns.path}`, 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  const { status, stderr } = await ended(child);
  return status === 0 ? '' : `${table}: status ${String(status)}: ${stderr}`;
}

interface Listed {
  readonly rule?: { readonly expr: readonly { readonly match?: { readonly right: number } }[] };
  readonly set?: { readonly elem?: readonly number[] };
}

/** What is in a writer's table, as {@link left} says it. */
function found(netns: Netns, table: string): string[] {
  const { nftables } = JSON.parse(nft(netns, '-j', 'list', 'table', ...table.split(' '))) as { nftables: Listed[] };
  return nftables.flatMap(({ rule, set }) => [
    ...(rule === undefined ? [] : [`rule ${String(rule.expr[0]?.match?.right)}`]),
    ...(set?.elem ?? []).map((turn) => `element ${String(turn)}`),
  ]);
}

function prepare(netns: Netns): void {
  for (const table of TABLES) {
    nft(netns, 'add', 'table', ...table.split(' '));
    const hooked = table === 'arp ravel' ? 'type filter hook input priority 0' : 'type filter hook prerouting priority -101';
    nft(netns, 'add', 'chain', ...table.split(' '), 'chosen', `{ ${hooked}; }`);
    nft(netns, 'add', 'set', ...table.split(' '), 'numbers', '{ type mark; }');
  }
}

function desiredAt(turn: number): DesiredNat {
  const services = Array.from({ length: 1 + (turn % 5) }, (_, index): DesiredNatService => {
    const [address, pod] = [`192.0.2.${String(index)}`, `10.50.${String((turn >> 8) & 255)}.${String(turn & 255)}`];
    return {
      key: `tcp ${address}:80`,
      address,
      protocol: 6,
      port: 80,
      comment: `shop/service-${String(index)}:http`,
      pods: [{ address: pod, port: 8080 }],
    };
  });
  return {
    services: new Map(services.map((service) => [service.key, service])),
    addresses: services.map(({ address }) => address),
    masquerade: { enabled: false },
  };
}

/** Ours: a different state each turn. */
async function ownWriter(nftables: Nftables, count: number): Promise<{ problems: string[]; longestMs: number }> {
  const driver = new NatDriver(nftables);
  const problems: string[] = [];
  let longestMs = 0;
  for (let turn = 1; turn <= count; turn++) {
    const began = performance.now();
    const { written, failures } = await driver.apply(await driver.plan(desiredAt(turn)));
    longestMs = Math.max(longestMs, performance.now() - began);
    if (written === 0) problems.push(`our commit ${String(turn)} wrote nothing`);
    problems.push(...failures.map(({ message }) => message));
  }
  return { problems, longestMs };
}

async function asLeft(nftables: Nftables, count: number): Promise<boolean> {
  const { empty } = await new NatDriver(nftables).plan(desiredAt(count));
  return empty;
}

/** `commits` by all of them together, in a namespace of its own; `after` them and before it is looked at, something else. */
export async function contend(netns: Netns, commits: number, after = (): void => {}): Promise<Contention> {
  const each = Math.ceil(commits / WRITERS);
  await using nftables = await Nftables.open({ netns });
  prepare(netns);
  const [theirs, ours] = await Promise.all([
    Promise.all(TABLES.map((table) => foreignWriter(netns, table, each))),
    ownWriter(nftables, each),
  ]);
  after();
  const wanted = left(each);
  const problems = [...theirs.filter((words) => words !== ''), ...ours.problems];
  const lost: string[] = [];
  for (const table of TABLES) {
    const there = found(netns, table);
    lost.push(...missing(wanted, there).map((one) => `${table}: ${one}`));
    if (there.length > wanted.length) problems.push(`${table}: ${String(there.length - wanted.length)} that nobody wrote`);
  }
  if (!(await asLeft(nftables, each))) problems.push('our table is not as the last commit left it');
  return { commits: each * WRITERS, foreign: wanted.length * TABLES.length, lost, problems, longestMs: ours.longestMs };
}
