import type { ArpPort } from '../native/link-types.ts';
import { PacedAnnouncer, type AnnouncerOptions } from './paced.ts';

export interface ArpAnnouncerOptions extends AnnouncerOptions {
  readonly port: Pick<ArpPort, 'announce'>;
}

/** Gratuitous ARP: at take-over in request and reply form, for some systems learn from one only; then requests. */
export class ArpAnnouncer extends PacedAnnouncer {
  constructor({ port, ...options }: ArpAnnouncerOptions) {
    const transport = {
      frames: { takeOver: 2, refresh: 1 },
      send: (addresses: readonly string[], round: 'takeOver' | 'refresh') =>
        port.announce(options.interface, addresses, round === 'takeOver' ? 'both' : 'request'),
    };
    super(transport, options);
  }
}
