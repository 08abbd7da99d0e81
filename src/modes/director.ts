import { ipvsRequirements } from '../desired/ipvs-sysctls.ts';
import { tunnelDevices } from '../diff/tunnels.ts';
import { AddressDriver } from '../drivers/addresses.ts';
import { AnnouncedAddressDriver } from '../drivers/announced-addresses.ts';
import { ConntrackDriver } from '../drivers/conntrack.ts';
import { IpvsDriver } from '../drivers/ipvs.ts';
import { NatChoice } from '../drivers/nat-choice.ts';
import { SysctlDriver } from '../drivers/sysctls.ts';
import { TunnelDriver } from '../drivers/tunnels.ts';
import { SegmentAnnouncing } from '../reconcile/announcing-segment.ts';
import { DirectorRules } from '../reconcile/colocation.ts';
import { ConntrackSweeper } from '../reconcile/conntrack-sweeper.ts';
import type { Unconfirmed } from '../reconcile/director-target.ts';
import { DirectorPlane, type DirectorPlaneOptions } from '../reconcile/director.ts';
import { segment } from './announcing.ts';
import { linkListener, type Composition, type Listener, type ListenerHooks, type Parts } from './composition.ts';
import { natListener } from './nat.ts';
import type { AgentOptions } from './options.ts';

/** IPVS, VIP addresses, announcements; with colocation the share of its own pods. */
export function director(options: AgentOptions, parts: Parts): Composition {
  const { kernel, journal, clock, log } = parts;
  const colocated = options.colocation !== 'disabled';
  const addresses = new AddressDriver(kernel.links, options.vipInterface);
  const announced = new AnnouncedAddressDriver(kernel.links, options.interface, options.vipInterface);
  const asked = options.colocation === 'disabled' ? options.natBackend : options.colocation;
  const nat = new NatChoice(kernel, { asked, chainPrefix: options.iptablesChain });
  let vipsChanged: ListenerHooks['vipsChanged'] = () => {};
  const { announcer, listeners: conflicts } = segment(options, parts, {
    isOwnMac: (mac) => addresses.macs.has(mac),
    vipsChanged: (vips) => vipsChanged(vips),
  });
  const announcing = new SegmentAnnouncing(announcer, announced);
  const rules = new DirectorRules({
    ...{ nat, colocated, counters: options.natCounters },
    // Another director may send packets here by a tunnel; names of devices that are not there match nothing.
    outside: [options.interface, ...(colocated ? Object.values(tunnelDevices) : [])],
    masquerade: colocated ? options.masquerade : { enabled: false },
  });
  const sweeper = new ConntrackSweeper({ driver: new ConntrackDriver(kernel.conntrack), clock, log });
  const plane = new DirectorPlane({
    ...{ ipvs: new IpvsDriver(kernel.ipvs), addresses, rules, announcing, interface: options.interface, guard: options.guard },
    ...{ sysctls: new SysctlDriver(kernel.sysctls, journal), tunnels: new TunnelDriver(kernel.links, kernel.fou, journal) },
    ...{ sweeper, now: () => clock.now() },
    onUnconfirmed: (nodes) => tellUnconfirmed(parts, nodes),
    settings: ({ conntrack }) => ipvsRequirements({ asked: options.ipvsSysctls, defaults: options.ipvsSysctlDefaults, conntrack }),
    desired: desiredOf(options),
  });
  // Nothing is listened to for a machine that never has rules.
  const ruled =
    (doubt: (cause: string) => void): Listener =>
    async (signal) => {
      await Promise.race([rules.used, aborted(signal)]);
      if (!signal.aborted) await natListener(parts, nat, doubt)(signal);
    };
  return {
    plane,
    listeners: (hooks) => {
      const { doubt } = hooks;
      vipsChanged = hooks.vipsChanged;
      const links = {
        ...{ wants: (vip: string) => plane.wants(vip), doubt, onLinkUp: () => announcer.announceAgain() },
        answers: { on: () => announced.interfaceIndex, for: (vip: string) => announcing.answers(vip) },
      };
      return [linkListener(parts, options, addresses, links), ...conflicts, ruled(doubt)];
    },
    serves: (keys) => {
      for (const key of keys) if (plane.serves(key)) return true;
      return false;
    },
    translates: () => rules.inUse,
    stop: () => {
      announcer.stop();
      sweeper.stop();
    },
  };
}

function desiredOf(options: AgentOptions): DirectorPlaneOptions['desired'] {
  const colocated = options.colocation !== 'disabled';
  return {
    ...{ ignoreCordon: options.ignoreCordon, weightOverride: options.weightOverride, idleDestinations: options.idleDestinations },
    ...{ drainMilliseconds: options.drainMilliseconds, readinessMilliseconds: options.readinessMilliseconds },
    ...{ handoverMilliseconds: options.handoverMilliseconds, thresholdDivisor: options.thresholdDivisor },
    ...{ self: options.nodeName, colocated, inside: colocated && options.insideAccess === 'cluster' },
  };
}

function tellUnconfirmed({ log }: Parts, nodes: readonly Unconfirmed[]): void {
  for (const node of new Set(nodes.map((one) => one.node))) {
    const services = new Set(nodes.filter((one) => one.node === node).map(({ service }) => service));
    const [service] = services;
    log.warn('a node gets connections although its realserver has not confirmed its pods', { node, service, services: services.size });
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
