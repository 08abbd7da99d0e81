/**
 * Random histories of an IPVS table: something is there, some of it foreign, and then one target
 * follows another. The same play runs on the fake kernel and on Linux.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { DesiredDestination, DesiredIpvsService } from '../../src/desired/types.ts';
import type { IpvsDiffInput, IpvsOwnership, IpvsPlan } from '../../src/diff/ipvs.ts';
import { IPVS_PHASES, ipvsDiffSteps } from '../../src/diff/ipvs.ts';
import { runThrough } from '../../src/model/slices.ts';
import { destinationKey, serviceKey, snapshotFromObjects, toObjects } from '../../src/native/ipvs-columns.ts';
import type {
  DestinationSpec,
  IpvsOperation,
  IpvsPort,
  IpvsSnapshot,
  Service,
  ServiceId,
  ServiceSpec,
} from '../../src/native/ipvs-types.ts';

/** VIPs of the config, held by our device. */
const OURS = ['192.0.2.10', '192.0.2.11', '2001:db8::10'];
/** VIPs of the config that our device does not hold (yet). */
const UNPLACED = ['192.0.2.12'];
/** Addresses that are nobody's business. */
const FOREIGN = ['10.96.0.1', '10.96.0.2'];

type Target = ReadonlyMap<string, DesiredIpvsService>;

export interface IpvsHistory {
  /** Operations of somebody else before the agent starts. */
  readonly foreign: readonly IpvsOperation[];
  readonly targets: readonly Target[];
  /** Where, as a share of its operations, each pass is broken off before a fresh one finishes the job. */
  readonly cuts: readonly number[];
}

type Reach = Pick<DestinationSpec, 'forward' | 'tunnel'>;

const toNode: fc.Arbitrary<Reach> = fc.constantFrom<Reach>(
  ...([{ forward: 'direct' }, { forward: 'tunnel' }, { forward: 'tunnel', tunnel: { type: 'gre' } }] as const),
  ...([
    { forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } },
    { forward: 'tunnel', tunnel: { type: 'gue', port: 6081 } },
  ] as const),
);
const toPod: fc.Arbitrary<Reach> = fc.constant<Reach>({ forward: 'masquerade' });
/** The agent never makes such a one. */
const toItself: fc.Arbitrary<Reach> = fc.constant<Reach>({ forward: 'local' });

const destinationSpec = (reach: fc.Arbitrary<Reach>): fc.Arbitrary<DestinationSpec> =>
  fc
    .record({ reach, weight: fc.integer({ min: 0, max: 3 }), upper: fc.constantFrom(0, 0, 10, 6000), lower: fc.constantFrom(0, 5) })
    .map(({ reach: how, upper, lower, weight }) => ({ ...how, weight, upperThreshold: upper, lowerThreshold: Math.min(upper, lower) }));

const serviceSpec: fc.Arbitrary<ServiceSpec> = fc.oneof(
  fc.record({
    scheduler: fc.constantFrom('rr', 'wrr', 'lc', 'wlc', 'sh', 'mh'),
    schedulerFlags: fc.constantFrom<readonly (1 | 2 | 3)[]>([], [1], [2], [1, 2]),
  }),
  fc.record({
    ...{ scheduler: fc.constantFrom('rr', 'wlc'), persistenceSeconds: fc.constantFrom(60, 300) },
    persistencePrefix: fc.constantFrom(24, 32),
  }),
  fc.constantFrom({ scheduler: 'rr', persistenceSeconds: 300 }, { scheduler: 'rr', onePacket: true }),
);

const serviceId = (addresses: readonly string[]): fc.Arbitrary<ServiceId & { address: string; port: number }> =>
  fc.record({
    protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const),
    address: fc.constantFrom(...addresses),
    port: fc.constantFrom(80, 443),
  });

function destinations(id: { address: string; port: number }, foreign: boolean): fc.Arbitrary<DesiredDestination[]> {
  const base = id.address.includes(':') ? '2001:db8:1::' : '10.20.0.';
  const last = fc.integer({ min: 11, max: 15 });
  const node = fc.record({ last, port: fc.constant(id.port), spec: destinationSpec(foreign ? fc.oneof(toNode, toItself) : toNode) });
  const pod = fc.record({ last, port: fc.constantFrom(8080, 8081), spec: destinationSpec(toPod) });
  return fc
    .uniqueArray(fc.oneof({ weight: 2, arbitrary: node }, pod), { maxLength: 4, selector: (one) => `${one.last} ${one.port}` })
    .map((list) =>
      list
        .sort((a, b) => a.last - b.last || a.port - b.port)
        .map((one) => ({ id: { address: `${base}${one.last}`, port: one.port }, spec: one.spec })),
    );
}

const service = (addresses: readonly string[], foreign: boolean): fc.Arbitrary<DesiredIpvsService> =>
  serviceId(addresses).chain((id) =>
    fc.record({ spec: serviceSpec, destinations: destinations(id, foreign) }).map((parts) => ({ key: serviceKey(id), id, ...parts })),
  );

const services = (addresses: readonly string[], foreign: boolean, maxLength: number): fc.Arbitrary<DesiredIpvsService[]> =>
  fc.uniqueArray(service(addresses, foreign), { maxLength, selector: ({ key }) => key });

function creation({ id, spec, destinations: list }: DesiredIpvsService): IpvsOperation[] {
  return [
    { op: 'addService', service: id, spec },
    ...list.map((destination): IpvsOperation => ({
      op: 'addDestination',
      service: id,
      destination: destination.id,
      spec: destination.spec,
    })),
  ];
}

const markService: readonly IpvsOperation[] = [{ op: 'addService', service: { fwmark: 7, family: 'ipv4' }, spec: { scheduler: 'rr' } }];

export const ipvsHistory: fc.Arbitrary<IpvsHistory> = fc
  .record({
    // Somebody else may have been on our VIPs, too.
    foreign: services([...FOREIGN, ...UNPLACED, ...OURS], true, 4),
    mark: fc.boolean(),
    targets: fc.array(services([...OURS, ...UNPLACED], false, 5), { minLength: 1, maxLength: 3 }),
    cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 }),
  })
  .map(({ foreign, mark, targets, cuts }) => ({
    foreign: [...foreign.flatMap(creation), ...(mark ? markService : [])],
    targets: targets.map((list) => new Map(list.map((item) => [item.key, item]))),
    cuts,
  }));

/** Nothing is configured beyond what is desired; our device holds its VIPs. */
function ownershipOf(target: Target): IpvsOwnership {
  return {
    configured: (key) => target.has(key),
    placed: (address) => OURS.includes(address),
    vip: (address) => OURS.includes(address) || UNPLACED.includes(address),
  };
}

export function planIpvs(target: Target, observed: IpvsSnapshot, options: Partial<IpvsDiffInput> = {}): IpvsPlan {
  return runThrough(ipvsDiffSteps({ desired: target, observed, ownership: ownershipOf(target), ...options }));
}

const specText = (spec: DestinationSpec): string =>
  JSON.stringify([spec.forward, spec.tunnel ?? null, spec.weight, spec.upperThreshold ?? 0, spec.lowerThreshold ?? 0]);

/** Services as a map of texts, so that they compare whatever order they are listed in. */
function picture(
  list: readonly (Pick<Service, 'id' | 'spec'> & { destinations: readonly Pick<Service['destinations'][number], 'id' | 'spec'>[] })[],
): Map<string, string> {
  return new Map(
    list.map(({ id, spec, destinations: held }) => [
      serviceKey(id),
      JSON.stringify([
        [spec.scheduler, spec.schedulerFlags ?? [], spec.onePacket ?? false],
        spec.persistenceSeconds === undefined
          ? []
          : [spec.persistenceSeconds, spec.persistencePrefix ?? (serviceKey(id).includes('[') ? 128 : 32)],
        held.map((destination) => `${destinationKey(destination.id)} ${specText(destination.spec)}`).sort(),
      ]),
    ]),
  );
}

/** What the agent never writes marks a service as somebody else's. */
function isMarkedForeign({ destinations: held }: Service): boolean {
  return held.some(({ spec: { forward } }) => forward === 'local');
}

/** By the rules of docs/ownership.md, written down a second time: what must not change on the way to the target. */
function untouchable(list: readonly Service[], target: Target): Service[] {
  return list.filter((held) => {
    if ('fwmark' in held.id) return true;
    if (target.has(serviceKey(held.id))) return false;
    return !OURS.includes(held.id.address) || isMarkedForeign(held);
  });
}

interface Seen {
  readonly rank: number;
  readonly weight: number;
  readonly text: string;
}

/** Addresses of a history differ in their last group alone. */
const seenOf = ({ id, spec }: Pick<DesiredDestination, 'id' | 'spec'>): Seen => ({
  rank: Number(/\d+$/.exec(id.address)?.[0]) * 65536 + id.port,
  weight: spec.weight,
  text: specText(spec),
});

/** Where the order counts: what must come nearer the head than something new is taken out and put in, and nothing else. */
function leastOrdered(held: Service | undefined, wanted: DesiredIpvsService): number {
  const list = (held?.destinations ?? []).map(seenOf);
  const target = wanted.destinations.map(seenOf).sort((a, b) => b.rank - a.rank);
  const weighted = target.filter(({ weight }) => weight > 0).map(({ rank }) => rank);
  const fits = (tail: readonly number[]): boolean =>
    JSON.stringify(list.map(({ rank }) => rank).filter((rank) => tail.includes(rank))) === JSON.stringify(tail);
  const moved = weighted.slice(
    0,
    [...weighted.keys(), weighted.length].find((from) => fits(weighted.slice(from))),
  );
  const converted = held !== undefined && held.spec.scheduler !== 'mh';
  let count = list.filter(({ rank }) => !target.some((one) => one.rank === rank)).length;
  for (const one of target) {
    const there = list.find(({ rank }) => rank === one.rank);
    if (there === undefined) count += 1;
    else if (moved.includes(one.rank) || (converted && one.weight === 0 && there.weight === 0)) count += 2;
    else if (one.text !== there.text) count += one.weight === 0 && there.weight > 1 ? 2 : 1;
  }
  return count;
}

/** Operations that differ at least: an edit, addition or removal for each thing that is not as wanted. */
function leastOperations(list: readonly Service[], target: Target, kept: ReadonlyMap<string, string>): number {
  const before = new Map(list.map((held) => [serviceKey(held.id), held]));
  let count = 0;
  for (const [key, held] of before) if (!target.has(key) && !kept.has(key)) count += 1 + held.destinations.length;
  for (const [key, wanted] of target) {
    const held = before.get(key);
    const pairs = (item: Parameters<typeof picture>[0][number] | undefined): string[] =>
      item === undefined ? [] : (JSON.parse(picture([item]).get(key) ?? '[[],[],[]]') as [unknown, unknown, string[]])[2];
    const [have, want] = [pairs(held), pairs(wanted)];
    const names = (texts: readonly string[]): Set<string> => new Set(texts.map((text) => text.split(' ')[0] ?? ''));
    const specOf = (item: Parameters<typeof picture>[0][number]): string => picture([{ ...item, destinations: [] }]).get(key) ?? '';
    if (held === undefined || specOf(held) !== specOf(wanted)) count++;
    if (wanted.spec.scheduler === 'mh') {
      count += leastOrdered(held, wanted);
      continue;
    }
    const changed = new Set([...names(want.filter((text) => !have.includes(text))), ...names(have.filter((text) => !want.includes(text)))]);
    count += changed.size;
  }
  return count;
}

async function applyAll(port: IpvsPort, plan: Pick<IpvsPlan, 'operations'>): Promise<void> {
  if (plan.operations.length === 0) return;
  const { failed } = await port.apply(plan.operations.map(({ operation }) => operation));
  assert.deepEqual(
    failed.map(({ error }) => error.message),
    [],
    'every operation of a plan is legal',
  );
}

function assertOrdered({ operations }: IpvsPlan): void {
  const phases = operations.map(({ phase }) => IPVS_PHASES.indexOf(phase));
  assert.deepEqual(
    phases,
    phases.toSorted((a, b) => a - b),
    'phases come in order',
  );
}

function assertReached(list: readonly Service[], target: Target, kept: readonly Service[]): void {
  const wanted = picture([...target.values()]);
  for (const [key, text] of picture(kept)) wanted.set(key, text);
  assert.deepEqual(new Map([...picture(list)].sort()), new Map([...wanted].sort()));
  for (const { id, destinations: held } of list) {
    if (target.get(serviceKey(id))?.spec.scheduler !== 'mh') continue;
    const weighted = held.map(seenOf).filter(({ weight }) => weight > 0);
    assert.deepEqual(
      weighted,
      weighted.toSorted((a, b) => b.rank - a.rank),
      'in order',
    );
  }
}

/** Plays the history on an empty table and checks every promise on the way. */
export async function playIpvsHistory({ foreign, targets, cuts }: IpvsHistory, port: IpvsPort): Promise<void> {
  if (foreign.length > 0) assert.deepEqual((await port.apply(foreign)).failed, []);
  for (const [step, target] of targets.entries()) {
    const observed = await port.snapshot();
    const before = toObjects(observed);
    const kept = untouchable(before, target);
    const plan = planIpvs(target, observed);
    assertOrdered(plan);
    assert.equal(plan.operations.length, leastOperations(before, target, picture(kept)), 'no operation too many');
    assertIndependentOfOrder(target, before, plan);
    // Broken off anywhere, a fresh look still leads to the target.
    const cut = Math.floor((cuts[step] ?? 1) * plan.operations.length);
    await applyAll(port, { operations: plan.operations.slice(0, cut) });
    const midway = await port.snapshot();
    const left = picture(kept);
    for (const [key, text] of picture(toObjects(midway))) if (left.has(key)) assert.equal(text, left.get(key), `${key} is not ours`);
    await applyAll(port, planIpvs(target, midway));
    const reached = await port.snapshot();
    assertReached(toObjects(reached), target, kept);
    assert.deepEqual(planIpvs(target, reached).operations, [], 'nothing is left to do');
  }
}

/** The same sets listed the other way round give the same plan, unless their order counts. */
function assertIndependentOfOrder(target: Target, before: readonly Service[], plan: IpvsPlan): void {
  const counts = (held: Service): boolean => target.get(serviceKey(held.id))?.spec.scheduler === 'mh';
  const reversed = before.map((held) => (counts(held) ? held : { ...held, destinations: held.destinations.toReversed() })).toReversed();
  const again = planIpvs(new Map([...target].reverse()), snapshotFromObjects(reversed));
  assert.deepEqual(again, plan);
}
