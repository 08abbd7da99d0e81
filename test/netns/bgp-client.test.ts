/** The client with real daemons of both versions, each with a neighbour of its own in a namespace beside it. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openDaemon } from '../../src/announce/bgp/client.ts';
import type { BgpDaemon, DaemonEvent, DaemonOptions, ListedPath, PeerStatus } from '../../src/announce/bgp/daemon.ts';
import type { BgpPath } from '../../src/model/bgp.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { gobgpPrograms } from '../lab/bgp-daemons.ts';
import { Gobgpd } from '../lab/bgp/gobgp.ts';
import { Namespace } from '../lab/namespace.ts';
import { waitFor } from '../lab/wait.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { fails } from '../unit/bgp-client-rig.ts';
import { makeAuthority, makeCertificate } from '../unit/certificates.ts';

const here = { 4: '10.91.0.1', 6: 'fd91::1' } as const;
const there = { 4: '10.91.0.2', 6: 'fd91::2' } as const;

/** Two machines with a cable; names that no other run uses. */
let pair: readonly [Namespace, Namespace];
before(async () => {
  const name = `client${process.pid}`;
  pair = [await Namespace.create(`${name}a`), await Namespace.create(`${name}b`)];
  await pair[0].ip(`link add name eth0 type veth peer name eth0 netns ${pair[1].name}`);
  for (const [namespace, address] of [[pair[0], here] as const, [pair[1], there] as const]) {
    await namespace.ip(`addr add ${address[4]}/24 dev eth0`, `addr add ${address[6]}/64 dev eth0 nodad`, 'link set eth0 up');
  }
});
after(async () => {
  for (const namespace of pair) {
    // What was killed leaves its socket.
    rmSync(new Gobgpd(namespace, gobgpPrograms()[0]!).socket, { force: true });
    await namespace.remove();
  }
});

const open = (daemon: Gobgpd, options: Partial<DaemonOptions> = {}): BgpDaemon =>
  openDaemon({ endpoint: daemon.endpoint, clock: systemClock, ...options });

/** A neighbour has the family of its address unless it is told otherwise. */
const both = [4, 6] as const;
const plain = { communities: [], largeCommunities: [] };
const v4: BgpPath = { ...plain, prefix: '198.51.100.10/32', nextHop: '0.0.0.0' };
const v6: BgpPath = { ...plain, prefix: '2001:db8:100::10/128', nextHop: '::' };
const rich: readonly BgpPath[] = [
  {
    prefix: '198.51.100.11/32',
    nextHop: '10.91.0.77',
    communities: [0xfde80064, 0xffff0000],
    largeCommunities: [[65000, 1, 4294967295]],
    localPreference: 0,
    med: 4294967295,
  },
  {
    prefix: '2001:db8:200::/40',
    nextHop: 'fd91::77',
    communities: Array.from({ length: 100 }, (_, index) => 0xfde80000 + index),
    largeCommunities: [],
    localPreference: 200,
    med: 0,
  },
];

const byPrefix = (left: { prefix: string }, right: { prefix: string }): number => (left.prefix < right.prefix ? -1 : 1);
const pathsOf = (listed: readonly ListedPath[]): BgpPath[] => listed.map((item) => item.path).sort(byPrefix);

async function one(daemon: BgpDaemon, address: string): Promise<PeerStatus> {
  const found = (await daemon.peers()).find((peer) => peer.address === address);
  assert.ok(found !== undefined, `${address} is listed`);
  return found;
}

/** Each thread obeys the signal when it is its turn, not when it is sent. */
async function established(daemon: BgpDaemon, address: string): Promise<PeerStatus> {
  return waitFor(`the session with ${address}`, async () => {
    const status = await one(daemon, address);
    return status.state === 'established' && status;
  });
}

for (const programs of gobgpPrograms()) {
  describe(`GoBGP ${programs.major}`, { skip: programs.skip }, () => {
    let left: Gobgpd;
    let right: Gobgpd;
    let daemon: BgpDaemon;
    let neighbour: BgpDaemon;
    before(async () => {
      left = new Gobgpd(pair[0], programs);
      right = new Gobgpd(pair[1], programs);
      await Promise.all([left.start(), right.start()]);
      daemon = open(left);
      neighbour = open(right);
    });
    after(async () => {
      daemon.close();
      neighbour.close();
      await Promise.all([left.stop('SIGKILL'), right.stop('SIGKILL')]);
    });

    test('one that waits to be told its autonomous system', async () => {
      assert.deepEqual(await daemon.identity(), { major: programs.major, asn: 0, routerId: '', listenPort: 0 });
      assert.deepEqual(await daemon.peers(), []);
      for (const call of [
        () => daemon.add([v4]),
        () => daemon.withdraw([v4]),
        () => daemon.list(),
        () => daemon.list([v4.prefix]),
        () => daemon.addPeer({ address: there[4], asn: 65001 }),
      ]) {
        await assert.rejects(call(), fails('NotStarted'));
      }
      await daemon.start({ asn: 65000, routerId: '10.91.0.1' });
      await neighbour.start({ asn: 65001, routerId: '10.91.0.2' });
      assert.deepEqual(await daemon.identity(), { major: programs.major, asn: 65000, routerId: '10.91.0.1', listenPort: 179 });
      await assert.rejects(daemon.start({ asn: 65002, routerId: '10.91.0.9' }), fails('Refused'));
    });

    test('paths are listed as they were added, replaced in place, and taken back', async () => {
      const all = [v4, v6, ...rich].sort(byPrefix);
      assert.deepEqual(await daemon.add(all), []);
      const listed = await daemon.list();
      assert.deepEqual(pathsOf(listed), all);
      assert.ok(listed.every(({ ours, best, neighbour: from }) => ours && best && from === undefined));
      assert.deepEqual(pathsOf(await daemon.list([v4.prefix, rich[1]!.prefix, '203.0.113.1/32', '2001:db8::1/128'])), [v4, rich[1]]);
      const changed = { ...v4, nextHop: '10.91.0.5', communities: [1], med: 7 };
      assert.deepEqual(await daemon.add([changed]), []);
      assert.deepEqual(pathsOf(await daemon.list([v4.prefix])), [changed], 'one path, not two');
      assert.deepEqual(await daemon.withdraw([...all, { prefix: '203.0.113.1/32' }]), [], 'one that is not there is no failure');
      assert.deepEqual(await daemon.list(), []);
    });

    test('what an operator put there stays, beside ours for the same prefix, too', async () => {
      await left.cli('global', 'rib', 'add', v4.prefix, 'nexthop', '10.91.0.66', 'origin', 'igp', '-a', 'ipv4');
      await left.cli('global', 'rib', 'add', '2001:db8:9::/48', 'nexthop', 'fd91::66', 'origin', 'igp', '-a', 'ipv6');
      await daemon.add([v4, v6]);
      const hops = (listed: readonly ListedPath[]): string[] =>
        listed.map(({ path: { prefix, nextHop }, ours }) => `${prefix} ${nextHop} ${ours ? 'ours' : 'theirs'}`).sort();
      const theirs = ['198.51.100.10/32 10.91.0.66 theirs', '2001:db8:9::/48 fd91::66 theirs'];
      assert.deepEqual(hops(await daemon.list()), ['198.51.100.10/32 0.0.0.0 ours', '2001:db8:100::10/128 :: ours', ...theirs].sort());
      await daemon.withdraw([v4, v6, { prefix: '2001:db8:9::/48' }]);
      assert.deepEqual(hops(await daemon.list()), theirs);
      await left.cli('global', 'rib', 'del', v4.prefix, '-a', 'ipv4');
      await left.cli('global', 'rib', 'del', '2001:db8:9::/48', '-a', 'ipv6');
      assert.deepEqual(await daemon.list(), []);
    });

    test('a path that it refuses is told, the others are there', async () => {
      const failures = await daemon.add([v4, { ...v6, nextHop: '10.91.0.1' }, rich[0]!]);
      assert.deepEqual(
        failures.map(({ prefix, error }) => [prefix, error.code]),
        [[v6.prefix, 'Refused']],
      );
      assert.deepEqual(pathsOf(await daemon.list()), [v4, rich[0]]);
      await daemon.withdraw([v4, rich[0]!]);
    });

    test('a thousand', async () => {
      const many = Array.from({ length: 1000 }, (_, index) => ({ ...v4, prefix: `198.18.${index >> 8}.${index & 255}/32` })).sort(byPrefix);
      assert.deepEqual(await daemon.add(many), []);
      assert.deepEqual(pathsOf(await daemon.list()), many);
      assert.deepEqual(pathsOf(await daemon.list(many.map(({ prefix }) => prefix))), many);
      assert.deepEqual(await daemon.withdraw(many), []);
      assert.deepEqual(await daemon.list(), []);
    });

    test('a neighbour: set up, listed, told, learned from, news of it', async () => {
      const stop = new AbortController();
      const news = daemon.watch(stop.signal)[Symbol.asyncIterator]();
      assert.deepEqual((await news.next()).value, { kind: 'gap' });
      const timers = { holdSeconds: 9, keepaliveSeconds: 3, connectRetrySeconds: 10 };
      const bfd = { transmitMilliseconds: 300, receiveMilliseconds: 400, multiplier: 5 };
      const rest = { families: both, bfd, ...timers };
      await neighbour.addPeer({ address: here[4], asn: 65000, password: 'a secret', ...rest });
      const request = { address: there[4], asn: 65001, password: 'a secret', multihop: 2, gracefulRestartSeconds: 120, ...rest };
      await daemon.addPeer(request);
      await assert.rejects(daemon.addPeer(request), (error) => fails('Refused')(error) && !String(error).includes('secret'));
      for (let event: DaemonEvent | undefined; event?.kind !== 'peer' || event.state !== 'established';) {
        event = (await news.next()).value as DaemonEvent;
        if (event.kind === 'peer') assert.equal(event.address, there[4]);
      }
      await daemon.add([v4, v6]);
      await neighbour.add([
        { ...v4, prefix: '203.0.113.0/24' },
        { ...v6, communities: [0xfde90001] },
      ]);
      const learned = await waitFor("the neighbour's path beside ours", async () => (await daemon.list()).find((item) => !item.ours));
      const { path: told, neighbour: from, originAsn, best } = learned;
      assert.deepEqual([told.prefix, told.communities, from, originAsn, best], [v6.prefix, [0xfde90001], there[4], 65001, false]);
      assert.equal((await daemon.list()).length, 3, 'of what was learned, only what is beside ours');
      const asked = await daemon.list(['203.0.113.0/24']);
      assert.deepEqual(
        asked.map(({ path: { nextHop }, ours }) => [nextHop, ours]),
        [[there[4], false]],
      );
      assert.deepEqual(
        (await neighbour.list([v4.prefix])).map(({ path: { nextHop }, ours, originAsn: asn }) => [nextHop, ours, asn]),
        [[here[4], false, 65000]],
        '0.0.0.0 is the address of the session there, and our mark is not sent',
      );
      const status = await one(daemon, there[4]);
      const { establishedSeconds, sent, received, hasPassword, ...others } = status;
      assert.ok(Math.abs(establishedSeconds! - Date.now() / 1000) < 120, String(establishedSeconds));
      assert.ok(sent.updates >= 2 && received.updates >= 2);
      assert.deepEqual(
        ['a secret', 'another', '', undefined].map((word) => hasPassword?.(word)),
        [true, false, false, false],
      );
      assert.deepEqual(others, {
        address: there[4],
        asn: 65001,
        state: 'established',
        disabled: false,
        flaps: programs.major === 3 ? undefined : 0,
        advertised: 2,
        lastError: undefined,
        bfd: programs.major === 3 ? undefined : others.bfd,
        ours: true,
        configured: {
          address: there[4],
          asn: 65001,
          multihop: 2,
          passive: false,
          gracefulRestartSeconds: 120,
          ...timers,
          families: [4, 6],
          ...(programs.major === 4 && { bfd }),
        },
      });
      if (programs.major === 4) await waitFor('BFD', async () => (await one(daemon, there[4])).bfd?.state === 'up');
      assert.ok(!JSON.stringify(await daemon.peers()).includes('secret'));
      stop.abort();
      await news.next();
    });

    test('a change of a path is one UPDATE, a repeated one none; the session stays', async () => {
      const before = await one(daemon, there[4]);
      await daemon.add([v4, v6]);
      await daemon.add([{ ...v4, med: 9 }]);
      await daemon.withdraw([v6]);
      await waitFor('the neighbour to know', async () => {
        const [changed] = await neighbour.list([v4.prefix]);
        const withdrawn = await neighbour.list([v6.prefix]);
        return changed?.path.med === 9 && withdrawn.every(({ neighbour: from }) => from === undefined);
      });
      const behind = await one(daemon, there[4]);
      assert.equal(behind.sent.updates - before.sent.updates, 2);
      assert.equal(behind.establishedSeconds, before.establishedSeconds);
    });

    test('what resets the session, and what does not', async () => {
      const base = { address: there[4], asn: 65001, password: 'a secret', multihop: 2, gracefulRestartSeconds: 120, families: both };
      const timers = { holdSeconds: 9, keepaliveSeconds: 3, connectRetrySeconds: 10 };
      const bfd = { transmitMilliseconds: 300, receiveMilliseconds: 400, multiplier: 5 };
      const full = { ...base, ...timers, bfd };
      const since = (await established(daemon, there[4])).establishedSeconds;
      assert.deepEqual(await daemon.updatePeer(full), { resets: false }, 'nothing differs');
      assert.deepEqual(await daemon.updatePeer({ ...full, holdSeconds: 12, keepaliveSeconds: 4 }), { resets: false }, 'timers');
      if (programs.major === 4) {
        const slower = { ...bfd, transmitMilliseconds: 500 };
        assert.deepEqual(await daemon.updatePeer({ ...full, holdSeconds: 12, keepaliveSeconds: 4, bfd: slower }), { resets: false }, 'BFD');
        assert.equal((await one(daemon, there[4])).configured.bfd?.transmitMilliseconds, 500);
      }
      const { establishedSeconds, configured } = await one(daemon, there[4]);
      assert.deepEqual([establishedSeconds, configured.holdSeconds], [since, 12]);
      for (const [what, change] of [
        ['hops', { multihop: 3 }],
        ['families and graceful restart', { multihop: 3, gracefulRestartSeconds: 60, families: [4 as const] }],
      ] as const) {
        await established(daemon, there[4]);
        assert.deepEqual(await daemon.updatePeer({ ...base, ...timers, ...change }), { resets: true }, what);
      }
      await established(daemon, there[4]);
      assert.deepEqual(await daemon.updatePeer({ ...base, ...timers, password: 'another secret' }), { resets: true }, 'password');
      await assert.rejects(daemon.updatePeer({ address: '10.91.0.99', asn: 65001 }), fails('Refused', /no such neighbour/));
    });

    test('a wrong password and a wrong autonomous system: no session, and the state says so', async () => {
      const timers = { holdSeconds: 9, connectRetrySeconds: 10 };
      await neighbour.deletePeer(here[4]);
      await daemon.deletePeer(there[4]);
      await assert.rejects(daemon.deletePeer(there[4]), fails('Refused'));
      assert.deepEqual(await daemon.peers(), []);
      await neighbour.addPeer({ address: here[6], asn: 65000, ...timers });
      await daemon.addPeer({ address: there[6], asn: 65009, ...timers });
      await waitFor('the neighbour to object', async () => {
        const { sent, received } = await one(daemon, there[6]);
        return sent.notifications + received.notifications > 0;
      });
      const refused = await one(daemon, there[6]);
      assert.notEqual(refused.state, 'established');
      assert.deepEqual([refused.establishedSeconds, refused.advertised], [undefined, 0]);
      assert.deepEqual(await daemon.updatePeer({ address: there[6], asn: 65001, ...timers }), { resets: false }, 'there was no session');
      await established(daemon, there[6]);
      await daemon.deletePeer(there[6]);
      await neighbour.deletePeer(here[6]);
    });

    test('stopped (no answer) and continued', async () => {
      const impatient = open(left, { callMilliseconds: 500 });
      assert.equal((await impatient.identity()).asn, 65000);
      await left.freeze();
      try {
        await assert.rejects(impatient.identity(), fails('Timeout', /no answer in 0\.5 s/));
        await assert.rejects(impatient.add([v4]), fails('Timeout'));
      } finally {
        left.thaw();
      }
      await waitFor('an answer', async () => (await impatient.identity()).asn === 65000);
      impatient.close();
    });

    test('killed in the middle; another version in its place', async () => {
      const news = daemon.watch(new AbortController().signal)[Symbol.asyncIterator]();
      assert.deepEqual((await news.next()).value, { kind: 'gap' });
      const broke = assert.rejects(news.next(), fails('Unreachable'));
      const many = Array.from({ length: 20_000 }, (_, index) => ({ ...v4, prefix: `198.18.${index >> 8}.${index & 255}/32` }));
      const adding = assert.rejects(daemon.add(many), fails('Unreachable'));
      const watcher = open(left);
      await waitFor('some to be there', async () => (await watcher.list(many.slice(0, 100).map(({ prefix }) => prefix))).length > 0);
      watcher.close();
      await left.stop('SIGKILL');
      await Promise.all([broke, adding]);
      await assert.rejects(daemon.identity(), fails('Unreachable', /ECONNREFUSED|ENOENT/));
      const other = gobgpPrograms().find(({ major, skip }) => major !== programs.major && skip === false) ?? programs;
      const successor = new Gobgpd(pair[0], other);
      await successor.start();
      try {
        assert.deepEqual(await daemon.identity(), { major: other.major, asn: 0, routerId: '', listenPort: 0 });
        await daemon.start({ asn: 65000, routerId: '10.91.0.1', listenPort: -1 });
        assert.deepEqual(await daemon.add([v4]), []);
        assert.deepEqual(pathsOf(await daemon.list()), [v4]);
      } finally {
        await successor.stop('SIGKILL');
      }
    });
  });

  test(`GoBGP ${programs.major} with TLS`, { skip: programs.skip }, async () => {
    const folder = temporaryDirectory('bgp-tls');
    const file = (name: string, text: string): string => {
      writeFileSync(path.join(folder, name), text);
      return path.join(folder, name);
    };
    const authority = makeAuthority('authority');
    const server = makeCertificate('gobgpd', authority, ['gobgpd.example'], 2);
    const ours = makeCertificate('ravel', authority, ['ravel.example'], 2);
    const caFile = file('ca.pem', authority.certificate);
    const stranger = file('stranger.pem', makeAuthority('stranger').certificate);
    const mutual = programs.major === 4;
    const gobgpd = new Gobgpd(pair[0], programs);
    await gobgpd.start(undefined, [
      '--tls',
      ...[`--tls-cert-file=${file('server.pem', server.certificate)}`, `--tls-key-file=${file('server.key', server.key)}`],
      ...(mutual ? [`--tls-client-ca-file=${caFile}`] : []),
    ]);
    const good = {
      caFile,
      serverName: 'gobgpd.example',
      certificateFile: file('ours.pem', ours.certificate),
      keyFile: file('ours.key', ours.key),
    };
    const attempt = async (tls: DaemonOptions['tls']): Promise<unknown> => {
      const daemon = open(gobgpd, tls === undefined ? {} : { tls });
      return daemon.identity().finally(() => daemon.close());
    };
    try {
      assert.deepEqual(await attempt(good), { major: programs.major, asn: 0, routerId: '', listenPort: 0 });
      await assert.rejects(attempt({ ...good, caFile: stranger }), fails('TlsRefused', /certificate/));
      await assert.rejects(attempt({ ...good, serverName: 'other.example' }), fails('TlsRefused', /other\.example/));
      await assert.rejects(attempt({ ...good, caFile: `${folder}/absent` }), fails('TlsRefused', /cannot read .*ENOENT/));
      await assert.rejects(attempt({ ...good, keyFile: caFile }), fails('TlsRefused', /cannot be used/));
      await assert.rejects(attempt(undefined), fails('Unreachable', /does it want TLS/));
      if (mutual) await assert.rejects(attempt({ caFile, serverName: 'gobgpd.example' }), fails('TlsRefused', /certificate required/));
    } finally {
      await gobgpd.stop('SIGKILL');
    }
    const open4 = new Gobgpd(pair[0], programs);
    await open4.start();
    await assert.rejects(attempt(good), fails('TlsRefused', /without TLS/)).finally(() => open4.stop('SIGKILL'));
  });
}
