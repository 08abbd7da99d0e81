/** What tests of links begin with. */
import type { InterfaceAddress } from '../../src/native/link-types.ts';
import type { Links } from '../../src/native/links.ts';
import type { Netns } from '../../src/native/netns.ts';
import { ip } from './tools.ts';

/** A namespace with a veth pair `left` (up) and `right` (up). */
export async function pairOf(netns: Netns): Promise<void> {
  await ip(netns, 'link', 'add', 'left', 'type', 'veth', 'peer', 'name', 'right');
  await ip(netns, 'link', 'set', 'left', 'up');
  await ip(netns, 'link', 'set', 'right', 'up');
}

export async function addressNamed(links: Links, address: string): Promise<InterfaceAddress | undefined> {
  return (await links.addresses()).find((candidate) => candidate.address === address);
}
