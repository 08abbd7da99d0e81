/** What `make soak` takes and refuses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { soakArguments } from '../e2e/harness/soak-arguments.ts';

test('durations are seconds, minutes or hours', () => {
  assert.deepEqual(soakArguments([]), { down: 1800, churn: 1200 });
  assert.deepEqual(soakArguments(['--down=60s', '--churn=5s']), { down: 60, churn: 5 });
  assert.deepEqual(soakArguments(['--down=0s']), { down: 0, churn: 1200 });
  assert.deepEqual(soakArguments(['--churn=0s']), { down: 1800, churn: 0 });
  assert.throws(() => soakArguments(['--down=0s', '--churn=0m']), { message: /nothing is left to do/ });
  assert.deepEqual(soakArguments(['--down=2m', '--churn=1h']), { down: 120, churn: 3600 });
});

test('an outage that the agents might not notice is refused, with the shortest that they do', () => {
  for (const short of ['59s', '1s']) {
    assert.throws(() => soakArguments([`--down=${short}`]), {
      name: 'RangeError',
      message: `--down=${short} is too short for the agents to notice: at least 60s, or 0s to leave the outage out`,
    });
  }
});

test('what is no duration, and what is no option, is refused by name', () => {
  for (const word of ['90', 'm', '1.5m', '-5m', '']) {
    assert.throws(() => soakArguments([`--churn=${word}`]), { message: `--churn=${word} is no duration: 90s, 5m, 1h` });
  }
  assert.throws(() => soakArguments(['--up=1m']), /--up/);
});
