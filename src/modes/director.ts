import { ipvsRequirements } from '../desired/ipvs-sysctls.ts';
import { tunnelDevices } from '../diff/tunnels.ts';
import { AddressDriver } from '../drivers/addresses.ts';
import { AnnouncedAddressDriver } from '../drivers/announced-addresses.ts';
import { ConntrackDriver } from '../drivers/conntrack.ts';
import { IpvsSyncDriver } from '../drivers/ipvs-sync.ts';
import { IpvsDriver } from '../drivers/ipvs.ts';
import { NatChoice } from '../drivers/nat-choice.ts';
import { SysctlDriver } from '../drivers/sysctls.ts';
import { TunnelDriver } from '../drivers/tunnels.ts';
import type { Announcing } from '../reconcile/announcing.ts';
import { SegmentAnnouncing } from '../reconcile/announcing-segment.ts';
import { DirectorRules } from '../reconcile/colocation.ts';
import { ConntrackSweeper } from '../reconcile/conntrack-sweeper.ts';
import type { Unconfirmed } from '../reconcile/director-target.ts';
import { DirectorHost } from '../reconcile/director-host.ts';
import { DirectorPlane, type DirectorPlaneOptions } from '../reconcile/director.ts';
import { segment } from './announcing.ts';
import { aborted, linkListener, type Composition, type LinkHooks, type Listener, type ListenerHooks, type Parts } from './composition.ts';
import { natListener } from './nat.ts';
import type { Compose } from './coordination.ts';
import type { AgentOptions } from './options.ts';

/** What a way to announce may know of its director. */
export interface Announcer {
  readonly addresses: AddressDriver;
  /** Something was learnt about VIPs between two passes. */
  readonly vipsChanged: ListenerHooks['vipsChanged'];
}

/** A way to announce, and what belongs to it. */
export interface Announces extends Pick<Composition, 'bgp' | 'drain' | 'settle'> {
  readonly announcing: Announcing;
  readonly listeners: readonly Listener[];
  /** What it wants to know of devices and addresses. */
  readonly links: Pick<LinkHooks, 'onLinkUp' | 'answers'>;
  /** Other directors have the same VIPs at the same time. */
  readonly shared: boolean;
  readonly stop: () => void;
}

export type Announce = (options: AgentOptions, parts: Parts, director: Announcer) => Announces;

/** Speaking up on the segment: each VIP has one owner there. */
const onSegment: Announce = (options, parts, { addresses, vipsChanged }) => {
  const announced = new AnnouncedAddressDriver(parts.kernel.links, options.interface, options.vipInterface);
  const { announcer, listeners } = segment(options, parts, { isOwnMac: (mac) => addresses.macs.has(mac), vipsChanged });
  const announcing = new SegmentAnnouncing(announcer, announced);
  return {
    ...{ announcing, listeners, shared: false, stop: () => announcer.stop() },
    links: {
      onLinkUp: () => announcer.announceAgain(),
      answers: { on: () => announced.interfaceIndex, for: (vip: string) => announcing.answers(vip) },
    },
  };
};

/** IPVS, VIP addresses, announcements; with colocation the share of its own pods. */
export const director: Compose = (options, parts) => directing(options, parts, onSegment);

/** The same by whatever way of announcing. */
export function directing(options: AgentOptions, parts: Parts, announce: Announce): Composition {
  const { kernel, journal, clock, log } = parts;
  const colocated = options.colocation !== 'disabled';
  const addresses = new AddressDriver(kernel.links, options.vipInterface);
  const asked = options.colocation === 'disabled' ? options.natBackend : options.colocation;
  const nat = new NatChoice(kernel, { asked, chainPrefix: options.iptablesChain });
  let vipsChanged: ListenerHooks['vipsChanged'] = () => {};
  const { announcing, listeners, links, shared, stop, ...more } = announce(options, parts, {
    ...{ addresses, vipsChanged: (vips) => vipsChanged(vips) },
  });
  const rules = new DirectorRules({
    ...{ nat, colocated, counters: options.natCounters },
    // Another director may send packets here by a tunnel; names of devices that are not there match nothing.
    outside: [options.interface, ...(colocated ? Object.values(tunnelDevices) : [])],
    masquerade: colocated ? options.masquerade : { enabled: false },
  });
  const sweeper = new ConntrackSweeper({ driver: new ConntrackDriver(kernel.conntrack), clock, log });
  const host = new DirectorHost({
    ...{ announcing, colocated, interface: options.interface, synchronize: options.ipvsSync },
    ...{ sysctls: new SysctlDriver(kernel.sysctls, journal), tunnels: new TunnelDriver(kernel.links, kernel.fou, journal) },
    sync: new IpvsSyncDriver(kernel.ipvs, journal),
    settings: ({ conntrack }) => ipvsRequirements({ asked: options.ipvsSysctls, defaults: options.ipvsSysctlDefaults, conntrack, shared }),
  });
  const plane = new DirectorPlane({
    ipvs: new IpvsDriver(kernel.ipvs, { sysctls: kernel.sysctls, journal }),
    ...{ addresses, rules, announcing, interface: options.interface, guard: options.guard },
    ...{ host, sweeper, now: () => clock.now() },
    onUnconfirmed: (nodes) => tellUnconfirmed(parts, nodes),
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
      const looks = { ...links, wants: (vip: string) => plane.wants(vip), doubt };
      return [linkListener(parts, options, addresses, looks), ...listeners, ruled(doubt)];
    },
    serves: (keys) => {
      for (const key of keys) if (plane.serves(key)) return true;
      return false;
    },
    translates: () => rules.inUse,
    stop: () => {
      stop();
      sweeper.stop();
    },
    ...more,
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
