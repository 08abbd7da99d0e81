/** The kernel interfaces of `ravel-agent/native`, usable alone. */
export { Netns } from './netns.ts';
export type { OpenOptions } from './netns.ts';
export { Links } from './links.ts';
export type { LinkGroup } from './links.ts';
export { Arp } from './arp.ts';
export type { ArpEvent } from './arp.ts';
export { EventIterator } from './event-iterator.ts';
export * from './errors.ts';
export { Ipvs } from './ipvs.ts';
export { destinationIdAt, destinationKey, serviceIdAt, serviceKey, toObjects } from './ipvs-columns.ts';
export type * from './ipvs-types.ts';
export type * from './link-types.ts';
export { Nftables } from './nftables.ts';
export { elementAt, toElements } from './nftables-elements.ts';
export { operationText, toText } from './nftables-text.ts';
export type * from './nftables-types.ts';
