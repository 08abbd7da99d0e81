/** Ends of connections in namespaces (nftables-peer.ts): servers that say who they are, and clients that ask them. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Netns } from '../../src/native/netns.ts';

const PEER = path.resolve('test/netns/nftables-peer.ts');

export type Protocol = 'tcp' | 'udp';

/** Who answered, and whom it saw asking; or why there was no answer. */
export interface Answer {
  readonly name?: string;
  readonly from?: string;
  readonly error?: string;
}

function run(netns: Netns, args: readonly string[]): ChildProcess {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', PEER];
  return spawn('nsenter', [`--net=${netns.path}`, ...node, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Asks `count` times, each time from a port of its own. */
export async function ask(netns: Netns, protocol: Protocol, address: string, port: number, count: number): Promise<Answer[]> {
  const asking = run(netns, ['ask', protocol, address, String(port), String(count)]);
  let text = '';
  asking.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const [status] = (await once(asking, 'close')) as [number | null];
  assert.equal(status, 0);
  return JSON.parse(text) as Answer[];
}

export class Servers {
  readonly #running: ChildProcess[] = [];

  /** Resolves when the server listens. */
  async start(netns: Netns, protocol: Protocol, address: string, port: number, name: string): Promise<void> {
    const server = run(netns, ['serve', protocol, address, String(port), name]);
    this.#running.push(server);
    const [line] = (await once(server.stdout!, 'data')) as [Buffer];
    assert.equal(line.toString(), 'ready\n');
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.map(async (server) => server.kill() && once(server, 'close')));
  }
}
