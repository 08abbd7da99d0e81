/** The real kernel, opened piece by piece when first needed: a missing module must not keep the rest from working. */
import type { ConntrackPort } from '../native/conntrack-types.ts';
import { Arp, Conntrack, Fou, Ipvs, Links, Ndp, Nftables } from '../native/index.ts';
import type { IpvsPort, IpvsSyncPort } from '../native/ipvs-types.ts';
import type { ArpPort, FouPort, LinksPort, NdpPort } from '../native/link-types.ts';
import type { NftablesPort } from '../native/nftables-types.ts';
import type { Kernel } from './kernel.ts';
import { type Closable, Lazy } from './lazy.ts';
import { ProcLegacyTables } from './legacy-tables.ts';
import { ProcSysctls } from './proc-sysctls.ts';

async function* streamOf<Port extends Closable, Event>(lazy: Lazy<Port>, open: (port: Port) => AsyncIterable<Event>): AsyncIterable<Event> {
  yield* open(await lazy.get());
}

function ipvsPort(lazy: Lazy<Ipvs>): IpvsPort & IpvsSyncPort {
  return {
    info: async () => (await lazy.get()).info(),
    snapshot: async () => (await lazy.get()).snapshot(),
    apply: async (operations) => (await lazy.get()).apply(operations),
    syncDaemons: async () => (await lazy.get()).syncDaemons(),
    startSyncDaemon: async (daemon) => (await lazy.get()).startSyncDaemon(daemon),
    stopSyncDaemon: async (role) => (await lazy.get()).stopSyncDaemon(role),
  };
}

function nftablesPort(lazy: Lazy<Nftables>): NftablesPort {
  return {
    generation: async () => (await lazy.get()).generation(),
    tables: async () => (await lazy.get()).tables(),
    list: async (table) => (await lazy.get()).list(table),
    elements: async (table, set) => (await lazy.get()).elements(table, set),
    commit: async (operations, options) => (await lazy.get()).commit(operations, options),
    check: async (operations) => (await lazy.get()).check(operations),
    watch: (options) => streamOf(lazy, (port) => port.watch(options)),
  };
}

function linksPort(lazy: Lazy<Links>): LinksPort {
  return {
    links: async () => (await lazy.get()).links(),
    addresses: async () => (await lazy.get()).addresses(),
    routeTo: async (address) => (await lazy.get()).routeTo(address),
    apply: async (operations) => (await lazy.get()).apply(operations),
    watch: (groups, options) => streamOf(lazy, (port) => port.watch(groups, options)),
  };
}

function arpPort(lazy: Lazy<Arp>): ArpPort {
  return {
    announce: async (interfaceName, addresses, form) => (await lazy.get()).announce(interfaceName, addresses, form),
    watch: (interfaceName, options) => streamOf(lazy, (port) => port.watch(interfaceName, options)),
  };
}

function ndpPort(lazy: Lazy<Ndp>): NdpPort {
  return {
    announce: async (interfaceName, addresses) => (await lazy.get()).announce(interfaceName, addresses),
    watch: (interfaceName, options) => streamOf(lazy, (port) => port.watch(interfaceName, options)),
  };
}

function fouPort(lazy: Lazy<Fou>): FouPort {
  return {
    list: async () => (await lazy.get()).list(),
    add: async (entry) => (await lazy.get()).add(entry),
    delete: async (entry) => (await lazy.get()).delete(entry),
  };
}

function conntrackPort(lazy: Lazy<Conntrack>): ConntrackPort {
  return {
    entries: async (filter) => (await lazy.get()).entries(filter),
    remove: async (entries, rows) => (await lazy.get()).remove(entries, rows),
  };
}

/** The network namespace of this process. `sysctlDirectory`: where its settings are written. */
export function openKernel(sysctlDirectory = '/proc/sys'): Kernel & Closable {
  const ipvs = new Lazy(() => Ipvs.open());
  const nftables = new Lazy(() => Nftables.open());
  const links = new Lazy(() => Links.open());
  const arp = new Lazy(() => Arp.open());
  const ndp = new Lazy(() => Ndp.open());
  const fou = new Lazy(() => Fou.open());
  const conntrack = new Lazy(() => Conntrack.open());
  const iptables = new ProcLegacyTables();
  return {
    ipvs: ipvsPort(ipvs),
    nftables: nftablesPort(nftables),
    links: linksPort(links),
    arp: arpPort(arp),
    ndp: ndpPort(ndp),
    fou: fouPort(fou),
    conntrack: conntrackPort(conntrack),
    iptables,
    sysctls: new ProcSysctls('/proc/sys', sysctlDirectory),
    close: async () => {
      const open = [ipvs, nftables, links, arp, ndp, fou, conntrack, iptables];
      await Promise.all(open.map((port) => port.close()));
    },
  };
}
