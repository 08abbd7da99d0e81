/**
 * New TCP connections per second through the rules of a realserver, with 1 to 10,000 virtual services of 2 pods each:
 * nftables as the agent writes it, with and without counters, and legacy iptables. Each of them is a machine of its own
 * (namespaces), made once; then all take turns for a third of a second each, round after round and in both directions,
 * so that whatever else the machine does hits all of them alike. Connections go to one virtual service, the one in the
 * middle: with iptables they pass half of the rules, as they do on average. For nftables once more to all of them at
 * random, which is what the counters are judged by: then every element is one that the processor has long forgotten.
 *   node test/bench/connections.ts [rounds]
 */
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import type { DesiredNat } from '../../src/desired/types.ts';
import { iptablesProgram } from '../../src/diff/iptables.ts';
import { NatDriver } from '../../src/drivers/nat.ts';
import { chainHash } from '../../src/native/iptables-hash.ts';
import { Iptables } from '../../src/native/iptables.ts';
import { Nftables } from '../../src/native/nftables.ts';
import { compileConnections, middleWords, natServices, targetsFor, targetWords, Way } from './connections-lab.ts';
import { median, round, type BenchRow } from './row.ts';

const SMALLEST = 1;
const MIDDLE = [100, 1000] as const;
const LARGEST = 10_000;
const ROUNDS = 27;
const SLICE_MS = 300;
/** Rounds that do not count: caches and conntrack's table fill. */
const WARM_UP = 2;

type Rules = 'nftables' | 'nftables, no counters' | 'iptables';
/** Where connections go: to the virtual service in the middle, or to each. */
type Load = 'middle' | 'all';

interface Contestant {
  readonly rules: Rules;
  readonly size: number;
  readonly load: Load;
  readonly way: Way;
  /** Connections per second, round by round. */
  readonly samples: number[];
  connections: number;
}

function desiredFor(size: number, counters: boolean): DesiredNat {
  const services = new Map(natServices(targetsFor(size)).map((service) => [service.key, service]));
  const addresses = [...new Set([...services.values()].map(({ address }) => address))];
  return { services, addresses, masquerade: { enabled: false }, counters };
}

async function writeRules(rules: Rules, size: number, way: Way): Promise<void> {
  if (rules === 'iptables') {
    await using iptables = await Iptables.open({ family: 'ip', netns: way.node });
    const layout = { family: 'ip', prefix: 'RAVEL', masquerade: { enabled: false }, hash: chainHash } as const;
    await iptables.commit(iptablesProgram(natServices(targetsFor(size)), layout));
    return;
  }
  await using nftables = await Nftables.open({ netns: way.node });
  const driver = new NatDriver(nftables);
  const { failures } = await driver.apply(await driver.plan(desiredFor(size, rules === 'nftables')));
  assert.deepEqual(failures, []);
}

async function contestant(program: string, rules: Rules, size: number, load: Load): Promise<Contestant> {
  const words = load === 'all' ? targetWords(targetsFor(size)) : middleWords(targetsFor(size));
  const way = await Way.create(`${rules.replaceAll(/\W+/g, '-')}-${String(size)}-${load}`, program, words);
  await writeRules(rules, size, way);
  way.forgetQuickly();
  return { rules, size, load, way, samples: [], connections: 0 };
}

/** That each connection was one for a rule of ours, and that counters are there or not as they should be. */
async function verify({ rules, size, way, connections }: Contestant): Promise<void> {
  if (rules === 'iptables') return;
  await using nftables = await Nftables.open({ netns: way.node });
  const columns = await nftables.elements({ family: 'ip', name: 'ravel' }, 'services');
  assert.equal(columns.count, size, 'virtual services');
  const counted = Array.from(columns.packets).reduce((sum, packets) => sum + packets, 0);
  if (rules === 'nftables') assert.ok(counted >= connections, `${String(counted)} counted of ${String(connections)}`);
  else assert.equal(counted, 0, 'no counters');
}

async function measure(contestants: readonly Contestant[], rounds: number): Promise<void> {
  for (let turn = 0; turn < WARM_UP + rounds; turn++) {
    for (const each of turn % 2 === 0 ? contestants : contestants.toReversed()) {
      const { count, ms } = await each.way.connect(SLICE_MS);
      each.connections += count;
      if (turn >= WARM_UP) each.samples.push((count * 1000) / ms);
    }
  }
}

/** Of each round the one figure by the other, and the middle of these: the two were taken within seconds. */
const ratioOf = (one: Contestant, other: Contestant): number =>
  median(one.samples.map((sample, turn) => sample / (other.samples[turn] ?? Number.NaN)));

function row(name: string, one: Contestant, peer: string, other: Contestant, least: number | null): BenchRow {
  const ratio = ratioOf(one, other);
  return {
    ...{ name, value: round(median(one.samples), 0), unit: 'connections/s', peer, peerValue: round(median(other.samples), 0) },
    ...{ ratio: round(ratio), goal: least === null ? 'for information' : `>= ${String(least)}x`, met: least === null || ratio >= least },
  };
}

async function inTurn<Item, Result>(items: readonly Item[], make: (item: Item) => Promise<Result>): Promise<Result[]> {
  const made: Result[] = [];
  for (const item of items) made.push(await make(item));
  return made;
}

/** Rows for the table of `make bench`. Needs CAP_SYS_ADMIN for namespaces of its own, a C compiler, and legacy iptables. */
export async function runConnectionsBench(rounds = ROUNDS): Promise<BenchRow[]> {
  const program = compileConnections();
  const contestants: Contestant[] = [];
  const made = async (rules: Rules, size: number, load: Load = 'middle'): Promise<Contestant> => {
    const one = await contestant(program, rules, size, load);
    contestants.push(one);
    return one;
  };
  try {
    // Those that are held against each other stand next to each other.
    const first = await made('nftables', SMALLEST);
    const last = await made('nftables', LARGEST);
    const spread = await made('nftables', LARGEST, 'all');
    const uncounted = await made('nftables, no counters', LARGEST, 'all');
    const nftables = [first, ...(await inTurn(MIDDLE, (size) => made('nftables', size))), last];
    const iptables = await inTurn([SMALLEST, LARGEST, ...MIDDLE], (size) => made('iptables', size));
    iptables.sort((a, b) => a.size - b.size);
    await measure(contestants, rounds);
    for (const each of contestants) await verify(each);
    const title = ({ size }: Contestant): string => `${size.toLocaleString('en')} virtual service${size === 1 ? '' : 's'}`;
    const [fewest, most] = [iptables[0] ?? first, iptables.at(-1) ?? last];
    return [
      ...nftables.map((one, at) =>
        row(`new connections through nftables, ${title(one)}`, one, 'legacy iptables, ours, the middle one', iptables[at] ?? one, null),
      ),
      row(`the same, nftables, ${title(last)}`, last, 'with 1 virtual service', first, 0.9),
      row(`the same, nftables, ${title(last)}, to each at random`, spread, 'with 1 virtual service', first, null),
      row(`the same, legacy iptables, ${title(last)}`, most, 'with 1 virtual service', fewest, null),
      row(`the same, nftables, ${title(last)} with counters, to each at random`, spread, 'without counters', uncounted, 0.95),
    ];
  } finally {
    for (const { way } of contestants) await way.close();
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const row of await runConnectionsBench(Number(process.argv[2] ?? ROUNDS))) process.stdout.write(`${JSON.stringify(row)}\n`);
}
