/**
 * Random histories of `table ip ravel`: targets follow each other, somebody meddles in between, and
 * other tables are there. The same play runs on the fake kernel and on Linux.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { DesiredNatService, DesiredRealserver, MasqueradePolicy } from '../../src/desired/types.ts';
import { ADDRESSES, ENDPOINTS, HAIRPIN, NAT_TABLE, SERVICES } from '../../src/diff/nat-layout.ts';
import { forEachElement } from '../../src/native/nftables-columns.ts';
import type { NatEntry } from '../../src/diff/nat-state.ts';
import { natKey, natState, NatState, readableSets } from '../../src/diff/nat-state.ts';
import { diffNat } from '../../src/diff/nat.ts';
import { KernelError } from '../../src/native/errors.ts';
import type { Element, ElementColumns, NftOperation, NftablesPort, SetSpec, TableId, TableState } from '../../src/native/nftables-types.ts';

const VIPS = ['192.0.2.10', '192.0.2.11', '192.0.2.12'];
const PODS = ['10.50.1.2', '10.50.1.3', '10.50.1.4', '10.50.1.5', '10.50.1.6'];

export interface NatHistory {
  readonly foreign: boolean;
  readonly steps: readonly {
    readonly target: DesiredRealserver;
    /** What somebody else does to our table before this step. */
    readonly meddling: readonly Meddling[];
    /** Operations per transaction. */
    readonly limit: number;
    /** Transactions, as a share of the plan, that are committed before the plan is made anew. */
    readonly cut: number;
  }[];
}

/** Somebody else's hand in our table; numbers choose among what is there. */
export type Meddling =
  | { readonly kind: 'deleteElement'; readonly set: number; readonly at: number }
  | { readonly kind: 'addElement'; readonly at: number }
  | { readonly kind: 'flushChain' | 'addRule'; readonly at: number }
  | { readonly kind: 'addChain' | 'addSet' | 'otherTypes' | 'deleteTable' };

function natService(): fc.Arbitrary<DesiredNatService> {
  return fc
    .record({
      address: fc.constantFrom(...VIPS),
      protocol: fc.constantFrom(6, 17),
      port: fc.constantFrom(53, 80),
      pods: fc.uniqueArray(fc.record({ address: fc.constantFrom(...PODS), port: fc.constantFrom(8080, 8081) }), {
        minLength: 1,
        maxLength: 4,
        selector: ({ address, port }) => `${address} ${port}`,
      }),
      comment: fc.constantFrom('shop/api:http', 'dns/resolver:dns'),
    })
    .map((service) => ({ ...service, key: natKey(service) }));
}

const policy: fc.Arbitrary<MasqueradePolicy> = fc.oneof(
  { arbitrary: fc.constant<MasqueradePolicy>({ enabled: false }), weight: 3 },
  { arbitrary: fc.constant<MasqueradePolicy>({ enabled: true }), weight: 1 },
  { arbitrary: fc.constant<MasqueradePolicy>({ enabled: true, exceptSource: { address: '10.50.0.0', prefix: 16 } }), weight: 1 },
);

const target: fc.Arbitrary<DesiredRealserver> = fc
  .record({ services: fc.uniqueArray(natService(), { maxLength: 6, selector: ({ key }) => key }), masquerade: policy })
  .map(({ services, masquerade }) => ({
    services: new Map(services.map((service) => [service.key, service])),
    addresses: VIPS,
    masquerade,
    reasons: new Map(),
  }));

const meddling: fc.Arbitrary<Meddling> = fc.oneof(
  fc.record({ kind: fc.constant('deleteElement' as const), set: fc.nat(3), at: fc.nat(9) }),
  fc.record({ kind: fc.constant('addElement' as const), at: fc.nat(9) }),
  fc.record({ kind: fc.constantFrom('flushChain' as const, 'addRule' as const), at: fc.nat(9) }),
  fc.record({ kind: fc.constantFrom('addChain' as const, 'addSet' as const, 'otherTypes' as const, 'deleteTable' as const) }),
);

export const natHistory: fc.Arbitrary<NatHistory> = fc.record({
  foreign: fc.boolean(),
  steps: fc.array(
    fc.record({
      target,
      meddling: fc.oneof({ arbitrary: fc.constant([]), weight: 2 }, { arbitrary: fc.array(meddling, { maxLength: 3 }), weight: 1 }),
      limit: fc.constantFrom(4, 12, 25, 1000),
      cut: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    { minLength: 1, maxLength: 3 },
  ),
});

/** Tables that are not ours, one of them with our name in another family. */
export const FOREIGN_TABLES: readonly TableId[] = [
  { family: 'ip', name: 'somebody' },
  { family: 'inet', name: 'ravel' },
];

function foreignOperations(): NftOperation[] {
  const set: SetSpec = { name: 'services', key: ['ipv4_addr'] };
  return FOREIGN_TABLES.flatMap((table): NftOperation[] => [
    { op: 'addTable', table },
    { op: 'addChain', table, chain: { name: 'prerouting', hook: { type: 'nat', hook: 'prerouting', priority: -100 } } },
    { op: 'addSet', table, set },
    { op: 'addElements', table, set, elements: [{ key: ['192.0.2.10'] }] },
    { op: 'addRule', table, rule: { chain: 'prerouting', statements: [{ kind: 'counter' }] } },
  ]);
}

async function listed(port: NftablesPort, table: TableId): Promise<TableState | undefined> {
  try {
    return await port.list(table);
  } catch (error) {
    if (KernelError.is(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** What a driver does on doubt: reads the whole table. */
export async function readNat(port: NftablesPort): Promise<NatState> {
  const table = await listed(port, NAT_TABLE);
  const elements = new Map<string, ElementColumns>();
  if (table !== undefined) for (const { name } of readableSets(table)) elements.set(name, await port.elements(NAT_TABLE, name));
  return natState(table, elements);
}

const sorted = <Value>(map: ReadonlyMap<string, Value>): [string, Value][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

/** A table as data that compares: rules in order, everything else sorted, handles left out. */
export async function picture(port: NftablesPort, table: TableId): Promise<unknown> {
  const state = await listed(port, table);
  if (state === undefined) return undefined;
  const contents = new Map<string, string[]>();
  for (const set of state.sets) {
    const texts: string[] = [];
    forEachElement(set, await port.elements(table, set.name), (element) => texts.push(JSON.stringify(element)));
    contents.set(set.name, texts.sort());
  }
  return {
    chains: sorted(
      new Map(
        state.chains.map(({ name, hook }) => [
          name,
          { hook, rules: state.rules.filter(({ chain }) => chain === name).map(({ statements, comment }) => ({ statements, comment })) },
        ]),
      ),
    ),
    sets: sorted(new Map(state.sets.map(({ name, key, value, counter }) => [name, { key, value, counter: counter ?? false }]))),
    contents: sorted(contents),
  };
}

/** A state as data that compares. */
function stateOf(state: NatState): unknown {
  return {
    exists: state.exists,
    entries: sorted(state.entries).map(([key, { verdict, comment, slots }]) => [
      key,
      verdict,
      comment,
      [...slots].sort(([a], [b]) => a - b),
    ]),
    chains: sorted(state.chains).map(([name, { hook, rules }]) => [
      name,
      hook,
      rules.map(({ statements, comment }) => ({ statements, comment })),
    ]),
    sets: [...state.sets.keys()].sort(),
    hairpin: sorted(state.hairpin),
    addresses: [...state.addresses].sort(),
    podUses: sorted(state.podUses),
    chainUses: sorted(state.chainUses),
  };
}

/** Packets to this virtual service arrive at a pod, whatever the random slot. */
function works(state: NatState, entry: NatEntry): boolean {
  if (entry.verdict?.verdict !== 'goto') return false;
  const choose = state.chains.get(entry.verdict.chain)?.rules.at(-1)?.statements?.at(-1);
  if (choose?.kind !== 'dnatMap') return false;
  const modulus = choose.key.flatMap((part) => (typeof part === 'object' ? [part.modulus] : []))[0] ?? 0;
  return (
    modulus > 0 &&
    Array.from({ length: modulus }, (_, slot) => entry.slots.get(slot)).every(
      (pod) => pod !== undefined && state.hairpin.has(`${pod.address} ${pod.address}`),
    )
  );
}

const working = (state: NatState): Set<string> =>
  new Set([...state.entries].filter(([, entry]) => works(state, entry)).map(([key]) => key));

/** What was fine before a plan stays fine while it is carried out, unless it is meant to go; what appears is fine at once. */
function assertSafe(before: NatState, now: NatState, wanted: DesiredRealserver): void {
  const [worked, works] = [working(before), working(now)];
  for (const key of worked) if (wanted.services.has(key)) assert.ok(works.has(key), `${key} stopped working on the way`);
  for (const [key, entry] of now.entries) {
    if (entry.verdict === undefined || works.has(key)) continue;
    assert.deepEqual(entry.verdict, before.entries.get(key)?.verdict, `${key} appeared in a state that does not work`);
  }
}

function elementsOf(state: NatState, set: SetSpec): Element[] {
  if (set.name === HAIRPIN.name) return [...state.hairpin.values()].map((key) => ({ key }));
  if (set.name === ADDRESSES.name) return [...state.addresses].map((key) => ({ key: [key] }));
  return [...state.entries.values()].flatMap(({ id: { address, protocol, port }, verdict, slots }): Element[] =>
    set.name === SERVICES.name
      ? verdict === undefined
        ? []
        : [{ key: [address, protocol, port] }]
      : [...slots.keys()].map((slot) => ({ key: [address, protocol, port, slot] })),
  );
}

/** The operations of one act of meddling; empty where there is nothing to meddle with. */
function meddle(state: NatState, act: Meddling): NftOperation[] {
  const table = NAT_TABLE;
  if (!state.exists) return [];
  const chains = [...state.chains.keys()].sort();
  switch (act.kind) {
    case 'deleteElement': {
      const set = [SERVICES, ENDPOINTS, HAIRPIN, ADDRESSES][act.set];
      if (set === undefined || state.incompatible.length > 0 || !state.sets.has(set.name)) return [];
      const elements = elementsOf(state, set);
      const element = elements[act.at % Math.max(1, elements.length)];
      return element === undefined ? [] : [{ op: 'deleteElements', table, set, elements: [element] }];
    }
    case 'addElement':
      if (state.incompatible.length > 0 || !state.sets.has(ENDPOINTS.name)) return [];
      return [
        { op: 'addElements', table, set: ENDPOINTS, elements: [{ key: ['192.0.2.99', 6, 80, act.at], value: ['10.50.9.9', 1] }] },
        { op: 'addElements', table, set: HAIRPIN, elements: [{ key: ['10.50.9.9', `10.50.9.${act.at}`] }] },
      ];
    case 'flushChain':
    case 'addRule': {
      const name = chains[act.at % Math.max(1, chains.length)];
      if (name === undefined) return [];
      return act.kind === 'flushChain'
        ? [{ op: 'flushChain', table, chain: { name } }]
        : [{ op: 'addRule', table, rule: { chain: name, statements: [{ kind: 'counter' }] } }];
    }
    case 'addChain':
      return [
        { op: 'addChain', table, chain: { name: 'stray-a' } },
        { op: 'addChain', table, chain: { name: 'stray-b' } },
        {
          op: 'addRule',
          table,
          rule: { chain: 'stray-a', statements: [{ kind: 'verdict', verdict: { verdict: 'jump', chain: 'stray-b' } }] },
        },
      ];
    case 'addSet':
      return [{ op: 'addSet', table, set: { name: 'stray', key: ['inet_service'] } }];
    case 'otherTypes':
      return [
        { op: 'deleteTable', table },
        { op: 'addTable', table },
        { op: 'addSet', table, set: { ...ENDPOINTS, key: ['ipv4_addr'] } },
      ];
    case 'deleteTable':
      return [{ op: 'deleteTable', table }];
  }
}

export function operationCount(operations: readonly NftOperation[]): number {
  return operations.reduce((sum, operation) => sum + ('elements' in operation ? operation.elements.length : 1), 0);
}

/** Commits a plan one transaction after another, checking each state on the way. */
async function carryOut(
  port: NftablesPort,
  state: NatState,
  transactions: readonly (readonly NftOperation[])[],
  wanted: DesiredRealserver,
  rebuilt: boolean,
): Promise<void> {
  const before = await readNat(port);
  for (const operations of transactions) {
    await port.commit(operations);
    state.apply(operations);
    const now = await readNat(port);
    assert.deepEqual(stateOf(state), stateOf(now), 'the state follows the kernel');
    // A table of other types cannot be changed into ours without a gap when it does not fit one transaction.
    if (!rebuilt) assertSafe(before, now, wanted);
  }
}

/** Plays the history on an empty table and checks every promise; `fresh` is another kernel, to hold the result against. */
export async function playNatHistory({ foreign, steps }: NatHistory, port: NftablesPort, fresh: () => NftablesPort): Promise<void> {
  if (foreign) await port.commit(foreignOperations());
  const foreignBefore = await Promise.all(FOREIGN_TABLES.map((table) => picture(port, table)));
  for (const { target: wanted, meddling: acts, limit, cut } of steps) {
    for (const act of acts) {
      const operations = meddle(await readNat(port), act);
      if (operations.length > 0) await port.commit(operations);
    }
    const state = await readNat(port);
    const { transactions } = diffNat(state, wanted, { limit });
    for (const operations of transactions) assert.ok(operationCount(operations) <= limit, 'a transaction is too large');
    assert.deepEqual(
      diffNat(state, { ...wanted, services: new Map([...wanted.services].reverse()) }, { limit }).transactions,
      transactions,
    );
    const rebuilt = state.incompatible.length > 0;
    await carryOut(port, state, transactions.slice(0, Math.floor(cut * transactions.length)), wanted, rebuilt);
    // Broken off here, a fresh look still leads to the target.
    const again = await readNat(port);
    await carryOut(port, again, diffNat(again, wanted, { limit }).transactions, wanted, rebuilt);
    assert.deepEqual(diffNat(await readNat(port), wanted).transactions, [], 'nothing is left to do');
    const other = fresh();
    for (const operations of diffNat(new NatState(), wanted).transactions) await other.commit(operations);
    assert.deepEqual(await picture(port, NAT_TABLE), await picture(other, NAT_TABLE), 'the way there left a trace');
  }
  assert.deepEqual(await Promise.all(FOREIGN_TABLES.map((table) => picture(port, table))), foreignBefore, 'a foreign table changed');
}
