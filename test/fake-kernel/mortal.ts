import type { Kernel } from '../../src/drivers/kernel.ts';
import type { FakeKernel } from './kernel.ts';

class Killed extends Error {}

/** Ports that do `allowed` operations and then nothing ever again, as the kernel of a process that was killed. */
export function mortal(kernel: FakeKernel, allowed: number): Partial<Kernel> {
  let left = allowed;
  const spend = (count: number): number => {
    const spent = Math.min(left, count);
    left -= spent;
    return spent;
  };
  const { ipvs, links, nftables, iptables, sysctls } = kernel;
  return {
    ipvs: {
      info: () => ipvs.info(),
      snapshot: () => ipvs.snapshot(),
      syncDaemons: () => ipvs.syncDaemons(),
      startSyncDaemon: (daemon) => (spend(1) === 1 ? ipvs.startSyncDaemon(daemon) : Promise.reject(new Killed())),
      stopSyncDaemon: (role) => (spend(1) === 1 ? ipvs.stopSyncDaemon(role) : Promise.reject(new Killed())),
      async apply(operations) {
        const count = spend(operations.length);
        const result = await ipvs.apply(operations.slice(0, count));
        if (count < operations.length) throw new Killed();
        return result;
      },
    },
    links: {
      links: () => links.links(),
      addresses: () => links.addresses(),
      routeTo: (address) => links.routeTo(address),
      watch: (groups, options) => links.watch(groups, options),
      async apply(operations) {
        const count = spend(operations.length);
        const result = await links.apply(operations.slice(0, count));
        if (count < operations.length) throw new Killed();
        return result;
      },
    },
    nftables: {
      generation: () => nftables.generation(),
      tables: () => nftables.tables(),
      list: (table) => nftables.list(table),
      elements: (table, set) => nftables.elements(table, set),
      check: (operations) => nftables.check(operations),
      watch: (options) => nftables.watch(options),
      commit: (operations, options) => (spend(1) === 1 ? nftables.commit(operations, options) : Promise.reject(new Killed())),
    },
    iptables: {
      present: (family) => iptables.present(family),
      table(family, prefix) {
        const table = iptables.table(family, prefix);
        return {
          list: () => table.list(),
          commit: (program) => (spend(1) === 1 ? table.commit(program) : Promise.reject(new Killed())),
        };
      },
    },
    sysctls: {
      read: (key) => sysctls.read(key),
      names: (folder) => sysctls.names(folder),
      write: (key, value) => (spend(1) === 1 ? sysctls.write(key, value) : Promise.reject(new Killed())),
    },
  };
}
