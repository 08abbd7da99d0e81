/** A node with two pods behind VIPs of both families, a client on a wire, and `conntrack` as the oracle. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { ConntrackEntry, ConntrackTuple } from '../../src/native/conntrack-types.ts';
import { Netns } from '../../src/native/netns.ts';
import { inside, nftScript } from './nftables-support.ts';

export const VIP = '192.0.2.10';
export const VIP6 = '2001:db8::10';
export const CLIENT = '10.9.0.2';
export const CLIENT6 = 'fd09::2';
export const PODS = ['10.1.1.1', '10.1.1.2'] as const;
export const PODS6 = ['fd01::1', 'fd01::2'] as const;
export const PORT = 53;
export const POD_PORT = 5353;

const peerProgram = path.resolve('test/netns/conntrack-peer.ts');

export function peer(netns: Netns, args: readonly string[], wrapper: readonly string[] = []): ChildProcess {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', peerProgram, ...args];
  return spawn('nsenter', [`--net=${netns.path}`, ...wrapper, ...node], { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Where the node sends what comes for VIP:53, one protocol or both; `undefined`: nowhere, the VIP itself answers. */
export function route(node: Netns, pod: 0 | 1 | undefined): void {
  const chain = (family: string, vip: string, to: string): string => `
    add table ${family} nat
    delete table ${family} nat
    table ${family} nat {
      chain prerouting {
        type nat hook prerouting priority -100
        ${pod === undefined ? '' : `meta l4proto { tcp, udp } th dport ${PORT} ${family} daddr ${vip} dnat to ${to}`}
      }
    }`;
  const script = chain('ip', VIP, `${PODS[pod ?? 0]}:${POD_PORT}`) + chain('ip6', VIP6, `[${PODS6[pod ?? 0]}]:${POD_PORT}`);
  assert.equal(nftScript(node, script), '');
}

/** Puts flows in zones: family, or the words before `zone`, by the port they go to. */
export function zones(node: Netns, rules: readonly string[]): void {
  const script = `table inet zones {\n chain prerouting {\n type filter hook prerouting priority raw\n ${rules.join('\n ')}\n }\n}`;
  assert.equal(nftScript(node, script), '');
}

/** Answers of one program at the client's end, line by line. */
export class Client {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(netns: Netns, protocol: 'udp' | 'tcp') {
    this.#child = peer(netns, ['send', protocol]);
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const next = await this.#lines.next();
    return next.done === true ? 'ended' : next.value;
  }

  /** Sends from `port` to the VIP of a family: the name of the pod that answered, or `-`. */
  ask(port: number, family: 4 | 6 = 4, to = PORT, how: 'answered' | 'unanswered' = 'answered'): Promise<string> {
    const [from, vip] = family === 4 ? [CLIENT, VIP] : [CLIENT6, VIP6];
    this.#child.stdin!.write(`${from} ${port} ${vip} ${to} ${how}\n`);
    return this.line();
  }

  async stop(): Promise<void> {
    const over = once(this.#child, 'close');
    this.#child.stdin!.end();
    await over;
  }
}

export interface Lab {
  readonly node: Netns;
  readonly client: Netns;
  readonly udp: Client;
  readonly tcp: Client;
  stop(): Promise<void>;
}

export async function lab(): Promise<Lab> {
  const [node, client] = [await Netns.create(), await Netns.create()];
  inside(node, ['ip', 'link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', client.path]);
  const address = (netns: Netns, text: string, device: string): void => {
    inside(netns, ['ip', 'address', 'add', text, 'dev', device, ...(text.includes(':') ? ['nodad'] : [])]);
  };
  for (const text of [`${VIP}/32`, `${VIP6}/128`, ...PODS.map((pod) => `${pod}/32`), ...PODS6.map((pod) => `${pod}/128`)]) {
    address(node, text, 'lo');
  }
  for (const [netns, device, four, six] of [
    [node, 'wire', '10.9.0.1/24', 'fd09::1/64'],
    [client, 'eth0', `${CLIENT}/24`, `${CLIENT6}/64`],
  ] as const) {
    address(netns, four, device);
    address(netns, six, device);
    inside(netns, ['ip', 'link', 'set', device, 'up']);
  }
  inside(client, ['ip', 'route', 'add', 'default', 'via', '10.9.0.1']);
  inside(client, ['ip', '-6', 'route', 'add', 'default', 'via', 'fd09::1']);
  // The kernel tracks while a rule needs it (nf_ct_netns_get): this one does, whatever becomes of the nat rules.
  const tracked = 'table inet tracked {\n chain prerouting {\n type filter hook prerouting priority 0\n ct state invalid accept\n }\n}';
  assert.equal(nftScript(node, tracked), '');
  // A refusal for every datagram that deserves one, not one a second (icmp_ratelimit).
  inside(node, ['sh', '-c', 'echo 0 >/proc/sys/net/ipv4/icmp_ratelimit && echo 0 >/proc/sys/net/ipv6/icmp/ratelimit']);
  route(node, 0);
  const servers: ChildProcess[] = [];
  for (const protocol of ['udp', 'tcp']) {
    for (const pods of [PODS, PODS6]) {
      for (const [k, pod] of pods.entries()) servers.push(peer(node, ['serve', protocol, pod, String(POD_PORT), `pod${String(k)}`]));
    }
  }
  for (const { stdout } of servers) assert.equal(String((await once(stdout!, 'data'))[0]), 'ready\n');
  const [udp, tcp] = [new Client(client, 'udp'), new Client(client, 'tcp')];
  assert.deepEqual([await udp.line(), await tcp.line()], ['ready', 'ready']);
  const stop = async (): Promise<void> => {
    await Promise.all([udp.stop(), tcp.stop()]);
    const ended = servers.map((server) => once(server, 'close'));
    for (const server of servers) server.kill();
    await Promise.all(ended);
    await Promise.all([node.close(), client.close()]);
  };
  return { node, client, udp, tcp, stop };
}

/** What `conntrack -L -o extended,id` prints of one entry, less what changes by itself: times and uses. */
export type Listed = Omit<ConntrackEntry, 'timeoutSeconds' | 'status' | 'zoneDirection'>;

const protocols: Readonly<Record<string, ConntrackEntry['protocol']>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

function listed(line: string): Listed[] {
  const protocol = protocols[line.split(/\s+/)[3] ?? ''];
  if (protocol === undefined) return [];
  const all = (name: string): string[] => [...line.matchAll(new RegExp(`\\b${name}=(\\S+)`, 'g'))].map((match) => match[1]!);
  const tuple = (k: number): ConntrackTuple => ({
    source: { address: all('src')[k]!, port: Number(all('sport')[k]) },
    destination: { address: all('dst')[k]!, port: Number(all('dport')[k]) },
  });
  const [zone = 0] = [...all('zone'), ...all('zone-orig'), ...all('zone-reply')].map(Number);
  return [{ protocol, original: tuple(0), reply: tuple(1), id: Number(all('id')[0]), mark: Number(all('mark')[0] ?? 0), zone }];
}

const order = <Value>(values: readonly Value[]): Value[] => [...values].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

/** Standard output of `conntrack`; its count of what it did goes to standard error, and nowhere. */
export function table(netns: Netns, ...words: readonly string[]): string {
  return execFileSync('nsenter', [`--net=${netns.path}`, 'conntrack', ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Every entry with ports that the tool sees, in a fixed order. */
export function oracle(netns: Netns): Listed[] {
  const lines = ['ipv4', 'ipv6'].flatMap((family) => table(netns, '-L', '-f', family, '-o', 'extended,id').split('\n'));
  return order(lines.flatMap(listed));
}

/** Entries of ours in the words of the oracle. */
export function asListed(entries: readonly ConntrackEntry[]): Listed[] {
  return order(entries.map(({ protocol, original, reply, id, mark, zone }) => ({ protocol, original, reply, id, mark, zone })));
}
