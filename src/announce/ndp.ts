import type { NdpPort } from '../native/link-types.ts';
import { PacedAnnouncer, type AnnouncerOptions } from './paced.ts';

export interface NdpAnnouncerOptions extends AnnouncerOptions {
  readonly port: Pick<NdpPort, 'announce'>;
}

/** Unsolicited neighbour advertisements to all nodes (RFC 4861 section 7.2.6), paced as gratuitous ARP is. */
export class NdpAnnouncer extends PacedAnnouncer {
  constructor({ port, ...options }: NdpAnnouncerOptions) {
    super(
      { frames: { takeOver: 1, refresh: 1 }, send: (addresses: readonly string[]) => port.announce(options.interface, addresses) },
      options,
    );
  }
}
