/** What the named cases have in common: one virtual service, and a client. */
import type { ServiceId } from '../../src/native/ipvs-types.ts';
import { apiAt } from './fixture.ts';

export const web = { '192.0.2.10': { '80': apiAt() } };
export const client = '198.51.100.7';
export const packetTo = (destination: string, port: number, protocol = 6, source = client) => ({ source, destination, protocol, port });

export const webId: ServiceId = { protocol: 'tcp', address: '192.0.2.10', port: 80 };
