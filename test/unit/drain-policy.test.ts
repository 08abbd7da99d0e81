import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDrainSteps, parseDrainTimeout } from '../../src/model/drain.ts';
import { read } from './model-input.ts';

test('a drain timeout is a time from 0s to 1h', () => {
  for (const [text, expected] of [
    ['30s', 30_000],
    ['2m', 120_000],
    [' 1h ', 3_600_000],
    ['1500ms', 1500],
    ['45', 45_000],
    ['0s', 0],
  ] as const) {
    assert.equal(parseDrainTimeout(text), expected, text);
  }
  for (const text of ['', 's', '-1s', '61m', '1.1h', '2 m', '1e3s', '1d', 'NaN', 'Infinity', '9'.repeat(400), '__proto__']) {
    assert.equal(parseDrainTimeout(text), undefined, text.slice(0, 20));
  }
});

test('drain steps are a count and a time', () => {
  assert.deepEqual(parseDrainSteps('4/20s'), { count: 4, milliseconds: 20_000 });
  assert.deepEqual(parseDrainSteps(' 100 / 1h '), { count: 100, milliseconds: 3_600_000 });
  assert.deepEqual(parseDrainSteps('1/500ms'), { count: 1, milliseconds: 500 });
  for (const text of ['', '4', '/20s', '4/', '0/20s', '101/20s', '4/0s', '4/2h', '-4/20s', '4.5/20s', '4/20s/2', '4:20s', '4/.']) {
    assert.equal(parseDrainSteps(text), undefined, text);
  }
});

const file = (service: object, endpoint: object = {}): string =>
  JSON.stringify({
    nodes: [{ name: 'n1', address: '10.20.0.11' }],
    services: [
      { name: 'web', ports: [{ port: 80 }], endpoints: [{ address: '10.50.1.2', port: 8080, node: 'n1', ...endpoint }], ...service },
    ],
    config: { '192.0.2.10': { '80': { service: 'web' } } },
  });

test('a Service in the file says how it is drained, and an endpoint whether it still serves', () => {
  const { state, errors } = read(file({ drainTimeout: '30s', drainSteps: '4/20s' }, { terminating: true, serving: false }));
  assert.deepEqual(errors, []);
  const service = state?.services.get('default/web');
  assert.deepEqual(service?.drain, { timeoutMilliseconds: 30_000, steps: { count: 4, milliseconds: 20_000 } });
  assert.equal(service.endpoints[0]?.serving, false);
  const silent = read(file({})).state?.services.get('default/web');
  assert.equal(silent !== undefined && 'drain' in silent, false, 'what is not written is not there');
  assert.equal(silent?.endpoints[0] !== undefined && 'serving' in silent.endpoints[0], false);
});

test('a drain that is not understood refuses the file, at its place', () => {
  for (const [service, path] of [
    [{ drainTimeout: '2h' }, 'services[0].drainTimeout'],
    [{ drainTimeout: 30 }, 'services[0].drainTimeout'],
    [{ drainSteps: '0/20s' }, 'services[0].drainSteps'],
  ] as const) {
    const { state, errors } = read(file(service));
    assert.equal(state, undefined);
    assert.equal(errors[0]?.path, path);
  }
});
