import type { Address } from '../model/cluster.ts';
import type { ArpPacket, NdpPacket } from '../native/link-types.ts';

export interface ConflictOptions {
  /** A VIP that we hold at the moment. */
  readonly holds: (address: Address) => boolean;
  /** Hardware addresses of this machine: our own frames come back to us. */
  readonly isOwnMac: (mac: string) => boolean;
}

/** What a received packet means to us; only "conflict" asks for anything. */
export function judge(packet: ArpPacket, options: ConflictOptions): 'probe' | 'notOurs' | 'ownFrame' | 'conflict' {
  // RFC 5227 section 1.1: a probe has an empty sender; it asks whether it may, and claims nothing.
  if (packet.senderAddress === '0.0.0.0') return 'probe';
  if (!options.holds(packet.senderAddress)) return 'notOurs';
  return options.isOwnMac(packet.senderMac) ? 'ownFrame' : 'conflict';
}

/** Calls back when anyone else answers or announces one of our VIPs. */
export function conflictJudge(
  options: ConflictOptions & {
    readonly onConflict: (address: Address, mac: string) => void;
    /** Packets were lost: conflicts may have been missed. */
    readonly onOverrun: () => void;
  },
): (packet: ArpPacket | { type: 'overrun' }) => void {
  return (packet) => {
    if ('type' in packet) options.onOverrun();
    else if (judge(packet, options) === 'conflict') options.onConflict(packet.senderAddress, packet.senderMac);
  };
}

/** The same of IPv6: whoever advertises one of our VIPs with a hardware address that is not ours (RFC 4862 section 5.4.5). */
export function advertisementJudge(options: Parameters<typeof conflictJudge>[0]): (packet: NdpPacket | { type: 'overrun' }) => void {
  return (packet) => {
    if ('type' in packet) {
      options.onOverrun();
      return;
    }
    // A solicitation claims nothing; one from `::` only asks whether it may.
    if (packet.kind !== 'advertisement' || !options.holds(packet.targetAddress)) return;
    const mac = packet.linkLayerAddress ?? packet.senderMac;
    if (!options.isOwnMac(mac)) options.onConflict(packet.targetAddress, mac);
  };
}
