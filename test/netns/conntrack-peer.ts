/**
 * A program for the ends of flows, run inside a namespace; it prints one line per step and reads commands:
 *   conntrack-peer.ts serve udp|tcp ADDRESS PORT NAME    answers what it gets with NAME; TCP connections stay open
 *   conntrack-peer.ts send udp|tcp                       reads `SOURCE PORT DESTINATION PORT` lines: one datagram each, or
 *                                                        one connection, which is kept; prints the answer, `-` when refused;
 *                                                        `sent` without waiting for one after a fifth word, `unanswered`
 *   conntrack-peer.ts flood SOURCE PORT DESTINATION PORT  a datagram each millisecond from one port without a pause; prints who
 *                                                        answers when that changes, `-` for a refusal
 *   conntrack-peer.ts open                               opens the table and prints the name and text of the error, or `ok`
 * Nothing but Node's own modules at first: it starts in every namespace of a test.
 */
import { createSocket } from 'node:dgram';
import { connect, createServer, isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';

const [role, protocol, address = '', port = '0', name = ''] = process.argv.slice(2);
/** Longer than an answer needs on one machine, shorter than a test. */
const PATIENCE_MS = 5000;
const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

function serve(): void {
  if (protocol === 'tcp') {
    createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.write(name);
    }).listen({ port: Number(port), host: address }, () => say('ready'));
    return;
  }
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  socket.on('message', (_, { address: from, port: to }) => socket.send(name, to, from));
  socket.bind(Number(port), address, () => say('ready'));
}

function datagram(source: string, sourcePort: number, destination: string, destinationPort: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(source) ? 'udp6' : 'udp4');
    const end = (text: string): void => {
      clearTimeout(timer);
      socket.close(() => resolve(text));
    };
    const timer = setTimeout(() => end('no answer'), PATIENCE_MS);
    // Connected, so that the refusal of a port that nobody serves (ICMP) comes back as an error.
    socket.on('error', ({ message }) => end(message.includes('ECONNREFUSED') ? '-' : `error ${message}`));
    socket.on('message', (message) => end(message.toString()));
    socket.bind(sourcePort, source, () => socket.connect(destinationPort, destination, () => socket.send('hello')));
  });
}

function connection(source: string, sourcePort: number, destination: string, destinationPort: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: destination, port: destinationPort, localAddress: source, localPort: sourcePort });
    socket.once('data', (data) => resolve(data.toString()));
    socket.on('error', ({ message }) => resolve(`error ${message}`));
  });
}

async function send(): Promise<void> {
  say('ready');
  for await (const line of createInterface({ input: process.stdin })) {
    const [source = '', from, destination = '', to, only] = line.split(' ');
    const answer = (protocol === 'tcp' ? connection : datagram)(source, Number(from), destination, Number(to));
    say(only === 'unanswered' ? 'sent' : await answer);
  }
  process.exit();
}

/** `protocol` and the words after it are the four of a `send` line. */
function flood(): void {
  const [source = '', sourcePort, destination = '', destinationPort] = process.argv.slice(3);
  const socket = createSocket(isIPv6(source) ? 'udp6' : 'udp4');
  let last = '';
  const hear = (from: string): void => {
    if (from !== last) say(from);
    last = from;
  };
  socket.on('message', (message) => hear(message.toString()));
  socket.on('error', ({ message }) => hear(message.includes('ECONNREFUSED') ? '-' : `error ${message}`));
  socket.bind(Number(sourcePort), source, () => {
    socket.connect(Number(destinationPort), destination, () => {
      // The refusal of one datagram comes as the error of the next; it goes on all the same.
      setInterval(() => socket.send('hello', () => undefined), 1);
    });
  });
}

async function open(): Promise<void> {
  const { Conntrack } = await import('../../src/native/conntrack.ts');
  say(
    await Conntrack.open().then(
      () => 'ok',
      (error: unknown) => String(error),
    ),
  );
}

if (role === 'serve') serve();
else if (role === 'flood') flood();
else await (role === 'open' ? open() : send());
