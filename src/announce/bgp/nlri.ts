/** Prefixes as BGP carries them (RFC 4271 section 4.3): a length in bits, then as many bytes as that takes. */
import type { AddressFamily } from '../../model/address.ts';
import { addressFamily, parsePrefix } from '../../model/address.ts';
import { formatAddressBytes, parseAddressBytes } from '../../native/address-bytes.ts';
import type { Address } from '../../model/cluster.ts';
import { AttributeError } from './attribute-error.ts';

/**
 * 4 or 16 bytes in network order.
 * @throws TypeError for what is no address
 */
export function addressBytes(address: Address): Uint8Array {
  const bytes = parseAddressBytes(address);
  if (bytes === undefined) throw new TypeError(`${address} is no address`);
  return bytes;
}

/** @throws TypeError for what is no prefix */
export function prefixFamily(text: string): AddressFamily {
  const prefix = parsePrefix(text);
  const family = prefix && addressFamily(prefix.address);
  if (family === undefined) throw new TypeError(`${text} is no prefix`);
  return family;
}

/**
 * `192.0.2.10/32` → 20 c0 00 02 0a
 * @throws TypeError for what is no prefix
 */
export function encodePrefix(text: string): Uint8Array {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(`${text} is no prefix`);
  const length = Math.ceil(parsed.prefix / 8);
  const bytes = new Uint8Array(1 + length);
  bytes[0] = parsed.prefix;
  bytes.set(addressBytes(parsed.address).subarray(0, length), 1);
  return bytes;
}

/**
 * Exactly one prefix; bits beyond its length are cleared (RFC 4271: their value is irrelevant).
 * @throws AttributeError
 */
export function decodePrefix(bytes: Uint8Array, family: AddressFamily): string {
  const [bits = 256] = bytes;
  const length = Math.ceil(bits / 8);
  if (bits > (family === 4 ? 32 : 128) || bytes.length !== 1 + length) throw new AttributeError('NLRI', 'its length is wrong');
  const address = new Uint8Array(16);
  address.set(bytes.subarray(1));
  if (bits % 8 !== 0) address[length - 1] = (address[length - 1] ?? 0) & (0xff << (8 - (bits % 8))) & 0xff;
  return `${formatAddressBytes(address, family)}/${bits}`;
}
