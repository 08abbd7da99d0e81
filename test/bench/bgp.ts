/**
 * Routes to 1,000 VIPs, from the speaker through gobgpd into the table of another make of router (BIRD), beside what a
 * user would do instead: the command line of gobgpd, one process for each route, on the same daemon and session. And how
 * soon a router goes on without a director that is cut off, by BFD and by the hold timer.
 *   node test/bench/bgp.ts        as root, in network and mount namespaces of its own
 */
import { pathToFileURL } from 'node:url';
import { gobgpPrograms, routerPrograms, type GobgpPrograms } from '../lab/bgp-daemons.ts';
import { detection } from '../lab/bgp/detection.ts';
import { directorFile, example, routerFile, WIDE } from '../lab/bgp/documented.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { sessionUp, type Router } from '../lab/bgp/router.ts';
import { BgpSegment, createRouter } from '../lab/bgp/segment.ts';
import { RunningSpeaker, vip, vips } from '../lab/bgp/speaking.ts';
import { waitFor } from '../lab/wait.ts';
import { round, type BenchRow } from './row.ts';

const COUNT = 1000;
const neighbour = example.directors[0][4];

const alone = { peerValue: null, ratio: null } as const;

async function inTable(router: Router, count: number): Promise<void> {
  await waitFor(`${String(count)} routes in the table`, async () => (await router.count(4)) === count, 120_000);
}

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

async function routeRows(segment: BgpSegment, programs: GobgpPrograms): Promise<BenchRow[]> {
  const router = createRouter('bird', segment.router);
  const daemon = new Gobgpd(segment.directors[0], programs);
  const title = `BGP by GoBGP ${String(programs.major)}`;
  let running: RunningSpeaker | undefined;
  try {
    await router.start(routerFile('bird', WIDE[4]));
    await daemon.start(directorFile(0));
    await sessionUp(router, neighbour);
    running = new RunningSpeaker(daemon.endpoint);
    const { speaker } = running;
    const cold = await timed(async () => {
      speaker.announce(vips(4, COUNT));
      await inTable(router, COUNT);
    });
    await speaker.withdrawOthers(() => true);

    const before = await router.session(neighbour);
    const churned = await timed(async () => {
      for (let index = 0; index < COUNT; index++) {
        speaker.announce([vip(4, COUNT + index)]);
        await speaker.withdraw([vip(4, index)]);
      }
    });
    await waitFor('the last change', async () => ((await router.session(neighbour)).told ?? 0) - (before.told ?? 0) >= COUNT);
    await inTable(router, COUNT);
    const after = await router.session(neighbour);
    const changes = (after.told ?? 0) - (before.told ?? 0) + (after.takenBack ?? 0) - (before.takenBack ?? 0);

    await running.end();
    running = new RunningSpeaker(daemon.endpoint);
    running.speaker.announce(vips(4, COUNT, COUNT));
    const known = running.speaker;
    if (!(await known.withdrawOthers((address) => known.has(address)))) throw new Error('the new speaker did not compare');
    const again = await router.session(neighbour);
    const retold = (again.told ?? 0) - (after.told ?? 0) + (again.takenBack ?? 0) - (after.takenBack ?? 0);
    await running.speaker.withdraw(vips(4, COUNT, COUNT));
    await inTable(router, 0);
    await running.end();
    running = undefined;

    const typed = await timed(async () => {
      for (const address of vips(4, COUNT)) await daemon.cli('global', 'rib', 'add', `${address}/32`, 'origin', 'igp');
      await inTable(router, COUNT);
    });
    const same = before.since === again.since && again.established;
    return [
      {
        ...{ name: `${title}: 1,000 VIPs from cold into the table of BIRD, session up`, value: round(cold, 0), unit: 'ms' },
        ...{ peer: 'the same routes by the gobgp command, one process each', peerValue: round(typed, 0), ratio: round(typed / cold) },
        ...{ goal: '<= 2,000 ms', met: cold <= 2000 },
      },
      {
        ...{ name: `${title}: changes that 1,000 additions and 1,000 removals tell the router`, value: changes, unit: '' },
        ...{ ...alone, peer: `none; ${same ? 'one session all the time' : 'THE SESSION WAS RESET'}, ${String(round(churned, 0))} ms` },
        ...{ goal: '2,000, session up', met: changes === 2 * COUNT && same },
      },
      {
        ...{ name: `${title}: what a speaker that begins anew tells the router`, value: retold, unit: 'changes', ...alone },
        ...{ peer: 'none', goal: '0', met: retold === 0 && same },
      },
    ];
  } finally {
    await running?.end();
    await daemon.stop('SIGKILL');
    await router.stop();
  }
}

/** Rows for the table of `make bench`: in a namespace of its own, with a /run of its own. */
export async function runBgpBench(): Promise<BenchRow[]> {
  const missing = [...gobgpPrograms(), ...routerPrograms()].find(({ skip }) => skip !== false);
  if (missing !== undefined) throw new Error(String(missing.skip));
  const segment = await BgpSegment.create();
  try {
    const rows: BenchRow[] = [];
    for (const programs of gobgpPrograms()) rows.push(...(await routeRows(segment, programs)));
    const hold = await detection(segment, 'bird', false);
    for (const kind of ['bird', 'frr'] as const) {
      const took = await detection(segment, kind, true);
      rows.push({
        ...{ name: `BGP: ${kind} without a director that is cut off, BFD 3 x 300 ms`, value: round(took, 0), unit: 'ms' },
        ...{ peer: 'by the hold timer of 9 s (bird)', peerValue: round(hold, 0), ratio: round(hold / took) },
        ...{ goal: '<= 1,000 ms', met: took <= 1000 },
      });
    }
    return rows;
  } finally {
    await segment.close();
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const row of await runBgpBench()) process.stdout.write(`${JSON.stringify(row)}\n`);
}
