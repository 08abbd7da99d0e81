/** Metrics of whole agents on the fake kernel, asked for over HTTP as Prometheus does. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { suite, test } from 'node:test';
import { SysctlJournal } from '../../src/drivers/journal.ts';
import type { ClusterState, Source } from '../../src/model/cluster.ts';
import type { ListenOptions, Mode } from '../../src/modes/options.ts';
import { Agent } from '../../src/modes/run.ts';
import type { AgentDocument } from '../../src/observe/agent-document.ts';
import { metricFamilies } from '../../src/observe/metric-families.ts';
import { metricsServer, metricsText } from '../../src/observe/metrics.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { eventually } from '../unit/waiting.ts';
import { cluster, whole } from './cluster.ts';
import { FakeBgpDaemon } from './fake-bgp-daemon.ts';
import { collectingLog, defaultBgp, defaultOptions, freshKernel, nodeNameOf, type Line } from './rig.ts';

const state = cluster({
  pods: { web: ['n1', 'n2'], none: [] },
  vips: [
    ['192.0.2.10', 80, 'web'],
    ['192.0.2.11', 80, 'none'],
  ],
});

interface Started {
  readonly agent: Agent;
  readonly daemon: FakeBgpDaemon;
  readonly lines: Line[];
  publish: (state: ClusterState) => void;
  stop: () => Promise<void>;
}

async function start(mode: Mode, listen?: ListenOptions): Promise<Started> {
  const folder = temporaryDirectory('metrics');
  const lines: Line[] = [];
  const daemon = new FakeBgpDaemon(systemClock);
  daemon.setPeer({ address: '10.0.0.9', asn: 65009, bfd: { transmitMilliseconds: 300, receiveMilliseconds: 300, multiplier: 3 } }, true);
  let publish: Started['publish'] = () => assert.fail('not running');
  const source: Source = {
    run: ({ signal, onPublication }) => {
      publish = (next) => onPublication(whole(next));
      publish(state);
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    },
  };
  const agent = new Agent({
    options: {
      ...{ ...defaultOptions, mode, nodeName: nodeNameOf(mode), stateDirectory: folder },
      ...(mode === 'bgp' ? { bgp: defaultBgp } : {}),
      ...(listen === undefined ? {} : { metricsListen: listen }),
    },
    parts: {
      ...{ kernel: freshKernel().ports, journal: new SysctlJournal(folder, '1', 'boot'), clock: systemClock },
      ...{ random: () => 0, log: collectingLog(lines), openDaemon: () => daemon.connect() },
    },
    origin: { place: 'a puppet', source: () => source, close: () => {} },
    version: '1.2.3',
  });
  const end = new AbortController();
  const done = agent.run(end.signal);
  await eventually(() => agent.document().loop.passes > 0, 'a pass');
  return {
    ...{ agent, daemon, lines, publish: (next) => publish(next) },
    stop: async () => {
      end.abort();
      await done;
    },
  };
}

/** Lines of a page that are no comments. */
const samplesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
const pageOf = async ({ agent }: Started): Promise<string[]> => samplesOf(await metricsText(agent.document()));
const about = (page: readonly string[], ...names: readonly string[]): string[] =>
  page.filter((line) => names.some((name) => line.startsWith(`${name}{`) || line.startsWith(`${name} `)));

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

suite('what the families say', () => {
  test('a director: build, loop, VIPs with their reasons, and nothing of BGP', async () => {
    const started = await start('director');
    await eventually(() => started.agent.document().vips.some(({ announced }) => announced === true), 'announced');
    const page = await pageOf(started);
    const node = nodeNameOf('director');
    assert.deepEqual(about(page, 'ravel_build_info'), [`ravel_build_info{version="1.2.3",mode="director",node="${node}"} 1`]);
    assert.deepEqual(about(page, 'ravel_vip_announced', 'ravel_vip_reason', 'ravel_vip_conflicts_total'), [
      'ravel_vip_announced{vip="192.0.2.10"} 1',
      'ravel_vip_announced{vip="192.0.2.11"} 0',
      'ravel_vip_reason{vip="192.0.2.11",reason="NoEndpoints"} 1',
      'ravel_vip_conflicts_total{vip="192.0.2.10"} 0',
      'ravel_vip_conflicts_total{vip="192.0.2.11"} 0',
    ]);
    assert.deepEqual(about(page, 'ravel_virtual_services_not_in_force'), ['ravel_virtual_services_not_in_force{reason="NoEndpoints"} 1']);
    assert.deepEqual(about(page, 'ravel_source_synced', 'ravel_source_refused', 'ravel_removals_held'), [
      'ravel_source_synced 1',
      'ravel_source_refused 0',
      'ravel_removals_held 0',
    ]);
    const { passes, written } = started.agent.document().loop;
    assert.ok(written > 0);
    assert.deepEqual(about(page, 'ravel_passes_total', 'ravel_kernel_writes_total'), [
      `ravel_passes_total ${passes}`,
      `ravel_kernel_writes_total ${written}`,
    ]);
    assert.deepEqual(
      page.filter((line) => line.startsWith('ravel_bgp')),
      [],
    );
    await started.stop();
  });

  test('what is gone from the configuration is gone from the page', async () => {
    const started = await start('director');
    started.publish(cluster({ pods: { web: ['n1', 'n2'] }, vips: [['192.0.2.10', 80, 'web']] }));
    await eventually(() => started.agent.document().vips.length === 1, 'the VIP is gone');
    assert.ok(!(await pageOf(started)).some((line) => line.includes('192.0.2.11')));
    await started.stop();
  });

  test('a realserver announces nothing and says nothing of it', async () => {
    const started = await start('realserver');
    const page = await pageOf(started);
    assert.deepEqual(about(page, 'ravel_vip_announced', 'ravel_vip_conflicts_total'), []);
    assert.ok(about(page, 'ravel_passes_total').length === 1);
    await started.stop();
  });

  test('mode bgp: the daemon, its paths, its sessions; and a daemon that is gone', async () => {
    const started = await start('bgp');
    const { agent, daemon } = started;
    await eventually(() => agent.document().bgp?.paths.announced === 1 && agent.document().bgp?.peers.length === 1, 'announced');
    const page = await pageOf(started);
    assert.deepEqual(about(page, 'ravel_bgp_connected', 'ravel_bgp_failing', 'ravel_bgp_paths_wanted', 'ravel_bgp_paths_announced'), [
      'ravel_bgp_connected 1',
      'ravel_bgp_failing 0',
      'ravel_bgp_paths_wanted 1',
      'ravel_bgp_paths_announced 1',
    ]);
    assert.deepEqual(about(page, 'ravel_bgp_session_up', 'ravel_bgp_bfd_up'), [
      'ravel_bgp_session_up{peer="10.0.0.9",asn="65009"} 1',
      'ravel_bgp_bfd_up{peer="10.0.0.9",asn="65009"} 1',
    ]);
    daemon.stop();
    await eventually(() => agent.document().bgp?.state === 'unreachable', 'unreachable');
    await eventually(() => agent.document().vips[0]?.reason?.code === 'BgpUnreachable', 'a reason');
    const without = await pageOf(started);
    assert.deepEqual(about(without, 'ravel_bgp_connected', 'ravel_bgp_failing'), ['ravel_bgp_connected 0', 'ravel_bgp_failing 1']);
    assert.ok(without.includes('ravel_vip_reason{vip="192.0.2.10",reason="BgpUnreachable"} 1'), without.join('\n'));
    await started.stop();
  });

  test('names and units are those that Prometheus asks for, and no label can hold an error', () => {
    const names = metricFamilies.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const { name, type, help, labels } of metricFamilies) {
      assert.match(name, /^(ravel|process|nodejs)_[a-z_]+$/);
      assert.equal(name.endsWith('_total'), type === 'counter', name);
      assert.doesNotMatch(name, /_(milliseconds|microseconds|ms|count|kilobytes|mebibytes)$/);
      assert.match(help, /^[A-Z1].*\.$/, name);
      for (const label of labels) assert.match(label, /^(version|mode|node|resource|errno|reason|vip|peer|asn)$/);
    }
  });
});

suite('over HTTP', () => {
  test('an agent that is told to serves them, and stops with it; one that is not does not', async () => {
    const port = await freePort();
    const started = await start('director', { host: '127.0.0.1', port });
    await eventually(() => started.lines.some(({ message }) => message === 'metrics are served'), 'served');
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    const said = metricFamilies.filter((family) => [...family.read(started.agent.document())].length > 0);
    assert.ok(said.length > 15);
    for (const { name, type, help } of said) assert.ok(text.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`), name);
    await started.stop();
    await assert.rejects(fetch(`http://127.0.0.1:${port}/metrics`));
    const silent = await start('director');
    assert.ok(!silent.lines.some(({ message }) => message.includes('metrics')));
    await silent.stop();
  });

  test('a port that is taken is told once, waited for, and keeps nothing from work', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const started = await start('director', { host: '127.0.0.1', port });
    await eventually(() => started.lines.some(({ message }) => message.startsWith('metrics cannot be served')), 'told');
    assert.equal(started.agent.document().vips.length, 2);
    other.close();
    await eventually(() => started.lines.some(({ message }) => message === 'metrics are served'), 'served');
    assert.equal(started.lines.filter(({ message }) => message.startsWith('metrics cannot be served')).length, 1);
    assert.equal((await fetch(`http://127.0.0.1:${port}/metrics`)).status, 200);
    await started.stop();
  });

  test('a stop while the port is taken ends at once', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const started = await start('director', { host: '127.0.0.1', port: (other.address() as AddressInfo).port });
    await eventually(() => started.lines.some(({ message }) => message.startsWith('metrics cannot be served')), 'told');
    await started.stop();
    other.close();
  });

  test('other paths and methods get nothing; a document that fails is an error, and the server goes on', async () => {
    const started = await start('director');
    let broken = true;
    const document = (): AgentDocument => {
      if (broken) throw new Error('no document');
      return started.agent.document();
    };
    const heard: unknown[] = [];
    const server = metricsServer(document, (error) => heard.push(error)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    assert.equal((await fetch(`${at}/`)).status, 404);
    assert.equal((await fetch(`${at}/status`)).status, 404);
    const posted = await fetch(`${at}/metrics`, { method: 'POST', body: 'x' });
    assert.deepEqual([posted.status, posted.headers.get('allow')], [405, 'GET']);
    const failed = await fetch(`${at}/metrics`);
    assert.equal(failed.status, 500);
    assert.doesNotMatch(await failed.text(), /no document/, 'what went wrong is for the log');
    assert.deepEqual(heard.map(String), ['Error: no document']);
    broken = false;
    assert.equal((await fetch(`${at}/metrics?x=1`)).status, 200);
    server.closeAllConnections();
    server.close();
    await started.stop();
  });
});
