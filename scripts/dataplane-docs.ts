/**
 * Fills the marked blocks of docs/dataplane.md from the code: settings of the kernel, what tunnels add to a packet, and
 * the schedulers. `--check` writes nothing and exits 1 when the page is out of date.
 */
import { fileURLToPath } from 'node:url';
import { ipvsSettings, sharedSettings } from '../src/desired/ipvs-sysctls.ts';
import { tunnelInterfaces } from '../src/diff/tunnels.ts';
import { tunnelOverhead } from '../src/diff/path-mtu.ts';
import { realserverRequirements } from '../src/drivers/sysctls.ts';
import type { Scheduler } from '../src/model/cluster.ts';
import { schedulers } from '../src/model/options.ts';
import { updatePage } from './doc-page.ts';

/** How each chooses; the compiler asks for a row when a scheduler is added. */
const schedulerWords: Readonly<Record<Scheduler, string>> = {
  rr: 'one after the other, whatever their weight',
  wrr: 'one after the other, as often as their weight says: the default of the other modes, and with pods as weight an even share for each pod',
  lc: 'the one with the fewest connections',
  wlc: 'the one with the fewest connections for its weight',
  dh: "by the VIP alone: one virtual service, one destination. Made for caches that stand in the clients' way",
  sh: "by the client's address; `sh-fallback`: another one when it is full or has weight 0, `sh-port`: by its port, too",
  mh: "the default in mode bgp: by the client's address in a table that changes as little as possible when destinations come and go (Maglev). Always with `mh-fallback` and `mh-port` unless flags say otherwise",
  lblc: 'by the VIP, and elsewhere when that one is overloaded',
  lblcr: 'by the VIP, to a set of destinations that grows and shrinks',
  sed: 'the shortest expected delay: connections plus one, by weight',
  nq: 'one that is idle, else as `sed`',
  fo: 'the one with the greatest weight, as long as it lives',
  ovf: 'the one with the greatest weight, and when it has as many connections as its weight the next',
  twos: 'of two chosen at random by weight the one with fewer connections',
};

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(header), `|${'---|'.repeat(header.length)}`, ...rows.map(line)].join('\n');
}

const code = (text: string): string => `\`${text}\``;

function realserverTable(): string {
  const inbound = ['IFACE', ...tunnelInterfaces({ devices: ['ipip', 'gre'], guePorts: [] })];
  const rows = realserverRequirements(['IFACE'], inbound).map(({ key, all, value, why }) => [
    code(key.replaceAll('/', '.')),
    code(value),
    all === undefined ? '' : `larger of it and ${code(all.replaceAll('/', '.'))}`,
    why,
  ]);
  return table(['setting', 'written', 'in effect', 'why'], rows);
}

function directorTable(): string {
  const settings = ipvsSettings({ asked: new Map(), defaults: true, conntrack: true });
  const rows = settings.map(({ name, value, why, needed }) => {
    const shared = sharedSettings.find((one) => one.name === name);
    const other = shared === undefined || shared.value === value ? '' : `, in mode bgp ${code(shared.value)}`;
    return [
      code(`net.ipv4.vs.${name}`),
      `${code(value.replace('\t', ' '))}${other}`,
      needed ? 'yes' : shared === undefined ? '' : 'in mode bgp',
      shared === undefined ? why : `${why}; in mode bgp ${shared.why}`,
    ];
  });
  return table(['setting', 'written', 'needed', 'why'], rows);
}

function overheadTable(): string {
  const rows = (['ipip', 'gue', 'gre'] as const).map((type) => [
    code(type),
    ...['192.0.2.10', '2001:db8::10'].map((vip) => {
      const overhead = tunnelOverhead(type, vip);
      return `${overhead} bytes, TCP segments of ${1500 - overhead - (vip.includes(':') ? 60 : 40)}`;
    }),
  ]);
  return table(['tunnel', 'over IPv4, MTU 1500', 'over IPv6, MTU 1500'], rows);
}

function schedulerTable(): string {
  return table(
    ['scheduler', 'the destination of a new connection'],
    schedulers.map((name) => [code(name), schedulerWords[name]]),
  );
}

const blocks: Readonly<Record<string, () => string>> = {
  'realserver-sysctls': realserverTable,
  'director-sysctls': directorTable,
  'tunnel-overheads': overheadTable,
  schedulers: schedulerTable,
};

/** The page with every marked block made anew. */
export function withDataplane(page: string): string {
  return page.replace(/<!-- ([\w-]+) -->\n[^]*?<!-- \/\1 -->/g, (_whole, name: string) => {
    const content = blocks[name];
    if (content === undefined) throw new Error(`docs/dataplane.md asks for ${name}`);
    return `<!-- ${name} -->\n\n${content()}\n\n<!-- /${name} -->`;
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) updatePage('dataplane.md', withDataplane);
