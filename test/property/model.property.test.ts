/** Addresses and whole configurations: whatever the spelling, the meaning is one. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { canonicalAddress, compareAddresses, parsePrefix, prefixContains } from '../../src/model/address.ts';
import { clusterFileSchema } from '../../src/model/config-schema.ts';
import { read, ipv4, ipv6Spelling, input, shuffled, stateOf } from './cluster-input.ts';

describe('addresses', () => {
  test('canonical text is stable, and one for all spellings', () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6Spelling), (text) => {
        const canonical = canonicalAddress(text);
        assert.ok(canonical !== undefined);
        assert.equal(canonicalAddress(canonical), canonical);
        assert.equal(canonicalAddress(text.toLowerCase()), canonical);
        assert.equal(compareAddresses(text, canonical), 0);
      }),
      { numRuns: 2000 },
    );
  });

  test('comparison is an order', () => {
    const address = fc.oneof(ipv4, ipv6Spelling);
    fc.assert(
      fc.property(address, address, address, (a, b, c) => {
        assert.equal(Math.sign(compareAddresses(a, b)), -Math.sign(compareAddresses(b, a)) + 0);
        if (compareAddresses(a, b) <= 0 && compareAddresses(b, c) <= 0) assert.ok(compareAddresses(a, c) <= 0);
        if (compareAddresses(a, b) === 0) assert.equal(canonicalAddress(a), canonicalAddress(b));
      }),
    );
  });

  test('a prefix contains the address it was made from, and its text is stable', () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6Spelling), fc.nat(128), (address, length) => {
        const text = `${address}/${address.includes(':') ? length : length % 33}`;
        const prefix = parsePrefix(text);
        assert.ok(prefix !== undefined && prefixContains(prefix, address));
        assert.deepEqual(parsePrefix(`${prefix.address}/${prefix.prefix}`), prefix);
      }),
    );
  });
});

describe('configurations', () => {
  test('valid ones are accepted, in JSON and in YAML, to the same state', () => {
    fc.assert(
      fc.property(input, (value) => {
        const state = stateOf(value);
        assert.deepEqual(read(stringify(value, { aliasDuplicateObjects: false })).state, state);
        assert.equal(clusterFileSchema.safeParse(value).success, true);
        for (const virtualService of state.virtualServices.values()) {
          assert.equal(state.virtualServices.get(virtualService.key), virtualService);
          assert.ok(state.virtualServicesOf.get(virtualService.service)?.includes(virtualService));
          assert.ok(state.addresses.includes(virtualService.address));
          assert.ok(virtualService.lowerThreshold < virtualService.upperThreshold || virtualService.upperThreshold === 0);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('the order of keys does not matter', () => {
    fc.assert(
      fc.property(input, fc.integer(), (value, seed) => {
        assert.deepEqual(stateOf(shuffled(value, seed)), stateOf(value));
      }),
      { numRuns: 300 },
    );
  });

  test('junk of any shape throws nothing, gives no state without errors, and every error has words', () => {
    const junkKey = fc.constantFrom(
      'config',
      'config6',
      'nodes',
      'services',
      'labels',
      'vipPool',
      'mtuConfig',
      'ipv6',
      '__proto__',
      'x',
      '80',
      '10.0.0.1',
      'name',
      'ports',
    );
    const junk = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'medium' },
        ...[fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.constantFrom('10.0.0.1', '::1', 'wrr')],
        ...[fc.array(tie('value'), { maxLength: 3 }), fc.dictionary(junkKey, tie('value'), { maxKeys: 5, noNullPrototype: true })],
      ),
    })).value;
    fc.assert(
      fc.property(
        fc.oneof(
          junk.map((value) => JSON.stringify(value)),
          fc.string({ unit: 'binary', maxLength: 200 }),
          fc.string(),
        ),
        (text) => {
          const { state, errors } = read(text);
          assert.equal(state === undefined, errors.length > 0);
          assert.ok(errors.every(({ message }) => message !== ''));
        },
      ),
      { numRuns: 3000 },
    );
  });

  test('a valid configuration with one value spoilt is refused at a path, or still means something', () => {
    fc.assert(
      fc.property(input, fc.nat(), fc.constantFrom(null, -1, 'junk', [], {}, true, 1e9), (value, position, spoiler) => {
        const places: [Record<string, unknown>, string][] = [];
        const walk = (at: unknown): void => {
          if (typeof at !== 'object' || at === null) return;
          for (const [key, child] of Object.entries(at)) {
            places.push([at as Record<string, unknown>, key]);
            walk(child);
          }
        };
        const copy: unknown = JSON.parse(JSON.stringify(value));
        walk(copy);
        const [where, key] = places[position % places.length] ?? assert.fail();
        where[key] = spoiler;
        const { state, errors } = read(JSON.stringify(copy, null, 1));
        assert.equal(state === undefined, errors.length > 0);
        for (const { path, line } of errors) assert.ok(path !== '' && line !== undefined, JSON.stringify(errors));
      }),
      { numRuns: 1000 },
    );
  });
});
