/** What `make soak` is told: how long each part lasts, in seconds. */
import { parseArgs } from 'node:util';

const SECONDS = { s: 1, m: 60, h: 3600 } as const;

/**
 * Agents try again after 30 s at most, and an outage counts as noticed when each watch has failed once: a shorter one may
 * end before, and the test that asks whether it was noticed would blame the agents.
 */
const SHORTEST_DOWN = 60;

export interface SoakArguments {
  /** The API server is away that long; 0: that part is left out, and everything that only it measures. */
  readonly down: number;
  /** Endpoints change without a pause that long; 0: likewise. */
  readonly churn: number;
}

function seconds(option: string, text: string): number {
  const match = /^(\d+)([smh])$/.exec(text);
  if (match === null) throw new RangeError(`--${option}=${text} is no duration: 90s, 5m, 1h`);
  return Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS];
}

/** RangeError for what is no duration, and for an outage too short to be noticed. */
export function soakArguments(words: readonly string[]): SoakArguments {
  const options = { down: { type: 'string', default: '30m' }, churn: { type: 'string', default: '20m' } } as const;
  const { values } = parseArgs({ args: [...words], options });
  const down = seconds('down', values.down);
  if (down > 0 && down < SHORTEST_DOWN) {
    throw new RangeError(
      `--down=${values.down} is too short for the agents to notice: at least ${SHORTEST_DOWN}s, or 0s to leave the outage out`,
    );
  }
  const churn = seconds('churn', values.churn);
  if (down === 0 && churn === 0) throw new RangeError('--down=0s --churn=0s: nothing is left to do');
  return { down, churn };
}
