/**
 * Run by iptables-writers.test.ts as a process of its own, in the namespace in which it was started: changes the nat
 * table in one of several ways, and prints what came of it as JSON.
 *   iptables-writer.ts many <prefix> <commits>    different programs, one after another
 *   iptables-writer.ts twice                      the same program two times
 *   iptables-writer.ts big <rules>                a large program and an empty one in turn, until it is stopped
 *   iptables-writer.ts wait [exit]                waits 60 seconds for a lock that others hold, or ends meanwhile
 *   iptables-writer.ts send <datagrams>           UDP to 127.0.0.1:9, each from a port of its own; changes no table
 */
import { createSocket } from 'node:dgram';
import { iptablesProgram } from '../../src/diff/iptables.ts';
import { chainHash } from '../../src/native/iptables-hash.ts';
import { Iptables } from '../../src/native/iptables.ts';
import { natService } from './iptables-support.ts';

const [task, word = '', count = ''] = process.argv.slice(2);

const programOf = (prefix: string, services: readonly ReturnType<typeof natService>[]) =>
  iptablesProgram(services, { family: 'ip', prefix, masquerade: { enabled: true }, hash: chainHash });

const serviceAt = (index: number, pod: number) =>
  natService(`192.0.${(index >> 8) & 255}.${index & 255}`, 80, `shop/service-${index}:http`, [`10.50.${(pod >> 8) & 255}.${pod & 255}`]);

async function many(prefix: string, commits: number): Promise<unknown> {
  await using iptables = await Iptables.open({ family: 'ip', chainPrefix: prefix, lockTimeoutMs: 120_000 });
  let changed = 0;
  let attempts = 0;
  let lockWaitMs = 0;
  for (let k = 1; k <= commits; k++) {
    // Each differs from the one before in a pod, and now and then in the number of services.
    const services = Array.from({ length: 1 + (k % 5) }, (_, index) => serviceAt(index, k));
    const outcome = await iptables.commit(programOf(prefix, services));
    if (outcome.changed) changed++;
    attempts += outcome.attempts;
    lockWaitMs = Math.max(lockWaitMs, outcome.lockWaitMs);
  }
  return { changed, attempts, lockWaitMs };
}

async function twice(): Promise<unknown> {
  await using iptables = await Iptables.open({ family: 'ip' });
  const program = programOf('RAVEL', [serviceAt(1, 1)]);
  return [await iptables.commit(program), await iptables.commit(program)];
}

async function big(rules: number): Promise<never> {
  const iptables = await Iptables.open({ family: 'ip' });
  const program = programOf(
    'RAVEL',
    Array.from({ length: rules }, (_, index) => serviceAt(index, index)),
  );
  process.stdout.write('started\n');
  for (;;) {
    await iptables.commit(program);
    await iptables.remove();
  }
}

async function wait(exit: boolean): Promise<void> {
  const iptables = await Iptables.open({ family: 'ip', lockTimeoutMs: 60_000 });
  const commit = iptables.commit(programOf('RAVEL', []));
  process.stdout.write('waiting\n');
  if (exit) process.exit(0);
  await commit;
}

/** Each is a new connection to the nat table, which sees the first packet of a connection only. */
async function send(datagrams: number): Promise<unknown> {
  for (let k = 0; k < datagrams; k++) {
    const socket = createSocket('udp4');
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    socket.bind(20_000 + k, '127.0.0.1', () =>
      socket.send('x', 9, '127.0.0.1', (error) => (error === null ? resolve(undefined) : reject(error))),
    );
    socket.once('error', reject);
    await promise;
    socket.close();
  }
  return { sent: datagrams };
}

switch (task) {
  case 'many':
    process.stdout.write(JSON.stringify(await many(word, Number(count))));
    break;
  case 'twice':
    process.stdout.write(JSON.stringify(await twice()));
    break;
  case 'wait':
    await wait(word === 'exit');
    break;
  case 'send':
    process.stdout.write(JSON.stringify(await send(Number(word))));
    break;
  case 'big':
    await big(Number(word));
    break;
  default:
    throw new Error(`no task ${String(task)}`);
}
