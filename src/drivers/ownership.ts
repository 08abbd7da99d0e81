/**
 * How a restarted agent, which remembers nothing, knows its own objects (docs/ownership.md). The
 * one place with these rules: drivers ask here before they change or remove anything.
 */
import type { InterfaceAddress, Link } from '../native/link-types.ts';

/** IFA_PROTO of our addresses: a number nobody else uses (linux/if_addr.h knows 1..3). */
export const addressProtocol = 82;

export const defaultVipInterface = 'ravel0';

/**
 * The VIP device is ours when it is a dummy of the configured name: the agent makes no other kind.
 * A device of any other kind may serve as VIP device, and is then neither changed nor removed.
 */
export function ownsDevice(link: Pick<Link, 'kind' | 'name'>, vipInterface: string): boolean {
  return link.name === vipInterface && link.kind === 'dummy';
}

/** Every global address on our own device, elsewhere only what carries our protocol number. */
export function ownsAddress(address: Pick<InterfaceAddress, 'protocol' | 'scope'>, deviceIsOurs: boolean): boolean {
  // IPv6 gives each device a link-local address by itself.
  return address.protocol === addressProtocol || (deviceIsOurs && address.scope !== 'link');
}
