/** A worker that keeps the addon busy until it is terminated, or ends by itself with work in flight. */
import { parentPort, workerData } from 'node:worker_threads';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';

const { ends } = workerData as { ends: boolean };
const netns = Netns.current();
const links = await Links.open({ netns });
const watch = links.watch(['link', 'address', 'route', 'neighbour']);
await watch.started;
const busy = Array.from({ length: 200 }, () => links.links().catch(() => undefined));
parentPort!.postMessage('busy');
if (ends) process.exit(0);
for (;;) await Promise.all([...busy, links.addresses(), links.routes()]);
