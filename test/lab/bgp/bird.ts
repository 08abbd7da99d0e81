/** BIRD 2 as a router. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { BIRD } from '../bgp-daemons.ts';
import { run, type Namespace } from '../namespace.ts';
import { LabProcess } from '../process.ts';
import { waitFor } from '../wait.ts';
import { prepareRouter, type Router, type RouterSession } from './router.ts';

const folder = '/run/lab';

/** The sum of a counter over the channels of a protocol: first column of numbers, what was received. */
function received(text: string, counter: string): number {
  return [...text.matchAll(new RegExp(`${counter}: +(\\d+)`, 'g'))].reduce((sum, [, count]) => sum + Number(count), 0);
}

export class Bird implements Router {
  readonly kind = 'bird';
  readonly namespace: Namespace;
  readonly #socket: string;
  readonly #file: string;
  #process: LabProcess | undefined;

  constructor(namespace: Namespace) {
    this.namespace = namespace;
    this.#socket = path.join(folder, `${namespace.name}.bird.sock`);
    this.#file = path.join(folder, `${namespace.name}.bird.conf`);
    mkdirSync(folder, { recursive: true });
  }

  async start(configuration: string): Promise<void> {
    await prepareRouter(this.namespace);
    // In whole seconds: BIRD reckons them anew from a monotonic clock each time.
    writeFileSync(this.#file, `log stderr all;\ntimeformat protocol iso long;\n${configuration}\n`);
    rmSync(this.#socket, { force: true });
    const command = [BIRD.daemon, '-f', '-c', this.#file, '-s', this.#socket];
    const process = new LabProcess(this.namespace, `bird-${this.namespace.name}`, command);
    this.#process = process;
    await waitFor('BIRD to take commands', async () => {
      if (process.exit !== undefined) throw new Error(`it ended: ${process.exit}`);
      return existsSync(this.#socket) && (await this.control('show status')).includes('up and running');
    });
  }

  async control(command: string): Promise<string> {
    return (await run([BIRD.control, '-r', '-s', this.#socket, ...command.split(' ')])).stdout;
  }

  async session(neighbour: string): Promise<RouterSession> {
    // Paragraphs begin with the name of a protocol, all their other lines are indented.
    const paragraphs = (await this.control('show protocols all')).split(/\n(?=\S)/);
    const text = paragraphs.find((each) => each.includes(`Neighbor address: ${neighbour}`));
    if (text === undefined) throw new Error(`BIRD has no neighbour ${neighbour}`);
    return {
      established: /BGP state: +Established/.test(text),
      since: /^\S+ +\S+ +\S+ +\S+ +(\S+ \S+)/.exec(text)?.[1] ?? '',
      updates: undefined,
      told: received(text, 'Import updates'),
      takenBack: received(text, 'Import withdraws'),
      lastError: /Last error: +(.*)/.exec(text)?.[1] ?? '',
    };
  }

  async count(family: 4 | 6): Promise<number> {
    return Number(/^(\d+) of/m.exec(await this.control(`show route table master${family} count`))?.[1] ?? 0);
  }

  async bfdUp(neighbour: string): Promise<boolean> {
    const text = await this.control('show bfd sessions');
    return text.split('\n').some((line) => line.startsWith(`${neighbour} `) && / Up /.test(line));
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#process?.stop(signal);
  }
}
