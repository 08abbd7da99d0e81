/** C15 c: a realserver stands by while a director is on its machine. Time is the fake clock, the looks are told what they find. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { CoordinatorPort, Presence } from '../../src/drivers/coordinator.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { dnsAt, stateOf } from './fixture.ts';
import { whole } from './cluster.ts';
import { freshKernel, Rig } from './rig.ts';
import type { FakeKernel } from './kernel.ts';

const config = { '192.0.2.11': { '53': dnsAt() } };
const setting = 'net/ipv4/conf/eth0/arp_ignore';

class FakeCoordinator implements CoordinatorPort {
  presence: Presence = 'absent';
  looks = 0;
  readonly held: { port: number; presence: () => Presence }[] = [];
  /** What holding a port fails with. */
  failure: Error | undefined;
  attempts = 0;

  async look(): Promise<Presence> {
    await Promise.resolve();
    this.looks += 1;
    return this.presence;
  }

  async hold(port: number, presence: () => Exclude<Presence, 'absent'>, signal: AbortSignal): Promise<void> {
    this.attempts += 1;
    if (this.failure !== undefined) throw this.failure;
    this.held.push({ port, presence });
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
}

function realserver(coordinator: FakeCoordinator, failoverProbes: number, kernel = freshKernel()): Rig {
  const options = { coordinatorPorts: [44_444], failoverProbes } satisfies Partial<AgentOptions>;
  return new Rig('realserver', kernel, options, undefined, {}, { coordinator });
}

const hasRules = (kernel: FakeKernel): boolean => JSON.stringify(kernel.nftables.dump()).includes('192.0.2.11');
const hasVip = async (kernel: FakeKernel): Promise<boolean> =>
  (await kernel.links.addresses()).some(({ address }) => address === '192.0.2.11');
const works = (kernel: FakeKernel): [rules: boolean, arp: string | undefined] => [hasRules(kernel), kernel.sysctls.values.get(setting)];

suite('C15 c: coordination of a realserver with the director of its machine', () => {
  test('C15 c: absent at boot: it starts at once, however great its patience', async () => {
    const coordinator = new FakeCoordinator();
    const rig = realserver(coordinator, 120);
    await rig.publish(whole(stateOf(config)));
    assert.deepEqual(works(rig.kernel), [true, '1']);
    assert.equal(rig.composition.plane.status().standby, undefined);
    await rig.kill();
  });

  test('C15 c: present at boot: it writes nothing, and says why', async () => {
    const coordinator = new FakeCoordinator();
    coordinator.presence = 'present';
    const rig = realserver(coordinator, 4);
    await rig.publish(whole(stateOf(config)));
    await rig.advance(120_000);
    assert.equal(rig.kernel.writes, 0);
    const { standby, vips } = rig.composition.plane.status();
    const reason = { code: 'DirectorPresent', message: 'a director is on this machine (127.0.0.1:44444); this realserver stands by' };
    assert.deepEqual(standby, reason);
    assert.deepEqual(vips, [{ address: '192.0.2.11', announced: undefined, reason, conflicts: 0 }]);
    assert.equal(rig.composition.idle?.(), true);
    await rig.kill();
  });

  test('C15 c: lost: it starts with the fourth look that fails, between 3 and 5 seconds later', async () => {
    const coordinator = new FakeCoordinator();
    coordinator.presence = 'present';
    const rig = realserver(coordinator, 4);
    await rig.publish(whole(stateOf(config)));
    await rig.advance(2500);
    coordinator.presence = 'absent';
    const { looks } = coordinator;
    await rig.advance(3000);
    assert.equal(coordinator.looks - looks, 3);
    assert.deepEqual(works(rig.kernel), [false, '0'], 'three looks are not enough');
    await rig.advance(1000);
    assert.equal(coordinator.looks - looks, 4);
    assert.deepEqual(works(rig.kernel), [true, '1']);
    await rig.kill();
  });

  test('C15 c: three looks that fail and one that does not are nothing', async () => {
    const coordinator = new FakeCoordinator();
    coordinator.presence = 'present';
    const rig = realserver(coordinator, 4);
    await rig.publish(whole(stateOf(config)));
    for (let round = 0; round < 5; round += 1) {
      coordinator.presence = 'absent';
      await rig.advance(3000);
      coordinator.presence = 'present';
      await rig.advance(1000);
    }
    assert.equal(rig.kernel.writes, 0);
    await rig.kill();
  });

  test('C15 c: N=1: the first look that fails is enough', async () => {
    const coordinator = new FakeCoordinator();
    coordinator.presence = 'present';
    const rig = realserver(coordinator, 1);
    await rig.publish(whole(stateOf(config)));
    coordinator.presence = 'absent';
    await rig.advance(1000);
    assert.deepEqual(works(rig.kernel), [true, '1']);
    await rig.kill();
  });

  test('C15 c: back: within one look its rules are gone and its settings as they were; VIPs stay', async () => {
    const coordinator = new FakeCoordinator();
    const kernel = freshKernel();
    const before = new Map(kernel.sysctls.values);
    const rig = realserver(coordinator, 4, kernel);
    await rig.publish(whole(stateOf(config)));
    await rig.advance(5000);
    assert.deepEqual(works(kernel), [true, '1']);
    coordinator.presence = 'present';
    await rig.advance(1000);
    assert.deepEqual(works(kernel), [false, '0']);
    assert.deepEqual(kernel.sysctls.values, before);
    assert.equal(await hasVip(kernel), true);
    const { writes } = kernel;
    await rig.publish(whole(stateOf({})));
    await rig.advance(120_000);
    assert.equal(kernel.writes, writes, 'what comes after that is for the director');
    assert.equal(await hasVip(kernel), true);
    await rig.kill();
  });

  test('to and fro, as often as the director comes and goes, always within one look', async () => {
    const coordinator = new FakeCoordinator();
    const rig = realserver(coordinator, 1);
    await rig.publish(whole(stateOf(config)));
    for (let round = 0; round < 20; round += 1) {
      coordinator.presence = round % 2 === 0 ? 'present' : 'absent';
      await rig.advance(1000);
      assert.deepEqual(works(rig.kernel), round % 2 === 0 ? [false, '0'] : [true, '1'], `round ${round}`);
    }
    await rig.kill();
  });

  test('a director that translates by itself keeps the rules there are: they may be its own', async () => {
    const coordinator = new FakeCoordinator();
    const rig = realserver(coordinator, 1);
    await rig.publish(whole(stateOf(config)));
    coordinator.presence = 'translating';
    await rig.advance(1000);
    assert.deepEqual(works(rig.kernel), [true, '0']);
    await rig.kill();
  });

  test('beside a director that is announced by routes the host keeps silent: never for a moment does it answer', async () => {
    const coordinator = new FakeCoordinator();
    const kernel = freshKernel();
    const rig = realserver(coordinator, 1, kernel);
    await rig.publish(whole(stateOf(config)));
    assert.deepEqual(works(kernel), [true, '1']);
    kernel.journal.clear();
    const director = new Rig('bgp', kernel, {}, rig.folder);
    await director.publish(whole(stateOf(config)));
    coordinator.presence = 'routed';
    await rig.advance(5000);
    await director.advance(65_000);
    assert.deepEqual(works(kernel), [false, '1']);
    assert.deepEqual(
      kernel.journal.calls.filter(({ subject }) => subject.includes('arp_')),
      [],
      'neither puts it back',
    );
    assert.equal(await hasVip(kernel), true);
    await director.kill();
    coordinator.presence = 'absent';
    await rig.advance(5000);
    assert.deepEqual(works(kernel), [true, '1']);
    await rig.kill();
  });

  test("a director's settings below net.ipv4.vs are not put back by a realserver that stands by", async () => {
    const kernel = freshKernel();
    kernel.sysctls.values.set('net/ipv4/vs/expire_nodest_conn', '0');
    const director = new Rig('director', kernel);
    await director.publish(whole(stateOf(config)));
    assert.equal(kernel.sysctls.values.get('net/ipv4/vs/expire_nodest_conn'), '1');
    const coordinator = new FakeCoordinator();
    coordinator.presence = 'present';
    const options = { coordinatorPorts: [44_444], failoverProbes: 1 };
    const rig = new Rig('realserver', kernel, options, director.folder, {}, { coordinator });
    await rig.publish(whole(stateOf(config)));
    assert.equal(kernel.sysctls.values.get('net/ipv4/vs/expire_nodest_conn'), '1');
    await rig.kill();
    await director.kill();
  });

  test('what cannot be taken away is told, and tried again', async () => {
    const coordinator = new FakeCoordinator();
    const rig = realserver(coordinator, 1);
    await rig.publish(whole(stateOf(config)));
    rig.kernel.sysctls.readOnly = true;
    coordinator.presence = 'present';
    await rig.advance(1000);
    assert.match(
      rig.loop
        .status()
        .failures.map(({ message }) => message)
        .join(),
      /arp_ignore/,
    );
    rig.kernel.sysctls.readOnly = false;
    await rig.advance(40_000);
    assert.deepEqual(rig.loop.status().failures, []);
    assert.deepEqual(works(rig.kernel), [false, '0']);
    await rig.kill();
  });

  test('without a port nobody is asked', async () => {
    const coordinator = new FakeCoordinator();
    coordinator.presence = 'present';
    const rig = new Rig('realserver', freshKernel(), { coordinatorPorts: [] }, undefined, {}, { coordinator });
    await rig.publish(whole(stateOf(config)));
    await rig.advance(5000);
    assert.equal(coordinator.looks, 0);
    assert.deepEqual(works(rig.kernel), [true, '1']);
    await rig.kill();
  });
});

suite('coordination: the director', () => {
  const director = (coordinator: FakeCoordinator, options: Partial<AgentOptions> = {}): Rig =>
    new Rig('director', freshKernel(), { coordinatorPorts: [44_444, 44_445], ...options }, undefined, {}, { coordinator });

  test('holds every port of the list, and says that its pods are left to others', async () => {
    const coordinator = new FakeCoordinator();
    const rig = director(coordinator);
    await rig.advance(0);
    assert.deepEqual(
      coordinator.held.map(({ port, presence }) => [port, presence()]),
      [
        [44_444, 'present'],
        [44_445, 'present'],
      ],
    );
    await rig.kill();
  });

  test('one that is announced by routes says that it keeps silent', async () => {
    const coordinator = new FakeCoordinator();
    const rig = new Rig('bgp', freshKernel(), { coordinatorPorts: [44_444] }, undefined, {}, { coordinator });
    await rig.advance(0);
    assert.deepEqual(
      coordinator.held.map(({ presence }) => presence()),
      ['routed'],
    );
    await rig.kill();
  });

  test('a port that is taken is a warning, told once and tried again ever more slowly', async () => {
    const coordinator = new FakeCoordinator();
    coordinator.failure = new Error('listen EADDRINUSE: address already in use 127.0.0.1:44444');
    const rig = director(coordinator, { coordinatorPorts: [44_444] });
    await rig.publish(whole(stateOf(config)));
    await rig.advance(60_000);
    assert.ok(coordinator.attempts >= 5 && coordinator.attempts <= 10, String(coordinator.attempts));
    const told = rig.lines.filter(({ message }) => message.startsWith('port 44444'));
    assert.deepEqual(told.filter(({ level }) => level === 'warn').length, 1);
    coordinator.failure = undefined;
    await rig.advance(60_000);
    assert.equal(coordinator.held.length, 1);
    await rig.kill();
  });
});
