/**
 * Two directors of one configuration that hear of its changes in their own way: other steps on the way, passes over
 * some keys or over everything, operations that fail, processes that die and start anew, somebody else's hand in between. In
 * the end the kernel of each has the same table to schedule by.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DesiredDestination, DesiredIpvsService } from '../../src/desired/types.ts';
import { IpvsDriver } from '../../src/drivers/ipvs.ts';
import { toObjects } from '../../src/native/ipvs-columns.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';

const key = 'tcp 192.0.2.10:80';
const setting = 'net/ipv4/vs/expire_nodest_conn';

interface Family {
  readonly name: string;
  readonly vip: string;
  readonly key: string;
  readonly node: (number: number) => string;
}

/** Texts and bytes sort otherwise: 10.20.0.9 and .11, ::9 and ::11. */
const families: readonly Family[] = [
  { name: 'IPv4', vip: '192.0.2.10', key, node: (number) => `10.20.0.${number}` },
  { name: 'IPv6', vip: '2001:db8::10', key: 'tcp [2001:db8::10]:80', node: (number) => `2001:db8:20::${number.toString(16)}` },
];

/** Weight by node; absent: no destination. */
type Weights = ReadonlyMap<number, number>;

const weights: fc.Arbitrary<Weights> = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 7, max: 18 }), fc.integer({ min: 0, max: 4 })), { maxLength: 9, selector: ([node]) => node })
  .map((list) => new Map(list));

interface Step {
  readonly weights: Weights;
  readonly how: 'keys' | 'full' | 'restart';
  /** An operation that fails, by its number among those of its kind from here on. */
  readonly fault: { readonly op: string; readonly after: number } | undefined;
  /** A destination that somebody else takes out and puts in again first. */
  readonly stranger: number | undefined;
}

const step: fc.Arbitrary<Step> = fc.record({
  weights,
  how: fc.constantFrom('keys', 'keys', 'full', 'restart'),
  fault: fc.option(
    fc.record({
      op: fc.constantFrom('ipvs.addDestination', 'ipvs.deleteDestination', 'ipvs.setDestination'),
      after: fc.nat({ max: 3 }),
    }),
    { nil: undefined, freq: 4 },
  ),
  stranger: fc.option(fc.nat({ max: 8 }), { nil: undefined, freq: 4 }),
});

function serviceOf(family: Family, held: Weights): DesiredIpvsService {
  const destinations = [...held]
    .map(([node, weight]): DesiredDestination => ({ id: { address: family.node(node), port: 80 }, spec: { forward: 'direct', weight } }))
    .sort((a, b) => (a.id.address < b.id.address ? -1 : 1));
  const id = { protocol: 'tcp', address: family.vip, port: 80 } as const;
  return { key: family.key, id, spec: { scheduler: 'mh', schedulerFlags: [1, 2] }, destinations };
}

class Director {
  readonly kernel = new FakeKernel();
  readonly #family: Family;
  #driver: IpvsDriver;
  /** What is on disk. */
  #noted = false;

  constructor(family: Family) {
    this.#family = family;
    this.kernel.sysctls.values.set(setting, '1');
    this.#driver = this.#open();
  }

  #open(): IpvsDriver {
    const journal = {
      path: 'journal',
      loadLingering: () => Promise.resolve(this.#noted),
      saveLingering: (noted: boolean) => Promise.resolve(void (this.#noted = noted)),
    };
    return new IpvsDriver(this.kernel.ipvs, { sysctls: this.kernel.sysctls, journal });
  }

  #target(held: Weights) {
    const ownership = { configured: () => true, placed: () => true, vip: () => true };
    return { services: new Map([[this.#family.key, serviceOf(this.#family, held)]]), ownership };
  }

  async pass(held: Weights, how: Step['how']): Promise<number> {
    if (how === 'restart') this.#driver = this.#open();
    const target = this.#target(held);
    const keys = new Set([this.#family.key]);
    if (how === 'keys' && this.#driver.knows(keys)) {
      const plan = this.#driver.planKeys(target, keys);
      await this.#driver.apply(target, plan, keys);
      return plan.operations.length;
    }
    const plan = await this.#driver.plan(target);
    await this.#driver.apply(target, plan);
    return plan.operations.length;
  }

  async play({ weights: held, how, fault, stranger }: Step): Promise<void> {
    if (stranger !== undefined) await this.#disturb(stranger);
    if (fault !== undefined) this.kernel.faults.failNext({ ...fault, code: 'ENOMEM' });
    await this.pass(held, how);
    this.kernel.faults.heal();
    assert.equal(await this.kernel.sysctls.read(setting), '1', 'put back');
  }

  async #disturb(at: number): Promise<void> {
    const [service] = toObjects(await this.kernel.ipvs.snapshot());
    const destination = service?.destinations[at];
    if (service === undefined || destination === undefined) return;
    const named = { service: service.id, destination: destination.id } as const;
    await this.kernel.ipvs.apply([
      { op: 'deleteDestination', ...named },
      { op: 'addDestination', ...named, spec: destination.spec },
    ]);
  }

  /** The audit that comes sooner or later. */
  async settle(held: Weights): Promise<string[]> {
    await this.pass(held, 'full');
    // What was emptied just now is made anew by the next look.
    await this.pass(held, 'full');
    assert.equal(await this.pass(held, 'full'), 0, 'nothing is left to do');
    assert.equal(this.#noted, false);
    assert.equal(await this.pass(held, 'restart'), 0, 'nor for the next process');
    assert.equal(await this.pass(held, 'keys'), 0, 'nor for a change that is none');
    return this.kernel.ipvs.turns(this.#family.key);
  }
}

for (const family of families) {
  test(`two directors end with one table, however they got there: ${family.name}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 6 }), fc.array(step, { maxLength: 6 }), weights, async (one, other, last) => {
        const tables: string[][] = [];
        for (const script of [one, other]) {
          const director = new Director(family);
          for (const item of script) await director.play(item);
          tables.push(await director.settle(last));
        }
        assert.deepEqual(tables[0], tables[1]);
        assert.deepEqual(tables[0], expected(family, last));
      }),
      { numRuns: 2000 },
    );
  });
}

/** Written a second time: the largest address first, and what has no weight nowhere. */
function expected(family: Family, held: Weights): string[] {
  const text = (node: number): string => (family.name === 'IPv4' ? `${family.node(node)}:80` : `[${family.node(node)}]:80`);
  return [...held]
    .filter(([, weight]) => weight > 0)
    .sort(([a], [b]) => b - a)
    .map(([node, weight]) => `${text(node)} x${weight}`);
}

test('while connections last, directors that empty the same nodes agree, whatever weights they had', async () => {
  const [family] = families;
  await fc.assert(
    fc.asyncProperty(
      fc.array(weights, { minLength: 1, maxLength: 3 }),
      fc.array(weights, { minLength: 1, maxLength: 3 }),
      async (one, other) => {
        const nodes = [8, 9, 11, 12];
        const tables: string[][] = [];
        for (const script of [one, other]) {
          const director = new Director(family!);
          // All of them serve; then 9 and 12 are emptied in steps of this director's own.
          const serving = (weight: (node: number) => number): Weights => new Map(nodes.map((node) => [node, weight(node)]));
          await director.pass(
            serving(() => 4),
            'full',
          );
          for (const item of script)
            await director.pass(
              serving((node) => Math.max(1, item.get(node) ?? 3)),
              'keys',
            );
          for (const node of [9, 12]) director.kernel.ipvs.setConnections(key, `10.20.0.${node}:80`, 5);
          const emptied = serving((node) => (node === 9 || node === 12 ? 0 : 2));
          await director.pass(emptied, 'keys');
          await director.pass(emptied, 'full');
          tables.push(director.kernel.ipvs.turns(key));
        }
        assert.deepEqual(tables[0], tables[1]);
        assert.deepEqual(tables[0], ['10.20.0.12:80 x1', '10.20.0.11:80 x2', '10.20.0.9:80 x1', '10.20.0.8:80 x2']);
      },
    ),
    { numRuns: 300 },
  );
});
