/** The demo: a cluster of namespaces, real agents, real packets. Exit status 0 when all was as expected. */
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { BenchRow } from '../test/bench/row.ts';
import { logFolder } from '../test/lab/process.ts';
import * as chapters from './chapters.ts';
import { Report } from './report.ts';
import { build, destroy } from './scene.ts';

rmSync(logFolder, { recursive: true, force: true });
const report = new Report();
/** What `make bench` lists beside its own figures. */
const figures: BenchRow[] = [];
const figure = (name: string, value: number, unit: string): void => {
  figures.push({ name, value, unit, peer: 'none', peerValue: null, ratio: null, goal: '0', met: value === 0 });
};

report.chapter(
  'The cluster',
  `Nine machines, each a network namespace: a client, a director and two nodes on one segment, and pods behind the
nodes. The virtual IP 10.20.0.100:80 stands for the service shop/web: web-1 and web-2 on n1, web-3 on n2.
On each machine somebody else has an IPVS service, an nftables table and a device, which must all survive.`,
);
const scene = await build(report);
try {
  const before = await chapters.photograph(scene);

  report.chapter(
    'What would the agents do?',
    '`ravel-agent plan` reads the kernel and the file, and changes nothing. It exits with 2, as there is something to do.',
  );
  await chapters.planBefore(scene);

  report.chapter('The agents start', 'One on the director, one on each node. `ravel-agent status` shows what each has programmed.');
  await chapters.startAgents(scene);

  report.chapter(
    'Sixty requests',
    'The director deals connections to nodes by weight (ready pods: 2 and 1), a node to its own pods by chance.',
  );
  await chapters.spread(scene);

  report.chapter('Direct server return', 'Requests go through the director; answers leave the node straight for the client.');
  await chapters.directReturn(scene);

  report.chapter('Pods come and go', 'Requests run all the time from here on: some connect anew for each, some keep their connection.');
  await scene.client.start(3, 2);
  await chapters.podsComeAndGo(scene);

  report.chapter('A broken file', 'A port out of range: the file is refused as a whole, by name, and the last good one stays in force.');
  await chapters.badInput(scene);

  report.chapter(
    'The agents are killed',
    'The agent is not in the path of a packet. A new one finds what the old one left, and writes nothing.',
  );
  const written = (await chapters.killAgent(scene, 'director')) + (await chapters.killAgent(scene, 'n1'));
  figure('restart with nothing changed', written, 'kernel writes');

  report.chapter('Nothing left to do', '`plan` again: it exits with 0.');
  await chapters.planAfter(scene);

  report.chapter('The agents stop', 'The data plane stays: an upgrade is a restart.');
  await chapters.stopAgents(scene);
  const total = await scene.client.stop();
  report.check(
    'failed requests in all',
    '0',
    `${total.failed} of ${total.ok + total.failed}, slowest ${total.slowestMs} ms`,
    total.failed === 0,
  );
  figure('failed requests while pods come and go, agents die and restart', total.failed, `of ${total.ok + total.failed}`);

  report.chapter('Cleanup', '`ravel-agent cleanup` removes exactly what is ours and puts the settings back.');
  await chapters.cleanup(scene, before);
} catch (error) {
  report.check('the demo runs to its end', 'yes', error instanceof Error ? error.message : String(error), false);
  if (error instanceof Error && error.cause instanceof Error) report.say(error.cause.message);
} finally {
  await destroy(scene).catch((error: unknown) => report.check('the namespaces are removed', 'yes', String(error), false));
}
process.stdout.write(`\n${report.table().replace(/^(?=.)/gm, '  ')}  logs of agents and pods: ${logFolder}\n`);
const out = path.dirname(logFolder);
writeFileSync(path.join(out, 'demo.txt'), report.plainTable());
writeFileSync(path.join(out, 'demo.json'), `${JSON.stringify(figures, null, 2)}\n`);
process.exit(report.good ? 0 : 1);
