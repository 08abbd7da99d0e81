/** The client of GoBGP, loaded when it is first asked something: what it needs of memory and time only directors with routes pay. */
import type { BgpDaemon, DaemonEvent, DaemonOptions, OpenDaemon } from '../announce/bgp/daemon.ts';

export const openDaemonLater: OpenDaemon = (options) => new LaterDaemon(options);

class LaterDaemon implements BgpDaemon {
  readonly #options: DaemonOptions;
  #opened: Promise<BgpDaemon> | undefined;
  #closed = false;

  constructor(options: DaemonOptions) {
    this.#options = options;
  }

  get endpoint(): string {
    return this.#options.endpoint;
  }

  #daemon(): Promise<BgpDaemon> {
    this.#opened ??= import('../announce/bgp/client.ts').then(({ openDaemon }) => {
      const daemon = openDaemon(this.#options);
      if (this.#closed) daemon.close();
      return daemon;
    });
    return this.#opened;
  }

  async identity(): ReturnType<BgpDaemon['identity']> {
    return (await this.#daemon()).identity();
  }

  async start(speaker: Parameters<BgpDaemon['start']>[0]): Promise<void> {
    return (await this.#daemon()).start(speaker);
  }

  async list(prefixes?: readonly string[]): ReturnType<BgpDaemon['list']> {
    return (await this.#daemon()).list(prefixes);
  }

  async add(paths: Parameters<BgpDaemon['add']>[0]): ReturnType<BgpDaemon['add']> {
    return (await this.#daemon()).add(paths);
  }

  async withdraw(paths: Parameters<BgpDaemon['withdraw']>[0]): ReturnType<BgpDaemon['withdraw']> {
    return (await this.#daemon()).withdraw(paths);
  }

  async peers(): ReturnType<BgpDaemon['peers']> {
    return (await this.#daemon()).peers();
  }

  async addPeer(peer: Parameters<BgpDaemon['addPeer']>[0]): Promise<void> {
    return (await this.#daemon()).addPeer(peer);
  }

  async updatePeer(peer: Parameters<BgpDaemon['updatePeer']>[0]): ReturnType<BgpDaemon['updatePeer']> {
    return (await this.#daemon()).updatePeer(peer);
  }

  async deletePeer(address: string): Promise<void> {
    return (await this.#daemon()).deletePeer(address);
  }

  async *watch(signal: AbortSignal): AsyncGenerator<DaemonEvent, void, undefined> {
    yield* (await this.#daemon()).watch(signal);
  }

  close(): void {
    this.#closed = true;
    void this.#opened?.then(
      (daemon) => daemon.close(),
      // Whoever asked it something was told.
      () => undefined,
    );
  }
}
