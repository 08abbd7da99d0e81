import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterFileSchema, configurationJsonSchema, entrySchema, unusedKeys } from '../../src/model/config-schema.ts';
import { Report } from '../../src/model/problems.ts';
import { shapeOf } from '../../src/model/shape.ts';
import { tidy } from '../../src/model/tidy.ts';

const entryShape = shapeOf(entrySchema);

test('right keys are left alone: the very same object comes back', () => {
  const report = new Report();
  const value = { service: 'api', ipvsOptions: { scheduler: 'rr' } };
  assert.equal(tidy(value, entryShape, [], report), value);
  assert.deepEqual(report.list('warning'), []);
});

test('other letter case is accepted with a warning, also further down', () => {
  const report = new Report();
  const value = { NAMESPACE: 'shop', Service: 'api', IPVSOptions: { SCHEDULER: 'rr' } };
  assert.deepEqual(tidy(value, entryShape, [], report), { namespace: 'shop', service: 'api', ipvsOptions: { scheduler: 'rr' } });
  assert.deepEqual(
    report.list('warning').map(({ path }) => path),
    ['NAMESPACE', 'Service', 'IPVSOptions', 'ipvsOptions.SCHEDULER'],
  );
  assert.equal(report.errors, 0);
  assert.deepEqual(Object.keys(value), ['NAMESPACE', 'Service', 'IPVSOptions'], 'the input is not changed');
});

test('the same key in two spellings is an error', () => {
  const report = new Report();
  tidy({ service: 'a', Service: 'b' }, entryShape, ['x'], report);
  assert.deepEqual(report.list('error'), [{ path: 'x.Service', message: 'written twice: also as "service"' }]);
});

test('unknown keys are errors that name the nearest right one', () => {
  const report = new Report();
  tidy({ service: 'a', protName: 'x', zzz: 1, ipvsOptions: { schedular: 'rr' } }, entryShape, [], report);
  assert.deepEqual(
    report.list('error').map(({ path, message }) => `${path}: ${message}`),
    [
      'protName: unknown key, did you mean "portName"?',
      'zzz: unknown key; known here: namespace, service, portName, tcpEnabled, udpEnabled, sctpEnabled, ipvsOptions',
      'ipvsOptions.schedular: unknown key, did you mean "scheduler"?',
    ],
  );
});

test('keys without effect are dropped with one warning each, however often they are written', () => {
  const report = new Report();
  const unused = Object.fromEntries([...unusedKeys.keys()].map((key) => [key, true]));
  for (let index = 0; index < 5; index++)
    assert.deepEqual(tidy({ service: 'a', ...unused }, entryShape, [index], report), { service: 'a' });
  assert.equal(unusedKeys.size, 6);
  assert.deepEqual(
    report.list('warning').map(({ message }) => message),
    [
      '"ipv4Enabled" has no effect',
      '"ipv6Enabled" has no effect',
      '"proxyProtocolEnabled" has no effect',
      '"persistenceEnabled" has no effect; ipvsOptions.persistenceSeconds has',
      '"persistenceTimeout" has no effect; ipvsOptions.persistenceSeconds has',
      '"persistenceNetmask" has no effect; ipvsOptions.persistencePrefix has',
    ].map((message) => `${message} (5 times; the first is here)`),
  );
});

test('null is absent', () => {
  const report = new Report();
  assert.deepEqual(tidy({ service: 'a', ipvsOptions: null, portName: null }, entryShape, [], report), { service: 'a' });
});

test('the JSON Schema knows every key, forbids others, and describes what people write', () => {
  const schema = configurationJsonSchema();
  const properties = schema['properties'] as Record<string, { description?: string; additionalProperties?: unknown }>;
  assert.equal(schema['$schema'], 'http://json-schema.org/draft-07/schema#');
  assert.equal(schema['additionalProperties'], false);
  assert.deepEqual(Object.keys(properties).sort(), Object.keys(clusterFileSchema.shape).sort());
  const undescribed: string[] = [];
  const walk = (node: unknown, path: string): void => {
    if (typeof node !== 'object' || node === null) return;
    const { properties: inner, items, additionalProperties } = node as Record<string, unknown>;
    for (const [key, child] of Object.entries((inner ?? {}) as Record<string, { description?: string }>)) {
      if (child.description === undefined) undescribed.push(`${path}.${key}`);
      walk(child, `${path}.${key}`);
    }
    walk(items, `${path}[]`);
    walk(additionalProperties, `${path}.*`);
  };
  walk(schema, '');
  assert.deepEqual(undescribed, [], 'keys without a description');
});
