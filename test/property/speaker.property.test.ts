import { test } from 'node:test';
import fc from 'fast-check';
import { Histories } from './histories.ts';
import { SpeakerLife, speakerLife } from './speaker-history.ts';

/** RAVEL_RUNS=10000 for a long look. */
const numRuns = Number(process.env['RAVEL_RUNS'] ?? 500);

test('whatever happens to the daemon and the agent, the daemon has what is wanted in the end, and no more was written', async (t) => {
  const histories = new Histories();
  await fc.assert(
    fc.asyncProperty(speakerLife, async ({ setting, events, seed }) => {
      histories.add();
      const life = new SpeakerLife(setting, seed);
      await life.begin();
      for (const event of events) await life.happen(event);
      await life.settle();
    }),
    { numRuns },
  );
  histories.report(t, 'BGP speaker');
});
