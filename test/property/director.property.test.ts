/**
 * A director through random lives, alone on a segment or one of several: what routes or frames lead here is in the kernel at the
 * moment they are told, whatever the kernel and the daemon refuse; what is taken apart has no route any more, unless nobody could
 * take it back.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ClusterState } from '../../src/model/cluster.ts';
import { cluster, whole } from '../fake-kernel/cluster.ts';
import { Rig } from '../fake-kernel/rig.ts';
import { Histories } from './histories.ts';

/** RAVEL_RUNS=10000 for a long look. */
const numRuns = Number(process.env['RAVEL_RUNS'] ?? 60);

const addresses = ['192.0.2.10', '192.0.2.11', '192.0.2.12'] as const;

type Step =
  | { readonly kind: 'state'; readonly vips: readonly string[]; readonly pods: readonly string[] }
  | { readonly kind: 'daemon'; readonly up: boolean; readonly keeps: boolean }
  | { readonly kind: 'kernel'; readonly op: string; readonly times: number }
  | { readonly kind: 'refusal'; readonly operation: 'add' | 'withdraw' | 'list'; readonly times: number }
  | { readonly kind: 'restart' }
  | { readonly kind: 'time'; readonly milliseconds: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('state' as const),
      vips: fc.subarray([...addresses]),
      pods: fc.subarray(['n1', 'n2']),
    }),
  },
  fc.record({ kind: fc.constant('daemon' as const), up: fc.boolean(), keeps: fc.boolean() }),
  fc.record({
    kind: fc.constant('kernel' as const),
    op: fc.constantFrom(
      'ipvs.addService',
      'ipvs.addDestination',
      'ipvs.deleteService',
      'links.addAddress',
      'links.deleteAddress',
      'ipvs.snapshot',
    ),
    times: fc.integer({ min: 1, max: 3 }),
  }),
  fc.record({
    kind: fc.constant('refusal' as const),
    operation: fc.constantFrom('add' as const, 'withdraw' as const, 'list' as const),
    times: fc.integer({ min: 1, max: 3 }),
  }),
  fc.record({ kind: fc.constant('restart' as const) }),
  fc.record({ kind: fc.constant('time' as const), milliseconds: fc.integer({ min: 0, max: 30_000 }) }),
);

const stateOf = (vips: readonly string[], pods: readonly string[]): ClusterState =>
  cluster({ pods: { web: pods }, vips: vips.map((vip) => [vip, 80, 'web'] as const) });

class Life {
  readonly #mode: 'bgp' | 'director';
  rig: Rig;
  state = stateOf([], []);
  /** What was found out of order. */
  readonly wrong: string[] = [];

  constructor(mode: 'bgp' | 'director') {
    this.#mode = mode;
    this.rig = new Rig(mode);
    const { kernel, daemon } = this.rig;
    const announce = kernel.arp.announce.bind(kernel.arp);
    kernel.arp.announce = (name, vips, form) => {
      for (const vip of vips) if (!this.#leads(vip)) this.wrong.push(`a frame for ${vip}, and nothing behind it`);
      return announce(name, vips, form);
    };
    daemon.onWrite = (op, prefix) => {
      const vip = prefix.split('/')[0] ?? '';
      if (op === 'add' && !this.#leads(vip)) this.wrong.push(`${vip} announced, and nothing behind it`);
    };
    const write = kernel.journal.write.bind(kernel.journal);
    kernel.journal.write = (op, subject, failed, count) => {
      const vip = /(?:tcp |^)(192\.0\.2\.\d+)[:/]/.exec(subject)?.[1];
      const dismantled = failed === undefined && (op === 'ipvs.deleteService' || op === 'links.deleteAddress');
      // One that says no is told again; one that cannot be reached cannot be told.
      const reached = this.rig.composition.bgp?.().state === 'connected';
      if (dismantled && vip !== undefined && reached && !this.refusing && daemon.ours.has(`${vip}/32`))
        this.wrong.push(`${op} ${subject} while it is announced`);
      write(op, subject, failed, count);
    };
  }

  refusing = false;

  /** A client that comes now is served. */
  #leads(vip: string): boolean {
    return this.rig.kernel.ipvs
      .services()
      .some(({ id, destinations }) => 'address' in id && id.address === vip && destinations.some(({ spec }) => spec.weight > 0));
  }

  async happen(one: Step): Promise<void> {
    const { daemon, kernel } = this.rig;
    switch (one.kind) {
      case 'state':
        this.state = stateOf(one.vips, one.pods);
        await this.rig.publish(whole(this.state));
        break;
      case 'daemon':
        if (one.up) daemon.restart(one.keeps);
        else daemon.stop();
        await this.rig.advance(0);
        break;
      case 'kernel':
        kernel.faults.failNext({ op: one.op, code: 'ENOMEM', times: one.times });
        break;
      case 'refusal':
        this.refusing = true;
        daemon.failNext(one.operation, 'refuse', one.times);
        break;
      case 'restart':
        await this.rig.kill();
        this.rig = new Rig(this.#mode, kernel, {}, this.rig.folder, {}, { daemon });
        await this.rig.publish(whole(this.state));
        break;
      case 'time':
        await this.rig.advance(one.milliseconds);
        break;
    }
  }

  /** Everything works again, and time passes. */
  async settle(): Promise<void> {
    const { daemon, kernel } = this.rig;
    kernel.faults.heal();
    daemon.fault = () => undefined;
    daemon.restart(true);
    await this.rig.publish(whole(this.state));
    await this.rig.advance(200_000);
    assert.deepEqual(this.wrong, []);
    const expected = this.state.addresses.filter((vip) => this.#leads(vip));
    const { plane } = this.rig.composition;
    assert.deepEqual(
      this.state.addresses.filter((vip) => plane.vip(vip).announced),
      expected,
    );
    if (this.#mode === 'bgp')
      assert.deepEqual(
        [...daemon.ours.keys()].sort(),
        expected.map((vip) => `${vip}/32`),
      );
    const backed = [...this.state.services.values()].some(({ endpoints }) => endpoints.length > 0);
    assert.equal(expected.length, backed ? this.state.addresses.length : 0);
    const written = daemon.writes.length;
    kernel.journal.clear();
    await this.rig.advance(130_000);
    assert.deepEqual([kernel.writes, daemon.writes.length - written], [0, 0]);
    await this.rig.kill();
  }
}

for (const mode of ['bgp', 'director'] as const) {
  test(`mode ${mode}: nothing leads to what is not there, and in the end something does to each VIP with a backend`, async (t) => {
    const histories = new Histories();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        histories.add();
        const life = new Life(mode);
        await life.happen({ kind: 'state', vips: ['192.0.2.10', '192.0.2.11'], pods: ['n1'] });
        for (const one of steps) await life.happen(one);
        await life.settle();
      }),
      { numRuns },
    );
    histories.report(t, `director, mode ${mode}`);
  });
}
