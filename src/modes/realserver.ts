import { AddressDriver } from '../drivers/addresses.ts';
import { NatDriver } from '../drivers/nat.ts';
import { SysctlDriver } from '../drivers/sysctls.ts';
import { Waits } from '../reconcile/handover.ts';
import { keepListening, nftJudge } from '../reconcile/drift.ts';
import { RealserverPlane } from '../reconcile/realserver.ts';
import { linkListener, type Composition, type Listener, type Parts } from './composition.ts';
import type { AgentOptions } from './options.ts';

/** VIP addresses that never answer ARP, and nat rules to local pods. */
export function realserver(options: AgentOptions, parts: Parts): Composition {
  const { kernel, journal, clock, random, log } = parts;
  const addresses = new AddressDriver(kernel.links, options.vipInterface);
  const nat = new NatDriver(kernel.nftables);
  const plane = new RealserverPlane({
    ...{ nat, addresses, interface: options.interface, node: options.nodeName, masquerade: options.masquerade, guard: options.guard },
    sysctls: new SysctlDriver(kernel.sysctls, journal),
    waits: new Waits(options.handoverMilliseconds, () => clock.now()),
  });
  const rules =
    (doubt: (cause: string) => void): Listener =>
    (signal) =>
      keepListening(
        {
          name: 'nftables events',
          open: () => kernel.nftables.watch({ signal }),
          onEvent: nftJudge(doubt),
          onGap: () => doubt('nftables events were interrupted'),
          ...{ clock, random, log },
        },
        signal,
      );
  return {
    plane,
    listeners: ({ doubt }) => [
      linkListener(parts, options, addresses, { wants: (vip) => plane.wants(vip), doubt, onLinkUp: () => {} }),
      rules(doubt),
    ],
    serves: (keys) => {
      for (const key of keys) if (plane.serves(key)) return true;
      return false;
    },
    stop: () => {},
  };
}
