import { test } from 'node:test';
import fc from 'fast-check';
import { drainLife, Life } from './drain-history.ts';
import { Histories } from './histories.ts';

test('whatever happens, weights fall only to where they belong, and all ends where it should', (t) => {
  const histories = new Histories();
  fc.assert(
    fc.property(drainLife, ({ setting, events }) => {
      histories.add();
      const life = new Life(setting);
      for (const event of events) life.happen(event);
      life.settle();
    }),
    { numRuns: 5000 },
  );
  histories.report(t, 'drain and readiness of a director');
});
