/** Routes that the daemon shows otherwise than they were written to it. No I/O. */
import { samePath } from '../../desired/bgp.ts';
import type { BgpPath } from '../../model/bgp.ts';

/**
 * `mended`: it is to be written once more. `accepted`: it was, to no avail, and stays from now on; `kept`: it still does.
 */
export type Alteration = 'mended' | 'accepted' | 'kept';

interface Altered {
  readonly sent: BgpPath;
  readonly seen: BgpPath;
  readonly accepted: boolean;
}

/**
 * Somebody changed a route of ours, or a policy of the daemon's operator changes it each time that it is written. What a route
 * that was written again shows soon after tells the two apart: nobody's hand is that quick.
 */
export class Alterations {
  readonly #altered = new Map<string, Altered>();

  /** `sent` is what the daemon took last, as far as that is known; undefined: the route is as it is wanted, or was never written so. */
  compare(wanted: BgpPath | undefined, sent: BgpPath | undefined, seen: BgpPath): Alteration | undefined {
    const { prefix } = seen;
    if (wanted === undefined || samePath(wanted, seen)) {
      this.#altered.delete(prefix);
      return undefined;
    }
    if (sent === undefined || !samePath(sent, wanted)) return undefined;
    const known = this.#altered.get(prefix);
    const again = known !== undefined && samePath(known.sent, wanted) && samePath(known.seen, seen);
    this.#altered.set(prefix, { sent: wanted, seen, accepted: again });
    if (!again) return 'mended';
    return known.accepted ? 'kept' : 'accepted';
  }

  /** Forgets all others. */
  retain(prefixes: { has(prefix: string): boolean }): void {
    for (const prefix of this.#altered.keys()) if (!prefixes.has(prefix)) this.#altered.delete(prefix);
  }
}
