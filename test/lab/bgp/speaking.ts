/** A speaker of ours, alone, against a real daemon. */
import { readFile } from 'node:fs/promises';
import { openDaemon } from '../../../src/announce/bgp/client.ts';
import type { BgpDaemon } from '../../../src/announce/bgp/daemon.ts';
import { Speaker } from '../../../src/announce/bgp/speaker.ts';
import type { BgpConfig, RouteOptions } from '../../../src/model/bgp.ts';
import type { Address } from '../../../src/model/cluster.ts';
import { systemClock } from '../../../src/reconcile/clock.ts';

export const PLAIN: RouteOptions = {
  attributes: { communities: [], largeCommunities: [] },
  nextHop: {},
  prefixLength: { 4: 32, 6: 128 },
};

/** Runs from its making until it is ended; what it logs is kept. */
export class RunningSpeaker {
  readonly speaker: Speaker;
  readonly log: string[] = [];
  readonly #abort = new AbortController();
  readonly #run: Promise<void>;

  constructor(endpoint: string, config?: BgpConfig, routes: RouteOptions = PLAIN) {
    const line =
      (level: string) =>
      (message: string, fields?: Readonly<Record<string, unknown>>): void =>
        void this.log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
    this.speaker = new Speaker({
      ...{ endpoint, routes, clock: systemClock, random: Math.random },
      // Password files are read as often.
      auditMilliseconds: 3000,
      connect: (): BgpDaemon => openDaemon({ endpoint, clock: systemClock }),
      readPassword: (file) => readFile(file),
      log: { debug: line('debug'), info: line('info'), warn: line('warn') },
    });
    this.speaker.configure(config);
    this.#run = this.speaker.run(this.#abort.signal);
  }

  /** Routes stay where they are. */
  async end(): Promise<void> {
    this.#abort.abort();
    await this.#run;
  }
}

/** The n-th VIP of the wide range of the tests (documented.ts), or of the example's range in IPv6. */
export function vip(family: 4 | 6, index: number): Address {
  return family === 4 ? `198.18.${index >> 8}.${index & 255}` : `2001:db8:100::${(index + 1).toString(16)}`;
}

export const vips = (family: 4 | 6, count: number, from = 0): Address[] =>
  Array.from({ length: count }, (_, index) => vip(family, from + index));
