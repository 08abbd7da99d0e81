/** Whether there is a director on this machine, judged by one look after the other. */
export interface PresenceState {
  /** Undefined before the first look. */
  readonly present: boolean | undefined;
  /** Looks in a row that found nobody, while somebody counts as present. */
  readonly misses: number;
}

export const unknownPresence: PresenceState = { present: undefined, misses: 0 };

/**
 * One look more. The first decides at once; later somebody who was there counts as gone with the `patience`-th look in a row
 * that did not find them, and as back with the first that does.
 */
export function nextPresence({ present, misses }: PresenceState, found: boolean, patience: number): PresenceState {
  if (found) return { present: true, misses: 0 };
  if (present !== true || misses + 1 >= patience) return { present: false, misses: 0 };
  return { present, misses: misses + 1 };
}
