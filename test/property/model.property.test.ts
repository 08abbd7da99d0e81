import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { canonicalAddress, compareAddresses, parsePrefix, prefixContains } from '../../src/model/address.ts';
import { readCluster, type ReadResult } from '../../src/model/cluster-file.ts';
import { clusterFileSchema } from '../../src/model/config-schema.ts';
import type { ClusterService, ClusterState } from '../../src/model/cluster.ts';
import { readGeneral } from '../../src/model/document/general.ts';
import { DocumentError, Outline } from '../../src/model/document/outline.ts';
import { readPlain } from '../../src/model/document/plain.ts';
import { PersistentMap } from '../../src/model/persistent-map.ts';
import { applyServiceChange, publish } from '../../src/model/publish.ts';
import { runThrough } from '../../src/model/slices.ts';

const read = (text: string): ReadResult => runThrough(readCluster(text, { carrier: 'cluster' }));

// ── arbitraries ─────────────────────────────────────────────────────────────────

const ipv4 = fc.tuple(fc.integer({ min: 1, max: 126 }), fc.nat(255), fc.nat(255), fc.nat(255)).map((octets) => octets.join('.'));
const groups = fc.array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat(0xffff)), { minLength: 8, maxLength: 8 });

/** One IPv6 address in one of the spellings that people use. */
const ipv6Spelling = fc.tuple(groups, fc.boolean(), fc.boolean()).map(([parts, upper, long]) => {
  const text = parts.map((part) => part.toString(16).padStart(long ? 4 : 1, '0')).join(':');
  return upper ? text.toUpperCase() : text;
});

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,6}[a-z0-9]$/);
const ports = fc.uniqueArray(
  fc.record({ name, port: fc.integer({ min: 1, max: 65535 }), protocol: fc.constantFrom('tcp', 'UDP', 'Sctp') }),
  {
    selector: (port) => port.name,
    maxLength: 3,
  },
);
const endpoint = fc.record(
  {
    address: ipv4,
    port: fc.integer({ min: 1, max: 65535 }),
    node: fc.constantFrom('n0', 'n1'),
    ready: fc.boolean(),
    terminating: fc.boolean(),
  },
  { requiredKeys: ['address', 'port'] },
);
const services = fc.uniqueArray(
  fc.record({ namespace: fc.constantFrom('a', 'b'), name, ports, endpoints: fc.array(endpoint, { maxLength: 4 }) }),
  { selector: (service) => `${service.namespace}/${service.name}`, minLength: 1, maxLength: 6 },
);
const options = fc.record(
  {
    scheduler: fc.constantFrom('rr', ' WRR ', 'mh', 'sed', 'junk'),
    flags: fc.constantFrom('', 'flag-1', 'sh-port,flag-1'),
    forwardingMethod: fc.constantFrom('g', 'i', 'm', 'x'),
    tunnelType: fc.constantFrom('ipip', 'gue', 'junk'),
    tunnelPort: fc.integer({ min: -1, max: 70_000 }),
    masqueradeSource: fc.boolean(),
    persistenceSeconds: fc.integer({ min: -1, max: 3_000_000 }),
    persistencePrefix: fc.integer({ min: -1, max: 130 }),
    onePacket: fc.boolean(),
    uThreshold: fc.integer({ min: -10, max: 100 }),
    lThreshold: fc.integer({ min: -10, max: 100 }),
  },
  { requiredKeys: [] },
);

interface Input {
  nodes: object[];
  services: { namespace: string; name: string; endpoints: object[] }[];
  config: Record<string, Record<string, object>>;
  labels: Record<string, string>;
}

const input: fc.Arbitrary<Input> = services.chain((list) => {
  const entry = fc
    .tuple(fc.constantFrom(...list), fc.option(options, { nil: undefined }), fc.boolean(), fc.boolean())
    .map(([service, ipvsOptions, tcpEnabled, udpEnabled]) => ({
      ...{ namespace: service.namespace, service: service.name, tcpEnabled, udpEnabled },
      ...(ipvsOptions === undefined ? {} : { ipvsOptions }),
    }));
  const portMap = fc.dictionary(fc.integer({ min: 1, max: 65535 }).map(String), entry, { maxKeys: 3, noNullPrototype: true });
  // VIPs from a range of their own: never a node's.
  const vip = fc.tuple(fc.nat(255), fc.nat(255)).map(([c, d]) => `198.18.${c}.${d}`);
  return fc.record({
    nodes: fc.subarray([
      { name: 'n0', addresses: ['192.0.2.1'], labels: { zone: 'a' } },
      { name: 'n1', addresses: ['192.0.2.2', '2001:db8::2'], ready: false },
    ]),
    services: fc.constant(list),
    config: fc.dictionary(vip, portMap, { maxKeys: 5, noNullPrototype: true }),
    labels: fc.dictionary(name, name, { maxKeys: 2, noNullPrototype: true }),
  });
});

/** The same value with the keys of all maps in another order. */
function shuffled(value: unknown, seed: number): unknown {
  if (Array.isArray(value)) return value.map((item) => shuffled(item, seed));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, content]) => [key, shuffled(content, seed)] as const);
  const rank = (key: string): number =>
    Math.imul(
      Array.from(key).reduce((sum, char) => Math.imul(sum, 31) + char.charCodeAt(0), seed | 1),
      0x9e3779b1,
    );
  return Object.fromEntries(entries.sort(([a], [b]) => rank(a) - rank(b)));
}

function stateOf(value: unknown): ClusterState {
  const { state, errors } = read(JSON.stringify(value));
  assert.ok(state !== undefined, JSON.stringify(errors));
  return state;
}

// ── addresses ───────────────────────────────────────────────────────────────────

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

// ── reading ─────────────────────────────────────────────────────────────────────

const plainDocument = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.string(),
    fc.integer(),
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.constant(null),
    tie('list'),
    tie('map'),
  ),
  list: fc.array(tie('value'), { maxLength: 4 }),
  map: fc.dictionary(fc.oneof(name, fc.string({ minLength: 1 }), ipv4, fc.nat(70_000).map(String)), tie('value'), {
    maxKeys: 4,
    noNullPrototype: true,
  }),
})).map;

describe('documents', () => {
  test('JSON is read as JSON.parse reads it', () => {
    fc.assert(
      fc.property(plainDocument, fc.constantFrom(undefined, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        assert.deepEqual(readPlain(text, new Outline()), JSON.parse(text));
      }),
      { numRuns: 2000 },
    );
  });

  test('YAML of the library is read by both readers alike; the plain one may decline, never misread', () => {
    let taken = 0;
    fc.assert(
      fc.property(
        plainDocument,
        fc.constantFrom<'block' | 'flow' | 'any'>('block', 'flow', 'any'),
        fc.boolean(),
        (value, style, indentSeq) => {
          const text = stringify(value, {
            ...{ collectionStyle: style, indentSeq, lineWidth: 0 },
            aliasDuplicateObjects: false,
          });
          let general: unknown;
          try {
            general = readGeneral(text, new Outline());
          } catch (error) {
            // The library writes some empty collections in a way that it cannot read itself.
            assert.ok(error instanceof DocumentError);
            return;
          }
          try {
            assert.deepEqual(readPlain(text, new Outline()), general, text);
            taken++;
          } catch (error) {
            if (!(error instanceof DocumentError)) throw error;
          }
        },
      ),
      { numRuns: 2000 },
    );
    assert.ok(taken > 1000, `only ${taken} of 2000 were taken by the plain reader`);
  });

  test('what the plain reader takes of mutilated YAML, the library takes alike or refuses for form only', () => {
    const piece = fc.constantFrom(
      'a',
      'b: ',
      ': ',
      '- ',
      '\n',
      '\n  ',
      '\n    ',
      ' ',
      '{',
      '}',
      '[',
      ']',
      ',',
      '"',
      "'",
      '#',
      ' # ',
      '1',
      '~',
      'x:y',
      '::1',
      '-',
      '?',
      '\t',
    );
    let structured = 0;
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        const text = pieces.join('');
        let value: unknown;
        try {
          value = readPlain(text, new Outline());
        } catch (error) {
          assert.ok(error instanceof DocumentError);
          return;
        }
        let general: unknown;
        try {
          general = readGeneral(text, new Outline());
        } catch (error) {
          assert.ok(error instanceof DocumentError);
          return;
        }
        assert.deepEqual(value, general, JSON.stringify(text));
        if (typeof value === 'object' && value !== null) structured++;
      }),
      { numRuns: Number(process.env['MUTILATED_RUNS'] ?? 20_000) },
    );
    assert.ok(structured > 100, `only ${structured} maps and lists were compared`);
  });
});

// ── configurations ──────────────────────────────────────────────────────────────

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

// ── publication ─────────────────────────────────────────────────────────────────

function sharesAllThatIsEqual<Value>(previous: ReadonlyMap<string, Value>, next: ReadonlyMap<string, Value>): void {
  for (const [key, value] of next) {
    const old = previous.get(key);
    if (old === undefined || old === value) continue;
    assert.notDeepEqual(old, value, `${key} is equal but not the same object`);
  }
}

describe('publication', () => {
  test('equal objects are the same objects, and every difference is named', () => {
    fc.assert(
      fc.property(input, input, fc.boolean(), (first, second, mixed) => {
        const before = publish(undefined, stateOf(first)).state;
        // Two unrelated inputs share little: mostly compare with one that differs in the configuration only.
        const target = mixed
          ? { ...first, config: Object.fromEntries(Object.entries(first.config).slice(1)), labels: second.labels }
          : second;
        const fresh = stateOf(target);
        const { state, change } = publish(before, fresh);
        assert.deepEqual(new Map(state.services), new Map(fresh.services));
        assert.deepEqual({ ...state, services: 0 }, { ...fresh, services: 0 });
        for (const part of ['nodes', 'services', 'virtualServices', 'virtualServicesOf', 'mtu'] as const) {
          sharesAllThatIsEqual<unknown>(before[part], state[part]);
        }
        if (change.all) return;
        assert.equal(state.addresses, before.addresses);
        assert.equal(state.nodes, before.nodes);
        for (const key of new Set([...before.virtualServices.keys(), ...state.virtualServices.keys()])) {
          const old = before.virtualServices.get(key);
          const now = state.virtualServices.get(key);
          const same = old !== undefined && old === now && before.services.get(old.service) === state.services.get(now.service);
          assert.equal(change.virtualServices.has(key), !same, key);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('a history of Service changes ends where a full rebuild does, and names the same virtual services', () => {
    const service = fc.tuple(fc.nat(5), fc.array(endpoint, { maxLength: 3 }), fc.boolean());
    fc.assert(
      fc.property(input, fc.array(service, { maxLength: 12 }), (value, history) => {
        let applied = publish(undefined, stateOf(value)).state;
        let rebuilt = applied;
        for (const [index, endpoints, deleted] of history) {
          const target = value.services[index % value.services.length] ?? assert.fail();
          const key = `${target.namespace}/${target.name}`;
          const old = applied.services.get(key);
          const change: ClusterService | { deleted: string } =
            deleted && old !== undefined
              ? { deleted: key }
              : {
                  ...{ namespace: target.namespace, name: target.name, ports: old?.ports ?? [] },
                  endpoints: endpoints.map(({ address, port, node, ready = true, terminating = false }) => ({
                    ...{ address, port, portName: '', node, ready, terminating },
                  })),
                };
          const services = new Map(rebuilt.services);
          if ('deleted' in change) services.delete(key);
          else services.set(key, change);
          const incremental = applyServiceChange(applied, change);
          const full = publish(rebuilt, { ...rebuilt, services: structuredClone(services) });
          assert.deepEqual(incremental.state, full.state);
          assert.deepEqual(incremental.change, full.change);
          applied = incremental.state;
          rebuilt = full.state;
        }
      }),
      { numRuns: 500 },
    );
  });

  test('the persistent map behaves as a map, and old versions stay as they were', () => {
    const operation = fc.tuple(fc.nat(20).map(String), fc.option(fc.integer(), { nil: undefined }));
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        let map = PersistentMap.from<number>([]);
        const model = new Map<string, number>();
        const versions: [PersistentMap<number>, Map<string, number>][] = [];
        for (const [key, value] of operations) {
          if (value === undefined) {
            map = map.without(key);
            model.delete(key);
          } else {
            map = map.with(key, value);
            model.set(key, value);
          }
          versions.push([map, new Map(model)]);
        }
        for (const [version, expected] of versions) {
          assert.equal(version.size, expected.size);
          assert.deepEqual(new Map(version), expected);
          for (let key = 0; key <= 20; key++) assert.equal(version.get(String(key)), expected.get(String(key)));
        }
      }),
      { numRuns: 300 },
    );
  });
});
