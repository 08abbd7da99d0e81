/** Which VIP addresses a realserver may take on. */
import { familyOf, type Family } from '../desired/eligibility.ts';
import type { DriverFailure } from '../drivers/outcome.ts';
import type { LinkOperation } from '../native/link-types.ts';

export interface Raise {
  readonly operations: readonly LinkOperation[];
  /** What was left out, and why. */
  readonly failures: readonly DriverFailure[];
}

function withheld(count: number, until: string): DriverFailure[] {
  if (count === 0) return [];
  const message = `${count} changes of VIP addresses wait until ${until}`;
  return [{ op: 'links.addAddress', subject: 'VIP addresses', code: 'NotProgrammed', message }];
}

/**
 * A host that may answer ARP for an IPv4 VIP steals it from the director: rather no VIP. IPv6 needs nothing of the kind: the
 * kernel answers for addresses of the interface asked only (ndisc_recv_ns). A family whose rules were refused waits as well.
 */
export function raise(operations: readonly LinkOperation[], mayAnswer: boolean, refused: ReadonlySet<Family>): Raise {
  const waits = (operation: LinkOperation): boolean =>
    'address' in operation && (refused.has(familyOf(operation.address)) || (mayAnswer && familyOf(operation.address) === 4));
  const possible = operations.filter((operation) => !waits(operation));
  const addresses = possible.some((operation) => 'address' in operation);
  // A device that comes up brings back the addresses that are on it; a new one has none, but is of no use by itself.
  const safe = mayAnswer ? possible.filter((operation) => 'address' in operation || (addresses && operation.op === 'addDummy')) : possible;
  const left = operations.length - safe.length;
  return {
    operations: safe,
    failures: mayAnswer ? withheld(left, 'this host cannot answer ARP for them') : withheld(left, 'there are rules for them'),
  };
}
