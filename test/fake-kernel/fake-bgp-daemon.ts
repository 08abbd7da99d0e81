/**
 * A BGP daemon in memory: routes, neighbours, the two clients' view of both, and everything that can go wrong with
 * a call. Outlives its clients, as the real one does.
 */
import { DaemonError, type BgpDaemon, type DaemonEvent, type DaemonFailure, type DaemonIdentity } from '../../src/announce/bgp/daemon.ts';
import type { BgpPath, ListedPath, PeerRequest, PeerStatus, SessionState } from '../../src/announce/bgp/daemon.ts';
import type { Address } from '../../src/model/cluster.ts';
import type { Clock } from '../../src/model/clock.ts';

export type Operation = 'identity' | 'start' | 'list' | 'add' | 'withdraw' | 'peers' | 'addPeer' | 'updatePeer' | 'deletePeer' | 'watch';

export type Fault =
  /** The daemon says no. */
  | 'refuse'
  /** No answer in time, and nothing done. */
  | 'timeout'
  /** Done, and no answer in time. */
  | 'timeoutAfter'
  /** The connection breaks before anything is done. */
  | 'break'
  /** It breaks after all was done, */
  | 'breakAfter'
  /** or half of it. */
  | 'breakBetween';

/** A deadline of the client, milliseconds. */
const deadline = 5000;
const familiesOf = ({ address, families }: Pick<PeerRequest, 'address' | 'families'>): readonly (4 | 6)[] =>
  families ?? [address.includes(':') ? 6 : 4];
const bgpDefaults = { holdSeconds: 90, connectRetrySeconds: 120 };

interface Entry {
  readonly listed: ListedPath;
}

interface Peer {
  request: PeerRequest;
  readonly ours: boolean;
  state: SessionState;
  establishedSeconds: number | undefined;
  flaps: number;
}

export class FakeBgpDaemon {
  readonly #clock: Clock;
  readonly endpoint = '127.0.0.1:50051';
  major: 3 | 4 = 4;
  asn = 65000;
  routerId = '10.0.0.1';
  /** It has BFD. */
  bfd = true;
  /** It tells whether a password is the one it has. */
  tellsPasswords = false;
  /** Nobody is there. */
  down = false;
  /** Milliseconds until each answer. */
  latency = 0;
  /** Local system's RIB: `ours 192.0.2.1/32`, `foreign …`, `198.51.100.1 …` for what that neighbour told. */
  readonly rib = new Map<string, Entry>();
  readonly neighbours = new Map<Address, Peer>();
  /** Calls of each kind, whatever came of them. */
  readonly calls = new Map<Operation, number>();
  /** Routes written by clients, in order, and whether neighbours would hear of it in an UPDATE. */
  readonly writes: { readonly op: 'add' | 'withdraw'; readonly prefix: string; readonly update: boolean; readonly path?: BgpPath }[] = [];
  /** Lists of everything rather than of some prefixes. */
  sweeps = 0;
  /** Looked at before each write; a test may object. */
  onWrite: (op: 'add' | 'withdraw', prefix: string) => void = () => {};
  /** What is to go wrong with a call; `subject` is a prefix or an address where there is one. */
  fault: (operation: Operation, subject: string) => Fault | undefined = () => undefined;
  /** A policy of its operator: what becomes of a route on its way in. */
  policy: (path: BgpPath) => BgpPath = (path) => path;
  readonly #streams = new Set<Stream>();
  #connections = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The next so many calls of this kind fail so. */
  failNext(operation: Operation, fault: Fault, times = 1): void {
    const before = this.fault;
    let left = times;
    this.fault = (asked, subject) => {
      if (asked !== operation || left === 0) return before(asked, subject);
      left -= 1;
      return fault;
    };
  }

  /** Prefix → route, of ours. */
  get ours(): ReadonlyMap<string, BgpPath> {
    const entries = [...this.rib.values()].filter(({ listed }) => listed.ours);
    return new Map(entries.map(({ listed }) => [listed.path.prefix, listed.path]));
  }

  /** Routes of others, in an order that does not matter. */
  get others(): readonly string[] {
    return [...this.rib].filter(([, { listed }]) => !listed.ours).map(([key, { listed }]) => `${key} ${JSON.stringify(listed)}`);
  }

  called(operation: Operation): number {
    return this.calls.get(operation) ?? 0;
  }

  /** Somebody on this machine adds a route by hand. */
  addForeign(path: BgpPath): void {
    this.rib.set(`foreign ${path.prefix}`, { listed: { path, ours: false, neighbour: undefined, best: true } });
  }

  learn(path: BgpPath, neighbour: Address, originAsn?: number): void {
    const origin = originAsn === undefined ? {} : { originAsn };
    this.rib.set(`${neighbour} ${path.prefix}`, { listed: { path, ours: false, neighbour, best: false, ...origin } });
  }

  /** As by hand, or as an agent of an earlier life left it. */
  setOurs(path: BgpPath): void {
    this.rib.set(`ours ${path.prefix}`, { listed: { path, ours: true, neighbour: undefined, best: true } });
  }

  deleteOurs(prefix: string): void {
    this.rib.delete(`ours ${prefix}`);
  }

  setPeer(request: PeerRequest, ours: boolean, state: SessionState = 'established'): void {
    this.neighbours.set(request.address, { request, ours, state, establishedSeconds: state === 'established' ? 1 : undefined, flaps: 0 });
  }

  /** The session with a neighbour comes or goes. */
  session(address: Address, state: SessionState): void {
    const peer = this.neighbours.get(address);
    if (peer === undefined) return;
    if (peer.state === 'established' && state !== 'established') peer.flaps += 1;
    peer.state = state;
    peer.establishedSeconds = state === 'established' ? 1 : undefined;
    for (const stream of this.#streams) stream.push({ kind: 'peer', address, state });
  }

  /** News were lost. */
  lose(): void {
    for (const stream of this.#streams) stream.push({ kind: 'gap' });
  }

  /** Every connection breaks; a client that calls again gets through. */
  breakConnections(): void {
    for (const stream of this.#streams) stream.break();
  }

  stop(): void {
    this.down = true;
    this.breakConnections();
  }

  /** A process that starts anew remembers its configuration file only, unless it `keep`s what it had. */
  restart(keep = false): void {
    this.down = false;
    if (!keep) {
      for (const [key, { listed }] of this.rib) if (listed.neighbour === undefined) this.rib.delete(key);
      for (const [address, { ours }] of this.neighbours) if (ours) this.neighbours.delete(address);
    }
    this.breakConnections();
  }

  /** Streams of news that somebody listens to. */
  get listeners(): number {
    return this.#streams.size;
  }

  /** Clients that were not closed. */
  get connections(): number {
    return this.#connections;
  }

  connect(): BgpDaemon {
    let closed = false;
    this.#connections += 1;
    const error = (code: 'Unreachable' | 'Timeout' | 'Refused' | 'NotStarted', operation: Operation, subject: string): DaemonError =>
      new DaemonError(code, operation, subject, code === 'Refused' ? 'the daemon says no' : 'no answer');

    /** Asks for one thing; `effect` is what the daemon does about it. */
    const call = async <T>(operation: Operation, subject: string, effect: () => T): Promise<T> => {
      this.calls.set(operation, this.called(operation) + 1);
      const fault = this.fault(operation, subject);
      await this.#wait(fault === 'timeout' ? deadline : this.latency);
      if (closed || this.down) throw error('Unreachable', operation, subject);
      if (fault === 'refuse') throw error('Refused', operation, subject);
      if (fault === 'timeout') throw error('Timeout', operation, subject);
      if (fault === 'break') this.breakConnections();
      if (fault === 'break' || fault === 'breakBetween') throw error('Unreachable', operation, subject);
      const result = effect();
      if (fault === 'timeoutAfter') await this.#wait(deadline);
      if (fault === 'timeoutAfter') throw error('Timeout', operation, subject);
      if (fault === 'breakAfter') this.breakConnections();
      if (fault === 'breakAfter') throw error('Unreachable', operation, subject);
      return result;
    };

    /** Many routes in one go, each by itself. */
    const each = async <T extends { readonly prefix: string }>(
      operation: 'add' | 'withdraw',
      items: readonly T[],
      effect: (item: T) => void,
    ): Promise<readonly DaemonFailure[]> => {
      this.calls.set(operation, this.called(operation) + 1);
      await this.#wait(this.latency);
      const failures: DaemonFailure[] = [];
      let broken: Fault | undefined;
      let slow = false;
      for (const [index, item] of items.entries()) {
        const fault = this.down || closed ? 'break' : (broken ?? this.fault(operation, item.prefix));
        if (fault === 'break' || fault === 'breakAfter' || fault === 'breakBetween') {
          broken = 'break';
          if (fault === 'breakAfter' || (fault === 'breakBetween' && index % 2 === 0)) effect(item);
          failures.push({ prefix: item.prefix, error: error('Unreachable', operation, item.prefix) });
          continue;
        }
        if (fault === undefined || fault === 'timeoutAfter') {
          if (this.asn === 0) failures.push({ prefix: item.prefix, error: error('NotStarted', operation, item.prefix) });
          else effect(item);
        }
        if (fault === 'timeout' || fault === 'timeoutAfter') {
          slow = true;
          failures.push({ prefix: item.prefix, error: error('Timeout', operation, item.prefix) });
        }
        if (fault === 'refuse') failures.push({ prefix: item.prefix, error: error('Refused', operation, item.prefix) });
      }
      if (broken !== undefined) this.breakConnections();
      if (slow) await this.#wait(deadline);
      return failures;
    };

    return {
      endpoint: this.endpoint,
      identity: () => call('identity', this.endpoint, (): DaemonIdentity => this.#identity()),
      start: (speaker) =>
        call('start', this.endpoint, () => {
          this.asn = speaker.asn;
          this.routerId = speaker.routerId;
        }),
      list: (prefixes) => call('list', this.endpoint, () => this.#list(prefixes)),
      add: (paths) => each('add', paths, (path) => this.#write('add', path.prefix, path)),
      withdraw: (paths) => each('withdraw', paths, ({ prefix }) => this.#write('withdraw', prefix)),
      peers: () => call('peers', this.endpoint, () => [...this.neighbours.values()].map((peer) => this.#status(peer))),
      addPeer: (peer) =>
        call('addPeer', peer.address, () => {
          if (this.neighbours.has(peer.address)) throw error('Refused', 'addPeer', peer.address);
          this.setPeer(peer, true, 'active');
        }),
      updatePeer: (peer) => call('updatePeer', peer.address, () => this.#updatePeer(peer)),
      deletePeer: (address) => call('deletePeer', address, () => void this.neighbours.delete(address)),
      watch: (signal) =>
        this.#watch(
          signal,
          call('watch', this.endpoint, () => undefined),
        ),
      close: () => {
        if (!closed) this.#connections -= 1;
        closed = true;
      },
    };
  }

  #wait(milliseconds: number): Promise<void> {
    return milliseconds === 0 ? Promise.resolve() : new Promise((resolve) => this.#clock.after(milliseconds, resolve));
  }

  #identity(): DaemonIdentity {
    return { major: this.major, asn: this.asn, routerId: this.routerId, listenPort: -1 };
  }

  #list(prefixes: readonly string[] | undefined): readonly ListedPath[] {
    if (prefixes === undefined) this.sweeps += 1;
    const all = [...this.rib.values()].map(({ listed }) => listed);
    const local = new Set(prefixes ?? all.filter(({ neighbour }) => neighbour === undefined).map(({ path }) => path.prefix));
    return all.filter(({ path }) => local.has(path.prefix));
  }

  #write(op: 'add' | 'withdraw', prefix: string, path?: BgpPath): void {
    const there = this.rib.get(`ours ${prefix}`);
    this.onWrite(op, prefix);
    const kept = path === undefined ? undefined : this.policy(path);
    const update = JSON.stringify(there?.listed.path) !== JSON.stringify(kept);
    this.writes.push({ op, prefix, update, ...(path === undefined ? {} : { path }) });
    if (kept === undefined) this.deleteOurs(prefix);
    else this.setOurs(kept);
  }

  #updatePeer(request: PeerRequest): { readonly resets: boolean } {
    const peer = this.neighbours.get(request.address);
    if (peer === undefined) throw new DaemonError('Refused', 'updatePeer', request.address, 'no such neighbour');
    const session = ({ asn, multihop, passive, password, gracefulRestartSeconds, ...rest }: PeerRequest): string =>
      JSON.stringify([asn, this.major === 3 ? 0 : multihop, passive ?? false, password, gracefulRestartSeconds, familiesOf(rest)]);
    const resets = session(peer.request) !== session(request);
    const { multihop: _, ...rest } = request;
    // GoBGP 3 looks at hops only when something else needs a new session.
    const kept = peer.request.multihop === undefined ? rest : { ...rest, multihop: peer.request.multihop };
    peer.request = this.major === 3 && !resets ? kept : request;
    if (resets) this.session(request.address, 'active');
    return { resets };
  }

  #status({ request, ours, state, establishedSeconds, flaps }: Peer): PeerStatus {
    const { password, bfd, ...configured } = request;
    const holdSeconds = request.holdSeconds ?? bgpDefaults.holdSeconds;
    return {
      ...{ address: request.address, asn: request.asn, state, disabled: false, establishedSeconds, flaps, ours },
      ...{
        received: { updates: 0, notifications: 0 },
        sent: { updates: 0, notifications: 0 },
        advertised: undefined,
        lastError: undefined,
      },
      bfd: this.bfd && bfd !== undefined ? { state: 'up' } : undefined,
      configured: {
        ...{ keepaliveSeconds: Math.floor(holdSeconds / 3), families: familiesOf(configured), ...bgpDefaults, ...configured, holdSeconds },
        ...(this.bfd && bfd !== undefined ? { bfd } : {}),
      },
      ...(this.tellsPasswords ? { hasPassword: (asked: string | undefined) => asked === password } : {}),
    };
  }

  async *#watch(signal: AbortSignal, opened: Promise<void>): AsyncGenerator<DaemonEvent> {
    await opened;
    const stream = new Stream(signal);
    this.#streams.add(stream);
    try {
      for (const { request, state } of this.neighbours.values()) stream.push({ kind: 'peer', address: request.address, state });
      stream.push({ kind: 'gap' });
      for (let event = await stream.next(); event !== undefined; event = await stream.next()) yield event;
    } finally {
      this.#streams.delete(stream);
    }
  }
}

/** News on their way to one client. */
class Stream {
  readonly #queue: DaemonEvent[] = [];
  #broken = false;
  #ended: boolean;
  #wake: () => void = () => {};

  constructor(signal: AbortSignal) {
    this.#ended = signal.aborted;
    signal.addEventListener('abort', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  push(event: DaemonEvent): void {
    this.#queue.push(event);
    this.#wake();
  }

  break(): void {
    this.#broken = true;
    this.#wake();
  }

  /** Undefined: the client has heard enough. */
  async next(): Promise<DaemonEvent | undefined> {
    for (;;) {
      if (this.#ended) return undefined;
      if (this.#broken) throw new DaemonError('Unreachable', 'watch', 'the daemon', 'the connection broke');
      const event = this.#queue.shift();
      if (event !== undefined) return event;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
