/**
 * `make soak`: what takes too long for every change. The API server is away while pods die (traffic.test.ts with other
 * figures), then endpoints change without a pause and memory is watched. Prints the table, writes build/soak.json.
 *   soak.ts [--down=30m] [--churn=20m]       90s, 5m, 1h
 */
import { parseArgs } from 'node:util';
import { runInMachine, withControlPlane, writeTable } from '../runner/e2e.ts';
import { emptyResult, finish, summary } from '../runner/results.ts';

const SECONDS = { s: 1, m: 60, h: 3600 } as const;

function seconds(text: string): number {
  const match = /^(\d+)([smh])$/.exec(text);
  if (match === null) throw new Error(`${text} is no duration: 90s, 5m, 1h`);
  return Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS];
}

const { values } = parseArgs({ options: { down: { type: 'string', default: '30m' }, churn: { type: 'string', default: '20m' } } });
const down = seconds(values.down);
const churn = seconds(values.churn);
/** What everything around the two takes, emulated and on a busy machine. */
const REST = 1800;
Object.assign(process.env, {
  RAVEL_E2E_AWAY: `${down}`,
  RAVEL_E2E_CHURN: `${churn}`,
  RAVEL_FILE_TIMEOUT: `${Math.max(down, churn) + REST}`,
});

const result = emptyResult('soak');
const began = performance.now();
await withControlPlane(result, async () => {
  await runInMachine(result, ['test/e2e/suite/traffic.test.ts', 'test/e2e/soak/churn.test.ts'], down + churn + REST);
});
writeTable(['traffic', 'churn'], 'build/soak');
finish(result);
result.seconds = (performance.now() - began) / 1000;
for (const problem of result.problems) process.stdout.write(`\nFAILED: ${problem}\n`);
process.stdout.write(`\n${summary([result], [])}\n`);
process.exitCode = result.failed > 0 ? 1 : 0;
