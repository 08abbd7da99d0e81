/** An agent of either mode on the fake kernel, with time in the test's hands. */
import { SysctlJournal } from '../../src/drivers/journal.ts';
import type { Kernel } from '../../src/drivers/kernel.ts';
import type { Publication } from '../../src/model/cluster.ts';
import type { Composition, Parts } from '../../src/modes/composition.ts';
import type { AgentOptions, BgpOptions, Mode } from '../../src/modes/options.ts';
import { compositions } from '../../src/modes/run.ts';
import type { Fields, Log } from '../../src/observe/log.ts';
import { ReconcileLoop } from '../../src/reconcile/loop.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { FakeBgpDaemon } from './fake-bgp-daemon.ts';
import { FakeClock, seededRandom } from './fake-clock.ts';
import { FakeKernel } from './kernel.ts';

export const defaultOptions = {
  ...{ nodeName: 'n1', interface: 'eth0', vipInterface: 'ravel0', stateDirectory: '/nowhere' },
  ...({ source: { kind: 'file', file: 'none' }, defaultListener: undefined, agentNamespace: undefined, events: true } as const),
  ...{
    auditMilliseconds: 60_000,
    handoverMilliseconds: 0,
    drainMilliseconds: 120_000,
    readinessMilliseconds: 10_000,
    idleDestinations: 'remove' as const,
    arpRefreshMilliseconds: 60_000,
    arpFramesPerSecond: 2000,
    weightOverride: false,
    ignoreCordon: true,
  },
  ...({ colocation: 'disabled', natBackend: 'nftables', iptablesChain: 'RAVEL', natCounters: true, insideAccess: 'local' } as const),
  ...({ coordinatorPorts: [], failoverProbes: 1, thresholdDivisor: 'weight', ipvsSysctlDefaults: false } as const),
  ...{ guard: { share: 0.5, count: 10, confirmed: false }, masquerade: { enabled: false }, ipvsSysctls: new Map<string, string>() },
} satisfies Omit<AgentOptions, 'mode'>;

/** Of mode bgp. */
export const defaultBgp: BgpOptions = {
  ...{ endpoint: '127.0.0.1:50051', attributes: { communities: [], largeCommunities: [] }, nextHop: {} },
  ...{ prefixLength: { 4: 32, 6: 128 }, drainMilliseconds: 0 },
};

/** A director that is one of the nodes is a story of its own. */
export const nodeNameOf = (mode: Mode): string => (mode === 'realserver' ? defaultOptions.nodeName : 'd1');

/** A way to run an agent that every promise of the loop holds for. */
export interface Variant {
  readonly name: string;
  readonly mode: Mode;
  readonly options: Partial<AgentOptions>;
}

export const variants: readonly Variant[] = [
  { name: 'director', mode: 'director', options: {} },
  { name: 'director among several', mode: 'bgp', options: {} },
  { name: 'realserver', mode: 'realserver', options: {} },
  { name: 'realserver on iptables', mode: 'realserver', options: { natBackend: 'iptables' } },
];

export interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: Fields;
}

export function collectingLog(lines: Line[]): Log {
  const at =
    (level: string) =>
    (message: string, fields: Fields = {}): void =>
      void lines.push({ level, message, fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), debugging: false };
}

/** A kernel as the agent finds it: one interface to the segment, settings as a distribution leaves them. */
export function freshKernel(): FakeKernel {
  const kernel = new FakeKernel();
  kernel.links.addLink({ name: 'eth0', kind: 'veth', mac: '02:00:00:00:01:01', mtu: 1500, up: true, running: true, noArp: false });
  for (const name of ['all', 'eth0']) {
    kernel.sysctls.values.set(`net/ipv4/conf/${name}/arp_ignore`, '0');
    kernel.sysctls.values.set(`net/ipv4/conf/${name}/arp_announce`, '0');
    kernel.sysctls.values.set(`net/ipv4/conf/${name}/rp_filter`, name === 'all' ? '0' : '1');
  }
  return kernel;
}

/** Everything the kernel holds that the agent may have written, comparable with deepEqual. */
export async function holdings(kernel: FakeKernel): Promise<unknown> {
  const faults = kernel.faults;
  faults.heal();
  const services = kernel.ipvs.services().map(({ id, spec, destinations }) => ({
    ...{ id, spec },
    destinations: destinations
      .map((destination) => ({ id: destination.id, spec: destination.spec }))
      .sort((a, b) => (JSON.stringify(a.id) < JSON.stringify(b.id) ? -1 : 1)),
  }));
  const links = await kernel.links.links();
  const names = new Map(links.map(({ index, name }) => [index, name]));
  const addresses = (await kernel.links.addresses())
    .filter(({ scope }) => scope !== 'link')
    .map(({ interfaceIndex, address, prefix, protocol }) => `${names.get(interfaceIndex) ?? '?'} ${address}/${prefix} proto ${protocol}`);
  return {
    services: services.sort((a, b) => (JSON.stringify(a.id) < JSON.stringify(b.id) ? -1 : 1)),
    links: [...names.values()].sort(),
    addresses: addresses.sort(),
    nftables: kernel.nftables.dump(),
    iptables: kernel.iptables.dump(),
    conntrack: kernel.conntrack.table,
    sysctls: Object.fromEntries(kernel.sysctls.values),
  };
}

export class Rig {
  readonly mode: Mode;
  readonly kernel: FakeKernel;
  readonly clock: FakeClock;
  readonly lines: Line[] = [];
  readonly folder: string;
  /** Of mode bgp; outlives the agent. */
  readonly daemon: FakeBgpDaemon;
  readonly composition: Composition;
  readonly loop: ReconcileLoop;
  /** A pass may wait for the clock: that it is under way is no unrest then. Where it has come to, {@link reached} finds out. */
  passesWait = false;
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;

  /** `ports` stands in for the kernel's own ports: a test's way to break them. */
  constructor(
    mode: Mode,
    kernel = freshKernel(),
    options: Partial<AgentOptions> = {},
    folder?: string,
    ports: Partial<Kernel> = {},
    more: Pick<Parts, 'coordinator'> & { readonly daemon?: FakeBgpDaemon } = {},
  ) {
    this.mode = mode;
    this.kernel = kernel;
    this.folder = folder ?? temporaryDirectory('fake');
    this.clock = new FakeClock(() => this.#quiet());
    const { daemon, ...rest } = more;
    this.daemon = daemon ?? new FakeBgpDaemon(this.clock);
    const log = collectingLog(this.lines);
    const journal = new SysctlJournal(this.folder, '1', 'boot');
    const parts = {
      ...{ kernel: { ...kernel.ports, ...ports }, journal, clock: this.clock, random: seededRandom(1), log },
      ...{ openDaemon: () => this.daemon.connect(), ...rest },
    };
    const routed = mode === 'bgp' ? { bgp: defaultBgp } : {};
    this.composition = compositions[mode]({ ...defaultOptions, ...routed, mode, nodeName: nodeNameOf(mode), ...options }, parts);
    this.loop = new ReconcileLoop({
      plane: this.composition.plane,
      clock: this.clock,
      random: seededRandom(2),
      log,
      auditMilliseconds: 60_000,
    });
    const listeners = this.composition
      .listeners({ doubt: (cause) => this.loop.doubt(cause), vipsChanged: () => {}, renew: () => this.loop.renew() })
      .map((listen) => listen(this.#stop.signal));
    this.#done = Promise.all([...listeners, this.loop.run(this.#stop.signal)]);
  }

  /** Real turns until nothing runs that could go on without the clock. */
  async #quiet(): Promise<void> {
    const deadline = performance.now() + 10_000;
    for (let idle = 0; idle < 6;) {
      if (performance.now() > deadline) throw new Error('the loop does not come to rest');
      await new Promise((resolve) => setImmediate(resolve));
      idle = this.loop.active && !this.passesWait && !this.#stop.signal.aborted ? 0 : idle + 1;
    }
  }

  /** Real turns until so; the clock stands still. */
  async reached(condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 10_000;
    while (!condition()) {
      if (performance.now() > deadline) throw new Error('not within 10 s');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async publish(publication: Publication): Promise<void> {
    this.loop.publish(publication);
    await this.clock.advance(0);
  }

  advance(milliseconds: number): Promise<void> {
    return this.clock.advance(milliseconds);
  }

  /** The process dies: nothing is tidied up. */
  async kill(): Promise<void> {
    this.#stop.abort();
    this.composition.stop();
    await this.clock.advance(0);
    await this.#done;
  }
}
