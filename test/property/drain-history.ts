/**
 * Random lives of one virtual service on a director: pods, nodes, connections, confirmations and restarts come as they
 * like. What must always hold is written here once more, without the words of the code that is tested.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { directorService } from '../../src/desired/director.ts';
import { directorStep, nothingRemembered, type DrainOptions, type Memory, type Observed } from '../../src/desired/drain.ts';
import { selectEligible } from '../../src/desired/eligibility.ts';
import type { ClusterState, Endpoint, Node, VirtualService } from '../../src/model/cluster.ts';

const nodeNames = ['n1', 'n2', 'n3', 'n4'] as const;
type NodeName = (typeof nodeNames)[number];
const podStates = ['ready', 'waiting', 'serving', 'ending', 'gone'] as const;
type PodState = (typeof podStates)[number];

export interface Setting {
  readonly drain: number;
  readonly readiness: number;
  readonly handover: number;
  readonly steps: { readonly count: number; readonly milliseconds: number } | undefined;
  readonly idle: 'remove' | 'keep';
  readonly override: boolean;
  /** Realservers confirm what they have programmed. */
  readonly confirms: boolean;
}

export type Event =
  | { readonly do: 'pod'; readonly pod: number; readonly state: PodState; readonly node: NodeName }
  | {
      readonly do: 'node';
      readonly node: NodeName;
      readonly what: 'fresh' | 'ready' | 'unready' | 'cordon' | 'uncordon' | 'exclude' | 'delete';
    }
  | { readonly do: 'connections'; readonly node: NodeName; readonly count: number }
  | { readonly do: 'confirm'; readonly node: NodeName }
  | { readonly do: 'restart' }
  | { readonly do: 'forget counts' }
  | { readonly do: 'wait'; readonly milliseconds: number };

const anyNode = fc.constantFrom(...nodeNames);
const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      ...{ do: fc.constant('pod' as const), pod: fc.nat(5), node: anyNode },
      state: fc.oneof({ weight: 3, arbitrary: fc.constant('ready' as const) }, { weight: 4, arbitrary: fc.constantFrom(...podStates) }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ do: fc.constant('node' as const), node: anyNode },
      what: fc.constantFrom('fresh', 'ready', 'unready', 'cordon', 'uncordon', 'exclude', 'delete'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('connections' as const), node: anyNode, count: fc.constantFrom(0, 0, 1, 30) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('confirm' as const), node: anyNode }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'forget counts' as const }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), milliseconds: fc.constantFrom(1, 100, 900, 1000, 5000, 31_000) }) },
);

export const drainLife: fc.Arbitrary<{ readonly setting: Setting; readonly events: readonly Event[] }> = fc.record({
  setting: fc.record({
    ...{ drain: fc.constantFrom(0, 2000, 30_000), readiness: fc.constantFrom(0, 3000, 10_000), handover: fc.constantFrom(0, 1000) },
    steps: fc.option(fc.record({ count: fc.integer({ min: 1, max: 5 }), milliseconds: fc.constantFrom(1, 4000, 20_000) }), {
      nil: undefined,
    }),
    ...{ idle: fc.constantFrom('remove', 'remove', 'keep'), override: fc.boolean(), confirms: fc.boolean() },
  }),
  events: fc.array(event, { minLength: 1, maxLength: 40 }),
});

const virtualService: VirtualService = {
  ...{ key: 'tcp 10.50.0.1:80', address: '10.50.0.1', port: 80, protocol: 'tcp', service: 'default/web', portName: 'http' },
  ...{ scheduler: 'wrr', schedulerFlags: [], forward: 'direct', upperThreshold: 0, lowerThreshold: 0 },
};

interface Held {
  weight: number;
  connections: number;
}

/** The world around the director, and the director's own memory. */
export class Life {
  readonly #setting: Setting;
  readonly #nodes = new Map<NodeName, Node>();
  readonly #pods = new Map<number, { state: PodState; node: NodeName }>();
  readonly #confirmed = new Map<string, number>();
  readonly kernel = new Map<string, Held>();
  #revision = 1;
  #now = 1000;
  #memory: Memory = nothingRemembered;
  #first = true;
  #counted = true;
  #due = Number.POSITIVE_INFINITY;
  /** Since when a destination has had no claim, as far as this process can know. */
  readonly #unclaimedSince = new Map<string, number>();
  looks = 0;

  constructor(setting: Setting) {
    this.#setting = setting;
    for (const name of nodeNames) this.#nodes.set(name, this.#fresh(name));
  }

  #fresh(name: NodeName): Node {
    return { name, addresses: [`10.20.0.${name.slice(1)}`], labels: {}, ready: true, unschedulable: false };
  }

  get options(): DrainOptions {
    const { drain, readiness, handover, idle, override } = this.#setting;
    return {
      ...{ drainMilliseconds: drain, readinessMilliseconds: readiness, handoverMilliseconds: handover },
      ...{ idleDestinations: idle, weightOverride: override },
    };
  }

  get state(): ClusterState {
    const endpoints = [...this.#pods].flatMap(([pod, { state, node }]): Endpoint[] => {
      if (state === 'gone') return [];
      const terminating = state === 'serving' || state === 'ending';
      return [
        {
          ...{ address: `10.244.0.${pod + 1}`, port: 8080, portName: 'http', node, ready: state === 'ready', terminating },
          ...(state === 'ending' ? { serving: false } : {}),
        },
      ];
    });
    const { steps, confirms } = this.#setting;
    const service = {
      ...{ namespace: 'default', name: 'web', ports: [{ name: 'http', port: 80, protocol: 'tcp' as const }], endpoints },
      ...{ revision: this.#revision, ...(steps === undefined ? {} : { drain: { steps } }) },
    };
    return {
      nodes: this.#nodes,
      services: new Map([['default/web', service]]),
      virtualServices: new Map([[virtualService.key, virtualService]]),
      virtualServicesOf: new Map([['default/web', [virtualService]]]),
      ...{ addresses: ['10.50.0.1'], nodeLabels: {}, mtu: new Map() },
      ...(confirms ? { confirmed: new Map(this.#confirmed) } : {}),
    };
  }

  /** Pods by address of the node, in words of this file. */
  #podsAt(address: string): { ready: number; serving: number; eligible: boolean } {
    const node = [...this.#nodes.values()].find(({ addresses }) => addresses[0] === address);
    if (node === undefined) return { ready: 0, serving: 0, eligible: false };
    const pods = [...this.#pods.values()].filter((pod) => pod.node === node.name);
    return {
      ready: pods.filter(({ state }) => state === 'ready').length,
      serving: pods.filter(({ state }) => state === 'serving').length,
      eligible: node.ready && !node.unschedulable && Object.keys(node.labels).length === 0,
    };
  }

  #claims(address: string): boolean {
    const places = nodeNames.map((name) => this.#podsAt(`10.20.0.${name.slice(1)}`));
    const anyReady = places.some(({ ready, eligible }) => eligible && ready > 0);
    const { ready, serving, eligible } = this.#podsAt(address);
    return eligible && (anyReady ? ready > 0 : serving > 0);
  }

  happen(event: Event): void {
    switch (event.do) {
      case 'pod':
        this.#pods.set(event.pod, { state: event.state, node: event.node });
        this.#revision += 1;
        break;
      case 'node':
        this.#change(event.node, event.what);
        break;
      case 'connections': {
        const held = this.kernel.get(`10.20.0.${event.node.slice(1)}`);
        // Weight 0 takes nothing new: what is there can only end.
        if (held !== undefined) held.connections = held.weight > 0 ? event.count : Math.min(held.connections, event.count);
        break;
      }
      case 'confirm':
        this.#confirmed.set(event.node, this.#revision);
        break;
      case 'restart':
        this.#memory = nothingRemembered;
        this.#first = true;
        this.#unclaimedSince.clear();
        break;
      case 'forget counts':
        this.#counted = false;
        break;
      case 'wait':
        this.wait(event.milliseconds);
        return;
    }
    this.#step();
  }

  #change(name: NodeName, what: string): void {
    const node = this.#nodes.get(name) ?? this.#fresh(name);
    if (what === 'delete') this.#nodes.delete(name);
    else if (what === 'fresh') this.#nodes.set(name, this.#fresh(name));
    else if (what === 'exclude')
      this.#nodes.set(name, { ...node, labels: { 'node.kubernetes.io/exclude-from-external-load-balancers': '' } });
    else if (what === 'unready' || what === 'ready') this.#nodes.set(name, { ...node, ready: what === 'ready' });
    else this.#nodes.set(name, { ...node, unschedulable: what === 'cordon' });
  }

  /** Time passes; the director looks when it said that it would. */
  wait(milliseconds: number): void {
    const end = this.#now + milliseconds;
    while (this.#due <= end) {
      assert.ok(this.looks < 10_000, 'it looks again and again without an end');
      this.#now = Math.max(this.#now, this.#due);
      this.#step();
      assert.ok(this.#due > this.#now, 'the next look is later than this one');
    }
    this.#now = end;
  }

  #step(): void {
    this.looks += 1;
    const observed: Observed = new Map(
      [...this.kernel].map(([address, { weight, connections }]) => [
        address,
        { weight, connections: this.#counted || this.#memory.leaving.size > 0 ? connections : undefined },
      ]),
    );
    this.#counted = true;
    const { state } = this;
    const outcome = directorStep(state, virtualService, this.options, selectEligible(state), {
      ...{ now: this.#now, observed, memory: this.#memory, first: this.#first },
    });
    this.#first = false;
    this.#memory = outcome.memory;
    this.#due = outcome.due;
    this.#check(outcome.service?.destinations.map(({ id, spec }) => [id.address, spec.weight]) ?? []);
    assert.equal(
      outcome.reason === undefined,
      [...this.kernel.values()].some(({ weight }) => weight > 0),
      'a reason exactly without a backend',
    );
  }

  /** Compares what is wanted with what was there, then makes it so. */
  #check(wanted: readonly (readonly [string, number])[]): void {
    const before = new Map([...this.kernel].map(([address, held]) => [address, { ...held }]));
    const sum = (held: Iterable<{ weight: number }>): number => [...held].reduce((total, { weight }) => total + weight, 0);
    const next = new Map(wanted);
    for (const [address, { weight, connections }] of before) {
      if (!this.#claims(address)) {
        assert.ok((next.get(address) ?? 0) <= weight, `${address}: weight rose from ${weight} without a claim`);
        if (!this.#unclaimedSince.has(address)) this.#unclaimedSince.set(address, this.#now);
        const since = this.#unclaimedSince.get(address) ?? 0;
        const { eligible, serving } = this.#podsAt(address);
        if (!next.has(address) && (connections > 0 || (eligible && serving > 0))) {
          assert.ok(
            this.#now - since + 0.01 >= this.#setting.drain,
            `${address}: removed with connections, or pods that may be needed again, after ${this.#now - since} ms`,
          );
        }
      } else {
        this.#unclaimedSince.delete(address);
        if (weight > 0) assert.ok((next.get(address) ?? 0) > 0, `${address}: has a claim and weight, and loses it`);
      }
    }
    for (const name of nodeNames) {
      const address = `10.20.0.${name.slice(1)}`;
      if (this.#claims(address)) this.#unclaimedSince.delete(address);
    }
    const readySomewhere = nodeNames.some((name) => {
      const { ready, eligible } = this.#podsAt(`10.20.0.${name.slice(1)}`);
      return ready > 0 && eligible;
    });
    if (readySomewhere && sum(before.values()) > 0) {
      assert.ok(
        [...next.values()].some((weight) => weight > 0),
        'the last weight went while a pod is ready on an eligible node',
      );
    }
    this.kernel.clear();
    for (const [address, weight] of next) this.kernel.set(address, { weight, connections: before.get(address)?.connections ?? 0 });
  }

  /** Nothing happens any more: connections end, time passes. What is there must then be what directorService() says. */
  settle(): void {
    for (const held of this.kernel.values()) if (held.weight === 0) held.connections = 0;
    this.#step();
    this.wait(200_000);
    const { service } = directorService(this.state, virtualService, this.options);
    const expected = Object.fromEntries((service?.destinations ?? []).map(({ id, spec }) => [id.address, spec.weight]));
    assert.deepEqual(Object.fromEntries([...this.kernel].sort().map(([address, { weight }]) => [address, weight])), expected);
    const looks = this.looks;
    this.wait(1_000_000);
    assert.equal(this.looks, looks, 'nothing is looked at any more once all is as it should be');
  }
}
