import { ArpAnnouncer } from '../announce/arp.ts';
import { conflictJudge } from '../announce/conflicts.ts';
import { AddressDriver } from '../drivers/addresses.ts';
import { IpvsDriver } from '../drivers/ipvs.ts';
import { ipvsRequirements } from '../desired/ipvs-sysctls.ts';
import { SysctlDriver } from '../drivers/sysctls.ts';
import { errorFields } from '../observe/log.ts';
import { DirectorPlane } from '../reconcile/director.ts';
import { keepListening } from '../reconcile/drift.ts';
import { linkListener, type Composition, type Listener, type ListenerHooks, type Parts } from './composition.ts';
import type { AgentOptions } from './options.ts';

/** IPVS, VIP addresses, gratuitous ARP. */
export function director(options: AgentOptions, parts: Parts): Composition {
  const { kernel, journal, clock, random, log } = parts;
  const addresses = new AddressDriver(kernel.links, options.vipInterface);
  let vipsChanged: ListenerHooks['vipsChanged'] = () => {};
  const announcer = new ArpAnnouncer({
    ...{ port: kernel.arp, interface: options.interface, clock, random },
    ...{ refreshMilliseconds: options.arpRefreshMilliseconds, framesPerSecond: options.arpFramesPerSecond },
    onAnnounced: (vips) => {
      log.info('announced', { vips: vips.length, first: vips[0], interface: options.interface });
      vipsChanged(vips);
    },
    onFailure: (error, vips) => {
      log.warn('announcing failed', { ...errorFields(error), vips: vips.length });
      vipsChanged(vips);
    },
  });
  const plane = new DirectorPlane({
    ...{ ipvs: new IpvsDriver(kernel.ipvs), addresses, announcer, interface: options.interface, guard: options.guard },
    sysctls: new SysctlDriver(kernel.sysctls, journal),
    now: () => clock.now(),
    onUnconfirmed: (nodes) => {
      for (const node of new Set(nodes.map((one) => one.node))) {
        const services = new Set(nodes.filter((one) => one.node === node).map(({ service }) => service));
        const [service] = services;
        log.warn('a node gets connections although its realserver has not confirmed its pods', { node, service, services: services.size });
      }
    },
    settings: ipvsRequirements({
      ...{ asked: options.ipvsSysctls, defaults: options.ipvsSysctlDefaults, conntrack: options.colocation !== 'disabled' },
    }),
    desired: {
      ...{ ignoreCordon: options.ignoreCordon, weightOverride: options.weightOverride, idleDestinations: options.idleDestinations },
      ...{ drainMilliseconds: options.drainMilliseconds, readinessMilliseconds: options.readinessMilliseconds },
      ...{ handoverMilliseconds: options.handoverMilliseconds, thresholdDivisor: options.thresholdDivisor, self: options.nodeName },
    },
  });
  const onPacket = conflictJudge({
    holds: (address) => announcer.has(address),
    isOwnMac: (mac) => addresses.macs.has(mac),
    onConflict: (vip, mac) => {
      announcer.conflict(vip, mac);
      vipsChanged([vip]);
    },
    onOverrun: () => log.warn('ARP packets were lost; a conflict may have been missed', { interface: options.interface }),
  });
  const conflicts: Listener = (signal) =>
    keepListening(
      {
        name: 'ARP on the segment',
        open: () => kernel.arp.watch(options.interface, { signal }),
        onEvent: onPacket,
        onGap: () => log.debug('listening for ARP again', { interface: options.interface }),
        ...{ clock, random, log },
      },
      signal,
    );
  return {
    plane,
    listeners: (hooks) => {
      const { doubt } = hooks;
      vipsChanged = hooks.vipsChanged;
      return [
        linkListener(parts, options, addresses, { wants: (vip) => plane.wants(vip), doubt, onLinkUp: () => announcer.announceAgain() }),
        conflicts,
      ];
    },
    serves: () => false,
    stop: () => announcer.stop(),
  };
}
