/**
 * Random histories of our tables, `ip ravel` and `ip6 ravel`: targets follow each other, somebody meddles in between,
 * and other tables are there. The same play runs on the fake kernel and on Linux.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { DesiredNat, DesiredNatService, MasqueradePolicy } from '../../src/desired/types.ts';
import { NAT_LAYOUTS, natSets, segmentsSet, type NatArea } from '../../src/diff/nat-layout.ts';
import type { NatEntry } from '../../src/diff/nat-state.ts';
import { familyOfKey, natKey, natState, NatState, readableSets } from '../../src/diff/nat-state.ts';
import { diffNat } from '../../src/diff/nat.ts';
import type { AddressFamily } from '../../src/model/address.ts';
import { forEachElement } from '../../src/native/nftables-columns.ts';
import { KernelError } from '../../src/native/errors.ts';
import type { Element, ElementColumns, NftOperation, NftablesPort, SetSpec, TableId, TableState } from '../../src/native/nftables-types.ts';

export const FAMILIES: readonly AddressFamily[] = [4, 6];

const VIPS = { 4: ['192.0.2.10', '192.0.2.11', '192.0.2.12'], 6: ['2001:db8::10', '2001:db8::11'] } as const;
const PODS = {
  4: ['10.50.1.2', '10.50.1.3', '10.50.1.4', '10.50.1.5', '10.50.1.6'],
  6: ['fd00:50:1::2', 'fd00:50:1::3', 'fd00:50:1::4', 'fd00:50:1::5'],
} as const;

export interface NatHistory {
  readonly foreign: boolean;
  readonly steps: readonly {
    readonly target: DesiredNat;
    /** What somebody else does to our table before this step. */
    readonly meddling: readonly Meddling[];
    /** Operations per transaction; no single change is larger than the smallest. */
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

function natService(family: AddressFamily): fc.Arbitrary<DesiredNatService> {
  return fc
    .record({
      address: fc.constantFrom(...VIPS[family]),
      protocol: fc.constantFrom(6, 17),
      port: fc.constantFrom(53, 80),
      pods: fc.uniqueArray(fc.record({ address: fc.constantFrom(...PODS[family]), port: fc.constantFrom(8080, 8081) }), {
        minLength: 1,
        maxLength: 4,
        selector: ({ address, port }) => `${address} ${port}`,
      }),
      comment: fc.constantFrom('shop/api:http', 'dns/resolver:dns'),
      // Shares of other machines, as on a director with pods of its own.
      others: fc.constantFrom(0, 0, 1, 3),
    })
    .map(({ others, ...service }) => ({
      ...service,
      key: natKey(service),
      ...(others === 0 ? {} : { slots: service.pods.length + others }),
    }));
}

const services = (maxLength: number): fc.Arbitrary<ReadonlyMap<string, DesiredNatService>> =>
  fc
    .uniqueArray(fc.oneof({ arbitrary: natService(4), weight: 2 }, { arbitrary: natService(6), weight: 1 }), {
      maxLength,
      selector: ({ key }) => key,
    })
    .map((list) => new Map(list.map((service) => [service.key, service])));

const policy: fc.Arbitrary<MasqueradePolicy> = fc.oneof(
  { arbitrary: fc.constant<MasqueradePolicy>({ enabled: false }), weight: 3 },
  { arbitrary: fc.constant<MasqueradePolicy>({ enabled: true }), weight: 1 },
  { arbitrary: fc.constant<MasqueradePolicy>({ enabled: true, exceptSource: { address: '10.50.0.0', prefix: 16 } }), weight: 1 },
);

const target: fc.Arbitrary<DesiredNat> = fc
  .record({
    services: services(6),
    inside: services(3),
    masqueraded: services(3),
    masquerade: policy,
    outside: fc.constantFrom([], ['eth0'], ['eth1', 'eth0']),
    segments: fc.dictionary(fc.constantFrom(...VIPS[4], ...VIPS[6]), fc.constantFrom(1360, 1440), { maxKeys: 3 }),
    counters: fc.constantFrom(true, true, true, false),
    families: fc.constantFrom([4], [4, 6], [6], []),
  })
  .map(({ inside, segments, families, masqueraded, ...wanted }) => ({
    ...wanted,
    // As the planes make it: what has pods here is reached by those, also from inside.
    inside: new Map([...inside].filter(([key]) => !wanted.services.has(key))),
    masqueraded: new Map([...masqueraded].map(([key, { address, protocol, port }]) => [key, { address, protocol, port }])),
    segments: new Map(Object.entries(segments)),
    addresses: families.flatMap((family) => VIPS[family]),
  }));

const meddling: fc.Arbitrary<Meddling> = fc.oneof(
  fc.record({ kind: fc.constant('deleteElement' as const), set: fc.nat(8), at: fc.nat(9) }),
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
      limit: fc.constantFrom(8, 12, 25, 1000),
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
export async function readNat(port: NftablesPort, family: AddressFamily = 4): Promise<NatState> {
  const layout = NAT_LAYOUTS[family];
  const table = await listed(port, layout.table);
  const elements = new Map<string, ElementColumns>();
  for (const { name } of table === undefined ? [] : readableSets(layout, table)) {
    elements.set(name, await port.elements(layout.table, name));
  }
  return natState(layout, table, elements);
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
  const entries = (of: NatState['entries']): unknown =>
    sorted(of).map(([key, { verdict, comment, slots }]) => [key, verdict, comment, [...slots].sort(([a], [b]) => a - b)]);
  return {
    exists: state.exists,
    entries: entries(state.entries),
    inside: entries(state.inside),
    masqueraded: sorted(state.masqueraded),
    segments: [...state.segments].map(([bytes, vips]) => `${bytes} ${[...vips].sort().join(' ')}`).sort(),
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

/** Shares that have no pod by intention: those of other machines. */
const missesOf = (service: DesiredNatService | undefined): number =>
  service?.slots === undefined ? 0 : Math.max(0, service.slots - service.pods.length);

/** Packets to this virtual service arrive at a pod, whatever is drawn, but for the shares that are meant to have none. */
function works(state: NatState, area: NatArea, entry: NatEntry, misses: number): boolean {
  if (entry.verdict?.verdict !== 'goto' && entry.verdict?.verdict !== 'jump') return false;
  const choose = state.chains.get(entry.verdict.chain)?.rules.at(-1)?.statements?.at(-1);
  if (choose?.kind !== 'dnatMap' || choose.map !== area.endpoints.name) return false;
  const modulus = choose.key.flatMap((part) => (typeof part === 'object' ? [part.modulus] : []))[0] ?? 0;
  const found = Array.from({ length: modulus }, (_, slot) => entry.slots.get(slot)).filter((pod) => pod !== undefined);
  return (
    found.length > 0 &&
    found.length >= modulus - misses &&
    (area.kind === 'inside' || found.every(({ address }) => state.hairpin.has(`${address} ${address}`)))
  );
}

const wantedOf = (wanted: DesiredNat, { kind }: NatArea): ReadonlyMap<string, DesiredNatService> =>
  (kind === 'local' ? wanted.services : wanted.inside) ?? new Map<string, DesiredNatService>();

/** What was fine before a plan stays fine while it is carried out, unless it is meant to go; what appears is fine at once. */
function assertSafe(before: NatState, now: NatState, wanted: DesiredNat): void {
  const { local, inside } = now.layout;
  const working = (state: NatState, area: NatArea): Set<string> =>
    new Set(
      [...state.entriesOf(area)]
        .filter(([key, entry]) => works(state, area, entry, missesOf(wantedOf(wanted, area).get(key))))
        .map(([key]) => key),
    );
  const [localNow, insideNow] = [working(now, local), working(now, inside)];
  for (const area of [local, inside]) {
    const works = area === local ? localNow : insideNow;
    for (const key of working(before, area)) {
      if (!wanted.services.has(key) && wanted.inside?.has(key) !== true) continue;
      assert.ok(localNow.has(key) || insideNow.has(key), `${key} stopped working on the way`);
    }
    for (const [key, entry] of now.entriesOf(area)) {
      if (entry.verdict === undefined || works.has(key)) continue;
      assert.deepEqual(entry.verdict, before.entriesOf(area).get(key)?.verdict, `${key} appeared in a state that does not work`);
    }
  }
}

function elementsOf(state: NatState, set: SetSpec): Element[] {
  const { hairpin, addresses, masqueraded, local, inside } = state.layout;
  if (set.name === hairpin.name) return [...state.hairpin.values()].map((key) => ({ key }));
  if (set.name === addresses.name) return [...state.addresses].map((key) => ({ key: [key] }));
  if (set.name === masqueraded.name)
    return [...state.masqueraded.values()].map(({ address, protocol, port }) => ({ key: [address, protocol, port] }));
  const area = [local, inside].find(({ services, endpoints }) => services.name === set.name || endpoints.name === set.name);
  if (area === undefined) return [...(state.segments.get(1360) ?? [])].map((key) => ({ key: [key] }));
  return [...state.entriesOf(area).values()].flatMap(({ id: { address, protocol, port }, verdict, slots }): Element[] =>
    set.name === area.services.name
      ? verdict === undefined
        ? []
        : [{ key: [address, protocol, port] }]
      : [...slots.keys()].map((slot) => ({ key: [address, protocol, port, slot] })),
  );
}

/** The operations of one act of meddling; empty where there is nothing to meddle with. */
function meddle(state: NatState, act: Meddling): NftOperation[] {
  const { layout } = state;
  const { table, local, hairpin } = layout;
  const six = layout.family === 6;
  if (!state.exists) return [];
  const chains = [...state.chains.keys()].sort();
  switch (act.kind) {
    case 'deleteElement': {
      const set = [...natSets(layout), segmentsSet(layout, 1360)][act.set];
      if (set === undefined || state.incompatible.length > 0 || !state.sets.has(set.name)) return [];
      const elements = elementsOf(state, set);
      const element = elements[act.at % Math.max(1, elements.length)];
      return element === undefined ? [] : [{ op: 'deleteElements', table, set, elements: [element] }];
    }
    case 'addElement':
      if (state.incompatible.length > 0 || !state.sets.has(local.endpoints.name) || !state.sets.has(hairpin.name)) return [];
      return six
        ? [{ op: 'addElements', table, set: local.endpoints, elements: [{ key: ['2001:db8::99', 6, 80, act.at], value: ['fd00::9', 1] }] }]
        : [
            { op: 'addElements', table, set: local.endpoints, elements: [{ key: ['192.0.2.99', 6, 80, act.at], value: ['10.50.9.9', 1] }] },
            { op: 'addElements', table, set: hairpin, elements: [{ key: ['10.50.9.9', `10.50.9.${act.at}`] }] },
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
        { op: 'addSet', table, set: { ...local.endpoints, key: ['ipv4_addr'] } },
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
  wanted: DesiredNat,
  rebuilt: boolean,
): Promise<void> {
  const { family } = state.layout;
  const before = await readNat(port, family);
  for (const operations of transactions) {
    await port.commit(operations);
    state.apply(operations);
    const now = await readNat(port, family);
    assert.deepEqual(stateOf(state), stateOf(now), 'the state follows the kernel');
    // A table of other types cannot be changed into ours without a gap when it does not fit one transaction.
    if (!rebuilt) assertSafe(before, now, wanted);
  }
}

const rebuilds = (state: NatState, { counters = true }: DesiredNat): boolean =>
  state.incompatible.length > 0 || (state.sets.get(state.layout.local.services.name)?.counter ?? counters) !== counters;

type Step = NatHistory['steps'][number];

async function playStep({ target: wanted, meddling: acts, limit, cut }: Step, family: AddressFamily, port: NftablesPort): Promise<void> {
  for (const act of acts) {
    const operations = meddle(await readNat(port, family), act);
    if (operations.length > 0) await port.commit(operations);
  }
  const state = await readNat(port, family);
  const { transactions } = diffNat(state, wanted, { limit });
  for (const operations of transactions) assert.ok(operationCount(operations) <= limit, 'a transaction is too large');
  assert.deepEqual(diffNat(state, { ...wanted, services: new Map([...wanted.services].reverse()) }, { limit }).transactions, transactions);
  const rebuilt = rebuilds(state, wanted);
  await carryOut(port, state, transactions.slice(0, Math.floor(cut * transactions.length)), wanted, rebuilt);
  // Broken off here, a fresh look still leads to the target.
  const again = await readNat(port, family);
  await carryOut(port, again, diffNat(again, wanted, { limit }).transactions, wanted, rebuilt);
  assert.deepEqual(diffNat(await readNat(port, family), wanted).transactions, [], 'nothing is left to do');
}

function wantsFamily({ services: local, inside, masqueraded, addresses, segments }: DesiredNat, family: AddressFamily): boolean {
  const keys = [...local.keys(), ...(inside?.keys() ?? []), ...(masqueraded?.keys() ?? [])];
  const vips = [...addresses, ...(segments?.keys() ?? [])];
  return keys.some((key) => familyOfKey(key) === family) || vips.some((vip) => vip.includes(':') === (family === 6));
}

/** Plays the history on empty tables and checks every promise; `fresh` is another kernel, to hold the result against. */
export async function playNatHistory({ foreign, steps }: NatHistory, port: NftablesPort, fresh: () => NftablesPort): Promise<void> {
  if (foreign) await port.commit(foreignOperations());
  const foreignBefore = await Promise.all(FOREIGN_TABLES.map((table) => picture(port, table)));
  for (const step of steps) {
    for (const family of FAMILIES) {
      const { table } = NAT_LAYOUTS[family];
      const otherTable = NAT_LAYOUTS[family === 4 ? 6 : 4].table;
      const otherBefore = await picture(port, otherTable);
      await playStep(step, family, port);
      const other = fresh();
      for (const operations of diffNat(new NatState(NAT_LAYOUTS[family]), step.target).transactions) await other.commit(operations);
      assert.deepEqual(await picture(port, table), await picture(other, table), 'the way there left a trace');
      assert.equal(
        (await picture(port, table)) !== undefined,
        wantsFamily(step.target, family),
        'a table is there when something wants it',
      );
      assert.deepEqual(await picture(port, otherTable), otherBefore, 'the table of the other family changed');
    }
  }
  assert.deepEqual(await Promise.all(FOREIGN_TABLES.map((table) => picture(port, table))), foreignBefore, 'a foreign table changed');
}
