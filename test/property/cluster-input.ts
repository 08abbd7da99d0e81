/** Arbitrary cluster files, and their states. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { readCluster, type ReadResult } from '../../src/model/cluster-file.ts';
import type { ClusterState } from '../../src/model/cluster.ts';
import { runThrough } from '../../src/model/slices.ts';

export const read = (text: string): ReadResult => runThrough(readCluster(text, { carrier: 'cluster' }));

export const ipv4 = fc.tuple(fc.integer({ min: 1, max: 126 }), fc.nat(255), fc.nat(255), fc.nat(255)).map((octets) => octets.join('.'));
const groups = fc.array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat(0xffff)), { minLength: 8, maxLength: 8 });

/** One IPv6 address in one of the spellings that people use. */
export const ipv6Spelling = fc.tuple(groups, fc.boolean(), fc.boolean()).map(([parts, upper, long]) => {
  const text = parts.map((part) => part.toString(16).padStart(long ? 4 : 1, '0')).join(':');
  return upper ? text.toUpperCase() : text;
});

export const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,6}[a-z0-9]$/);
const ports = fc.uniqueArray(
  fc.record({ name, port: fc.integer({ min: 1, max: 65535 }), protocol: fc.constantFrom('tcp', 'UDP', 'Sctp') }),
  {
    selector: (port) => port.name,
    maxLength: 3,
  },
);
export const endpoint = fc.record(
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

export const input: fc.Arbitrary<Input> = services.chain((list) => {
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
export function shuffled(value: unknown, seed: number): unknown {
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

export function stateOf(value: unknown): ClusterState {
  const { state, errors } = read(JSON.stringify(value));
  assert.ok(state !== undefined, JSON.stringify(errors));
  return state;
}
