import { createHash } from 'node:crypto';

/** RFC 4648 section 6. */
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The first 16 characters of the base32 of the SHA-256, with which chains of a service are named. */
export function chainHash(text: string): string {
  const digest = createHash('sha256').update(text).digest();
  // 16 characters of 5 bits are exactly the first 10 bytes.
  let hash = '';
  for (let group = 0; group < 10; group += 5) {
    const bits = digest.readUIntBE(group, 5);
    for (let shift = 35; shift >= 0; shift -= 5) hash += BASE32.charAt(Math.floor(bits / 2 ** shift) % 32);
  }
  return hash;
}
