/** Leaves by and by: routers are told that the routes are about to go, and have time to move on before they do. */
import type { Clock } from '../../model/clock.ts';
import type { RouteLedger } from './ledger.ts';
import type { SpeakerLog } from './speaker-options.ts';
import { Waiters } from './waiters.ts';

export interface PlannedStopOptions {
  readonly ledger: RouteLedger;
  readonly clock: Clock;
  readonly log: SpeakerLog;
  /** Waits for what the daemon does; a connection that breaks ends it. */
  readonly waiters: Waiters;
  /** Longest wait for that, twice, milliseconds. */
  readonly answerMilliseconds: number;
  /** `answers`: one may come; `connected`: it is there. */
  readonly link: () => { readonly answers: boolean; readonly connected: boolean };
  /** Something is to be written. */
  readonly changed: () => void;
  /** What is not as it should be, for the log. */
  readonly problem: () => string | undefined;
}

export class PlannedStop {
  readonly #options: PlannedStopOptions;
  /** For time to pass. */
  readonly #holds: Waiters;
  #abandoned = false;

  constructor(options: PlannedStopOptions) {
    this.#options = options;
    this.#holds = new Waiters(options.clock);
  }

  /** Whoever asked for it has no more time: routes stay as they are. */
  abandon(): void {
    this.#abandoned = true;
    this.#holds.giveUp();
  }

  async run(milliseconds: number): Promise<void> {
    const { ledger, clock, log, link, problem } = this.#options;
    const end = clock.now() + milliseconds;
    if (!(await this.#enter('draining'))) log.warn('routes could not all be marked for a planned stop', { error: problem() });
    // Without a connection nothing can be said, without a route nobody has to move on.
    if (link().connected && !ledger.empty) {
      log.info('routes say that they are about to go', { routes: ledger.announced, milliseconds });
      await this.#holds.wait(() => (this.#abandoned ? false : undefined), Math.max(0, end - clock.now()));
    }
    if (this.#abandoned) return;
    const gone = await this.#enter('drained');
    if (gone && ledger.empty) log.info('routes are withdrawn', {});
    else log.warn('routes could not all be withdrawn', { error: problem() });
  }

  /** True when the daemon has it so. */
  async #enter(phase: 'draining' | 'drained'): Promise<boolean> {
    const { ledger, waiters, link, changed, answerMilliseconds } = this.#options;
    ledger.enter(phase);
    changed();
    return link().answers && waiters.wait(() => (ledger.known && !ledger.busy ? true : undefined), answerMilliseconds);
  }
}
