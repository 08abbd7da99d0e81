/** Mode bgp as a whole: status, planned stops, one-shot runs, and the commands beside a daemon. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { statusSchema } from '../../src/cli/status-schema.ts';
import { outputSchemas } from '../../src/cli/schemas.ts';
import { SysctlJournal } from '../../src/drivers/journal.ts';
import { GRACEFUL_SHUTDOWN } from '../../src/desired/bgp.ts';
import type { Publication, Source } from '../../src/model/cluster.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { Agent } from '../../src/modes/run.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { ravelAgent } from '../unit/cli.ts';
import { eventually } from '../unit/waiting.ts';
import { cluster, whole } from './cluster.ts';
import { FakeBgpDaemon } from './fake-bgp-daemon.ts';
import type { FakeKernel } from './kernel.ts';
import { collectingLog, defaultBgp, defaultOptions, freshKernel, holdings, type Line } from './rig.ts';

const state = cluster({
  pods: { web: ['n1', 'n2'] },
  vips: [
    ['192.0.2.10', 80, 'web'],
    ['192.0.2.11', 80, 'web'],
  ],
});

/** A source that says one thing. */
const saying = (publication: Publication): Source => ({
  run: ({ signal, onPublication }) => {
    onPublication(publication);
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  },
});

interface Started {
  readonly agent: Agent;
  readonly folder: string;
  readonly lines: Line[];
  readonly done: Promise<void>;
  /** As a first and a second SIGTERM. */
  readonly stop: AbortController;
  readonly hurry: AbortController;
}

function agentOf(daemon: FakeBgpDaemon, kernel: FakeKernel, bgp: Partial<AgentOptions['bgp']> = {}): Omit<Started, 'done'> {
  const folder = temporaryDirectory('ravel-bgp-');
  const lines: Line[] = [];
  const agent = new Agent({
    options: { ...defaultOptions, mode: 'bgp', nodeName: 'd1', stateDirectory: folder, bgp: { ...defaultBgp, ...bgp } },
    parts: {
      ...{ kernel: kernel.ports, journal: new SysctlJournal(folder, '1', 'boot'), clock: systemClock },
      ...{ random: Math.random, log: collectingLog(lines), openDaemon: () => daemon.connect() },
    },
    origin: { place: 'a puppet', source: () => saying(whole(state)), close: () => {} },
    version: '1.2.3',
  });
  return { agent, folder, lines, stop: new AbortController(), hurry: new AbortController() };
}

async function start(daemon: FakeBgpDaemon, kernel = freshKernel(), bgp: Partial<AgentOptions['bgp']> = {}): Promise<Started> {
  const made = agentOf(daemon, kernel, bgp);
  const done = made.agent.run(made.stop.signal, made.hurry.signal);
  if (!daemon.down) await eventually(() => daemon.ours.size === 2, 'announced');
  return { ...made, done };
}

const heardDaemon = (): FakeBgpDaemon => {
  const daemon = new FakeBgpDaemon(systemClock);
  daemon.setPeer({ address: '10.0.0.9', asn: 65009, bfd: { transmitMilliseconds: 300, receiveMilliseconds: 300, multiplier: 3 } }, true);
  return daemon;
};

suite('a planned stop', () => {
  test('without --bgp-drain writes nothing anywhere', async () => {
    const daemon = heardDaemon();
    const kernel = freshKernel();
    const { stop, done } = await start(daemon, kernel);
    const before = await holdings(kernel);
    const writes = daemon.writes.length;
    stop.abort();
    await done;
    assert.equal(daemon.writes.length, writes);
    assert.deepEqual(await holdings(kernel), before);
  });

  test('with it: routes say so, the time passes, routes go; IPVS stays as it is', async () => {
    const daemon = heardDaemon();
    const kernel = freshKernel();
    const { agent, stop, done, lines } = await start(daemon, kernel, { drainMilliseconds: 400 });
    const before = await holdings(kernel);
    const started = performance.now();
    stop.abort();
    await eventually(() => [...daemon.ours.values()].every(({ communities }) => communities.includes(GRACEFUL_SHUTDOWN)), 'marked');
    assert.ok([...daemon.ours.values()].every(({ localPreference }) => localPreference === 0));
    assert.equal(daemon.ours.size, 2, 'still there');
    const { bgp, vips } = agent.document();
    assert.equal(bgp?.state, 'draining');
    assert.deepEqual([...new Set(vips.map(({ reason }) => reason?.code))], ['BgpDraining']);
    await done;
    assert.ok(performance.now() - started >= 395, 'the time it was given');
    assert.equal(daemon.ours.size, 0);
    assert.deepEqual(await holdings(kernel), before, 'for connections that are still open');
    assert.ok(lines.some(({ message }) => message === 'routes are withdrawn'));
  });

  test('after which they come back as they were', async () => {
    const daemon = heardDaemon();
    const kernel = freshKernel();
    const first = await start(daemon, kernel, { drainMilliseconds: 20 });
    first.stop.abort();
    await first.done;
    assert.equal(daemon.ours.size, 0);
    const second = await start(daemon, kernel);
    for (const path of daemon.ours.values()) assert.deepEqual([path.communities, path.localPreference], [[], undefined]);
    second.stop.abort();
    await second.done;
  });

  test('a second signal ends it at once, wherever it is', async () => {
    const daemon = heardDaemon();
    const { stop, hurry, done, lines } = await start(daemon, freshKernel(), { drainMilliseconds: 600_000 });
    stop.abort();
    await eventually(() => [...daemon.ours.values()].every(({ communities }) => communities.includes(GRACEFUL_SHUTDOWN)), 'marked');
    const started = performance.now();
    hurry.abort();
    await done;
    assert.ok(performance.now() - started < 2000);
    assert.ok(lines.some(({ level, message }) => level === 'warn' && /asked a second time/.test(message)));
  });

  test('without a daemon there is nobody to wait for', async () => {
    const daemon = heardDaemon();
    daemon.stop();
    const { stop, done, agent } = await start(daemon, freshKernel(), { drainMilliseconds: 600_000 });
    await eventually(() => agent.document().bgp?.state === 'unreachable', 'tried');
    const started = performance.now();
    stop.abort();
    await done;
    assert.ok(performance.now() - started < 2000);
  });
});

test('status has the daemon and its neighbours, as documented, in both forms', async () => {
  const daemon = heardDaemon();
  const kernel = freshKernel();
  const { folder, stop, done } = await start(daemon, kernel);
  const args = ['status', '--sample=0', `--state-dir=${folder}`];
  const { out, code, err } = await ravelAgent([...args, '-o', 'json'], { kernel });
  assert.equal(code, 0, err);
  const document = statusSchema.parse(JSON.parse(out));
  assert.equal(document.mode, 'bgp');
  assert.deepEqual(
    document.vips.map(({ protocol, announced }) => [protocol, announced]),
    [
      ['bgp', true],
      ['bgp', true],
    ],
  );
  assert.equal(document.vips[0]?.services[0]?.scheduler, 'wrr', 'the rest is that of a director');
  const { bgp } = document.agent ?? {};
  assert.deepEqual(
    [bgp?.state, bgp?.daemon, bgp?.paths],
    ['connected', { major: 4, asn: 65000, routerId: '10.0.0.1' }, { wanted: 2, announced: 2, added: 2, withdrawn: 0 }],
  );
  assert.deepEqual(
    bgp?.peers.map(({ address, asn, state: session, bfd, managed, since }) => [address, asn, session, bfd, managed, since]),
    [['10.0.0.9', 65009, 'established', 'up', true, '1970-01-01T00:00:01.000Z']],
  );
  const text = (await ravelAgent(args, { kernel })).out;
  assert.match(text, /^BGP daemon 127\.0\.0\.1:50051: connected, GoBGP 4, AS 65000, router ID 10\.0\.0\.1$/m);
  assert.match(text, /^ {2}2 of 2 routes announced; 2 written, 0 withdrawn since the start$/m);
  assert.match(text, /^ {2}10\.0\.0\.9 +AS 65009 +established +since 1970-01-01T00:00:01\.000Z .*0 times down +BFD up/m);
  assert.match(text, /192\.0\.2\.10 {2}announced by BGP/);
  const { code: refused, err: why } = await ravelAgent(['cleanup', `--state-dir=${folder}`], { kernel, daemon });
  assert.deepEqual([refused, /an agent of mode bgp is running/.test(why)], [1, true]);
  daemon.stop();
  const unanswered = /no answer \(\d+ attempts, next attempt in \d+\.\d s\)/;
  await eventually(async () => unanswered.test((await ravelAgent(args, { kernel })).out), 'told');
  stop.abort();
  await done;
});

test('a machine directs in one way: the second of two directors refuses to start, whichever it is', async () => {
  const daemon = heardDaemon();
  const first = await start(daemon);
  const beside = new Agent({
    options: { ...defaultOptions, mode: 'director', nodeName: 'd1', stateDirectory: first.folder },
    parts: {
      ...{ kernel: freshKernel().ports, journal: new SysctlJournal(first.folder, '1', 'boot'), clock: systemClock },
      ...{ random: Math.random, log: collectingLog([]) },
    },
    origin: { place: 'a puppet', source: () => saying(whole(state)), close: () => {} },
    version: '1.2.3',
  });
  await assert.rejects(
    beside.run(new AbortController().signal),
    /an agent of mode bgp is running here \(process \d+\), and a machine directs in one way/,
  );
  first.stop.abort();
  await first.done;
  const stop = new AbortController();
  const running = beside.run(stop.signal);
  await eventually(() => beside.loop.status().passes > 0, 'it works when the other is gone');
  stop.abort();
  await running;
});

suite('--once', () => {
  test('programs the kernel and the daemon, takes away what is left of an earlier life, and ends', async () => {
    const daemon = heardDaemon();
    daemon.setOurs({ prefix: '192.0.2.99/32', nextHop: '0.0.0.0', communities: [], largeCommunities: [] });
    const { agent } = agentOf(daemon, freshKernel());
    assert.deepEqual(await agent.once(), { failures: [], held: undefined });
    assert.deepEqual([...daemon.ours.keys()].sort(), ['192.0.2.10/32', '192.0.2.11/32']);
  });

  test('names each route that the daemon refuses', async () => {
    const daemon = heardDaemon();
    daemon.fault = (operation, subject) => (operation === 'add' && subject === '192.0.2.10/32' ? 'refuse' : undefined);
    const { failures } = await agentOf(daemon, freshKernel()).agent.once();
    assert.deepEqual(
      failures.map(({ op, subject, code }) => [op, subject, code]),
      [['bgp.announce', '192.0.2.10', 'BgpRefused']],
    );
  });
});

suite('commands beside a daemon', () => {
  const folder = temporaryDirectory('ravel-bgp-commands-');
  const file = join(folder, 'cluster.yaml');
  const text = `
nodes: [{ name: n1, addresses: [10.20.0.1] }]
services: [{ namespace: a, name: b, ports: [{ name: http, port: 80 }], endpoints: [{ address: 10.8.0.1, port: 80, node: n1 }] }]
config: { 192.0.2.10: { 80: { namespace: a, service: b, portName: http } } }
`;
  writeFileSync(file, text);
  const flags = ['--compute-iface=eth0', `--source-file=${file}`, `--state-dir=${folder}`, '--nodename=d1'];
  const bgp = ['--mode=bgp', ...flags];

  test('plan: exit 2 with the route, 0 when all is as asked, 1 when the daemon cannot be asked', async () => {
    const kernel = freshKernel();
    const daemon = heardDaemon();
    const first = await ravelAgent(['plan', ...bgp, '--bgp-communities=65000:1'], { kernel, daemon });
    assert.equal(first.code, 2, first.err);
    assert.match(first.out, /\+ path +192\.0\.2\.10\/32 next hop 0\.0\.0\.0 communities 65000:1/);
    assert.match(first.out, /addService|scheduler mh flags 1,2/, 'mh, without a word of the configuration');
    assert.equal(daemon.writes.length, 0);
    const once = await ravelAgent([...bgp, '--once', '--bgp-communities=65000:1'], { kernel, daemon });
    assert.equal(once.code, 0, once.err);
    const json = await ravelAgent(['plan', ...bgp, '--bgp-communities=65000:1', '-o', 'json'], { kernel, daemon });
    assert.deepEqual([json.code, JSON.parse(json.out)], [0, { mode: 'bgp', changes: [], held: null }]);
    const other = await ravelAgent(['plan', ...bgp, '--bgp-communities=65000:2', '-o', 'json'], { kernel, daemon });
    assert.equal(other.code, 2);
    assert.doesNotThrow(() => outputSchemas['plan']?.parse(JSON.parse(other.out)));
    assert.deepEqual(
      (JSON.parse(other.out) as { changes: { kind: string; op: string }[] }).changes.map(({ kind, op }) => [kind, op]),
      [['path', 'replacePath']],
    );
    daemon.stop();
    const blind = await ravelAgent(['plan', ...bgp], { kernel, daemon });
    assert.equal(blind.code, 1);
    assert.match(blind.err, /what would change in the BGP daemon is not known: .*no answer/);
  });

  test('plan of neighbours: the daemon that is started, those that are set up, changed and removed; nothing once they are so', async () => {
    const kernel = freshKernel();
    const daemon = new FakeBgpDaemon(systemClock);
    daemon.asn = 0;
    const own = ['--bgp-asn=65001', '--bgp-router-id=10.0.0.2'];
    const peers = (...list: string[]): string[] => [...bgp, ...own, `--bgp-peers=${list.join(';')}`];
    const planned = async (...args: string[]): Promise<string[]> => {
      const { out, err } = await ravelAgent(['plan', ...args, '-o', 'json'], { kernel, daemon });
      assert.doesNotThrow(() => outputSchemas['plan']?.parse(JSON.parse(out)), err);
      const { changes } = JSON.parse(out) as { changes: { kind: string; op: string; text: string }[] };
      return changes.filter(({ kind }) => kind === 'peer').map(({ op, text }) => `${op}: ${text}`);
    };
    const first = peers('10.0.0.9,asn=65009', '10.0.0.8,asn=65008');
    assert.deepEqual(await planned(...first), [
      'startDaemon: the daemon itself, AS 65001, router 10.0.0.2',
      'addPeer: neighbour 10.0.0.9, AS 65009',
      'addPeer: neighbour 10.0.0.8, AS 65008',
    ]);
    assert.deepEqual([daemon.asn, daemon.neighbours.size], [0, 0], 'it was planned only');
    assert.equal((await ravelAgent([...first, '--once'], { kernel, daemon })).code, 0);
    assert.deepEqual(await planned(...first), []);
    assert.deepEqual(await planned(...peers('10.0.0.9,asn=65009,hold=9s')), [
      'deletePeer: neighbour 10.0.0.8',
      'updatePeer: neighbour 10.0.0.9: hold time 90 s instead of 9 s, keepalive interval 30 s instead of 3 s',
    ]);
    assert.deepEqual(await planned(...bgp), [], 'neighbours that nobody speaks of are left as they are');
    const another = [...bgp, '--bgp-asn=65002', '--bgp-router-id=10.0.0.2', '--bgp-peers=10.0.0.7,asn=65007'];
    assert.deepEqual(await planned(...another), [], 'and so they are where the daemon has another autonomous system');
  });

  const check = async (daemon: FakeBgpDaemon | undefined, ...more: string[]): Promise<Map<string, string[]>> => {
    const { out } = await ravelAgent(['check', ...bgp, ...more, '-o', 'json'], {
      kernel: freshKernel(),
      ...(daemon === undefined ? {} : { daemon }),
    });
    const { findings } = outputSchemas['check']?.parse(JSON.parse(out)) as {
      findings: { level: string; check: string; message: string }[];
    };
    const found = new Map<string, string[]>();
    for (const { level, check: what, message } of findings) found.set(what, [...(found.get(what) ?? []), `${level} ${message}`]);
    return found;
  };

  test('check: who answers, its system, its neighbours; and that the segment hears nothing', async () => {
    const found = await check(heardDaemon());
    assert.deepEqual(found.get('BGP daemon'), ['ok 127.0.0.1:50051: GoBGP 4']);
    assert.deepEqual(found.get('autonomous system'), ['ok 65000, router ID 10.0.0.1']);
    assert.deepEqual(found.get('neighbour'), ['ok 10.0.0.9, AS 65009: established']);
    assert.match(found.get('arp_ignore')?.join() ?? '', /^(warn|fail) 0 in effect/);
    assert.equal(found.has('BFD'), false, 'nobody asked for it');
    assert.ok(
      found.get('capability')?.every((line) => !line.includes('NET_RAW')),
      'nothing is sent on the segment',
    );
    assert.equal((await check(undefined)).get('BGP daemon')?.[0]?.startsWith('fail identity'), true);
  });

  test('check: a system that is missing or another, neighbours that are down or to come, BFD, a password', async () => {
    const daemon = heardDaemon();
    daemon.session('10.0.0.9', 'active');
    const peers = '--bgp-peers=10.0.0.9,asn=65009,bfd=300ms;10.0.0.8,asn=1,password-file=/nowhere/password';
    const own = ['--bgp-asn=64999', '--bgp-router-id=10.0.0.2'];
    const found = await check(daemon, peers, ...own);
    assert.match(found.get('autonomous system')?.join() ?? '', /^fail the daemon has 65000, and 64999 is asked for/);
    assert.deepEqual(found.get('neighbour'), ['warn 10.0.0.9, AS 65009: active', 'ok 10.0.0.8, AS 1: the agent sets it up']);
    assert.deepEqual(found.get('BFD'), ['ok up with 10.0.0.9']);
    assert.match(found.get('password')?.join() ?? '', /^fail \/nowhere\/password for 10\.0\.0\.8: ENOENT/);
    daemon.bfd = false;
    assert.match((await check(daemon, peers)).get('BFD')?.join() ?? '', /^warn not with 10\.0\.0\.9: this daemon has none/);
    daemon.major = 3;
    assert.match((await check(daemon, peers)).get('BFD')?.join() ?? '', /^warn GoBGP 3 has none/);
    daemon.asn = 0;
    assert.match((await check(daemon)).get('autonomous system')?.join() ?? '', /^fail the daemon has none/);
    assert.match(
      (await check(daemon, ...own)).get('autonomous system')?.join() ?? '',
      /^ok the daemon waits for one; the agent gives it 64999/,
    );
    daemon.asn = 65000;
    daemon.neighbours.clear();
    assert.match((await check(daemon)).get('neighbours')?.join() ?? '', /^warn the daemon has none, and none are asked for/);
  });

  test('cleanup takes back our routes and neighbours, and nothing of others; twice is no harm', async () => {
    const daemon = heardDaemon();
    daemon.setPeer({ address: '10.0.0.7', asn: 7 }, false);
    daemon.setOurs({ prefix: '192.0.2.10/32', nextHop: '0.0.0.0', communities: [], largeCommunities: [] });
    daemon.addForeign({ prefix: '192.0.2.10/32', nextHop: '10.0.0.1', communities: [], largeCommunities: [] });
    const others = daemon.others;
    const dry = await ravelAgent(['cleanup', '--dry-run', `--state-dir=${folder}`], { daemon });
    assert.match(dry.out, /- path +192\.0\.2\.10\/32[^]*|- peer/);
    assert.match(dry.out, /- peer +neighbour 10\.0\.0\.9, AS 65009/);
    assert.deepEqual([daemon.writes.length, daemon.called('deletePeer')], [0, 0]);
    const { code, err } = await ravelAgent(['cleanup', `--state-dir=${folder}`], { daemon });
    assert.deepEqual([code, err], [0, '']);
    assert.equal(daemon.ours.size, 0);
    assert.deepEqual([...daemon.neighbours.keys()], ['10.0.0.7']);
    assert.deepEqual(daemon.others, others);
    assert.match((await ravelAgent(['cleanup', `--state-dir=${folder}`], { daemon })).out, /nothing to change/);
  });

  test('cleanup without the daemon: a word, or with --mode=bgp a failure; not even a word on another kind of machine', async () => {
    const cleanup = (...more: string[]) => ravelAgent(['cleanup', `--state-dir=${folder}`, ...more]);
    const unsaid = await cleanup();
    assert.equal(unsaid.code, 0);
    assert.match(unsaid.err, /routes of a director in mode bgp were not looked for: .*no answer/);
    const said = await cleanup('--mode=bgp');
    assert.equal(said.code, 1);
    assert.match(said.err, /no answer/);
    assert.deepEqual(await cleanup('--mode=realserver'), { code: 0, out: 'nothing to change\n', err: '' });
  });
});
