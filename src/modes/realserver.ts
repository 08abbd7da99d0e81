import { AddressDriver } from '../drivers/addresses.ts';
import { ConntrackDriver } from '../drivers/conntrack.ts';
import { NatChoice } from '../drivers/nat-choice.ts';
import { SysctlDriver } from '../drivers/sysctls.ts';
import { TunnelDriver } from '../drivers/tunnels.ts';
import { ConntrackSweeper } from '../reconcile/conntrack-sweeper.ts';
import { Waits } from '../reconcile/handover.ts';
import { RealserverPlane } from '../reconcile/realserver.ts';
import { linkListener, type Composition, type Parts } from './composition.ts';
import { natListener } from './nat.ts';
import type { AgentOptions } from './options.ts';

/** VIP addresses that never answer ARP, and nat rules to local pods. */
export function realserver(options: AgentOptions, parts: Parts): Composition {
  const { kernel, journal, clock, log } = parts;
  const addresses = new AddressDriver(kernel.links, options.vipInterface);
  const nat = new NatChoice(kernel, { asked: options.natBackend, chainPrefix: options.iptablesChain });
  const sweeper = new ConntrackSweeper({ driver: new ConntrackDriver(kernel.conntrack), clock, log });
  const plane = new RealserverPlane({
    ...{ nat, addresses, sweeper, interface: options.interface, node: options.nodeName, masquerade: options.masquerade },
    ...{ insideAccess: options.insideAccess, counters: options.natCounters, guard: options.guard },
    sysctls: new SysctlDriver(kernel.sysctls, journal),
    tunnels: new TunnelDriver(kernel.links, kernel.fou, journal),
    waits: new Waits(options.handoverMilliseconds, () => clock.now()),
  });
  return {
    plane,
    listeners: ({ doubt }) => [
      linkListener(parts, options, addresses, { wants: (vip) => plane.wants(vip), doubt, onLinkUp: () => {} }),
      natListener(parts, nat, doubt),
    ],
    serves: (keys) => {
      for (const key of keys) if (plane.serves(key)) return true;
      return false;
    },
    stop: () => sweeper.stop(),
  };
}
