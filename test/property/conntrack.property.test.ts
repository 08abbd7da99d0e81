import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { staleEntries, type ConntrackOptions, type ConntrackService } from '../../src/diff/conntrack.ts';
import { ConntrackDriver } from '../../src/drivers/conntrack.ts';
import { conntrackColumns, conntrackEntryAt } from '../../src/native/conntrack-columns.ts';
import type { ConntrackEndpoint, ConntrackEntry } from '../../src/native/conntrack-types.ts';
import { PROTOCOL_NUMBER } from '../../src/native/ipvs-constants.ts';
import type { Protocol } from '../../src/native/ipvs-types.ts';
import { FakeConntrack, type Packet } from '../fake-kernel/conntrack-table.ts';

const protocol = fc.constantFrom<Protocol>('udp', 'tcp', 'sctp');
const text = ({ address, port }: ConntrackEndpoint): string => `${address} ${port}`;

/** Few of each, so that services, entries and pods meet often; one pod listens on a VIP. */
const vips = ['192.0.2.10', '192.0.2.11', '2001:db8::10'] as const;
/** As the decoder makes them. */
const plain = { noNullPrototype: true };
const vip = fc.record({ address: fc.constantFrom(...vips), port: fc.constantFrom(53, 80) }, plain);
const pods: Readonly<Record<string, readonly string[]>> = {
  '192.0.2.10': ['10.1.1.1', '10.1.1.2', '192.0.2.10'],
  '192.0.2.11': ['10.1.1.1', '10.1.1.3'],
  '2001:db8::10': ['fd01::1', 'fd01::2'],
};
const podOf = (address: string): fc.Arbitrary<ConntrackEndpoint> =>
  fc.record({ address: fc.constantFrom(...pods[address]!), port: fc.constantFrom(53, 5353) }, plain);
const clientOf = (address: string): string => (address.includes(':') ? '2001:db8:9::9' : '203.0.113.9');

const service: fc.Arbitrary<ConntrackService> = fc.tuple(protocol, vip).chain(([name, { address, port }]) =>
  fc.uniqueArray(podOf(address), { selector: text, maxLength: 3 }).map((chosen) => ({
    key: `${name} ${address}:${port}`,
    address,
    protocol: PROTOCOL_NUMBER[name],
    port,
    pods: chosen,
  })),
);
const services = fc.uniqueArray(service, { selector: ({ key }) => key, maxLength: 6 });

const entry: fc.Arbitrary<ConntrackEntry> = fc.tuple(protocol, vip, fc.nat(0xffff_ffff), fc.nat(100)).chain(([name, to, id, from]) =>
  fc.oneof(podOf(to.address), fc.constant(to)).map((answer) => {
    const client = { address: clientOf(to.address), port: from + 1 };
    return {
      protocol: name,
      original: { source: client, destination: to },
      reply: { source: answer, destination: client },
      id,
      status: 0,
      mark: 0,
      timeoutSeconds: 1,
      zone: 0,
      zoneDirection: 'both' as const,
    };
  }),
);

const options: fc.Arbitrary<ConntrackOptions> = fc.record({ tcp: fc.boolean(), keepUntranslated: fc.boolean() });

/** The rule in words, one entry at a time. */
function isStale({ protocol: name, original, reply }: ConntrackEntry, all: readonly ConntrackService[], chosen: ConntrackOptions): boolean {
  if (name === 'tcp' && chosen.tcp !== true) return false;
  const to = all.find(({ key }) => key === `${name} ${original.destination.address}:${original.destination.port}`);
  if (to === undefined || to.pods.some((pod) => text(pod) === text(reply.source))) return false;
  const translated = text(reply.source) !== text(original.destination);
  return translated || (to.pods.length > 0 && chosen.keepUntranslated !== true);
}

test('stale is what the rule says, entry by entry, whatever the order of the services', () => {
  let seen = 0;
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 20 }), services, options, (entries, all, chosen) => {
      const columns = conntrackColumns(entries);
      const stale = staleEntries(columns, all, chosen);
      const expected = [...entries.keys()].filter((row) => isStale(entries[row]!, all, chosen));
      assert.deepEqual(
        stale.map(({ row }) => row),
        expected,
      );
      for (const { row, key, why } of stale) {
        const { protocol: name, original, reply } = conntrackEntryAt(columns, row);
        assert.equal(key, `${name} ${original.destination.address}:${original.destination.port}`);
        assert.equal(why, text(reply.source) === text(original.destination) ? 'untranslated' : 'target');
      }
      assert.deepEqual(staleEntries(columns, [...all].reverse(), chosen), stale);
      seen += stale.length;
    }),
    { numRuns: 5000 },
  );
  assert.ok(seen > 1000, `only ${seen} stale entries in all runs`);
});

/** What happens to a machine, in any order. */
type Step =
  | { readonly kind: 'program'; readonly services: readonly ConntrackService[] }
  | { readonly kind: 'send'; readonly packet: Packet }
  | { readonly kind: 'pass' }
  | { readonly kind: 'restart' };

const packet: fc.Arbitrary<Packet> = fc
  .record({ protocol, destination: vip, from: fc.nat(5) })
  .map(({ protocol: name, destination, from }) => ({
    protocol: name,
    source: { address: clientOf(destination.address), port: from + 1 },
    destination,
  }));

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: services.map((all): Step => ({ kind: 'program', services: all })) },
  { weight: 12, arbitrary: packet.map((each): Step => ({ kind: 'send', packet: each })) },
  { weight: 3, arbitrary: fc.constant<Step>({ kind: 'pass' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'restart' }) },
);

test('after a pass every packet to a virtual service reaches a current pod; a second pass and a restart delete nothing', async () => {
  let deleted = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), async (steps) => {
      const kernel = new FakeConntrack();
      let driver = new ConntrackDriver(kernel);
      let desired: ReadonlyMap<string, ConntrackService> = new Map();
      /** What the driver has been told of and not yet seen to be gone. */
      const known = new Set<string>();
      kernel.rules = ({ protocol: name, source, destination }) => {
        const found = desired.get(`${name} ${destination.address}:${destination.port}`)?.pods ?? [];
        return found[source.port % Math.max(found.length, 1)];
      };
      const pass = async (): Promise<number> => {
        const { written, failures } = await driver.apply(await driver.plan(desired));
        assert.deepEqual(failures, []);
        return written;
      };
      for (const each of [...steps, { kind: 'pass' } as const]) {
        if (each.kind === 'send') kernel.send(each.packet);
        if (each.kind === 'program') desired = new Map(each.services.map((one) => [one.key, one]));
        if (each.kind === 'restart') {
          driver = new ConntrackDriver(kernel);
          // As the rules that are found say: what was served last.
          driver.retire(desired.values());
          known.clear();
          for (const key of desired.keys()) known.add(key);
        }
        if (each.kind !== 'pass') continue;
        const keyOf = ({ protocol: name, original: { destination } }: ConntrackEntry): string =>
          `${name} ${destination.address}:${destination.port}`;
        const untouched = kernel.table.filter((one) => one.protocol === 'tcp');
        deleted += await pass();
        assert.deepEqual(
          kernel.table.filter((one) => one.protocol === 'tcp'),
          untouched,
        );
        for (const key of desired.keys()) known.add(key);
        for (const one of kernel.table) {
          const { pods: current } = desired.get(keyOf(one)) ?? { pods: [] };
          if (one.protocol === 'tcp' || !known.has(keyOf(one))) continue;
          // Without pods, or without the virtual service: as if there had never been a rule.
          if (current.length === 0) assert.deepEqual(one.reply.source, one.original.destination);
          else assert.ok(current.some((pod) => text(pod) === text(one.reply.source)));
        }
        const after = structuredClone(kernel.table);
        assert.equal(await pass(), 0);
        known.clear();
        for (const key of desired.keys()) known.add(key);
        const fresh = new ConntrackDriver(kernel);
        assert.equal((await fresh.apply(await fresh.plan(desired))).written, 0);
        assert.deepEqual(kernel.table, after);
      }
    }),
    { numRuns: 1000 },
  );
  assert.ok(deleted > 1000, `only ${deleted} entries deleted in all runs`);
});
