/** A speaker, its daemon, and a time of their own. */
import { Speaker } from '../../src/announce/bgp/speaker.ts';
import type { SpeakerLog, SpeakerOptions } from '../../src/announce/bgp/speaker-options.ts';
import type { BgpPath, RouteOptions } from '../../src/model/bgp.ts';
import type { Address } from '../../src/model/cluster.ts';
import { FakeBgpDaemon } from './fake-bgp-daemon.ts';
import { FakeClock, seededRandom } from './fake-clock.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Nothing here waits for anything but promises and the clock. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export const plainRoutes: RouteOptions = {
  attributes: { communities: [], largeCommunities: [] },
  nextHop: {},
  prefixLength: { 4: 32, 6: 128 },
};

export function route(prefix: string, more: Partial<BgpPath> = {}): BgpPath {
  return { prefix, nextHop: prefix.includes(':') ? '::' : '0.0.0.0', communities: [], largeCommunities: [], ...more };
}

export class SpeakerRig {
  readonly clock = new FakeClock(turn);
  readonly daemon = new FakeBgpDaemon(this.clock);
  readonly lines: LogLine[] = [];
  readonly changed: Address[][] = [];
  readonly files = new Map<string, string>();
  speaker: Speaker;
  readonly #options: Partial<SpeakerOptions>;
  readonly #random: () => number;
  #life = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: Partial<SpeakerOptions> = {}, seed = 1) {
    this.#options = options;
    this.#random = seededRandom(seed);
    this.speaker = this.#create();
  }

  #create(): Speaker {
    const write =
      (level: LogLine['level']): SpeakerLog['info'] =>
      (message, fields = {}) =>
        void this.lines.push({ level, message, fields });
    return new Speaker({
      ...{ endpoint: this.daemon.endpoint, connect: () => this.daemon.connect(), routes: plainRoutes, clock: this.clock },
      ...{ random: this.#random, log: { debug: write('debug'), info: write('info'), warn: write('warn') } },
      readPassword: (file) => {
        const text = this.files.get(file);
        if (text === undefined) return Promise.reject(Object.assign(new Error('no such file'), { code: 'ENOENT' }));
        return Promise.resolve(Buffer.from(text));
      },
      onChanged: (vips) => void this.changed.push([...vips]),
      ...this.#options,
    });
  }

  /** Starts the agent, and waits until it is at rest. */
  async start(): Promise<void> {
    this.begin();
    await this.clock.advance(0);
  }

  begin(): void {
    this.#life = new AbortController();
    this.#running = this.speaker.run(this.#life.signal);
  }

  async stop(): Promise<void> {
    this.#life.abort();
    await this.#running;
  }

  /** Another process in its place. */
  async restart(): Promise<void> {
    await this.stop();
    this.speaker = this.#create();
    await this.start();
  }

  /** What a director does in a look at everything. */
  async pass(vips: Iterable<Address>): Promise<boolean> {
    const wanted = new Set(vips);
    const gone = this.speaker.withdrawOthers((address) => wanted.has(address));
    const sure = await this.waited(gone);
    this.speaker.announce(wanted);
    await this.clock.advance(0);
    return sure;
  }

  /** Lets time pass, 50 ms at once, until it is answered. */
  async waited<T>(answer: Promise<T>): Promise<T> {
    const state = { over: false };
    const watched = answer.finally(() => (state.over = true));
    await this.clock.advance(0);
    while (!state.over) await this.clock.advance(50);
    return watched;
  }

  /** Connected, told what is wanted, and at rest. */
  async settled(vips: Iterable<Address>, configure = true): Promise<void> {
    if (configure) this.speaker.configure(undefined);
    await this.start();
    await this.pass(vips);
  }

  warnings(): string[] {
    return this.lines.filter(({ level }) => level === 'warn').map(({ message, fields }) => `${message}: ${JSON.stringify(fields)}`);
  }
}
