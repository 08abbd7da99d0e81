/** Two namespaces joined by a cable, and what goes over it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Netns } from '../../src/native/netns.ts';
import { ip, until, within } from './tools.ts';

export const LEFT_MAC = '02:00:00:00:00:01';
export const RIGHT_MAC = '02:00:00:00:00:02';

export interface Cable extends AsyncDisposable {
  readonly left: Netns;
  readonly right: Netns;
}

/** The interface `left` is in one, `right` in the other, both up. */
export async function cable(): Promise<Cable> {
  const left = await Netns.create();
  const right = await Netns.create();
  await ip(left, 'link', 'add', 'left', 'address', LEFT_MAC, 'type', 'veth', 'peer', 'name', 'right', 'address', RIGHT_MAC);
  await ip(left, 'link', 'set', 'right', 'netns', right.path);
  await ip(left, 'link', 'set', 'left', 'up');
  await ip(right, 'link', 'set', 'right', 'up');
  return {
    left,
    right,
    [Symbol.asyncDispose]: async () => {
      await left.close();
      await right.close();
    },
  };
}

/** What tcpdump writes, which grows until stop(). */
export interface Dump {
  bytes(): Buffer;
  stop(): Promise<void>;
}

/** Resolves when tcpdump listens; `words` are options and the filter. */
export async function tcpdump(netns: Netns, interfaceName: string, ...words: readonly string[]): Promise<Dump> {
  const command = ['tcpdump', '-i', interfaceName, '--immediate-mode', ...words];
  const child = spawn('nsenter', [`--net=${netns.path}`, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const chunks: Buffer[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  await until('tcpdump listens', () => said.includes('listening on'));
  return {
    bytes: () => Buffer.concat(chunks),
    stop: async () => {
      const exited = once(child, 'exit');
      child.kill('SIGINT');
      await exited;
    },
  };
}

/** Six octets in hexadecimal, as they are in a frame. */
export const plainMac = (mac: string): string => mac.replaceAll(':', '');

/** Sends frames (hexadecimal) that our own code never would, one after another. */
export async function sendRaw(netns: Netns, interfaceName: string, frames: readonly string[]): Promise<void> {
  const program = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for frame in sys.argv[2:]: s.send(bytes.fromhex(frame))
`;
  await within(netns, 'python3', '-c', program, interfaceName, ...frames);
}
