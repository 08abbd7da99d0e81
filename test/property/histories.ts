/** How many random histories a run plays, and the count that it prints. */
import type { TestContext } from 'node:test';

/** Counts histories (some starting state, then one target after another) and has the count printed with the results. */
export class Histories {
  #played = 0;

  add(): void {
    this.#played++;
  }

  report(t: TestContext, what: string): void {
    t.diagnostic(`note: ${what}: ${this.#played} random histories`);
  }
}
