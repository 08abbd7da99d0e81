/** The source over the agent's own client and real sockets: what a fake behind the port cannot show. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Access } from '../../src/kubernetes/access.ts';
import { resources, type KubernetesApi } from '../../src/kubernetes/api.ts';
import { openConnection } from '../../src/kubernetes/connection.ts';
import type { Problem, Publication } from '../../src/model/cluster.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { KubernetesSource } from '../../src/sources/kubernetes/source.ts';
import { configMap, node, service, slice } from '../fake-api/objects.ts';
import { startFakeServer, type FakeServer } from '../fake-api/server.ts';

/** Polls what real sockets bring about; fails after twenty seconds. */
async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `not within twenty seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

class Follow {
  readonly server: FakeServer;
  readonly publications: Publication[] = [];
  readonly troubles: (Problem | undefined)[] = [];
  readonly source: KubernetesSource;
  readonly #api: KubernetesApi;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  private constructor(server: FakeServer, api: KubernetesApi) {
    this.server = server;
    this.#api = api;
    const { store } = server.api;
    store.put(resources.services, service({ name: 'web' }));
    this.pods('10.244.1.1');
    store.put(resources.nodes, node({ name: 'n1', address: '10.20.0.1' }));
    const config = { config: { '192.0.2.10': { '80': { service: 'web', portName: 'http' } } } };
    store.put(resources.configMaps, configMap('lb', 'ravel', { prod: JSON.stringify(config) }));
    this.source = new KubernetesSource({
      ...{ api, clock: systemClock, random: () => 0, mode: 'director', leases: { namespace: 'lb' } },
      config: { namespace: 'lb', name: 'ravel', key: 'prod' },
    });
    this.#ended = this.source.run({
      signal: this.#stop.signal,
      onPublication: (publication) => this.publications.push(publication),
      onRefused: (problems) => assert.fail(JSON.stringify(problems)),
      onTrouble: (problem) => this.troubles.push(problem),
    });
  }

  static async start(): Promise<Follow> {
    const server = await startFakeServer();
    const access: Access = {
      ...{ server: new URL(server.url), origin: 'a test', authority: undefined, serverName: undefined, insecure: false, namespace: 'lb' },
      ...{ identity: { token: undefined, certificate: undefined, key: undefined }, warnings: [] },
    };
    return new Follow(server, await openConnection({ access, clock: systemClock }));
  }

  pods(...addresses: string[]): void {
    this.server.api.store.put(
      resources.endpointSlices,
      slice({ service: 'web', endpoints: addresses.map((address) => ({ address, node: 'n1' })) }),
    );
  }

  get endpoints(): string | undefined {
    return this.publications
      .at(-1)
      ?.state.services.get('default/web')
      ?.endpoints.map(({ address }) => address)
      .join();
  }

  follows(...addresses: string[]): Promise<void> {
    return until(`endpoints ${addresses.join()}`, () => this.endpoints === addresses.join());
  }

  /** Every watch is open, as the server sees it. */
  watching(): Promise<void> {
    return until('all watch', () => this.server.api.watches.size === 5 && this.source.status().every(({ state }) => state === 'watching'));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
    await until('the server sees every watch closed', () => this.server.api.watches.size === 0);
    this.#api.close();
    await this.server.close();
  }
}

suite('over real sockets', () => {
  test('lists, watches, and leaves nothing open', async () => {
    const follow = await Follow.start();
    await follow.follows('10.244.1.1');
    await follow.watching();
    follow.pods('10.244.1.1', '10.244.1.2');
    await follow.follows('10.244.1.1', '10.244.1.2');
    assert.equal(follow.server.api.mostWatches, 5);
    assert.deepEqual(follow.troubles, []);
    await follow.stop();
  });

  test('pages', async () => {
    const follow = await Follow.start();
    follow.server.api.pageSize = 2;
    for (let index = 0; index < 7; index++) follow.server.api.store.put(resources.services, service({ name: `s${index}` }));
    await follow.follows('10.244.1.1');
    await until('all Services', () => follow.source.status()[0]?.objects === 8);
    await follow.stop();
  });

  for (const [what, hurt] of [
    ['a connection that breaks', (server: FakeServer): void => server.api.watching('endpointslices').forEach((watch) => watch.break())],
    [
      'a line that is no JSON',
      (server: FakeServer): void => server.api.watching('endpointslices').forEach((watch) => watch.send('{"type": oops}\n')),
    ],
    [
      'a line that is cut off',
      (server: FakeServer): void =>
        server.api.watching('endpointslices').forEach((watch) => {
          watch.send('{"type":"MODIFIED","object":{"metadata":{"name":"web');
          watch.end();
        }),
    ],
    [
      'a JSON document that is no event',
      (server: FakeServer): void => server.api.watching('endpointslices').forEach((watch) => watch.send('[1]\n')),
    ],
    ['an ERROR 410', (server: FakeServer): void => server.api.watching('endpointslices').forEach((watch) => watch.error(410))],
  ] as const) {
    test(`${what}: the watch goes on, and what happened meanwhile is known`, async () => {
      const follow = await Follow.start();
      await follow.follows('10.244.1.1');
      await follow.watching();
      hurt(follow.server);
      follow.pods('10.244.1.9');
      await follow.follows('10.244.1.9');
      for (const publication of follow.publications) {
        assert.equal(publication.state.services.get('default/web')?.endpoints.length, 1, 'nothing was ever gone');
      }
      await until('no trouble is left', () => follow.source.status().every(({ error }) => error === null));
      await follow.stop();
    });
  }

  test('a page that is no JSON is not an empty list', async () => {
    const follow = await Follow.start();
    await follow.follows('10.244.1.1');
    await follow.watching();
    follow.server.api.faults.add('list', 'endpointslices', { body: '<html>maintenance</html>' });
    follow.server.api.watching('endpointslices').forEach((watch) => watch.error(410));
    follow.pods('10.244.1.8');
    await follow.follows('10.244.1.8');
    assert.ok(follow.troubles.some((problem) => /^list endpointslices.discovery.k8s.io: /.test(problem?.message ?? '')));
    await follow.stop();
  });
});
