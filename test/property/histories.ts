/** How many random histories a run plays, and the count that it prints. */
import { after } from 'node:test';

let played = 0;

/** Counts one history: some starting state, then one target after another. */
export function playedOne(): void {
  played++;
}

/** Prints the count of this file at its end. */
export function reportHistories(what: string): void {
  after(() => {
    console.log(`# ${what}: ${played} random histories`);
  });
}
