/** Random lives of a speaker and its daemon, and what must hold in all of them. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Routing, routes, samePath } from '../../src/desired/bgp.ts';
import type { BgpConfig, BgpPeer, RouteOptions } from '../../src/model/bgp.ts';
import type { Fault, Operation } from '../fake-kernel/fake-bgp-daemon.ts';
import { plainRoutes, route, SpeakerRig } from '../fake-kernel/speaker-rig.ts';

const pool = ['192.0.2.1', '192.0.2.2', '192.0.2.200', '198.51.100.7', '2001:db8::1', '2001:db8::2', '2001:db8:1::1'];
const neighbours = ['10.0.0.2', '10.0.0.3'];

const vips = fc.subarray(pool);
const operation = fc.constantFrom<Operation>(
  ...(['identity', 'list', 'add', 'withdraw', 'peers', 'addPeer', 'updatePeer', 'deletePeer', 'watch', 'start'] as const),
);
const fault = fc.constantFrom<Fault>('refuse', 'timeout', 'timeoutAfter', 'break', 'breakAfter', 'breakBetween');

const peer: fc.Arbitrary<BgpPeer> = fc.record(
  {
    address: fc.constantFrom(...neighbours),
    asn: fc.constantFrom(65001, 65002),
    holdSeconds: fc.constantFrom(9, 90),
    multihop: fc.constantFrom(2, 3),
    passwordFile: fc.constantFrom('/secret', '/missing'),
    passive: fc.boolean(),
  },
  { requiredKeys: ['address', 'asn'] },
);

export const config: fc.Arbitrary<BgpConfig> = fc
  .record({
    peers: fc.option(fc.uniqueArray(peer, { maxLength: 2, selector: ({ address }) => address }), { nil: undefined }),
    routes: fc.array(
      fc.tuple(
        fc.constantFrom(...pool),
        fc.record({ communities: fc.subarray([1, 2, 3]), localPreference: fc.constantFrom(50, 200), med: fc.nat(3) }, { requiredKeys: [] }),
      ),
      { maxLength: 3 },
    ),
  })
  .map(({ peers, routes: named }) => ({ routes: new Map(named), ...(peers === undefined ? {} : { peers }) }));

export type Event =
  /** What a director does in a look at everything, or at a few. */
  | { readonly kind: 'pass' | 'announce' | 'withdraw'; readonly vips: readonly string[] }
  | { readonly kind: 'configure'; readonly config: BgpConfig | undefined }
  | { readonly kind: 'time'; readonly milliseconds: number }
  | { readonly kind: 'fault'; readonly operation: Operation; readonly fault: Fault; readonly times: number }
  | { readonly kind: 'stop' | 'restart' | 'keep' | 'lose' | 'agent' | 'drop' }
  | { readonly kind: 'latency'; readonly milliseconds: number }
  | { readonly kind: 'foreign' | 'learn' | 'delete' | 'alter'; readonly vip: string }
  | { readonly kind: 'session'; readonly address: string; readonly up: boolean }
  | { readonly kind: 'password'; readonly text: string };

const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('pass' as const), vips }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('announce' as const, 'withdraw' as const), vips }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('configure' as const), config: fc.option(config, { nil: undefined }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('time' as const), milliseconds: fc.constantFrom(0, 1, 60, 900, 4000, 30_000, 70_000) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('fault' as const), operation, fault, times: fc.constantFrom(1, 1, 2, 6) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('stop' as const, 'restart', 'keep', 'lose', 'agent', 'drop') }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('latency' as const), milliseconds: fc.constantFrom(0, 20, 1500) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('foreign' as const, 'learn', 'delete', 'alter'), vip: fc.constantFrom(...pool) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('session' as const), address: fc.constantFrom(...neighbours), up: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('password' as const), text: fc.constantFrom('one', 'two', '') }) },
);

export interface Setting {
  readonly aggregate: boolean;
  /** Left in the daemon by an earlier life. */
  readonly before: readonly string[];
  readonly unstarted: boolean;
  readonly major: 3 | 4;
}

export const speakerLife = fc.record({
  setting: fc.record({ aggregate: fc.boolean(), before: vips, unstarted: fc.boolean(), major: fc.constantFrom<3 | 4>(3, 4) }),
  events: fc.array(event, { maxLength: 25 }),
  seed: fc.nat(),
});

export class SpeakerLife {
  readonly #rig: SpeakerRig;
  readonly #options: RouteOptions;
  readonly #wanted = new Set<string>();
  /** Of these, the ones that this life of the agent was told of. */
  readonly #told = new Set<string>();
  #config: BgpConfig | undefined;
  /** It was said which VIPs stay, in this life of the agent. */
  #swept = false;
  /** Prefixes that are gone for sure. */
  readonly #gone = new Set<string>();
  /** Found where nobody listens to an error. */
  readonly #problems: string[] = [];
  /** Routes that changes may have touched, and things that may have cost every route a write. */
  #changes = 0;
  #disturbances = 1;

  constructor({ aggregate, before, unstarted, major }: Setting, seed: number) {
    this.#options = { ...plainRoutes, prefixLength: aggregate ? { 4: 24, 6: 48 } : plainRoutes.prefixLength };
    this.#rig = new SpeakerRig({ routes: this.#options }, seed);
    const { daemon } = this.#rig;
    daemon.major = major;
    daemon.bfd = major === 4;
    daemon.asn = unstarted ? 0 : 65000;
    if (!unstarted) for (const [prefix] of routes(before, this.#routing())) daemon.setOurs(route(prefix));
    daemon.setPeer({ address: '10.0.0.9', asn: 65009 }, false);
    this.#rig.files.set('/secret', 'one');
    daemon.onWrite = (op, prefix) => {
      if (op === 'withdraw') this.#check(this.#swept, `withdrawal of ${prefix} before it was said what stays`);
      else this.#check(!this.#gone.has(prefix), `${prefix} was gone for sure, and is added again although nobody wants it`);
    };
  }

  #routing(): Routing {
    return new Routing(this.#options, this.#config);
  }

  #check(right: boolean, problem: string): void {
    if (!right) this.#problems.push(problem);
  }

  async begin(): Promise<void> {
    this.#configure({ routes: new Map() });
    await this.#rig.start();
  }

  #configure(asked: BgpConfig | undefined): void {
    // Only a daemon that was told its autonomous system takes routes.
    this.#config = { ...(asked ?? { routes: new Map() }), speaker: { asn: 65000, routerId: '10.0.0.1' } };
    this.#changes += this.#wanted.size;
    this.#rig.speaker.configure(this.#config);
  }

  #want(addresses: Iterable<string>): void {
    for (const address of addresses) {
      if (!this.#wanted.has(address)) this.#changes += 1;
      this.#wanted.add(address);
      this.#told.add(address);
      this.#gone.delete(this.#routing().prefixOf(address));
    }
  }

  /** Wants these no more; returns prefixes that nobody else needs. */
  #take(addresses: readonly string[]): readonly string[] {
    // An aggregate stands for others, or may do so if it is of an earlier life.
    const named = this.#options.prefixLength[4] === 32 ? addresses : addresses.filter((address) => this.#told.has(address));
    for (const address of addresses) {
      if (this.#wanted.delete(address)) this.#changes += 1;
      this.#told.delete(address);
    }
    const still = routes(this.#told, this.#routing());
    return [...routes(named, this.#routing()).keys()].filter((prefix) => !still.has(prefix));
  }

  /** What was said to be gone is. */
  #confirm(prefixes: readonly string[], gone: boolean): void {
    if (!gone) return;
    const still = routes(this.#wanted, this.#routing());
    for (const prefix of prefixes) {
      if (still.has(prefix)) continue;
      this.#check(!this.#rig.daemon.ours.has(prefix), `${prefix} was said to be gone`);
      this.#gone.add(prefix);
    }
  }

  async happen(event: Event): Promise<void> {
    const rig = this.#rig;
    const { daemon, speaker } = rig;
    switch (event.kind) {
      case 'pass': {
        const leaving = this.#take([...this.#wanted].filter((address) => !event.vips.includes(address)));
        this.#swept = true;
        const stays = new Set(event.vips);
        // As a director's: what it says changes with what is wanted.
        void speaker
          .withdrawOthers((address) => this.#wanted.has(address) || stays.has(address))
          .then((gone) => {
            stays.clear();
            if (rig.speaker === speaker) this.#confirm(leaving, gone);
          });
        await rig.clock.advance(0);
        this.#want(event.vips);
        speaker.announce(event.vips);
        break;
      }
      case 'announce':
        this.#want(event.vips);
        speaker.announce(event.vips);
        break;
      case 'withdraw': {
        const prefixes = this.#take(event.vips);
        void speaker.withdraw(event.vips).then((gone) => {
          if (rig.speaker === speaker && this.#swept) this.#confirm(prefixes, gone);
        });
        break;
      }
      case 'configure':
        this.#configure(event.config);
        break;
      case 'time':
        await rig.clock.advance(event.milliseconds);
        break;
      case 'fault':
        this.#disturbances += event.times;
        daemon.failNext(event.operation, event.fault, event.times);
        break;
      case 'latency':
        daemon.latency = event.milliseconds;
        break;
      case 'password':
        rig.files.set('/secret', event.text);
        break;
      case 'session':
        daemon.session(event.address, event.up ? 'established' : 'active');
        break;
      default:
        await this.#disturb(event);
    }
    assert.deepEqual(this.#problems, []);
  }

  async #disturb(event: Event): Promise<void> {
    const { daemon } = this.#rig;
    this.#disturbances += 1;
    switch (event.kind) {
      case 'stop':
        daemon.stop();
        break;
      case 'restart':
      case 'keep':
        daemon.restart(event.kind === 'keep');
        break;
      case 'lose':
        daemon.lose();
        break;
      case 'drop':
        daemon.breakConnections();
        break;
      case 'agent':
        await this.#rig.stop();
        await this.#rig.clock.advance(0);
        this.#swept = false;
        this.#told.clear();
        await this.#rig.restart();
        this.#rig.speaker.configure(this.#config);
        this.#gone.clear();
        this.#disturbances += 1;
        break;
      case 'foreign':
        daemon.addForeign(route(this.#routing().prefixOf(event.vip), { med: 9 }));
        break;
      case 'learn':
        daemon.learn(route(this.#routing().prefixOf(event.vip)), '10.0.0.9', 65009);
        break;
      case 'delete':
        daemon.deleteOurs(this.#routing().prefixOf(event.vip));
        break;
      case 'alter':
        if (daemon.ours.has(this.#routing().prefixOf(event.vip))) daemon.setOurs(route(this.#routing().prefixOf(event.vip), { med: 77 }));
        break;
      default:
        throw new Error(`${event.kind} is no disturbance`);
    }
  }

  /** Nothing goes wrong any more; what was wanted is there in the end, and nothing else is done. */
  async settle(): Promise<void> {
    const rig = this.#rig;
    const { daemon } = rig;
    daemon.fault = () => undefined;
    daemon.latency = 0;
    daemon.down = false;
    const others = daemon.others;
    await this.happen({ kind: 'pass', vips: [...this.#wanted] });
    await rig.clock.advance(200_000);
    const wanted = routes(this.#wanted, this.#routing());
    assert.deepEqual([...daemon.ours.keys()].sort(), [...wanted.keys()].sort());
    for (const [prefix, { path }] of wanted) assert.ok(samePath(path, daemon.ours.get(prefix)!), `${prefix} says something else`);
    assert.deepEqual(daemon.others, others);
    assert.equal(rig.speaker.document().state, 'connected');
    assert.deepEqual([daemon.connections, daemon.listeners], [1, 1]);
    assert.equal(rig.speaker.document().paths.announced, wanted.size);
    for (const address of this.#wanted) assert.equal(rig.speaker.status(address)?.announced, true);
    this.#assertPeers();
    const bound = this.#changes + this.#disturbances * 2 * pool.length;
    assert.ok(
      daemon.writes.length <= bound,
      `${daemon.writes.length} writes for ${this.#changes} changes and ${this.#disturbances} disturbances`,
    );
    const before = [daemon.writes.length, daemon.called('addPeer'), daemon.called('updatePeer'), daemon.called('deletePeer')];
    await rig.clock.advance(200_000);
    assert.deepEqual([daemon.writes.length, daemon.called('addPeer'), daemon.called('updatePeer'), daemon.called('deletePeer')], before);
    await rig.stop();
    assert.equal(rig.clock.timers, 0, 'timers are left');
    assert.deepEqual([daemon.connections, daemon.listeners], [0, 0], 'connections are left');
  }

  #assertPeers(): void {
    const { daemon, files } = this.#rig;
    assert.deepEqual(daemon.neighbours.get('10.0.0.9')?.request, { address: '10.0.0.9', asn: 65009 });
    const wanted = this.#config?.peers;
    if (wanted === undefined) return;
    const readable = wanted.filter(({ passwordFile }) => passwordFile === undefined || (files.get(passwordFile) ?? '') !== '');
    for (const { passwordFile: _file, ...peer } of readable) {
      const has = daemon.neighbours.get(peer.address);
      assert.ok(has !== undefined, `${peer.address} is set up`);
      const { password: _, ...request } = has.request;
      const defaults = { passive: false, holdSeconds: 90 };
      assert.deepEqual({ ...defaults, ...request }, { ...defaults, ...peer });
    }
    for (const [address, { ours }] of daemon.neighbours) if (ours) assert.ok(wanted.some((peer) => peer.address === address));
  }
}
