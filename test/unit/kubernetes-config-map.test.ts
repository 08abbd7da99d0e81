/** The reader of the ConfigMap by itself: order, other people's ConfigMaps, the end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Problem } from '../../src/model/cluster.ts';
import { ConfigMapReader, reduceConfigMap, type ConfigMapOptions } from '../../src/sources/kubernetes/config-map.ts';
import { microtasks } from '../fake-api/rig.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';

const config = { namespace: 'lb', name: 'ravel', key: 'prod' };
const own = 'lb/ravel';
const text = (...vips: string[]): string => JSON.stringify({ config: Object.fromEntries(vips.map((vip) => [vip, {}])) });

class Reading {
  readonly accepted: { vips: string; afterRefusal: boolean }[] = [];
  readonly refused: (readonly Problem[])[] = [];
  readonly failures: unknown[] = [];
  readonly stop = new AbortController();
  readonly reader: ConfigMapReader;
  /** Reading goes on when this is called, where it had to pause. */
  go: (() => void) | undefined;

  constructor({ slow = false, ...options }: Partial<ConfigMapOptions> & { slow?: boolean } = {}) {
    let now = 0;
    const clock = new FakeClock(microtasks);
    // Every look at a slow clock finds the whole budget used up.
    if (slow) clock.now = () => (now += 100);
    this.reader = new ConfigMapReader({
      ...{ config, defaultListener: undefined, clock, signal: this.stop.signal },
      pause: () => new Promise<void>((resolve) => (this.go = resolve)),
      onAccepted: ({ addresses }, _warnings, afterRefusal) => this.accepted.push({ vips: addresses.join(), afterRefusal }),
      onRefused: (problems) => this.refused.push(problems),
      onFailure: (error) => this.failures.push(error),
      ...options,
    });
  }

  put(data: unknown, key = own): void {
    this.reader.put(key, reduceConfigMap({ data: { prod: data } }, 'prod'));
  }

  /** Until nothing is left to read. */
  async finish(): Promise<void> {
    for (let time = 0; time < 100; time++) {
      await microtasks();
      this.go?.();
    }
  }
}

test('what comes while another version is being read is the one that counts', async () => {
  const reading = new Reading({ slow: true });
  reading.put(text('192.0.2.1', '192.0.2.2'));
  await microtasks();
  assert.ok(reading.go, 'reading pauses');
  reading.put(text('192.0.2.3'));
  reading.put(text('192.0.2.4'));
  await reading.finish();
  assert.deepEqual(reading.accepted, [{ vips: '192.0.2.4', afterRefusal: false }]);
});

test('a ConfigMap that is deleted, or loses its key, while it is being read is not accepted', async () => {
  for (const gone of [(reading: Reading): void => reading.reader.remove(own), (reading: Reading): void => reading.put(undefined)]) {
    const reading = new Reading({ slow: true });
    reading.put(text('192.0.2.1'));
    await microtasks();
    gone(reading);
    await reading.finish();
    assert.deepEqual([reading.accepted, reading.refused.length], [[], 1]);
    reading.put(text('192.0.2.1'));
    await reading.finish();
    assert.deepEqual(reading.accepted, [{ vips: '192.0.2.1', afterRefusal: true }]);
  }
});

test('other ConfigMaps are not ours, whatever the server makes of the selector', async () => {
  const reading = new Reading();
  for (const other of ['lb/other', 'other/ravel', 'ravel', 'lb/ravel2']) {
    reading.put(text('192.0.2.9'), other);
    reading.reader.remove(other);
  }
  await reading.finish();
  assert.deepEqual([reading.accepted, reading.refused], [[], []]);
  reading.reader.listed();
  assert.deepEqual(reading.refused, [[{ path: '', message: 'ConfigMap lb/ravel does not exist' }]]);
});

test('what does not exist is told once', () => {
  const reading = new Reading();
  for (let list = 0; list < 3; list++) reading.reader.listed();
  assert.equal(reading.refused.length, 1);
});

test('after the end nothing is told', async () => {
  const reading = new Reading({ slow: true });
  reading.put('{');
  reading.stop.abort();
  await reading.finish();
  reading.reader.remove(own);
  assert.deepEqual([reading.accepted, reading.refused], [[], []]);
});

test('a failure of whoever is told is a failure, not a refusal', async () => {
  const reading = new Reading({
    onAccepted: () => {
      throw new TypeError('a mistake');
    },
  });
  reading.put(text('192.0.2.1'));
  await reading.finish();
  assert.equal(reading.failures.length, 1);
  assert.deepEqual(reading.refused, []);
});
