/**
 * Random lives of one virtual service on a director: pods, nodes, connections, confirmations and restarts come as they
 * like. What must always hold is written here once more, without the words of the code that is tested.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { directorService } from '../../src/desired/director.ts';
import { directorStep, nothingRemembered, type DrainOptions, type Memory, type Observed, type Outcome } from '../../src/desired/drain.ts';
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
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly forward: 'direct' | 'tunnel' | 'masquerade';
  /** The director runs on node n1: without a share for pods there, or with one. */
  readonly self: 'elsewhere' | 'alone' | 'colocated';
}

export type Event =
  | { readonly do: 'pod'; readonly pod: number; readonly state: PodState; readonly node: NodeName }
  | {
      readonly do: 'node';
      readonly node: NodeName;
      readonly what: 'fresh' | 'ready' | 'unready' | 'cordon' | 'uncordon' | 'exclude' | 'delete';
    }
  /** To the k-th destination, whichever that is. */
  | { readonly do: 'connections'; readonly at: number; readonly count: number }
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
  { weight: 3, arbitrary: fc.record({ do: fc.constant('connections' as const), at: fc.nat(5), count: fc.constantFrom(0, 0, 1, 30) }) },
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
    protocol: fc.constantFrom('tcp', 'tcp', 'tcp', 'udp', 'sctp'),
    forward: fc.constantFrom('direct', 'tunnel', 'masquerade'),
    self: fc.constantFrom('elsewhere', 'elsewhere', 'alone', 'colocated'),
  }),
  events: fc.array(event, { minLength: 1, maxLength: 40 }),
});

const virtualServiceOf = ({ protocol, forward }: Setting): VirtualService => ({
  ...{ key: `${protocol} 10.50.0.1:80`, address: '10.50.0.1', port: 80, protocol, service: 'default/web', portName: 'http' },
  ...{ scheduler: 'wrr', schedulerFlags: [], forward, upperThreshold: 0, lowerThreshold: 0 },
});

/** What is known of who is behind a destination, in words of this file. */
interface Behind {
  readonly ready: number;
  readonly serving: number;
  /** May get new connections. */
  readonly eligible: boolean;
  /** Somebody answers there. */
  readonly answers: boolean;
  /** There is such a pod, in whatever state; of a node always. */
  readonly exists: boolean;
}

interface Held {
  weight: number;
  connections: number;
}

function weightsOf(service: Outcome['service'], forward: Setting['forward']): [string, number][] {
  return (service?.destinations ?? []).map(({ id, spec }) => {
    assert.equal(spec.forward, forward);
    return [forward === 'masquerade' ? `${id.address} ${id.port}` : id.address, spec.weight];
  });
}

/** The world around the director, and the director's own memory. */
export class Life {
  readonly #setting: Setting;
  readonly #virtualService: VirtualService;
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
  /** Pods on the director have a share in force. */
  #local = false;

  constructor(setting: Setting) {
    this.#setting = setting;
    this.#virtualService = virtualServiceOf(setting);
    for (const name of nodeNames) this.#nodes.set(name, this.#fresh(name));
  }

  #fresh(name: NodeName): Node {
    return { name, addresses: [`10.20.0.${name.slice(1)}`], labels: {}, ready: true, unschedulable: false };
  }

  get options(): DrainOptions {
    const { drain, readiness, handover, idle, override, self } = this.#setting;
    return {
      ...{ drainMilliseconds: drain, readinessMilliseconds: readiness, handoverMilliseconds: handover },
      ...{ idleDestinations: idle, weightOverride: override },
      ...(self === 'elsewhere' ? {} : { self: 'n1', colocated: self === 'colocated' }),
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
      virtualServices: new Map([[this.#virtualService.key, this.#virtualService]]),
      virtualServicesOf: new Map([['default/web', [this.#virtualService]]]),
      ...{ addresses: ['10.50.0.1'], nodeLabels: {}, mtu: new Map() },
      ...(confirms ? { confirmed: new Map(this.#confirmed) } : {}),
    };
  }

  /** Pods that are not gone. */
  get #present(): { pod: number; state: PodState; node: NodeName }[] {
    return [...this.#pods].filter(([, { state }]) => state !== 'gone').map(([pod, rest]) => ({ pod, ...rest }));
  }

  #mayServe(name: NodeName): boolean {
    const node = this.#nodes.get(name);
    return node !== undefined && node.ready && !node.unschedulable && Object.keys(node.labels).length === 0;
  }

  /** Who is behind a destination: `10.20.0.2`, or `10.244.0.3 8080`. */
  #behind(backend: string): Behind {
    const [address = '', port] = backend.split(' ');
    const last = Number(address.split('.')[3]);
    const isPod = port !== undefined;
    const pods = this.#present.filter(({ pod, node }) => (isPod ? pod + 1 === last : node === `n${last}`));
    const name: NodeName = isPod ? (pods[0]?.node ?? 'n1') : (`n${last}` as NodeName);
    const ready = pods.filter(({ state }) => state === 'ready').length;
    const serving = pods.filter(({ state }) => state === 'serving').length;
    // The director's own node is none, except for pods that it has no share for.
    const { self, forward } = this.#setting;
    const own = self !== 'elsewhere' && name === 'n1' && !(isPod && self === 'alone');
    const fits = isPod === (forward === 'masquerade');
    return {
      ...{ ready, serving, eligible: this.#mayServe(name) && !own && fits, exists: !isPod || pods.length > 0 },
      answers: this.#nodes.get(name)?.ready === true && ready + serving > 0 && (isPod || !own) && fits,
    };
  }

  /** All that could be a destination now. */
  get #backends(): string[] {
    if (this.#setting.forward !== 'masquerade') return nodeNames.map((name) => `10.20.0.${name.slice(1)}`);
    return this.#present.map(({ pod }) => `10.244.0.${pod + 1} 8080`);
  }

  /** Pods on the director itself, where they have a share. */
  #own(state: PodState): number {
    if (this.#setting.self !== 'colocated' || !this.#mayServe('n1')) return 0;
    return this.#present.filter((pod) => pod.node === 'n1' && pod.state === state).length;
  }

  #claims(backend: string): boolean {
    const anyReady =
      this.#own('ready') > 0 || this.#backends.some((other) => this.#behind(other).eligible && this.#behind(other).ready > 0);
    const { ready, serving, eligible } = this.#behind(backend);
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
        const held = [...this.kernel.values()][event.at];
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
    const outcome = directorStep(state, this.#virtualService, this.options, selectEligible(state), {
      ...{ now: this.#now, observed, memory: this.#memory, first: this.#first, local: this.#local },
    });
    this.#first = false;
    this.#memory = outcome.memory;
    this.#due = outcome.due;
    this.#check(weightsOf(outcome.service, this.#setting.forward), outcome.local !== undefined);
    assert.equal(outcome.reason === undefined, this.#local || this.#sum > 0, 'a reason exactly without a backend');
    this.#checkShare(outcome.local);
  }

  get #sum(): number {
    return [...this.kernel.values()].reduce((total, { weight }) => total + weight, 0);
  }

  /** Pods here get what is theirs beside what the kernel holds, and nobody gets what is nobody's. */
  #checkShare(local: Outcome['local']): void {
    const pods =
      this.#own('ready') > 0
        ? this.#own('ready')
        : this.#backends.some((one) => this.#behind(one).ready > 0 && this.#behind(one).eligible)
          ? 0
          : this.#own('serving');
    assert.equal(local?.pods.length ?? 0, pods, 'pods on the director with a share');
    if (local === undefined) return;
    const slots = local.slots ?? pods;
    if (this.#sum === 0) assert.equal(slots, pods, 'without weight elsewhere all stays here');
    else assert.ok(slots > pods, 'what is elsewhere gets its part');
    const { override, steps, forward } = this.#setting;
    if (steps !== undefined) return;
    const own = override && forward !== 'masquerade' ? 1 : pods;
    assert.ok(Math.abs(pods / slots - own / (own + this.#sum)) < 0.05, `${pods} of ${slots} shares beside weight ${this.#sum}`);
  }

  /** Compares what is wanted with what was there, then makes it so. */
  #check(wanted: readonly (readonly [string, number])[], local: boolean): void {
    const before = new Map([...this.kernel].map(([address, held]) => [address, { ...held }]));
    const next = new Map(wanted);
    const wasBacked = this.#local || this.#sum > 0;
    for (const [address, { weight, connections }] of before) {
      if (!this.#claims(address)) {
        assert.ok((next.get(address) ?? 0) <= weight, `${address}: weight rose from ${weight} without a claim`);
        if (!this.#unclaimedSince.has(address)) this.#unclaimedSince.set(address, this.#now);
        const since = this.#unclaimedSince.get(address) ?? 0;
        const { eligible, serving, answers, exists } = this.#behind(address);
        // Nobody there, and nothing that would end: it goes at once, also where idle destinations stay.
        const deserted = exists && this.#setting.protocol === 'tcp' ? false : !exists || !answers;
        if (deserted && weight > 0) assert.ok(!next.has(address) || this.#setting.drain === 0, `${address}: deserted, and stays`);
        if (!deserted && !next.has(address) && (connections > 0 || (eligible && serving > 0))) {
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
    for (const backend of this.#backends) if (this.#claims(backend)) this.#unclaimedSince.delete(backend);
    const readySomewhere =
      this.#own('ready') > 0 || this.#backends.some((one) => this.#behind(one).ready > 0 && this.#behind(one).eligible);
    if (readySomewhere && wasBacked) {
      assert.ok(local || [...next.values()].some((weight) => weight > 0), 'the last weight went while a pod is ready on an eligible node');
    }
    this.#local = local;
    this.kernel.clear();
    for (const [address, weight] of next) this.kernel.set(address, { weight, connections: before.get(address)?.connections ?? 0 });
  }

  /** Nothing happens any more: connections end, time passes. What is there must then be what directorService() says. */
  settle(): void {
    for (const held of this.kernel.values()) if (held.weight === 0) held.connections = 0;
    this.#step();
    this.wait(200_000);
    const { service, local } = directorService(this.state, this.#virtualService, this.options);
    const expected = Object.fromEntries(weightsOf(service, this.#setting.forward));
    assert.deepEqual(Object.fromEntries([...this.kernel].sort().map(([backend, { weight }]) => [backend, weight])), expected);
    assert.equal(this.#local, local !== undefined);
    const looks = this.looks;
    this.wait(1_000_000);
    assert.equal(this.looks, looks, 'nothing is looked at any more once all is as it should be');
  }
}
