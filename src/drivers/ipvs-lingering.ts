/**
 * A note on disk while any destination of weight 0 has places in a scheduler's table: the kernel tells nobody, and a process that
 * dies takes what it knows along. Written when the first one is about to have them, and removed with the last.
 */
import type { Rank } from '../diff/ipvs-rank.ts';
import type { Placement } from '../diff/ipvs.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
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

type Placements = ReadonlyMap<VirtualServiceKey, Placement>;

/** {@link Placement.lingering} by service; what the kernel refused may have left more than the plan says. */
export class Lingering {
  readonly #sets = new Map<VirtualServiceKey, ReadonlySet<Rank>>();
  /** Services in which something lingers. */
  #some = 0;

  /** Services that were looked at, also those in which nothing lingers. */
  get known(): ReadonlyMap<VirtualServiceKey, ReadonlySet<Rank>> {
    return this.#sets;
  }

  get any(): boolean {
    return this.#some > 0;
  }

  forget(key: VirtualServiceKey): void {
    if ((this.#sets.get(key)?.size ?? 0) > 0) this.#some -= 1;
    this.#sets.delete(key);
  }

  #set(key: VirtualServiceKey, ranks: ReadonlySet<Rank>): void {
    this.forget(key);
    this.#sets.set(key, ranks);
    if (ranks.size > 0) this.#some += 1;
  }

  /** Before a plan is carried out: what is to linger does so from now on, and what lingered may go on. */
  expect(placements: Placements): void {
    for (const [key, { lingering, lingered }] of placements) {
      if (lingering.size + lingered.size > 0) this.#set(key, new Set([...(this.#sets.get(key) ?? []), ...lingered, ...lingering]));
    }
  }

  /** After it was, but for services on which something was refused. `all`: the plan was about everything. */
  settle(placements: Placements, refused: ReadonlySet<VirtualServiceKey>, all: boolean): void {
    for (const [key, { lingering }] of placements) if (!refused.has(key)) this.#set(key, lingering);
    if (all) for (const key of this.#sets.keys()) if (!placements.has(key)) this.forget(key);
  }
}
