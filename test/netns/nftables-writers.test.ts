/** Several programs at the nftables of one namespace: nobody loses anything, and ours is as we left it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Netns } from '../../src/native/netns.ts';
import { contend } from './nftables-contention.ts';
import { nft } from './nftables-support.ts';

/** All writers together; `RAVEL_NFTABLES_COMMITS=10000` for the long run. */
const COMMITS = Number(process.env['RAVEL_NFTABLES_COMMITS'] ?? 800);

test(`8 writers, ${String(COMMITS)} commits: nothing is lost`, { timeout: 15 * 60_000 }, async () => {
  await using netns = await Netns.create();
  const { commits, foreign, lost, problems } = await contend(netns, COMMITS);
  assert.deepEqual(lost, []);
  assert.deepEqual(problems, []);
  assert.ok(commits >= COMMITS && foreign > commits / 2, `${String(foreign)} foreign of ${String(commits)} commits`);
});

test('what is gone, and what came of nobody, would be noticed', async () => {
  await using netns = await Netns.create();
  const { lost, problems } = await contend(netns, 48, () => {
    nft(netns, 'flush', 'set', 'ip', 'nat', 'numbers');
    nft(netns, 'add', 'rule', 'ip', 'rave', 'chosen', 'meta', 'mark', '99', 'counter');
    nft(netns, 'flush', 'chain', 'ip', 'ravel', 'postrouting');
  });
  assert.deepEqual(lost, ['ip nat: element 4']);
  assert.deepEqual(problems, ['ip rave: 1 that nobody wrote', 'our table is not as the last commit left it']);
});
