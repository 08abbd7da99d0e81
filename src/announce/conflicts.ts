import type { Address } from '../model/cluster.ts';
import type { ArpPacket, ArpPort } from '../native/link-types.ts';

export interface ConflictWatchOptions {
  readonly port: Pick<ArpPort, 'watch'>;
  readonly interface: string;
  readonly signal: AbortSignal;
  /** A VIP that we hold at the moment. */
  readonly holds: (address: Address) => boolean;
  /** Hardware addresses of this machine: our own frames come back to us. */
  readonly isOwnMac: (mac: string) => boolean;
  readonly onConflict: (address: Address, mac: string) => void;
  /** Packets were lost: conflicts may have been missed. */
  readonly onOverrun: () => void;
}

/** Why a packet is no conflict; "conflict" when it is one. */
export function judge(
  packet: ArpPacket,
  options: Pick<ConflictWatchOptions, 'holds' | 'isOwnMac'>,
): 'probe' | 'notOurs' | 'ownFrame' | 'conflict' {
  // RFC 5227 section 1.1: a probe has an empty sender; it asks whether it may, and claims nothing.
  if (packet.senderAddress === '0.0.0.0') return 'probe';
  if (!options.holds(packet.senderAddress)) return 'notOurs';
  return options.isOwnMac(packet.senderMac) ? 'ownFrame' : 'conflict';
}

/** Listens for anyone else who answers or announces one of our VIPs. Ends with the signal, or throws. */
export async function watchConflicts(options: ConflictWatchOptions): Promise<void> {
  for await (const packet of options.port.watch(options.interface, { signal: options.signal })) {
    if ('type' in packet) options.onOverrun();
    else if (judge(packet, options) === 'conflict') options.onConflict(packet.senderAddress, packet.senderMac);
  }
}
