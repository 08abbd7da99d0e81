/** FRR as a router: its daemons one by one, without the supervisor that packages start them with. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { FRR } from '../bgp-daemons.ts';
import { run, type Namespace } from '../namespace.ts';
import { LabProcess } from '../process.ts';
import { waitFor } from '../wait.ts';
import { prepareRouter, type Router, type RouterSession } from './router.ts';

const DAEMONS = ['zebra', 'bgpd', 'bfdd', 'staticd'] as const;

interface Neighbour {
  readonly bgpState: string;
  readonly connectionsEstablished: number;
  readonly messageStats: { readonly updatesRecv: number };
  readonly lastResetDueTo?: string;
  readonly lastNotificationReason?: string;
}

export class Frr implements Router {
  readonly kind = 'frr';
  readonly namespace: Namespace;
  readonly #folder: string;
  #processes: LabProcess[] = [];

  constructor(namespace: Namespace) {
    this.namespace = namespace;
    this.#folder = path.join('/run/lab', `${namespace.name}.frr`);
  }

  async start(configuration: string): Promise<void> {
    await prepareRouter(this.namespace);
    rmSync(this.#folder, { recursive: true, force: true });
    mkdirSync(this.#folder, { recursive: true });
    // The daemons run as this user, which their package makes.
    await run(['chown', 'frr:frr', this.#folder]);
    for (const name of DAEMONS) await this.#startDaemon(name);
    const file = path.join(this.#folder, 'frr.conf');
    writeFileSync(file, `${configuration}\n`);
    await this.#shell('-f', file);
  }

  async #startDaemon(name: (typeof DAEMONS)[number]): Promise<void> {
    const own = name === 'bfdd' ? ['--bfdctl', path.join(this.#folder, 'bfdd.sock')] : [];
    const words = ['--vty_socket', this.#folder, '-z', path.join(this.#folder, 'zserv.api'), '-i', path.join(this.#folder, `${name}.pid`)];
    const command = [path.join(FRR.folder, name), ...words, ...own, '-f', '/dev/null', '-A', '127.0.0.1', '-P', '0', '--log', 'stdout'];
    const process = new LabProcess(this.namespace, `${name}-${this.namespace.name}`, command);
    this.#processes.push(process);
    await waitFor(`${name} to take commands`, () => {
      if (process.exit !== undefined) throw new Error(`it ended: ${process.exit}`);
      return existsSync(path.join(this.#folder, `${name}.vty`));
    });
  }

  async #shell(...words: readonly string[]): Promise<string> {
    const command = [FRR.shell, '--vty_socket', this.#folder, '--config_dir', this.#folder, ...words];
    return (await this.namespace.run(command)).stdout;
  }

  control(command: string): Promise<string> {
    return this.#shell('-c', command);
  }

  async session(neighbour: string): Promise<RouterSession> {
    const answer = JSON.parse(await this.control(`show bgp neighbors ${neighbour} json`)) as Record<string, Neighbour>;
    const found = answer[neighbour];
    if (found === undefined) throw new Error(`FRR has no neighbour ${neighbour}`);
    return {
      established: found.bgpState === 'Established',
      since: `session ${found.connectionsEstablished}`,
      updates: found.messageStats.updatesRecv,
      told: undefined,
      takenBack: undefined,
      lastError: found.lastNotificationReason ?? found.lastResetDueTo ?? '',
    };
  }

  async count(family: 4 | 6): Promise<number> {
    const answer = JSON.parse(await this.control(`show bgp ipv${family} unicast json`)) as { routes?: Record<string, unknown[]> };
    return Object.values(answer.routes ?? {}).reduce((sum, paths) => sum + paths.length, 0);
  }

  async bfdUp(neighbour: string): Promise<boolean> {
    const peers = JSON.parse(await this.control('show bfd peers json')) as { peer: string; status: string }[];
    return peers.some(({ peer, status }) => peer === neighbour && status === 'up');
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    // zebra last: it takes the routes of the others out of the kernel.
    for (const process of this.#processes.toReversed()) await process.stop(signal);
    this.#processes = [];
  }
}
