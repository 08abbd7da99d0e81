/**
 * A packet's way through the fake kernels: from the client to the director's IPVS, to a node, to a pod. Chance
 * is followed along every branch, so a test can say "each pod gets a third" without drawing lots.
 */
import { BlockList } from 'node:net';
import type { KeyPart, Statement, Verdict } from '../../src/native/nftables-types.ts';
import type { FakeKernel } from './kernel.ts';
import type { FakeChain, FakeTable } from './nft-tables.ts';

export interface Packet {
  readonly source: string;
  readonly destination: string;
  /** IPPROTO number. */
  readonly protocol: number;
  readonly port: number;
  /** Opens a connection; else a later segment of one that connection tracking does not know. Default true. */
  readonly opens?: boolean;
  /** Interface it comes in on, or `local` when a process of this machine sends it. Default `eth0`. */
  readonly from?: string;
}

/** One way a new connection may take. */
export interface Arrival {
  /** `10.50.1.2:8080`, or the VIP where nothing was translated. */
  readonly at: string;
  /** The client's address, or `masqueraded` where the pod sees the node's instead. */
  readonly source: string;
  /** Probability, 0..1. */
  readonly share: number;
}

interface Branch {
  readonly packet: Packet;
  readonly original: Packet;
  readonly mark: number;
  readonly masqueraded: boolean;
  readonly share: number;
  /** Still to be judged by the next statement, rule or chain. */
  readonly state: 'going' | 'next rule' | 'return' | 'done';
}

type Row = ReadonlyMap<string, { readonly value?: unknown }>;

/** The lookup key in every variant that chance allows. */
function keys(parts: readonly KeyPart[], branch: Branch): { text: string; share: number }[] {
  const { packet } = branch;
  let found = [{ fields: [] as (string | number)[], share: 1 }];
  for (const part of parts) {
    if (typeof part === 'object') {
      const { modulus } = part;
      found = found.flatMap(({ fields, share }) =>
        Array.from({ length: modulus }, (_, slot) => ({ fields: [...fields, slot], share: share / modulus })),
      );
      continue;
    }
    const value = {
      'ip saddr': packet.source,
      'ip daddr': packet.destination,
      'ip6 saddr': packet.source,
      'ip6 daddr': packet.destination,
      'meta l4proto': packet.protocol,
      'th sport': 0,
      'th dport': packet.port,
      'ct original ip daddr': branch.original.destination,
      'ct original ip6 daddr': branch.original.destination,
      'ct original proto-dst': branch.original.port,
    }[part];
    found = found.map(({ fields, share }) => ({ fields: [...fields, value], share }));
  }
  return found.map(({ fields, share }) => ({ text: fields.join(' . '), share }));
}

function inPrefix(address: string, { address: network, prefix }: { address: string; prefix: number }): boolean {
  const list = new BlockList();
  const family = network.includes(':') ? 'ipv6' : 'ipv4';
  list.addSubnet(network, prefix, family);
  return list.check(address, family);
}

const matched = (branch: Branch, yes: boolean): Branch[] => [yes ? branch : { ...branch, state: 'next rule' }];

class Walk {
  readonly #table: FakeTable;

  constructor(table: FakeTable) {
    this.#table = table;
  }

  #rows(name: string): Row {
    return this.#table.set(name).elements;
  }

  chain(chain: FakeChain, start: Branch): Branch[] {
    let branches: Branch[] = [start];
    for (const { rule } of chain.rules) {
      branches = branches.flatMap((branch) => (branch.state === 'going' ? this.#rule(rule.statements, branch) : [branch]));
    }
    // The end of a chain that was gone to is the end of the base chain: its policy accepts.
    return branches.map((branch) => (branch.state === 'return' ? { ...branch, state: 'going' } : branch));
  }

  #rule(statements: readonly Statement[], start: Branch): Branch[] {
    let branches: Branch[] = [start];
    for (const statement of statements) {
      branches = branches.flatMap((branch) => (branch.state === 'going' ? this.#statement(statement, branch) : [branch]));
    }
    return branches.map((branch) => (branch.state === 'next rule' ? { ...branch, state: 'going' } : branch));
  }

  #statement(statement: Statement, branch: Branch): Branch[] {
    const { packet } = branch;
    switch (statement.kind) {
      case 'counter':
        return [branch];
      case 'inputInterface':
        return matched(branch, (packet.from ?? 'eth0') === statement.name);
      case 'destinationTranslated':
        return matched(branch, packet.destination !== branch.original.destination);
      case 'tcpSyn':
        return matched(branch, packet.opens ?? true);
      case 'maxSegment':
        throw new Error('a nat chain has nothing to say about segments');
      case 'protocol':
        return matched(branch, packet.protocol === statement.protocol);
      case 'source':
      case 'destination':
        return matched(branch, inPrefix(packet[statement.kind], statement) !== (statement.inverted ?? false));
      case 'inSet': {
        const rows = this.#rows(statement.set);
        return matched(branch, keys(statement.key, branch).every(({ text }) => rows.has(text)) !== (statement.inverted ?? false));
      }
      case 'markOr':
        return [{ ...branch, mark: branch.mark | statement.bits }];
      case 'markIs':
        return matched(branch, (branch.mark & statement.mask) === statement.value);
      case 'masquerade':
        return [{ ...branch, masqueraded: true, state: 'done' }];
      case 'verdict':
        return this.#verdict(statement.verdict, branch);
      case 'vmap':
        return keys(statement.key, branch).flatMap(({ text, share }) => {
          const value = this.#rows(statement.map).get(text)?.value as Verdict | undefined;
          const taken = { ...branch, share: branch.share * share };
          return value === undefined ? matched(taken, false) : this.#verdict(value, taken);
        });
      case 'dnatMap':
        return keys(statement.key, branch).flatMap(({ text, share }): Branch[] => {
          const value = this.#rows(statement.map).get(text)?.value as readonly [string, number] | undefined;
          const taken = { ...branch, share: branch.share * share };
          if (value === undefined) return matched(taken, false);
          return [{ ...taken, packet: { ...packet, destination: value[0], port: value[1] }, state: 'done' }];
        });
    }
  }

  #verdict(verdict: Verdict, branch: Branch): Branch[] {
    if (!('chain' in verdict))
      return verdict.verdict === 'drop' ? [] : [{ ...branch, state: verdict.verdict === 'return' ? 'return' : 'done' }];
    const ended = this.chain(this.#table.chain(verdict.chain), branch);
    return verdict.verdict === 'jump' ? ended : ended.map((taken) => (taken.state === 'going' ? { ...taken, state: 'done' } : taken));
  }
}

/** What the nat chains of our table do to a new connection on a node: every way, with its probability. */
export function traceNode(kernel: FakeKernel, packet: Packet): Arrival[] {
  const table = kernel.nftables.table({ family: packet.destination.includes(':') ? 'ip6' : 'ip', name: 'ravel' });
  let branches: Branch[] = [{ packet, original: packet, mark: 0, masqueraded: false, share: 1, state: 'going' }];
  if (table !== undefined) {
    const walk = new Walk(table);
    for (const hook of [packet.from === 'local' ? 'output' : 'prerouting', 'postrouting'] as const) {
      for (const chain of table.chains.values()) {
        if (chain.chain.hook?.hook !== hook || chain.chain.hook.type !== 'nat') continue;
        branches = branches.flatMap((branch) => walk.chain(chain, branch)).map((branch) => ({ ...branch, state: 'going' }));
      }
    }
  }
  return merged(
    branches.map((branch) => ({
      at: `${branch.packet.destination}:${branch.packet.port}`,
      source: branch.masqueraded ? 'masqueraded' : branch.packet.source,
      share: branch.share,
    })),
  );
}

function merged(arrivals: readonly Arrival[]): Arrival[] {
  const sums = new Map<string, Arrival>();
  for (const arrival of arrivals) {
    const key = `${arrival.at} ${arrival.source}`;
    sums.set(key, { ...arrival, share: (sums.get(key)?.share ?? 0) + arrival.share });
  }
  return [...sums.values()].sort((a, b) => (a.at < b.at ? -1 : 1));
}

const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Node addresses with the share of new connections that a director sends there, by weight; empty without a service. */
export function traceDirector(kernel: FakeKernel, { destination, protocol, port }: Packet): Map<string, number> {
  const service = kernel.ipvs
    .services()
    .find(({ id }) => 'address' in id && id.address === destination && id.port === port && PROTOCOLS[id.protocol] === protocol);
  const open = (service?.destinations ?? []).filter(({ spec }) => spec.weight > 0);
  // Round robin without weights serves all alike; the other schedulers follow the weights.
  const weightOf = ({ spec }: (typeof open)[number]): number =>
    service?.spec.scheduler === 'rr' || service?.spec.scheduler === 'lc' ? 1 : spec.weight;
  const sum = open.reduce((total, destinationOf) => total + weightOf(destinationOf), 0);
  return new Map(open.map((found) => [found.id.address, weightOf(found) / sum]));
}

/** From the client through the director to a pod. `nodes` are the kernels of the realservers by their address. */
export function trace(director: FakeKernel, nodes: ReadonlyMap<string, FakeKernel>, packet: Packet): Arrival[] {
  const arrivals: Arrival[] = [];
  for (const [address, share] of traceDirector(director, packet)) {
    const node = nodes.get(address);
    if (node === undefined) throw new Error(`the director sends to ${address}, which is no node`);
    for (const arrival of traceNode(node, packet)) arrivals.push({ ...arrival, share: arrival.share * share });
  }
  return merged(arrivals);
}
