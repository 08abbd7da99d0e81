/** What became of the input: told in the log once, kept for `status`. */
import type { Clock } from '../model/clock.ts';
import type { Problem, Publication } from '../model/cluster.ts';
import type { AgentDocument } from '../observe/agent-document.ts';
import type { Log } from '../observe/log.ts';

/** As many as a person reads. */
const mostProblems = 100;
const mostLines = 20;

type Told = Pick<AgentDocument['source'], 'acceptedAt' | 'changedAt' | 'refused' | 'warnings'>;

export class InputRecord {
  readonly #clock: Clock;
  readonly #log: Log;
  #told: Told = { acceptedAt: null, changedAt: null, refused: null, warnings: [] };

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  get told(): Told {
    return this.#told;
  }

  /** True when it ends a refusal. */
  accept({ state, warnings, configuration = 'new' }: Publication): boolean {
    for (const { path, message } of warnings) this.#log.warn(message, { path });
    const now = this.#clock.date().toISOString();
    const { acceptedAt, refused, warnings: earlier } = this.#told;
    if (configuration !== 'new' && acceptedAt !== null) {
      const all = warnings.length === 0 ? earlier : [...earlier, ...warnings].slice(-mostProblems);
      this.#told = { acceptedAt, changedAt: now, refused: configuration === 'refused' ? refused : null, warnings: all };
      return refused !== null && configuration !== 'refused';
    }
    const news = acceptedAt === null || refused !== null;
    const { addresses, virtualServices } = state;
    this.#log[news ? 'info' : 'debug']('input accepted', { vips: addresses.length, virtualServices: virtualServices.size });
    // After a reload the last good configuration may be read before the newest, which is still refused.
    this.#told = {
      acceptedAt: now,
      changedAt: now,
      refused: configuration === 'refused' ? refused : null,
      warnings: warnings.slice(0, mostProblems),
    };
    return refused !== null && configuration !== 'refused';
  }

  refuse(problems: readonly Problem[]): void {
    const rest = this.#told.acceptedAt === null ? 'nothing is changed until one is accepted' : 'the last good configuration stays in force';
    this.#log.error(`input refused; ${rest}`, { problems: problems.length });
    for (const { path, message, line } of problems.slice(0, mostLines)) this.#log.error(message, { path, line });
    this.#told = { ...this.#told, refused: { at: this.#clock.date().toISOString(), problems: problems.slice(0, mostProblems) } };
  }

  /** A kind of object cannot be followed at the moment, or is again. */
  trouble(problem: Problem | undefined, resource: string): void {
    if (problem === undefined) this.#log.info(`${resource}: followed again`, { resource });
    else this.#log.warn(`${problem.message}; what is known of ${resource} stays in force`, { resource });
  }
}
