/** Directors of one configuration, each on a link of its own to one client: no router, and nothing announced. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { canonicalAddress } from '../../src/native/address-bytes.ts';
import { Namespace } from './namespace.ts';
import { POD_PORT } from './topology.ts';

export const vip4 = '192.0.2.10';
export const vip6 = '2001:db8::10';
export const source4 = '198.51.100.7';
export const source6 = '2001:db8:51::7';

export interface DirectorNode {
  readonly number: number;
  readonly addresses: readonly string[];
}

/** A cluster whose nodes have as many pods as `weights` says; in the order in which it says it. */
export function writeCluster(
  file: string,
  nodes: readonly DirectorNode[],
  weights: readonly (readonly [number, number])[],
  port: number,
): void {
  const pods = weights.flatMap(([number, count]) =>
    Array.from({ length: count }, (_, at) => [
      { address: `10.50.${number}.${at + 1}`, port: POD_PORT, portName: 'http', node: `n${number}` },
      { address: `2001:db8:50:${number}::${at + 1}`, port: POD_PORT, portName: 'http', node: `n${number}` },
    ]).flat(),
  );
  const entry = { [port]: { namespace: 'lab', service: 'web', portName: 'http', ipvsOptions: { scheduler: 'mh' } } };
  const cluster = {
    nodes: nodes.map(({ number, addresses }) => ({ name: `n${number}`, addresses })),
    services: [{ namespace: 'lab', name: 'web', ports: [{ name: 'http', port: 80, protocol: 'TCP' }], endpoints: pods }],
    ...{ config: { [vip4]: entry }, config6: { [vip6]: entry } },
  };
  mkdirSync('/run/lab', { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(cluster));
  renameSync(`${file}.new`, file);
}

export async function saved(director: Namespace): Promise<string> {
  return (await director.run(['ipvsadm', '-Sn'])).stdout;
}

/** As the kernel prints it: C000020A:0050, [2001:0db8:0000:0000:0000:0000:0000:0010]:0050. */
function socketOf(text: string): string {
  const at = text.lastIndexOf(':');
  const port = Number.parseInt(text.slice(at + 1), 16);
  const host = text.slice(0, at);
  if (host.startsWith('[')) return `[${canonicalAddress(host.slice(1, -1)) ?? host}]:${port}`;
  return `${[0, 2, 4, 6].map((digit) => Number.parseInt(host.slice(digit, digit + 2), 16)).join('.')}:${port}`;
}

/**
 * Virtual services, sorted (the kernel's order of them is that of a hash with the namespace in it), and below each
 * `destination weight` in the order of its list; ipvsadm would sort those.
 */
export async function listed(director: Namespace): Promise<string[]> {
  const { stdout } = await director.run(['cat', '/proc/net/ip_vs']);
  const services: string[][] = [];
  for (const line of stdout.split('\n').slice(3)) {
    const [first = '', socket = '', method = '', weight = ''] = line.trim().split(/\s+/);
    if (first === '->') services.at(-1)?.push(`${socketOf(socket)} ${weight}`);
    else if (first !== '') services.push([`${first} ${socketOf(socket)} ${method}`]);
  }
  return services.sort(([a = ''], [b = '']) => (a < b ? -1 : 1)).flat();
}

/** A client and directors on links of their own. */
export class Stage {
  readonly client: Namespace;
  readonly directors: readonly Namespace[];

  private constructor(client: Namespace, directors: readonly Namespace[]) {
    this.client = client;
    this.directors = directors;
  }

  static async create(names: readonly string[]): Promise<Stage> {
    const client = await Namespace.create('client');
    await client.run(['sysctl', '-qw', 'net.ipv6.conf.all.accept_dad=0', 'net.ipv6.conf.default.accept_dad=0']);
    await client.ip(`addr add ${source4}/32 dev lo`, `addr add ${source6}/128 dev lo`);
    const directors: Namespace[] = [];
    for (const [at, name] of names.entries()) {
      const director = await Namespace.create(name);
      const settings = ['net.ipv4.ip_forward=1', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0'];
      const settings6 = ['net.ipv6.conf.all.forwarding=1', 'net.ipv6.conf.all.accept_dad=0', 'net.ipv6.conf.default.accept_dad=0'];
      await director.run(['sysctl', '-qw', ...settings, ...settings6]);
      await client.ip(
        `link add ${name} type veth peer name eth0 netns ${director.name}`,
        `addr add 10.10${at}.0.1/24 dev ${name}`,
        `addr add 2001:db8:10${at}::1/64 dev ${name} nodad`,
        `link set ${name} up`,
      );
      await director.ip(
        `addr add 10.10${at}.0.2/24 dev eth0`,
        `addr add 2001:db8:10${at}::2/64 dev eth0 nodad`,
        'link set eth0 up',
        `route add default via 10.10${at}.0.1`,
        `route add default via 2001:db8:10${at}::1`,
      );
      directors.push(director);
    }
    return new Stage(client, directors);
  }

  /** What is for the VIPs goes to this director. */
  async point(director: Namespace): Promise<void> {
    const at = this.directors.indexOf(director);
    await this.client.ip(`route replace ${vip4}/32 via 10.10${at}.0.2`, `route replace ${vip6}/128 via 2001:db8:10${at}::2`);
  }

  async remove(): Promise<void> {
    for (const namespace of [...this.directors, this.client]) await namespace.remove();
  }
}
