/** Atomicity, generations, dry runs, and whom an error blames. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KernelError } from '../../src/native/errors.ts';
import { Netns } from '../../src/native/netns.ts';
import { toElements } from '../../src/native/nftables-columns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import type { Element, NftOperation, SetSpec } from '../../src/native/nftables-types.ts';
import { ADDRESSES, ENDPOINTS, listing, nft, nftScript, reference, runs, SERVICES, skeleton, TABLE } from './nftables-support.ts';

const address = (index: number): string => `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;

const addresses = (from: number, to: number): Element[] => Array.from({ length: to - from }, (_, k) => ({ key: [address(from + k)] }));

function refused(code: string, index: number | undefined, subject?: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(KernelError.is(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.equal(error.index, index, error.message);
    if (subject !== undefined) assert.match(error.subject, subject);
    return true;
  };
}

test('a failing operation in the middle applies nothing and is named', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await nftables.commit(skeleton());
  const before = listing(netns);
  const generation = await nftables.generation();
  const good = (name: string): NftOperation => ({ op: 'createChain', table: TABLE, chain: { name } });
  await assert.rejects(
    nftables.commit([
      good('a'),
      good('b'),
      good('prerouting'),
      good('c'),
      { op: 'addElements', table: TABLE, set: ADDRESSES, elements: addresses(0, 9) },
    ]),
    refused('EEXIST', 2, /^create chain ip ravel prerouting$/),
  );
  assert.deepEqual(listing(netns), before);
  assert.equal(await nftables.generation(), generation);
});

test('the error names the element, in whichever message of the operation it went', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await nftables.commit(skeleton());
  await nftables.commit([{ op: 'createElements', table: TABLE, set: ADDRESSES, elements: [{ key: ['10.0.31.7'] }] }]);
  await assert.rejects(
    nftables.commit([
      { op: 'addTable', table: TABLE },
      { op: 'createElements', table: TABLE, set: ADDRESSES, elements: addresses(0, 9000) },
    ]),
    refused('EEXIST', 1, /^create element ip ravel addresses 10\.0\.31\.7$/),
  );
  assert.equal((await nftables.elements(TABLE, 'addresses')).count, 1);
  await assert.rejects(
    nftables.commit([{ op: 'deleteElements', table: TABLE, set: SERVICES, elements: [{ key: ['1.2.3.4', 6, 80] }] }]),
    refused('ENOENT', 0, /^delete element ip ravel services 1\.2\.3\.4 \. tcp \. 80$/),
  );
  const batch = await nftables.elements(TABLE, 'addresses');
  await assert.rejects(
    nftables.commit([{ op: 'createElementBatch', table: TABLE, set: ADDRESSES, batch }]),
    refused('EEXIST', 0, /^create element ip ravel addresses 10\.0\.31\.7$/),
  );
});

test('what an operation refers to must be there', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const other = { family: 'ip', name: 'other' } as const;
  await assert.rejects(nftables.list(TABLE), refused('ENOENT', undefined, /^table ip ravel$/));
  await assert.rejects(nftables.elements(TABLE, 'services'), refused('ENOENT', undefined, /^table ip ravel set services$/));
  await assert.rejects(nftables.commit([{ op: 'deleteTable', table: other }]), refused('ENOENT', 0, /^delete table ip other$/));
  await nftables.commit(skeleton());
  await assert.rejects(nftables.elements(TABLE, 'nothing'), refused('ENOENT', undefined));
  // A lookup in a set that is not there is no missing module.
  const rule = { chain: 'prerouting', statements: [{ kind: 'vmap', key: ['ip daddr'], map: 'nothing' }] } as const;
  await assert.rejects(nftables.commit([{ op: 'addRule', table: TABLE, rule }]), refused('ENOENT', 0, /^add rule ip ravel prerouting/));
});

test('another generation is refused as ERESTART, whoever made it', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const operations = reference();
  const ifGeneration = await nftables.generation();
  await nftables.commit(operations, { ifGeneration });
  await assert.rejects(
    nftables.commit(operations, { ifGeneration }),
    refused('ERESTART', undefined, new RegExp(`generation ${ifGeneration}$`)),
  );
  const next = await nftables.generation();
  nft(netns, 'add', 'table', 'ip', 'foreign');
  await assert.rejects(nftables.commit([], { ifGeneration: next }), refused('ERESTART', undefined));
  await nftables.commit([], { ifGeneration: await nftables.generation() });
  await nftables.commit(operations, { ifGeneration: await nftables.generation() });
});

test('check() judges as commit() does and has no effect', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const generation = await nftables.generation();
  await nftables.check(reference());
  assert.deepEqual(listing(netns), []);
  assert.equal(await nftables.generation(), generation);
  await nftables.commit(skeleton());
  const before = listing(netns);
  const duplicate: NftOperation = { op: 'createTable', table: TABLE };
  await assert.rejects(nftables.check([duplicate]), refused('EEXIST', 0));
  await assert.rejects(nftables.check([duplicate]), /^KernelError: nftables\.check create table ip ravel: EEXIST/);
  assert.deepEqual(listing(netns), before);
  await nftables.commit(reference());
});

test('an element that stays as it is may be added again, with another value it clashes', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await nftables.commit(skeleton());
  const key = ['1.2.3.4', 6, 80, 0];
  const endpoint = (pod: string): NftOperation => ({
    op: 'addElements',
    table: TABLE,
    set: ENDPOINTS,
    elements: [{ key, value: [pod, 8080] }],
  });
  await nftables.commit([endpoint('10.1.1.1'), endpoint('10.1.1.1')]);
  await assert.rejects(nftables.commit([endpoint('10.1.1.2')]), refused('EEXIST', 0, /1\.2\.3\.4 \. tcp \. 80 \. 0$/));
  await nftables.commit([{ op: 'deleteElements', table: TABLE, set: ENDPOINTS, elements: [{ key }] }, endpoint('10.1.1.2')]);
  assert.deepEqual(toElements(ENDPOINTS, await nftables.elements(TABLE, 'endpoints')), [{ key, value: ['10.1.1.2', 8080] }]);
});

test('one transaction may hold more elements than fit into one message', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const elements = addresses(0, 4000).map((element) => ({ ...element, comment: `number ${element.key[0]}` }));
  const generation = await nftables.generation();
  await nftables.commit([...skeleton(), { op: 'addElements', table: TABLE, set: ADDRESSES, elements }]);
  assert.equal(await nftables.generation(), generation + 1);
  const listed = toElements(ADDRESSES, await nftables.elements(TABLE, 'addresses'));
  assert.equal(new Map(listed.map(({ key, comment }) => [key[0], comment])).size, 4000);
  assert.ok(listed.every(({ key, comment }) => comment === `number ${key[0]}`));
});

test('calls keep their order when a large one gives way to others', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await nftables.commit(skeleton());
  let turns = 0;
  let waiting = true;
  const count = (): void => {
    turns += 1;
    if (waiting) setImmediate(count);
  };
  setImmediate(count);
  // Much to encode and little to send: an unprivileged process has a small send buffer.
  const nothing: NftOperation = { op: 'addElements', table: TABLE, set: ADDRESSES, elements: [] };
  const something: NftOperation = { op: 'createElements', table: TABLE, set: ADDRESSES, elements: addresses(0, 100) };
  const large = nftables.commit([...Array<NftOperation>(60_000).fill(nothing), something]);
  const listed = nftables.elements(TABLE, 'addresses');
  const flushed = nftables.commit([{ op: 'flushSet', table: TABLE, set: ADDRESSES }]);
  await large;
  await flushed;
  waiting = false;
  assert.equal((await listed).count, 100);
  assert.equal((await nftables.elements(TABLE, 'addresses')).count, 0);
  assert.ok(turns > 2, `the event loop turned ${turns} times`);
});

test('calls made in one turn of the event loop stay in order, however long the first is encoded', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  await nftables.commit(skeleton());
  const set = (name: string): SetSpec => ({ ...ADDRESSES, name });
  const filled = (name: string): NftOperation[] => [
    { op: 'createSet', table: TABLE, set: set(name) },
    { op: 'addElements', table: TABLE, set: set(name), elements: addresses(0, 30_000) },
  ];
  const [, , , columns] = await Promise.all([
    nftables.commit(filled('first')),
    nftables.commit([{ op: 'deleteSet', table: TABLE, set: set('first') }]),
    nftables.commit(filled('second')),
    nftables.elements(TABLE, 'second'),
    nftables.commit([{ op: 'deleteSet', table: TABLE, set: set('second') }]),
  ]);
  assert.equal(columns.count, 30_000);
  const names = (await nftables.list(TABLE)).sets.map(({ name }) => name);
  assert.ok(!names.includes('first') && !names.includes('second'), names.join());
});

test('foreign tables survive everything that is done to ours', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const foreign = `
    add table inet ravel
    add chain inet ravel prerouting { type nat hook prerouting priority -100; }
    add rule inet ravel prerouting tcp dport { 1-1024 } counter accept
    add table ip firewall
    add set ip firewall services { type ipv4_addr . inet_proto . inet_service; flags interval; }
    add element ip firewall services { 10.0.0.0/8 . tcp . 1-9 }`;
  assert.equal(nftScript(netns, foreign), '');
  const before = listing(netns);
  const others = (): unknown[] =>
    listing(netns).filter((object) => {
      const [kind, body] = Object.entries(object as Record<string, { family: string; name: string; table?: string }>)[0]!;
      return body.family !== TABLE.family || (kind === 'table' ? body.name : body.table) !== TABLE.name;
    });
  await nftables.commit(reference());
  assert.equal((await nftables.tables()).length, 3);
  await nftables.commit([{ op: 'flushTable', table: TABLE }]);
  assert.deepEqual(others(), before);
  await nftables.commit([{ op: 'deleteTable', table: TABLE }]);
  assert.deepEqual(listing(netns), before);
});

/** Sets of random elements, by the text of their keys. */
const universe: readonly { set: SetSpec; element: fc.Arbitrary<Element> }[] = [
  {
    set: SERVICES,
    element: fc
      .tuple(
        fc.nat(5),
        fc.constantFrom(6, 17),
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom('a', 'b'),
        fc.option(fc.constantFrom('x', 'länger')),
      )
      .map(([a, protocol, port, chain, comment]): Element => ({
        key: [address(a), protocol, port],
        value: { verdict: 'goto', chain },
        ...(comment !== null && { comment }),
      })),
  },
  {
    set: ENDPOINTS,
    element: fc
      .tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.integer({ min: 0, max: 65535 }))
      .map(([a, slot, pod, port]): Element => ({ key: [address(a), 6, 80, slot], value: [address(pod), port] })),
  },
  { set: ADDRESSES, element: fc.nat(12).map((a): Element => ({ key: [address(a)] })) },
];

test('the difference of two random sets of elements leads from one to the other', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const chains = ['a', 'b'].map((name): NftOperation => ({ op: 'addChain', table: TABLE, chain: { name } }));
  await nftables.commit([...skeleton(), ...chains]);
  const held = new Map(universe.map(({ set }) => [set.name, new Map<string, Element>()]));
  let changed = 0;
  await fc.assert(
    fc.asyncProperty(fc.tuple(...universe.map(({ element }) => fc.array(element, { maxLength: 14 }))), async (wanted) => {
      const operations: NftOperation[] = [];
      for (const [index, { set }] of universe.entries()) {
        const now = held.get(set.name)!;
        const next = new Map((wanted[index] ?? []).map((element) => [element.key.join(), element]));
        const gone = [...now].filter(([key, element]) => JSON.stringify(next.get(key)) !== JSON.stringify(element));
        const come = [...next].filter(([key, element]) => JSON.stringify(now.get(key)) !== JSON.stringify(element));
        operations.push({ op: 'deleteElements', table: TABLE, set, elements: gone.map(([, element]) => element) });
        operations.push({ op: 'createElements', table: TABLE, set, elements: come.map(([, element]) => element) });
        changed += gone.length + come.length;
        held.set(set.name, next);
      }
      await nftables.check(operations);
      await nftables.commit(operations);
      for (const { set } of universe) {
        const listed = toElements(set, await nftables.elements(TABLE, set.name));
        const sorted = (elements: Iterable<Element>) => [...elements].map((element) => JSON.stringify(element)).sort();
        // Fields of the objects in one order, so that their texts can be compared.
        const rebuilt = [...held.get(set.name)!.values()].map(({ key, value, comment }) => ({
          key,
          ...(value !== undefined && { value }),
          ...(comment !== undefined && { comment }),
        }));
        assert.deepEqual(sorted(listed), sorted(rebuilt));
      }
    }),
    { numRuns: runs(400) },
  );
  assert.ok(changed > runs(400) * 5, `${changed} elements changed`);
});
