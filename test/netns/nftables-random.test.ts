/** Rules and elements of every kind, at random: what we write is what nft writes, and what we read is what we wrote. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Netns } from '../../src/native/netns.ts';
import { toElements } from '../../src/native/nftables-columns.ts';
import { toText } from '../../src/native/nftables-text.ts';
import { Nftables } from '../../src/native/nftables.ts';
import type { KeyPart, NftOperation, SetSpec, Statement, TableId } from '../../src/native/nftables-types.ts';
import { ENDPOINTS, instructions, listing, nft, nftScript, reference, runs, SERVICES, TABLE } from './nftables-support.ts';

const ADDRESSES4 = ['192.0.2.1', '10.96.0.10', '255.255.255.255', '0.0.0.1'];
const ADDRESSES6 = ['2001:db8::1', 'fd00:1:2:3::4', 'ff02::1', '::ffff:192.0.2.1'];

/** Rules of one table; every statement may stand anywhere but the last ones. */
function rulesOf(family: TableId['family']): fc.Arbitrary<Statement[]> {
  const six = family === 'ip6';
  const word = six ? 'ip6' : 'ip';
  const parts: KeyPart[] = [`${word} saddr`, `${word} daddr`, 'meta l4proto', 'th sport', 'th dport'];
  const key = fc.shuffledSubarray(parts, { minLength: 1, maxLength: six ? 3 : 4 });
  const bits = six ? 128 : 32;
  const network = fc
    .record({ address: fc.constantFrom(...(six ? ADDRESSES6 : ADDRESSES4)), prefix: fc.integer({ min: 1, max: bits }) })
    // nft refuses bits below the prefix in places; full addresses have none.
    .map(({ address, prefix }) => (prefix > bits - 8 ? { address, prefix: bits } : { address: six ? '8000::' : '128.0.0.0', prefix }));
  const match: fc.Arbitrary<Statement> = fc.oneof(
    fc.constantFrom(6, 17, 132, 50).map((protocol): Statement => ({ kind: 'protocol', protocol })),
    fc
      .tuple(fc.constantFrom<'source' | 'destination'>('source', 'destination'), network, fc.boolean())
      .map(([kind, net, inverted]): Statement => ({ kind, ...net, ...(inverted && { inverted }) })),
    fc
      .tuple(key, fc.boolean())
      .map(([fields, inverted]): Statement => ({ kind: 'inSet', key: fields, set: setName(fields), ...(inverted && { inverted }) })),
    fc.integer({ min: 1, max: 0xffffffff }).map((mark): Statement => ({ kind: 'markOr', bits: mark })),
    // nft drops the mask of `mark & 0xffffffff`; one bit of the value outside the mask never matches, so it must be inside.
    fc
      .tuple(fc.integer({ min: 1, max: 0x7fffffff }), fc.integer({ min: 0, max: 0xffffffff }))
      .map(([mask, value]): Statement => ({ kind: 'markIs', mask, value: (mask & value) >>> 0 })),
    fc.constant<Statement>({ kind: 'counter' }),
    fc.constantFrom('eth0', 'a', 'vlan-1.4094', 'a-name-of-15-by').map((name): Statement => ({ kind: 'inputInterface', name })),
    fc.constant<Statement>({ kind: 'destinationTranslated' }),
  );
  const last: fc.Arbitrary<Statement> = fc.oneof(
    fc.constant<Statement>({ kind: 'masquerade' }),
    fc.constantFrom<Statement>(
      { kind: 'verdict', verdict: { verdict: 'accept' } },
      { kind: 'verdict', verdict: { verdict: 'return' } },
      { kind: 'verdict', verdict: { verdict: 'goto', chain: 'other' } },
    ),
  );
  return fc.tuple(fc.array(match, { maxLength: 3 }), last).map(([matches, end]) => [...matches, end]);
}

const TYPES: Readonly<Record<string, SetSpec['key'][number]>> = {
  'ip saddr': 'ipv4_addr',
  'ip daddr': 'ipv4_addr',
  'ip6 saddr': 'ipv6_addr',
  'ip6 daddr': 'ipv6_addr',
  'meta l4proto': 'inet_proto',
  'th sport': 'inet_service',
  'th dport': 'inet_service',
};

const setName = (key: readonly KeyPart[]): string =>
  key.map((part) => (typeof part === 'string' ? part.replaceAll(' ', '') : 'numgen')).join('_');

function setsOf(rules: readonly Statement[][]): SetSpec[] {
  const sets = new Map<string, SetSpec>();
  for (const statement of rules.flat()) {
    if (statement.kind !== 'inSet') continue;
    sets.set(statement.set, { name: statement.set, key: statement.key.map((part) => TYPES[part as string]!) });
  }
  return [...sets.values()];
}

test('random rules of every family are to nft what their text is, and come back as they went', async (t) => {
  await using theirs = await Netns.create();
  await using ours = await Netns.create();
  await using nftables = await Nftables.open({ netns: ours });
  const ruleset = fc
    .constantFrom<TableId['family']>('ip', 'ip6', 'inet')
    .chain((family) => fc.tuple(fc.constant(family), fc.array(rulesOf(family), { minLength: 1, maxLength: 8 })));
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(ruleset, async ([family, rules]) => {
      const table: TableId = { family, name: 'generated' };
      const operations: NftOperation[] = [
        { op: 'addTable', table },
        ...setsOf(rules).map((set): NftOperation => ({ op: 'addSet', table, set })),
        { op: 'addChain', table, chain: { name: 'c', hook: { type: 'nat', hook: 'postrouting', priority: 7 } } },
        { op: 'addChain', table, chain: { name: 'other' } },
        ...rules.map((statements): NftOperation => ({ op: 'addRule', table, rule: { chain: 'c', statements } })),
      ];
      await nftables.commit(operations);
      assert.equal(nftScript(theirs, toText(operations)), '', toText(operations));
      try {
        assert.deepEqual(instructions(ours), instructions(theirs));
        assert.deepEqual(listing(ours), listing(theirs));
        const listed = (await nftables.list(table)).rules.map(({ statements }) => statements);
        assert.deepEqual(listed, rules);
        compared += rules.length;
      } finally {
        await nftables.commit([{ op: 'deleteTable', table }]);
        nft(theirs, 'delete', 'table', family, 'generated');
      }
    }),
    { numRuns: runs(100) },
  );
  t.diagnostic(`${compared} random rules compared with nft`);
});

test('elements of every type are to nft what their text is', async () => {
  await using theirs = await Netns.create();
  await using ours = await Netns.create();
  await using nftables = await Nftables.open({ netns: ours });
  const table: TableId = { family: 'inet', name: 'types' };
  const sets: [SetSpec, NftOperation & { op: 'addElements' }][] = [];
  const add = (set: SetSpec, elements: (NftOperation & { op: 'addElements' })['elements']) =>
    sets.push([set, { op: 'addElements', table, set, elements }]);
  add({ name: 'a4', key: ['ipv4_addr'] }, [{ key: ['1.2.3.4'] }, { key: ['255.0.0.1'], comment: 'grün' }]);
  add({ name: 'a6', key: ['ipv6_addr'], value: ['mark'] }, [{ key: ['2001:db8::1'], value: [0x12345678] }]);
  add({ name: 'p', key: ['inet_proto'] }, [{ key: [6] }, { key: [17] }]);
  add({ name: 's', key: ['inet_service'], counter: true }, [{ key: [80] }, { key: [65535] }]);
  add({ name: 'm', key: ['mark'], value: 'verdict' }, [
    { key: [1], value: { verdict: 'drop' } },
    { key: [0xfffffffe], value: { verdict: 'goto', chain: 'c' }, comment: 'x'.repeat(127) },
  ]);
  add({ name: 'long', key: ['ipv6_addr', 'ipv6_addr', 'inet_proto', 'inet_service'], value: ['ipv6_addr', 'inet_service'] }, [
    { key: ['::1', 'fd00::1', 17, 53], value: ['fd00::2', 5353] },
  ]);
  add({ name: 'six', key: ['ipv6_addr', 'inet_proto', 'inet_service', 'slot'], value: ['ipv6_addr', 'inet_service'] }, [
    { key: ['fd00::9', 6, 80, 3], value: ['fd00::a', 8080] },
  ]);
  const operations: NftOperation[] = [
    { op: 'addTable', table },
    { op: 'addChain', table, chain: { name: 'c' } },
    ...sets.flatMap(([set, elements]): NftOperation[] => [{ op: 'addSet', table, set }, elements]),
  ];
  await nftables.commit(operations);
  assert.equal(nftScript(theirs, toText(operations)), '', toText(operations));
  assert.deepEqual(listing(ours), listing(theirs));
  assert.deepEqual(instructions(ours), instructions(theirs));
  for (const [set, { elements }] of sets) {
    const listed = toElements(set, await nftables.elements(table, set.name));
    const byKey = (a: { key: readonly unknown[] }, b: { key: readonly unknown[] }) => (String(a.key) < String(b.key) ? -1 : 1);
    assert.deepEqual(listed.sort(byKey), [...elements].sort(byKey), set.name);
  }
});

test('columns read from one set can be written to another', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await nftables.commit(reference());
  for (const set of [SERVICES, ENDPOINTS]) {
    const batch = await nftables.elements(TABLE, set.name);
    assert.ok(batch.count > 0);
    await nftables.commit([{ op: 'deleteElementBatch', table: TABLE, set, batch }]);
    assert.equal((await nftables.elements(TABLE, set.name)).count, 0);
    await nftables.commit([{ op: 'createElementBatch', table: TABLE, set, batch }]);
    const sorted = (columns: typeof batch) =>
      toElements(set, columns)
        .map((element) => JSON.stringify(element))
        .sort();
    assert.deepEqual(sorted(await nftables.elements(TABLE, set.name)), sorted(batch));
  }
});
