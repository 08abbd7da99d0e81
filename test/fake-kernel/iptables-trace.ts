/** A new connection's way through our chains of the nat table of legacy iptables, along every branch that chance allows. */
import type { IptablesPrefix, IptablesRule } from '../../src/native/iptables-types.ts';
import type { FakeNatTable } from './iptables.ts';
import type { FakeKernel } from './kernel.ts';
import type { Arrival, Packet } from './trace.ts';

interface Way {
  readonly packet: Packet;
  readonly mark: number;
  readonly share: number;
  readonly masqueraded: boolean;
  readonly done: boolean;
}

export interface MarkedArrival extends Arrival {
  readonly mark: number;
}

function inside(address: string, prefix: IptablesPrefix | undefined): boolean {
  if (prefix === undefined) return true;
  const bits = (text: string): number => text.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const size = 2 ** (32 - prefix.length);
  const within = address.includes(':')
    ? address === prefix.address
    : Math.floor(bits(address) / size) === Math.floor(bits(prefix.address) / size);
  return within !== (prefix.inverted ?? false);
}

function matches(rule: IptablesRule, { packet, mark }: Way): boolean {
  return (
    inside(packet.source, rule.source) &&
    inside(packet.destination, rule.destination) &&
    (rule.protocol === undefined || rule.protocol === packet.protocol) &&
    (rule.port === undefined || rule.port === packet.port) &&
    (rule.opening !== true || (packet.opens ?? true)) &&
    (rule.mark === undefined || (mark & rule.mark.mask) === rule.mark.value)
  );
}

function follow(table: FakeNatTable, { target }: IptablesRule, way: Way): Way[] {
  switch (target.kind) {
    case 'jump':
      return walk(table, target.chain, [way]);
    case 'setMark':
      return [{ ...way, mark: (way.mark & ~target.mask) ^ target.value }];
    case 'dnat':
      return [{ ...way, packet: { ...way.packet, destination: target.address, port: target.port ?? way.packet.port }, done: true }];
    case 'masquerade':
      return [{ ...way, masqueraded: true, done: true }];
  }
}

function walk(table: FakeNatTable, chain: string, start: readonly Way[]): Way[] {
  let ways = [...start];
  for (const { rule } of table.chains.get(chain) ?? []) {
    if (rule === undefined) continue;
    ways = ways.flatMap((way) => {
      if (way.done || !matches(rule, way)) return [way];
      const { probability = 1 } = rule;
      const taken = follow(table, rule, { ...way, share: way.share * probability });
      return probability < 1 ? [...taken, { ...way, share: way.share * (1 - probability) }] : taken;
    });
  }
  return ways;
}

/** From the wire (`PREROUTING`) or from a process of this machine (`OUTPUT`), to where it leaves. */
export function traceIptables(kernel: FakeKernel, packet: Packet, from: 'PREROUTING' | 'OUTPUT' = 'PREROUTING'): MarkedArrival[] {
  const table = kernel.iptables[packet.destination.includes(':') ? 'ip6' : 'ip'];
  const start: Way = { packet, mark: 0, share: 1, masqueraded: false, done: false };
  const translated = walk(table, from, [start]).map((way) => ({ ...way, done: false }));
  const arrivals = new Map<string, MarkedArrival>();
  for (const way of walk(table, 'POSTROUTING', translated)) {
    const at = `${way.packet.destination}:${way.packet.port}`;
    const source = way.masqueraded ? 'masqueraded' : way.packet.source;
    const key = `${at} ${source} ${way.mark}`;
    arrivals.set(key, { at, source, mark: way.mark, share: (arrivals.get(key)?.share ?? 0) + way.share });
  }
  return [...arrivals.values()].sort((a, b) => (a.at < b.at ? -1 : 1));
}
