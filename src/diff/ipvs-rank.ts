/** The order of destinations that everybody agrees on: by family, the bytes of the address, and the port. */
import { destinationDigits, destinationDigitsAt, destinationNumber, destinationNumberAt } from '../native/ipvs-columns.ts';
import type { DestinationId, IpvsSnapshot } from '../native/ipvs-types.ts';

/**
 * A destination's place among all that there could be, and its identity for a lookup: a number for IPv4, which is cheaper
 * than its text by half, hexadecimal digits for IPv6.
 */
export type Rank = number | string;

export function rankOf(id: DestinationId): Rank {
  const number = destinationNumber(id);
  if (number >= 0) return number;
  // A text that is no address has a place of its own: whoever writes it is told.
  return destinationDigits(id) || `${id.address} ${id.port}`;
}

/** {@link rankOf} of destination row `row`. */
export function rankAt(snapshot: IpvsSnapshot, row: number): Rank {
  const number = destinationNumberAt(snapshot, row);
  return number >= 0 ? number : destinationDigitsAt(snapshot, row);
}

export function compareRanks(a: Rank, b: Rank): number {
  if (typeof a !== typeof b) return typeof a === 'number' ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}
