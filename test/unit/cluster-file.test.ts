import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { readCluster } from '../../src/model/cluster-file.ts';
import { runThrough } from '../../src/model/slices.ts';
import { read, words } from './model-input.ts';

const megabytes = 10 * 1024 * 1024;
const repeat = (text: string): string => text.repeat(Math.ceil(megabytes / text.length));
const numbered = (make: (index: number) => string, joint: string): string => {
  const parts: string[] = [];
  for (let length = 0, index = 0; length < megabytes; index++) {
    const part = make(index);
    parts.push(part);
    length += part.length + joint.length;
  }
  return parts.join(joint);
};

const junk: Readonly<Record<string, () => string | Uint8Array>> = {
  'random bytes': () => Uint8Array.from({ length: megabytes }, (_, index) => (Math.imul(index, 2654435761) >>> 13) & 0xff),
  zeros: () => new Uint8Array(megabytes),
  'one letter': () => repeat('a'),
  'open brackets': () => repeat('['),
  'open lists': () => repeat('[1,'),
  'open maps': () => repeat('{"a":'),
  'nested items': () => repeat('- '),
  'nested keys': () => repeat('a: '),
  'one key over and over': () => repeat('a: b\n'),
  'many keys': () => numbered((index) => `key${index}: 1`, '\n'),
  anchors: () => repeat('&a '),
  aliases: () => repeat('*a '),
  quotes: () => repeat('"'),
  'empty lines': () => repeat('\n'),
  documents: () => repeat('---\n'),
  'a long list': () => `{"config":{},"vipPool":[${repeat('1,')}1]}`,
  'many wrong VIPs': () => `{"config":{${numbered((index) => `"a${index}":{}`, ',').slice(0, 1_000_000)}`,
  'many wrong nodes': () =>
    `{"config":{},"nodes":[${Array(130_000).fill('{"name":1,"address":"somewhere over the rainbow","labels":[]}').join(',')}]}`,
  'one huge text': () => JSON.stringify({ config: { ['1'.repeat(megabytes)]: {} } }),
};

describe('10 MB of junk is a clear error within two seconds of work, and is not repeated', () => {
  for (const [name, make] of Object.entries(junk)) {
    test(name, () => {
      const input = make();
      const before = process.cpuUsage();
      const { state, errors } = runThrough(readCluster(input, { carrier: 'cluster' }));
      const { user } = process.cpuUsage(before);
      assert.equal(state, undefined);
      assert.ok(errors.length >= 1 && errors.length <= 101, `${errors.length} errors`);
      assert.ok(JSON.stringify(errors).length < 40_000, 'what is told is short');
      assert.ok(errors.every(({ message, path }) => message !== '' && message.length < 300 && path.length < 300));
      assert.ok(user < 2_000_000, `took ${user / 1000} ms`);
    });
  }
});

test('a text that cannot be parsed is one error, at the first wrong line, without the text', () => {
  const { errors } = read('config:\n  192.0.2.10: {"80": {service: "secret-value"\nnodes: [}\n]]]\n');
  assert.equal(errors.length, 1);
  assert.equal(errors[0]?.line, 3);
  assert.ok(!JSON.stringify(errors).includes('secret-value'));
});

test('a value without a line of its own gets the line of what it is missing from', () => {
  const { errors } = read('services: []\nnodes:\n  - address: 10.0.0.1\nconfig: {}\n');
  assert.deepEqual(errors, [{ path: 'nodes[0].name', message: 'is missing', line: 3 }]);
});

test('lines are right in texts that only the general reader takes', () => {
  const { errors } = read(
    'services:\n  - &s {name: a, namespace: b}\n  - *s\nconfig:\n  192.0.2.10:\n    80: {service: |\n      zz\n    }\n'.replace(
      '|\n      zz\n    ',
      '>-\n',
    ),
  );
  assert.equal(errors.length, 1);
  const anchored = read('nodes: []\nservices:\n  - &s {name: a, namespace: b}\nconfig:\n  192.0.2.10:\n    80: {service: x}\n');
  assert.deepEqual(
    anchored.errors.map(({ line, path }) => [line, path]),
    [[6, 'config."192.0.2.10"."80".service']],
  );
});

test('bytes and text read alike, and broken UTF-8 is told', () => {
  assert.deepEqual(runThrough(readCluster(Buffer.from('{"config": {}}'), { carrier: 'cluster' })), read('{"config": {}}'));
  assert.deepEqual(words(runThrough(readCluster(Uint8Array.of(0xff, 0xfe), { carrier: 'cluster' })).errors), [': not UTF-8 text']);
});

test('strings of the state do not keep the file alive', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const heap = (): number => {
    for (let round = 0; round < 3; round++) collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  // One name kept of each of 40 files of 2 MB: 80 MB if the names were slices of the files.
  const padding = '# padding\n'.repeat(200_000);
  const kept: unknown[] = [];
  const before = heap();
  for (let index = 0; index < 40; index++) {
    const text = `${padding}nodes: [{name: a-rather-long-name-of-a-node-${index}, address: 10.0.0.1}]\nconfig: {}\n`;
    kept.push(read(Buffer.from(text)).state);
  }
  const grown = (heap() - before) / 1e6;
  assert.equal(kept.length, 40);
  assert.ok(grown < 8, `${grown} MB kept`);
});
