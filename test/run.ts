/**
 * Runs the layers of tests and says what each came to.
 *   test/run.ts [--layers=unit,netns]      LAYERS in the environment does the same; without: all but e2e
 */
import { parseArgs } from 'node:util';
import { layers, separate } from './runner/layers.ts';
import { addFailure, emptyResult, finish, summary, type LayerResult } from './runner/results.ts';

const { values } = parseArgs({ options: { layers: { type: 'string', default: process.env['LAYERS'] ?? '' } } });
const wanted = values.layers === '' ? [...layers.keys()].filter((name) => !separate.has(name)) : values.layers.split(',');
const unknown = wanted.filter((name) => !layers.has(name));
if (unknown.length > 0) {
  process.stderr.write(`no layer ${unknown.join(', ')}; there are ${[...layers.keys()].join(', ')}\n`);
  process.exit(1);
}

const results: LayerResult[] = [];
for (const [name, run] of layers) {
  if (!wanted.includes(name)) continue;
  const result = emptyResult(name);
  const began = performance.now();
  try {
    await run(result);
  } catch (error) {
    addFailure(result, `the layer could not run: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  finish(result);
  result.seconds = (performance.now() - began) / 1000;
  results.push(result);
  process.stdout.write(
    `${name}: ${result.passed} passed, ${result.failed} failed, ${result.skipped.length} skipped, ${result.seconds.toFixed(1)} s\n`,
  );
  for (const problem of result.problems) process.stdout.write(`\nFAILED in ${name}: ${problem}\n`);
}

process.stdout.write(
  `\n${summary(
    results,
    [...layers.keys()].filter((name) => !wanted.includes(name)),
  )}\n`,
);
process.exitCode = results.some((result) => result.failed > 0) ? 1 : 0;
