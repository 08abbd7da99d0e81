/** A whole agent that follows the fake API server, on the fake kernel, with time in the test's hands. */
import { SysctlJournal } from '../../src/drivers/journal.ts';
import { openKubernetes } from '../../src/modes/kubernetes.ts';
import type { AgentOptions, Mode } from '../../src/modes/options.ts';
import type { Origin } from '../../src/modes/origin.ts';
import { Agent } from '../../src/modes/run.ts';
import type { AgentDocument, KubernetesDocument } from '../../src/observe/agent-document.ts';
import { FakeApi } from '../fake-api/api.ts';
import { configMap, node, service, slice, type EndpointInput } from '../fake-api/objects.ts';
import { resources } from '../../src/kubernetes/api.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { FakeClock, seededRandom } from './fake-clock.ts';
import type { FakeKernel } from './kernel.ts';
import { collectingLog, defaultOptions, freshKernel, nodeNameOf, type Line } from './rig.ts';

export const source = { kind: 'kubernetes', namespace: 'lb', name: 'ravel', key: 'config', kubeconfig: undefined } as const;

export const webAt = (vip: string, name = 'web') => ({
  config: { [vip]: { '80': { namespace: 'shop', service: name, portName: 'http' } } },
});

export class ClusterRig {
  readonly kernel: FakeKernel;
  readonly clock: FakeClock;
  readonly api: FakeApi;
  readonly lines: Line[] = [];
  readonly agent: Agent;
  readonly origin: Origin;
  readonly #stop = new AbortController();
  #done: Promise<void> | undefined;

  private constructor(parts: { kernel: FakeKernel; clock: FakeClock; api: FakeApi; lines: Line[]; agent: Agent; origin: Origin }) {
    ({ kernel: this.kernel, clock: this.clock, api: this.api, lines: this.lines, agent: this.agent, origin: this.origin } = parts);
  }

  /** Two nodes, Service shop/web with one ready pod on each, and a VIP for it. */
  static async create(mode: Mode, options: Partial<AgentOptions> = {}, kernel = freshKernel()): Promise<ClusterRig> {
    const holder: { agent?: Agent } = {};
    const clock = new FakeClock(() => quiet(() => holder.agent));
    const api = new FakeApi(clock);
    const lines: Line[] = [];
    const folder = temporaryDirectory('cluster');
    const all = { ...defaultOptions, source, mode, stateDirectory: folder, nodeName: nodeNameOf(mode), ...options } satisfies AgentOptions;
    const common = { clock, random: seededRandom(3), log: collectingLog(lines) };
    const origin = await openKubernetes({ ...all, source }, common, () => Promise.resolve({ api, namespace: 'lb' }));
    const agent = new Agent({
      ...{ options: all, origin, version: '1.2.3' },
      parts: { ...common, kernel: kernel.ports, journal: new SysctlJournal(folder, '1', 'boot') },
    });
    holder.agent = agent;
    const rig = new ClusterRig({ kernel, clock, api, lines, agent, origin });
    api.store.put(resources.nodes, node({ name: 'n1', address: '10.20.0.11' }));
    api.store.put(resources.nodes, node({ name: 'n2', address: '10.20.0.12' }));
    rig.service('web');
    rig.pods('web', [
      { address: '10.244.1.2', node: 'n1' },
      { address: '10.244.2.2', node: 'n2' },
    ]);
    rig.configure(webAt('10.50.0.1'));
    return rig;
  }

  service(name: string): void {
    this.api.store.put(resources.services, service({ namespace: 'shop', name }));
  }

  pods(name: string, endpoints: readonly EndpointInput[]): void {
    this.api.store.put(resources.endpointSlices, slice({ namespace: 'shop', service: name, endpoints }));
  }

  /** Text is written as it is. */
  configure(config: unknown): void {
    const text = typeof config === 'string' ? config : JSON.stringify(config);
    this.api.store.put(resources.configMaps, configMap('lb', 'ravel', { config: text }));
  }

  async start(): Promise<this> {
    this.#done = this.agent.run(this.#stop.signal);
    await this.until('the agent has started', () => this.lines.some(({ message }) => message === 'started'));
    await this.advance(500);
    return this;
  }

  advance(milliseconds: number): Promise<void> {
    return this.clock.advance(milliseconds);
  }

  /** Real time for what is real: the status socket. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 10_000;
    while (!condition()) {
      if (performance.now() > deadline) throw new Error(`still not: ${what}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  get document(): AgentDocument {
    return this.agent.document();
  }

  get kubernetes(): KubernetesDocument {
    const { kubernetes } = this.document.source;
    if (kubernetes === null) throw new Error('no Kubernetes in the document');
    return kubernetes;
  }

  said(pattern: RegExp): Line[] {
    return this.lines.filter(({ level, message }) => level !== 'debug' && pattern.test(message));
  }

  /** `tcp 10.50.0.1:80 10.20.0.11=1 10.20.0.12=1` for each IPVS service. */
  get balanced(): string[] {
    return this.kernel.ipvs.services().map(({ id, destinations }) => {
      const name = 'address' in id ? `${id.protocol} ${id.address}:${id.port}` : String(id.fwmark);
      return [name, ...destinations.map(({ id: to, spec }) => `${to.address}=${spec.weight}`).sort()].join(' ');
    });
  }

  /** Ends as SIGTERM does. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
    this.origin.close();
    await this.clock.advance(0);
  }
}

/** Real turns until nothing runs that could go on without the clock. */
async function quiet(agent: () => Agent | undefined): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (let idle = 0; idle < 8;) {
    if (performance.now() > deadline) throw new Error('the agent does not come to rest');
    await new Promise((resolve) => setImmediate(resolve));
    idle = agent()?.loop.active === true ? 0 : idle + 1;
  }
}
