/** Looking for a director on a kernel that may connect a socket to itself. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

/**
 * Port 44444 is among those that the kernel chooses from for whoever connects. Where it is the only one, connecting to it meets
 * oneself (RFC 9293 section 3.5, simultaneous open), each time; else once in thousands of times.
 */
const program = `
  const { writeFileSync } = await import('node:fs');
  const { tcpCoordinator } = await import('./src/drivers/coordinator.ts');
  const choose = (port) => writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', port + ' ' + port);
  choose(44444);
  const found = [];
  for (let time = 0; time < 3; time++) found.push(await tcpCoordinator.look(44444));
  const stop = new AbortController();
  const held = tcpCoordinator.hold(44444, () => 'routed', stop.signal);
  choose(44445);
  found.push(await tcpCoordinator.look(44444));
  stop.abort();
  await held;
  console.log(found.join());`;

test('who meets itself has met no director, and does not stand in the way of one', async () => {
  const words = [process.execPath, '--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program];
  const { stdout } = await promisify(execFile)('unshare', ['--net', '--', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...words]);
  assert.equal(stdout.trim(), 'absent,absent,absent,routed');
});
