/**
 * A note on disk while any destination of weight 0 has places in a scheduler's table: the kernel tells nobody, and a process that
 * dies takes what it knows along. Written when the first one is about to have them, and removed with the last.
 */
import type { SysctlJournal } from './journal.ts';
import { failureOf } from './outcome.ts';

export class LingeringRecord {
  readonly #journal: Pick<SysctlJournal, 'loadLingering' | 'saveLingering' | 'path'>;
  #noted: boolean | undefined;
  #inherited = false;
  #warning: string | undefined;

  constructor(journal: Pick<SysctlJournal, 'loadLingering' | 'saveLingering' | 'path'>) {
    this.#journal = journal;
  }

  /** An earlier process left the note, and not everything has been looked at since. */
  get inherited(): boolean {
    return this.#inherited;
  }

  get warnings(): readonly string[] {
    return this.#warning === undefined ? [] : [this.#warning];
  }

  async load(): Promise<void> {
    if (this.#noted !== undefined) return;
    try {
      this.#noted = await this.#journal.loadLingering();
      this.#inherited = this.#noted;
    } catch (error) {
      this.#warn(error);
    }
  }

  /** Never throws: nothing is worse without the note than a place in a table that lasts until its destination has weight again. */
  async save(lingering: boolean): Promise<void> {
    if (!lingering) this.#inherited = false;
    if (this.#noted === lingering) return;
    try {
      await this.#journal.saveLingering(lingering);
      this.#noted = lingering;
      this.#warning = undefined;
    } catch (error) {
      this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    const { message } = failureOf(error, 'ipvs.journal', this.#journal.path);
    this.#warning = `destinations of weight 0 in tables of mh are not on record, so that a restart forgets them: ${message}`;
  }
}
