/** Ipvs on a kernel, with ipvsadm(8) as the judge of what is there. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import fc from 'fast-check';
import { KernelError } from '../../src/native/errors.ts';
import { destinationKeyAt, serviceKeyAt, toObjects } from '../../src/native/ipvs-columns.ts';
import { Ipvs } from '../../src/native/ipvs.ts';
import type { IpvsOperation, Service, ServiceId } from '../../src/native/ipvs-types.ts';
import { Netns } from '../../src/native/netns.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';
import { randomRules } from './ipvs-rules.ts';
import { operationsFor, restoreText, rulesOf, run, save, withServicePorts, withoutThresholds } from './ipvsadm.ts';

const web = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const satisfies ServiceId;
const wrr = { scheduler: 'wrr' } as const;
const direct = { forward: 'direct', weight: 1 } as const;
const node = (last: number, port = 80) => ({ address: `10.20.0.${String(last)}`, port });
const add = (service: ServiceId): IpvsOperation => ({ op: 'addService', service, spec: wrr });
const addNode = (service: ServiceId, last: number): IpvsOperation => ({
  op: 'addDestination',
  service,
  destination: node(last),
  spec: direct,
});

async function codes(ipvs: Ipvs, operations: readonly IpvsOperation[]): Promise<(string | undefined)[]> {
  const { applied, failed } = await ipvs.apply(operations);
  assert.equal(applied + failed.length, operations.length);
  return operations.map((_, index) => failed.find((failure) => failure.index === index)?.error.code);
}

test('golden: what we apply, ipvsadm -Sn shows', async () => {
  await fc.assert(
    fc.asyncProperty(randomRules, async (rules) => {
      await using netns = await Netns.create();
      await using ipvs = await Ipvs.open({ netns });
      assert.deepEqual((await ipvs.apply(operationsFor(rules))).failed, []);
      assert.deepEqual(save(netns), withoutThresholds(rules));
      assert.deepEqual(rulesOf(await ipvs.services()), rules);
    }),
    { numRuns: 25 },
  );
});

test('golden: what ipvsadm -R applies, we read', async () => {
  await fc.assert(
    fc.asyncProperty(randomRules, async (rules) => {
      await using netns = await Netns.create();
      await using ipvs = await Ipvs.open({ netns });
      const expected = withServicePorts(rules);
      if (expected.size > 0) run(netns, 'ipvsadm', ['-R'], restoreText(expected));
      assert.deepEqual(rulesOf(await ipvs.services()), expected);
    }),
    { numRuns: 25 },
  );
});

test('golden: edits and deletions, as ipvsadm -Sn shows them', async () => {
  await fc.assert(
    fc.asyncProperty(randomRules, randomRules, async (before, after) => {
      await using netns = await Netns.create();
      await using ipvs = await Ipvs.open({ netns });
      await ipvs.apply(operationsFor(before));
      const edits: IpvsOperation[] = [];
      for (const [key, { id, destinations }] of before) {
        const other = [...after.values()][edits.length % Math.max(after.size, 1)];
        if (other === undefined) continue;
        // The scheduler and options of another service, as far as they suit this one's family.
        const { persistencePrefix: _prefix, ...spec } = other.spec;
        edits.push({ op: 'setService', service: id, spec });
        before.set(key, { id, spec, destinations });
        for (const [destination, held] of [...destinations]) {
          const donor = [...other.destinations.values()][0];
          if (donor === undefined) {
            edits.push({ op: 'deleteDestination', service: id, destination: held.id });
            destinations.delete(destination);
          } else {
            edits.push({ op: 'setDestination', service: id, destination: held.id, spec: donor.spec });
            destinations.set(destination, { id: held.id, spec: donor.spec });
          }
        }
      }
      assert.deepEqual((await ipvs.apply(edits)).failed, []);
      assert.deepEqual(save(netns), withoutThresholds(before));
      assert.deepEqual(rulesOf(await ipvs.services()), before);
    }),
    { numRuns: 15 },
  );
});

test('a batch goes on after a refused operation', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const ports = [80, 81, 80, 82, 83];
  const operations = ports.map((port) => add({ ...web, port }));
  assert.deepEqual(await codes(ipvs, operations), [undefined, undefined, 'EEXIST', undefined, undefined]);
  assert.deepEqual(
    [...save(netns).keys()].sort(),
    [80, 81, 82, 83].map((port) => `tcp 192.0.2.10:${String(port)}`),
  );
});

test('an unknown service is ESRCH for whatever is asked of it', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const operations: IpvsOperation[] = [
    addNode(web, 1),
    { op: 'deleteService', service: web },
    { op: 'setService', service: web, spec: wrr },
    { op: 'deleteDestination', service: web, destination: node(1) },
  ];
  assert.deepEqual(await codes(ipvs, operations), ['ESRCH', 'ESRCH', 'ESRCH', 'ESRCH']);
  await assert.rejects(
    ipvs.zero(web),
    (error) => KernelError.is(error, 'ESRCH') && error.op === 'ipvs.zero' && error.subject === 'tcp 192.0.2.10:80',
  );
});

test('a destination twice is EEXIST, an unknown one ENOENT', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const operations: IpvsOperation[] = [
    add(web),
    addNode(web, 1),
    addNode(web, 1),
    { op: 'deleteDestination', service: web, destination: node(2) },
    { op: 'setDestination', service: web, destination: node(2), spec: direct },
  ];
  assert.deepEqual(await codes(ipvs, operations), [undefined, undefined, 'EEXIST', 'ENOENT', 'ENOENT']);
});

test('an error says operation, subject, errno name and place in the batch', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const six = { protocol: 'udp', address: '2001:0DB8:0::A', port: 53 } as const;
  const { failed } = await ipvs.apply([
    add(web),
    { op: 'addDestination', service: six, destination: { address: '2001:db8::1', port: 53 }, spec: direct },
  ]);
  const error = failed[0]?.error;
  assert.ok(KernelError.is(error, 'ESRCH'));
  assert.equal(error.op, 'ipvs.addDestination');
  assert.equal(error.subject, 'udp [2001:db8::a]:53 -> [2001:db8::1]:53');
  assert.equal(error.errno, 3);
  assert.equal(error.index, 1);
  assert.match(error.message, /ipvs\.addDestination udp \[2001:db8::a\]:53 -> \[2001:db8::1\]:53: ESRCH.*operation 1/);
});

test('a scheduler without a module names the module to load', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const { failed } = await ipvs.apply([
    { op: 'addService', service: web, spec: { scheduler: 'nosuch' } },
    { op: 'addService', service: web, spec: { scheduler: 'rr', persistenceSeconds: 60, persistenceEngine: 'none' } },
  ]);
  assert.match(failed[0]?.error.message ?? '', /ENOENT.*; try: modprobe ip_vs_nosuch$/);
  assert.equal(failed[0]?.error.hint, 'modprobe ip_vs_nosuch');
  assert.match(failed[1]?.error.hint ?? '', /ip_vs_pe_none$/);
});

/** A namespace whose `lo` was never up, alive until the process ends. */
async function untouchedNamespace(): Promise<{ child: ChildProcess; netns: Netns }> {
  const child = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return { child, netns: await Netns.fromPid(child.pid ?? 0) };
}

test('a destination is EINVAL where lo was never up, or where it is no unicast address', async () => {
  const { child, netns } = await untouchedNamespace();
  try {
    await using ipvs = await Ipvs.open({ netns });
    // Without a local routing table nothing is unicast (inet_addr_type), not even a neighbour.
    assert.deepEqual(await codes(ipvs, [add(web), addNode(web, 1)]), [undefined, 'EINVAL']);
    run(netns, 'ip', ['link', 'set', 'lo', 'up']);
    const multicast: IpvsOperation = { op: 'addDestination', service: web, destination: { address: '224.0.0.1', port: 80 }, spec: direct };
    assert.deepEqual(await codes(ipvs, [addNode(web, 1), multicast]), [undefined, 'EINVAL']);
  } finally {
    child.stdin?.end();
    await netns.close();
  }
});

test('destinations of an unknown service: success, and none', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  assert.deepEqual(await ipvs.destinations(web), []);
  await ipvs.apply([add(web), addNode(web, 1)]);
  assert.deepEqual(
    (await ipvs.destinations(web)).map(({ id }) => id),
    [node(1)],
  );
});

test('many reads at once are never EBUSY', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  await using second = await Ipvs.open({ netns });
  await ipvs.apply([add(web), ...Array.from({ length: 200 }, (_, i) => addNode(web, i + 1))]);
  const reads = await Promise.all(
    Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? ipvs : second).snapshot().then(({ destinations }) => destinations.count)),
  );
  assert.deepEqual(reads, new Array<number>(20).fill(200));
});

test('10,000 destinations over 1,000 services are read whole', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const services = Array.from({ length: 1000 }, (_, i): ServiceId => ({
    protocol: 'tcp',
    address: `192.0.${String(i >> 8)}.${String(i & 255)}`,
    port: 80,
  }));
  const { failed } = await ipvs.apply(
    services.flatMap((service) => [add(service), ...Array.from({ length: 10 }, (_, i) => addNode(service, i + 1))]),
  );
  assert.deepEqual(failed, []);
  const snapshot = await ipvs.snapshot();
  assert.equal(snapshot.services.count, 1000);
  assert.equal(new Set(Array.from({ length: 1000 }, (_, row) => serviceKeyAt(snapshot, row))).size, 1000);
  for (let row = 0; row < 1000; row++) {
    const first = snapshot.services.firstDestination[row] ?? 0;
    assert.equal(snapshot.services.firstDestination[row + 1], first + 10);
    assert.equal(new Set(Array.from({ length: 10 }, (_, i) => destinationKeyAt(snapshot, first + i))).size, 10);
  }
});

test('thresholds, which ipvsadm does not save, are read', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const spec = { forward: 'direct', weight: 1, upperThreshold: 1000, lowerThreshold: 500 } as const;
  await ipvs.apply([add(web), { op: 'addDestination', service: web, destination: node(1), spec }]);
  assert.doesNotMatch(run(netns, 'ipvsadm', ['-S', '-n']), /-x|-y/);
  assert.match(run(netns, 'ipvsadm', ['-L', '-n', '--thresholds']), /10\.20\.0\.1:80\s+1000\s+500/);
  assert.deepEqual((await ipvs.destinations(web))[0]?.spec, spec);
});

/** What the fake kernel and Linux must agree on after the same operations, legal or not. */
const operation: fc.Arbitrary<IpvsOperation> = fc
  .record({
    op: fc.constantFrom(
      'addService',
      'setService',
      'deleteService',
      'addDestination',
      'addDestination',
      'setDestination',
      'deleteDestination',
    ),
    port: fc.integer({ min: 80, max: 82 }),
    last: fc.integer({ min: 1, max: 3 }),
    scheduler: fc.constantFrom('rr', 'wrr', 'mh', 'nosuch'),
    weight: fc.integer({ min: 0, max: 3 }),
    forward: fc.constantFrom('direct' as const, 'tunnel' as const, 'masquerade' as const),
    upperThreshold: fc.integer({ min: 1, max: 3 }),
    lowerThreshold: fc.constantFrom(undefined, 1, 2),
  })
  .map(({ op, port, last, scheduler, lowerThreshold, ...spec }): IpvsOperation => {
    const service = { ...web, port };
    const to = { ...spec, ...(lowerThreshold === undefined ? {} : { lowerThreshold }) };
    if (op === 'addService' || op === 'setService') return { op, service, spec: { scheduler } };
    if (op === 'deleteService') return { op, service };
    if (op === 'deleteDestination') return { op, service, destination: node(last) };
    return { op: op as 'addDestination', service, destination: node(last), spec: to };
  });

function comparable(services: readonly Service[]): unknown {
  return services
    .map(({ id, spec, destinations }) => ({ id, spec, destinations: destinations.map((each) => ({ id: each.id, spec: each.spec })) }))
    .sort((a, b) => JSON.stringify(a.id).localeCompare(JSON.stringify(b.id)));
}

test('300 random histories, refused operations included, end as they do on the fake kernel', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(operation, { maxLength: 15 }), { maxLength: 3 }), async (batches) => {
      const fake = new FakeKernel().ipvs;
      const left = await ipvs.services();
      await ipvs.apply(left.map(({ id }) => ({ op: 'deleteService', service: id })));
      for (const batch of batches) {
        const [real, expected] = [await ipvs.apply(batch), await fake.apply(batch)];
        assert.equal(real.applied, expected.applied);
        const outcome = ({ failed }: typeof real) =>
          failed.map(({ index, error }) => `${String(index)} ${error.op} ${error.subject} ${error.code}`);
        assert.deepEqual(outcome(real), outcome(expected));
        assert.deepEqual(comparable(await ipvs.services()), comparable(toObjects(await fake.snapshot())));
      }
    }),
    { numRuns: 300 },
  );
});

test('services of others stay as they are, in every byte that ipvsadm shows', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  run(netns, 'ipvsadm', ['-R'], '-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r 10.20.0.9:6443 -m -w 1\n-A -f 7 -s wlc -p 60\n');
  const before = run(netns, 'ipvsadm', ['-S', '-n']);
  const ours = Array.from({ length: 20 }, (_, i) => ({ ...web, port: 100 + i }));
  await ipvs.apply(ours.flatMap((service) => [add(service), addNode(service, 1)]));
  await ipvs.apply(ours.flatMap((service): IpvsOperation[] => [{ op: 'setService', service, spec: { scheduler: 'mh' } }]));
  await ipvs.apply(ours.map((service) => ({ op: 'deleteService', service })));
  assert.equal(run(netns, 'ipvsadm', ['-S', '-n']), before);
});

test('an address of this host keeps the forwarding that was asked for', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  run(netns, 'ip', ['addr', 'add', '10.20.0.1/32', 'dev', 'lo']);
  await ipvs.apply([add(web), addNode(web, 1), addNode(web, 2)]);
  // That it is local is decided per packet; a director that is its own backend sees no drift.
  assert.deepEqual(Object.fromEntries((await ipvs.destinations(web)).map(({ id, spec }) => [id.address, spec.forward])), {
    '10.20.0.1': 'direct',
    '10.20.0.2': 'direct',
  });
});

/** Polls until `done`; the estimator and the dump lag by up to two seconds. */
async function until<T>(read: () => Promise<T>, done: (value: T) => boolean, what: string): Promise<T> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    const value = await read();
    if (done(value)) return value;
    if (performance.now() > deadline) assert.fail(`${what}: ${JSON.stringify(value)}`);
    await pause(100);
  }
}

test('statistics move when packets flow, and zero() resets them', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  run(
    netns,
    'ip',
    ['-batch', '-'],
    'link add d0 type dummy\nlink set d0 up\naddr add 10.20.0.254/24 dev d0\naddr add 192.0.2.10/32 dev d0\n',
  );
  const dns: ServiceId = { protocol: 'udp', address: '192.0.2.10', port: 53 };
  await ipvs.apply([add(dns), addNode(dns, 1)]);
  const read = async () => (await ipvs.services())[0];
  assert.equal((await read())?.statistics.inPackets, 0);
  run(netns, 'bash', ['-c', 'for i in 1 2 3; do echo 0123456789 >/dev/udp/192.0.2.10/53; done']);
  const service = await until(read, (value) => (value?.statistics.inPackets ?? 0) >= 3, 'packets counted');
  // 20 bytes of IP, 8 of UDP, 11 of text.
  assert.equal(service?.statistics.inBytes, 3 * 39);
  assert.equal(service.statistics.connections, 3);
  const destination = service.destinations[0];
  assert.equal(destination?.statistics.inPackets, 3);
  assert.equal(destination.activeConnections + destination.inactiveConnections, 3);
  await ipvs.zero(dns);
  await until(read, (value) => value?.statistics.inPackets === 0, 'zeroed');
  run(netns, 'bash', ['-c', 'echo x >/dev/udp/192.0.2.10/53']);
  await until(read, (value) => value?.statistics.inPackets === 1, 'counting again');
  await ipvs.zero();
  await until(read, (value) => value?.statistics.inPackets === 0 && value.destinations[0]?.statistics.inPackets === 0, 'all zeroed');
});

test('info and timeouts are those that ipvsadm shows', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  const { version, connectionTableSize } = await ipvs.info();
  assert.match(
    run(netns, 'ipvsadm', ['-L', '-n']),
    new RegExp(`version ${version.replaceAll('.', '\\.')} \\(size=${String(connectionTableSize)}\\)`),
  );
  const before = await ipvs.timeouts();
  await ipvs.setTimeouts({ tcp: 1234, udp: 77 });
  assert.deepEqual(await ipvs.timeouts(), { tcp: 1234, tcpFin: before.tcpFin, udp: 77 });
  assert.match(run(netns, 'ipvsadm', ['-L', '--timeout']), new RegExp(`1234 ${String(before.tcpFin)} 77`));
  await ipvs.setTimeouts({});
  assert.deepEqual(await ipvs.timeouts(), { tcp: 1234, tcpFin: before.tcpFin, udp: 77 });
});

test('sync daemons start, show and stop', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  run(netns, 'ip', ['-batch', '-'], 'link add d0 type dummy\nlink set d0 up multicast on\naddr add 10.20.0.254/24 dev d0\n');
  assert.deepEqual(await ipvs.syncDaemons(), []);
  await assert.rejects(ipvs.startSyncDaemon({ role: 'master', interface: 'nosuch', syncId: 1 }), (error) =>
    KernelError.is(error, 'ENODEV'),
  );
  await ipvs.startSyncDaemon({ role: 'master', interface: 'd0', syncId: 7, group: '224.0.0.82', port: 9000, ttl: 2 });
  await assert.rejects(ipvs.startSyncDaemon({ role: 'master', interface: 'd0', syncId: 7 }), (error) => KernelError.is(error, 'EEXIST'));
  const [daemon, ...others] = await ipvs.syncDaemons();
  assert.deepEqual(others, []);
  const { maxLength, ...rest } = daemon ?? {};
  assert.deepEqual(rest, { role: 'master', interface: 'd0', syncId: 7, group: '224.0.0.82', port: 9000, ttl: 2 });
  assert.ok((maxLength ?? 0) > 500, String(maxLength));
  assert.match(run(netns, 'ipvsadm', ['-L', '--daemon']), /master sync daemon .*mcast=d0, syncid=7/);
  await ipvs.stopSyncDaemon('master');
  assert.deepEqual(await ipvs.syncDaemons(), []);
  await assert.rejects(ipvs.stopSyncDaemon('master'), (error) => KernelError.is(error, 'ESRCH'));
});

test('calls take effect in the order they were made', async () => {
  await using netns = await Netns.create();
  await using ipvs = await Ipvs.open({ netns });
  // The first is put into columns over several turns of the event loop; the second must not overtake it.
  const many = Array.from({ length: 5000 }, (_, i) => addNode(web, i % 250));
  const results = await Promise.all([
    ipvs.apply([add(web), ...many]),
    ipvs.apply([{ op: 'deleteService', service: web }]),
    ipvs.snapshot(),
    ipvs.apply([add(web)]),
    ipvs.services(),
  ]);
  assert.equal(results[0].failed.filter(({ error }) => error.code !== 'EEXIST' && error.code !== 'EINVAL').length, 0);
  assert.deepEqual(results[1].failed, []);
  assert.equal(results[2].services.count, 0);
  assert.deepEqual(results[3].failed, []);
  assert.equal(results[4].length, 1);
});

test('the example lists and edits, and says what it lacks without the capability', () => {
  const example = ['examples/ipvs.mjs'];
  const output = execFileSync(process.execPath, example, { encoding: 'utf8' });
  assert.match(output, /tcp 192\.0\.2\.10:80 wrr/);
  assert.match(output, /10\.0\.0\.1:80 direct weight 3/);
  assert.equal(execFileSync('ipvsadm', ['-S', '-n'], { encoding: 'utf8' }), '', 'it leaves nothing behind');
  const refused = spawnSync('setpriv', ['--bounding-set=-net_admin', '--inh-caps=-net_admin', process.execPath, ...example], {
    encoding: 'utf8',
  });
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /EPERM/);
});
