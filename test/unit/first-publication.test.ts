/** The first word of a source: what `plan`, `check` and `--once` wait for, and how long. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Source, WatchStatus } from '../../src/model/cluster.ts';
import { firstPublication, InputRefusedError, openOrigin, SourceTimeoutError } from '../../src/modes/origin.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { silentLog } from '../../src/observe/log.ts';
import { cluster, whole } from '../fake-kernel/cluster.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';

type Run = Parameters<Source['run']>[0];

const watch = (resource: string, rest: Partial<WatchStatus>): WatchStatus => ({
  ...{ resource, state: 'watching', objects: 0, resourceVersion: null, silentMilliseconds: null, lists: 1, watches: 1, error: null },
  ...rest,
});

function originOf(run: (options: Run) => Promise<void>, watches: readonly WatchStatus[] = []) {
  let signal: AbortSignal | undefined;
  const source: Source = { status: () => watches, run: (options) => run(((signal = options.signal), options)) };
  return { place: 'ConfigMap lb/ravel', source: () => source, ended: () => signal?.aborted };
}

const publication = whole(cluster({ pods: {}, vips: [] }));
const forever = () => new Promise<void>(() => {});

test('the first state ends the source', async () => {
  const clock = new FakeClock();
  const origin = originOf(({ onPublication }) => {
    onPublication(publication);
    return forever();
  });
  assert.equal(await firstPublication(origin, clock), publication);
  assert.equal(origin.ended(), true);
  assert.equal(clock.timers, 0);
});

test('a refusal is an error with its problems', async () => {
  const origin = originOf(({ onRefused }) => {
    onRefused([{ path: 'config."x"', message: 'is no address' }]);
    return forever();
  });
  await assert.rejects(
    firstPublication(origin, new FakeClock()),
    (error) => error instanceof InputRefusedError && error.problems.length === 1,
  );
  assert.equal(origin.ended(), true);
});

test('no whole state in time: the error names what each watch waits for, and those that do not wait are left out', async () => {
  const clock = new FakeClock();
  const origin = originOf(forever, [
    watch('services', {}),
    watch('nodes', { state: 'waiting', lists: 0, error: 'list nodes: 403 forbidden' }),
    watch('endpointslices', { state: 'listing', lists: 0 }),
  ]);
  const seen: unknown[] = [];
  const done = firstPublication(origin, clock, 5000).catch((error: unknown) => void seen.push(error));
  await clock.advance(4999);
  assert.equal(seen.length, 0);
  await clock.advance(1);
  await done;
  const [error] = seen;
  assert.ok(error instanceof SourceTimeoutError);
  assert.equal(
    error.message,
    'ConfigMap lb/ravel: no whole state within 5 s\n  nodes: list nodes: 403 forbidden\n  endpointslices: no complete list yet',
  );
  assert.equal(origin.ended(), true);
});

test('a source that ends or fails without a word is an error', async () => {
  await assert.rejects(
    firstPublication(
      originOf(() => Promise.resolve()),
      new FakeClock(),
    ),
    /ended without a word/,
  );
  await assert.rejects(
    firstPublication(
      originOf(() => Promise.reject(new Error('on fire'))),
      new FakeClock(),
    ),
    /on fire/,
  );
});

test('a file as origin needs no Kubernetes', async () => {
  const options = { mode: 'director', nodeName: 'n1', defaultListener: undefined, agentNamespace: undefined, events: true } as const;
  const origin = await openOrigin(
    { ...options, source: { kind: 'file', file: '/nowhere.yaml' } },
    { clock: systemClock, random: Math.random, log: silentLog },
  );
  assert.equal(origin.place, '/nowhere.yaml');
  assert.equal(origin.kubernetes, undefined);
  assert.equal(origin.correspondent, undefined);
  await assert.rejects(firstPublication(origin, systemClock), InputRefusedError);
});
