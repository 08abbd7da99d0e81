/**
 * `make soak`: what takes too long for every change. The API server is away while pods die (traffic.test.ts with other
 * figures), then endpoints change without a pause and memory is watched. Prints the table, writes build/soak.json.
 *   soak.ts [--down=30m] [--churn=20m]       90s, 5m, 1h; --down is 60s at least; 0s leaves a part out
 */
import { basename } from 'node:path';
import { soakArguments, type SoakArguments } from './harness/soak-arguments.ts';
import { runInMachine, withControlPlane, writeTable } from '../runner/e2e.ts';
import { emptyResult, finish, summary } from '../runner/results.ts';

function given(): SoakArguments {
  try {
    return soakArguments(process.argv.slice(2));
  } catch (error) {
    // A sentence about the command line, not a stack.
    process.stderr.write(`soak: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(2);
  }
}

const { down, churn } = given();
/** What everything around the two takes, emulated and on a busy machine. */
const REST = 1800;
Object.assign(process.env, {
  RAVEL_E2E_AWAY: `${down}`,
  RAVEL_E2E_CHURN: `${churn}`,
  RAVEL_FILE_TIMEOUT: `${Math.max(down, churn) + REST}`,
});

const result = emptyResult('soak');
const began = performance.now();
const parts = [...(down > 0 ? ['test/e2e/suite/traffic.test.ts'] : []), ...(churn > 0 ? ['test/e2e/soak/churn.test.ts'] : [])];
await withControlPlane(result, async () => {
  await runInMachine(result, parts, down + churn + REST);
});
writeTable(
  parts.map((file) => basename(file, '.test.ts')),
  'build/soak',
);
finish(result);
result.seconds = (performance.now() - began) / 1000;
for (const problem of result.problems) process.stdout.write(`\nFAILED: ${problem}\n`);
process.stdout.write(`\n${summary([result], [])}\n`);
process.exitCode = result.failed > 0 ? 1 : 0;
