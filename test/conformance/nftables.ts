/** nf_tables: errno per operation, atomicity, references, and what the lists show. */
import assert from 'node:assert/strict';
import type { Element, NftOperation, NftablesPort, SetSpec, Statement, TableId } from '../../src/native/nftables-types.ts';
import type { ConformanceCase } from './expect.ts';
import { refuses } from './expect.ts';

const table: TableId = { family: 'ip', name: 'conformance' };
const addresses: SetSpec = { name: 'addresses', key: ['ipv4_addr'] };
const verdicts: SetSpec = { name: 'verdicts', key: ['ipv4_addr', 'inet_proto', 'inet_service'], value: 'verdict', counter: true };
const targets: SetSpec = {
  name: 'targets',
  key: ['ipv4_addr', 'inet_proto', 'inet_service', 'slot'],
  value: ['ipv4_addr', 'inet_service'],
};

const chain = (op: 'addChain' | 'createChain' | 'deleteChain' | 'flushChain', name: string): NftOperation => ({
  op,
  table,
  chain: { name },
});
const set = (op: 'addSet' | 'createSet' | 'deleteSet' | 'flushSet', spec: SetSpec): NftOperation => ({ op, table, set: spec });
const elements = (op: 'addElements' | 'createElements' | 'deleteElements', spec: SetSpec, ...list: Element[]): NftOperation => ({
  op,
  table,
  set: spec,
  elements: list,
});
const rule = (name: string, ...statements: Statement[]): NftOperation => ({ op: 'addRule', table, rule: { chain: name, statements } });
const goesTo = (name: string): Element => ({ key: ['192.0.2.10', 6, 80], value: { verdict: 'goto', chain: name } });
const target = (address: string): Element => ({ key: ['192.0.2.10', 6, 80, 0], value: [address, 8080] });
const one: Element = { key: ['192.0.2.10'] };

const addTable: NftOperation = { op: 'addTable', table };
const hooked: NftOperation = {
  op: 'addChain',
  table,
  chain: { name: 'base', hook: { type: 'nat', hook: 'prerouting', priority: -101 } },
};
const lookup: Statement = { kind: 'vmap', key: ['ip daddr', 'meta l4proto', 'th dport'], map: 'verdicts' };
const choose: readonly Statement[] = [
  { kind: 'protocol', protocol: 6 },
  { kind: 'dnatMap', key: ['ip daddr', 'meta l4proto', 'th dport', { numgen: 'random', modulus: 1 }], map: 'targets' },
];

/** `before` works as one transaction; `operations` then fails with `code` at `index`, and changes nothing. */
function fails(
  name: string,
  before: readonly NftOperation[],
  operations: readonly NftOperation[],
  code: string,
  index = operations.length - 1,
): ConformanceCase<NftablesPort> {
  return {
    name,
    async run(port) {
      await port.commit([addTable, ...before]);
      const state = await picture(port);
      await refuses(port.commit(operations), code, index);
      assert.deepEqual(await picture(port), state, 'a failed transaction changed something');
    },
  };
}

/** Each list is one transaction, and all work. */
function works(name: string, ...transactions: readonly (readonly NftOperation[])[]): ConformanceCase<NftablesPort> {
  return {
    name,
    async run(port) {
      await port.commit([addTable]);
      for (const operations of transactions) await port.commit(operations);
    },
  };
}

/** Everything the table holds less handles, as data that compares. */
async function picture(port: NftablesPort): Promise<unknown> {
  const { chains, rules, sets } = await port.list(table);
  const contents = await Promise.all(
    sets.map(async ({ name }) => {
      const columns = await port.elements(table, name);
      const rows = Array.from({ length: columns.count }, (_, row) =>
        [
          Buffer.from(columns.keys.slice(row * columns.keyLength, (row + 1) * columns.keyLength)).toString('hex'),
          Buffer.from(columns.values.slice(row * columns.valueLength, (row + 1) * columns.valueLength)).toString('hex'),
          columns.verdict[row],
          columns.chains[columns.chain[row] ?? 65535],
          columns.comments[columns.comment[row] ?? 0],
        ].join(),
      );
      return [name, rows.sort()] as const;
    }),
  );
  return {
    chains: chains.map(({ name, hook }) => ({ name, hook })),
    rules: rules.map(({ chain: name, statements, comment }) => ({ name, statements, comment })),
    sets: contents.sort(),
  };
}

export const nftablesCases: readonly ConformanceCase<NftablesPort>[] = [
  fails('a table is created once', [], [{ op: 'createTable', table }], 'EEXIST'),
  works('a table may be added twice', [addTable]),
  fails('deleting a table that is not there', [], [{ op: 'deleteTable', table: { family: 'ip', name: 'nosuch' } }], 'ENOENT'),
  fails(
    'a chain in a table that is not there',
    [],
    [{ op: 'addChain', table: { family: 'ip', name: 'nosuch' }, chain: { name: 'a' } }],
    'ENOENT',
  ),
  fails('a chain is created once', [chain('addChain', 'a')], [chain('createChain', 'a')], 'EEXIST'),
  works('a chain may be added twice', [chain('addChain', 'a')], [chain('addChain', 'a')]),
  fails('deleting a chain that is not there', [], [chain('deleteChain', 'a')], 'ENOENT'),
  fails('flushing a chain that is not there', [], [chain('flushChain', 'a')], 'ENOENT'),
  fails('a rule in a chain that is not there', [], [rule('a', { kind: 'counter' })], 'ENOENT'),
  fails(
    'a rule that goes to a chain that is not there',
    [chain('addChain', 'a')],
    [rule('a', { kind: 'verdict', verdict: { verdict: 'goto', chain: 'b' } })],
    'ENOENT',
  ),
  fails(
    'a rule that goes to a base chain',
    [chain('addChain', 'a'), hooked],
    [rule('a', { kind: 'verdict', verdict: { verdict: 'goto', chain: 'base' } })],
    'EOPNOTSUPP',
  ),
  fails('a rule that looks up a map that is not there', [chain('addChain', 'a')], [rule('a', lookup)], 'ENOENT'),
  fails(
    'deleting a chain that a rule goes to',
    [chain('addChain', 'a'), chain('addChain', 'b'), rule('a', { kind: 'verdict', verdict: { verdict: 'goto', chain: 'b' } })],
    [chain('deleteChain', 'b')],
    'EBUSY',
  ),
  works(
    'a chain goes together with the rule that goes to it',
    [chain('addChain', 'a'), chain('addChain', 'b'), rule('a', { kind: 'verdict', verdict: { verdict: 'goto', chain: 'b' } })],
    [chain('flushChain', 'a'), chain('deleteChain', 'b')],
  ),
  works(
    'a chain goes with its rules',
    [chain('addChain', 'a'), rule('a', { kind: 'counter' })],
    [chain('flushChain', 'a'), chain('deleteChain', 'a')],
  ),
  fails('a set is created once', [set('addSet', addresses)], [set('createSet', addresses)], 'EEXIST'),
  works('a set may be added twice', [set('addSet', addresses)], [set('addSet', addresses)]),
  fails('deleting a set that is not there', [], [set('deleteSet', addresses)], 'ENOENT'),
  fails(
    'deleting a set that a rule looks up',
    [set('addSet', addresses), chain('addChain', 'a'), rule('a', { kind: 'inSet', key: ['ip daddr'], set: 'addresses' })],
    [set('deleteSet', addresses)],
    'EBUSY',
  ),
  works('a set goes with its elements', [set('addSet', addresses), elements('addElements', addresses, one)], [set('deleteSet', addresses)]),
  works(
    'a set is flushed, also when it is empty',
    [set('addSet', addresses), elements('addElements', addresses, one)],
    [set('flushSet', addresses)],
    [set('flushSet', addresses)],
    [elements('createElements', addresses, one)],
  ),
  fails('an element of a set that is not there', [], [elements('addElements', addresses, one)], 'ENOENT'),
  fails(
    'an element is created once',
    [set('addSet', addresses), elements('addElements', addresses, one)],
    [elements('createElements', addresses, one)],
    'EEXIST',
  ),
  works(
    'an element may be added twice',
    [set('addSet', addresses), elements('addElements', addresses, one)],
    [elements('addElements', addresses, one)],
  ),
  fails(
    'an element is deleted once',
    [set('addSet', addresses), elements('addElements', addresses, one)],
    [elements('deleteElements', addresses, one), elements('deleteElements', addresses, one)],
    'ENOENT',
  ),
  fails('an element that is not there', [set('addSet', addresses)], [elements('deleteElements', addresses, one)], 'ENOENT'),
  fails(
    'an element with another value clashes',
    [set('addSet', targets), elements('addElements', targets, target('10.50.1.2'))],
    [elements('addElements', targets, target('10.50.1.3'))],
    'EEXIST',
  ),
  works(
    'an element with the same value does not',
    [set('addSet', targets), elements('addElements', targets, target('10.50.1.2'))],
    [elements('addElements', targets, target('10.50.1.2'))],
  ),
  works(
    'an element is replaced in one transaction',
    [set('addSet', targets), elements('addElements', targets, target('10.50.1.2'))],
    [elements('deleteElements', targets, { key: ['192.0.2.10', 6, 80, 0] }), elements('createElements', targets, target('10.50.1.3'))],
  ),
  fails(
    'a verdict that goes to a chain that is not there',
    [set('addSet', verdicts)],
    [elements('addElements', verdicts, goesTo('a'))],
    'ENOENT',
  ),
  fails(
    'a verdict that goes to a base chain',
    [set('addSet', verdicts), hooked],
    [elements('addElements', verdicts, goesTo('base'))],
    'EOPNOTSUPP',
  ),
  fails(
    'deleting a chain that an element goes to',
    [set('addSet', verdicts), chain('addChain', 'a'), elements('addElements', verdicts, goesTo('a'))],
    [chain('deleteChain', 'a')],
    'EBUSY',
  ),
  works(
    'a chain goes after the element that goes to it, in one transaction',
    [set('addSet', verdicts), chain('addChain', 'a'), elements('addElements', verdicts, goesTo('a'))],
    [elements('deleteElements', verdicts, goesTo('a')), chain('flushChain', 'a'), chain('deleteChain', 'a')],
  ),
  works(
    'a verdict moves to a new chain and the old one goes, in one transaction',
    [set('addSet', verdicts), chain('addChain', 'a'), elements('addElements', verdicts, goesTo('a'))],
    [
      chain('createChain', 'b'),
      elements('deleteElements', verdicts, { key: ['192.0.2.10', 6, 80] }),
      elements('createElements', verdicts, goesTo('b')),
      chain('flushChain', 'a'),
      chain('deleteChain', 'a'),
    ],
  ),
  works('the rules of a realserver', [
    set('addSet', verdicts),
    set('addSet', targets),
    chain('addChain', 'pods'),
    rule('pods', ...choose),
    hooked,
    rule('base', lookup),
    elements('addElements', verdicts, goesTo('pods')),
    elements('addElements', targets, target('10.50.1.2')),
  ]),
  works(
    'a table is replaced in one transaction',
    [chain('addChain', 'a'), set('addSet', addresses)],
    [{ op: 'deleteTable', table }, addTable, chain('createChain', 'a'), set('createSet', { ...addresses, key: ['inet_service'] })],
  ),
  fails(
    'nothing of a transaction stays when its end fails',
    [],
    [chain('addChain', 'a'), set('addSet', addresses), elements('addElements', addresses, one), chain('deleteChain', 'b')],
    'ENOENT',
  ),
  {
    name: 'what was written is listed',
    async run(port) {
      await port.commit([
        addTable,
        set('addSet', verdicts),
        set('addSet', targets),
        chain('addChain', 'pods'),
        rule('pods', ...choose),
        hooked,
        rule('base', lookup),
      ]);
      const { chains, rules, sets } = await port.list(table);
      assert.deepEqual(
        chains.map(({ name, hook }) => ({ name, hook })).sort((a, b) => (a.name < b.name ? -1 : 1)),
        [
          { name: 'base', hook: { type: 'nat', hook: 'prerouting', priority: -101 } },
          { name: 'pods', hook: undefined },
        ],
      );
      assert.deepEqual(
        rules.map(({ chain: name, statements }) => ({ name, statements })).sort((a, b) => (a.name < b.name ? -1 : 1)),
        [
          { name: 'base', statements: [lookup] },
          { name: 'pods', statements: choose },
        ],
      );
      assert.deepEqual(
        sets
          .map(({ name, key, value, counter, known }) => ({ name, key, value, counter: counter ?? false, known }))
          .sort((a, b) => (a.name < b.name ? -1 : 1)),
        [
          { ...targets, counter: false, known: true },
          { ...verdicts, known: true },
        ],
      );
    },
  },
  {
    name: 'elements come back as they were written',
    async run(port) {
      await port.commit([addTable, set('addSet', verdicts), set('addSet', targets), chain('addChain', 'a')]);
      await port.commit([
        elements('addElements', verdicts, { ...goesTo('a'), comment: 'shop/api:http' }),
        elements('addElements', targets, { key: ['192.0.2.10', 6, 80, 3], value: ['10.50.1.2', 8080] }),
      ]);
      const verdict = await port.elements(table, 'verdicts');
      assert.deepEqual([...verdict.keys], [192, 0, 2, 10, 6, 0, 0, 0, 0, 80, 0, 0]);
      assert.deepEqual(
        [verdict.verdict[0], verdict.chains[verdict.chain[0] ?? -1], verdict.comments[verdict.comment[0] ?? -1]],
        [-4, 'a', 'shop/api:http'],
      );
      const endpoint = await port.elements(table, 'targets');
      const slot = [...new Uint8Array(new Uint32Array([3]).buffer)];
      assert.deepEqual([...endpoint.keys], [192, 0, 2, 10, 6, 0, 0, 0, 0, 80, 0, 0, ...slot]);
      assert.deepEqual([...endpoint.values], [10, 50, 1, 2, 0x1f, 0x90, 0, 0]);
    },
  },
  {
    name: 'a table that is not there cannot be listed',
    run: (port) => refuses(port.list({ family: 'ip', name: 'nosuch' }), 'ENOENT'),
  },
  {
    name: 'elements of a set that is not there cannot be listed',
    async run(port) {
      await port.commit([addTable]);
      await refuses(port.elements(table, 'nosuch'), 'ENOENT');
    },
  },
  {
    name: 'each commit is a generation, a check is none',
    async run(port) {
      const before = await port.generation();
      await port.check([addTable, chain('addChain', 'a')]);
      assert.equal(await port.generation(), before);
      assert.deepEqual(
        (await port.tables()).filter(({ name }) => name === table.name),
        [],
      );
      await port.commit([addTable]);
      assert.equal(await port.generation(), before + 1);
    },
  },
  {
    name: 'a check says what a commit would',
    async run(port) {
      await port.commit([addTable]);
      await refuses(port.check([chain('addChain', 'a'), chain('deleteChain', 'b')]), 'ENOENT', 1);
      assert.deepEqual((await port.list(table)).chains, []);
    },
  },
  {
    name: 'a commit for another generation is refused',
    async run(port) {
      await port.commit([addTable]);
      const generation = await port.generation();
      await port.commit([chain('addChain', 'a')]);
      await refuses(port.commit([chain('addChain', 'b')], { ifGeneration: generation }), 'ERESTART');
      await port.commit([chain('addChain', 'b')], { ifGeneration: generation + 1 });
    },
  },
];
