/** What a daemon has against what it is to have: neighbours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PeerStatus } from '../../src/announce/bgp/daemon.ts';
import { diffPeers, type PeerDiff } from '../../src/announce/bgp/peers.ts';
import { deaf, outline } from '../../src/announce/bgp/sessions.ts';
import type { BgpPeer } from '../../src/model/bgp.ts';

const peer: BgpPeer = { address: '10.0.0.2', asn: 65001 };
const bfd = { transmitMilliseconds: 300, receiveMilliseconds: 300, multiplier: 3 };

function status(configured: Partial<BgpPeer> = {}, more: Partial<PeerStatus> = {}): PeerStatus {
  const { asn = 65001, address = '10.0.0.2' } = configured;
  return {
    ...{ address, asn, state: 'established', disabled: false, establishedSeconds: 1, flaps: 0 },
    ...{
      received: { updates: 0, notifications: 0 },
      sent: { updates: 0, notifications: 0 },
      advertised: 0,
      lastError: undefined,
      bfd: undefined,
    },
    ours: true,
    configured: { address, asn, holdSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 120, families: [4], ...configured },
    ...more,
  };
}

function diff(wanted: readonly BgpPeer[], listed: readonly PeerStatus[], options: { bfd?: boolean; password?: boolean } = {}): PeerDiff {
  return diffPeers(wanted, listed, { bfd: options.bfd ?? true, passwordMatches: () => options.password ?? true });
}
const nothing: PeerDiff = { add: [], update: [], delete: [], foreign: [] };

test('sets up what is missing, removes what nobody wants, leaves what is right', () => {
  assert.deepEqual(diff([peer], []), { ...nothing, add: [peer] });
  assert.deepEqual(diff([], [status()]), { ...nothing, delete: ['10.0.0.2'] });
  assert.deepEqual(diff([peer], [status()]), nothing);
});

test('a neighbour of somebody else is neither changed nor removed', () => {
  assert.deepEqual(diff([], [status({}, { ours: false })]), nothing);
  assert.deepEqual(diff([{ ...peer, asn: 65009 }], [status({}, { ours: false })]), { ...nothing, foreign: ['10.0.0.2'] });
});

const changes: [wanted: Partial<BgpPeer>, has: Partial<BgpPeer>, says: string][] = [
  [{ asn: 65002 }, {}, 'autonomous system 65001 instead of 65002'],
  [{ multihop: 2 }, {}, 'hops one instead of 2'],
  [{}, { multihop: 2 }, 'hops 2 instead of one'],
  [{ passive: true }, {}, 'passive no instead of yes'],
  [{ passive: false }, { passive: true }, 'passive yes instead of no'],
  [{ gracefulRestartSeconds: 120 }, {}, 'graceful restart off instead of 120 s'],
  [{}, { gracefulRestartSeconds: 120 }, 'graceful restart 120 s instead of off'],
  [{ holdSeconds: 9, keepaliveSeconds: 30 }, {}, 'hold time 90 s instead of 9 s'],
  [{}, { holdSeconds: 9 }, 'hold time 9 s instead of 90 s'],
  [{ keepaliveSeconds: 3 }, {}, 'keepalive interval 30 s instead of 3 s'],
  [{ connectRetrySeconds: 5 }, {}, 'connect retry 120 s instead of 5 s'],
  [{}, { connectRetrySeconds: 5 }, 'connect retry 5 s instead of 120 s'],
  [{ families: [4, 6] }, {}, 'address families IPv4 instead of IPv4 and IPv6'],
  [{ bfd }, {}, 'BFD off instead of 300 ms/300 ms/3'],
  [{}, { bfd }, 'BFD 300 ms/300 ms/3 instead of off'],
];

for (const [wanted, has, says] of changes) {
  test(`${says}: is changed and named`, () => {
    const found = diff([{ ...peer, ...wanted }], [status(has)]);
    assert.deepEqual(found, { ...nothing, update: [{ peer: { ...peer, ...wanted }, differs: [says] }] });
    assert.deepEqual(diff([{ ...peer, ...wanted }], [status(wanted)]), nothing);
  });
}

test('a hold time brings its keepalive interval', () => {
  const [update] = diff([{ ...peer, holdSeconds: 9 }], [status()]).update;
  assert.deepEqual(update?.differs, ['hold time 90 s instead of 9 s', 'keepalive interval 30 s instead of 3 s']);
  assert.deepEqual(diff([{ ...peer, holdSeconds: 10 }], [status({ holdSeconds: 10, keepaliveSeconds: 3 })]), nothing);
});

test('what the daemon does not tell is taken to be right, as is BFD where it has none', () => {
  const quiet = status();
  const { address, asn } = quiet;
  assert.deepEqual(
    diff(
      [{ ...peer, holdSeconds: 9, keepaliveSeconds: 3, connectRetrySeconds: 1, families: [6] }],
      [{ ...quiet, configured: { address, asn } }],
    ),
    nothing,
  );
  assert.deepEqual(diff([{ ...peer, bfd }], [status()], { bfd: false }), nothing);
});

test('another password is named, never shown', () => {
  assert.deepEqual(diff([peer], [status()], { password: false }).update, [{ peer, differs: ['password'] }]);
});

test('of two wishes for one neighbour the first counts; the order of families does not', () => {
  assert.deepEqual(diff([peer, { ...peer, asn: 65009 }], [status()]), nothing);
  assert.deepEqual(diff([{ ...peer, families: [6, 4] }], [status({ families: [4, 6] })]), nothing);
});

test('a route is unheard of while no session is up that carries its family', () => {
  const down = status({}, { state: 'active' });
  const other = status({ address: '10.0.0.3', families: [6] });
  assert.equal(deaf([down, status({ address: '10.0.0.3' })], '192.0.2.1/32', undefined), undefined);
  assert.equal(deaf([other], '2001:db8::1/128', undefined), undefined);
  assert.match(deaf([], '192.0.2.1/32', undefined)?.message ?? '', /has no neighbour/);
  assert.match(deaf([other], '192.0.2.1/32', undefined)?.message ?? '', /no neighbour of the BGP daemon takes IPv4/);
  assert.equal(
    deaf([down, other], '192.0.2.1/32', 'and why')?.message,
    'no session is up with 10.0.0.2 of autonomous system 65001; and why',
  );
  const many = ['1', '2', '3', '4', '5'].map((last) => status({ address: `10.0.0.${last}` }, { state: 'idle' }));
  assert.match(deaf(many, '192.0.2.1/32', undefined)?.message ?? '', /10\.0\.0\.3 of autonomous system 65001, 2 more$/);
});

test('the words about a session stay while it is on its way', () => {
  assert.equal(outline([status({}, { state: 'active' })]), outline([status({}, { state: 'openSent', flaps: 3 })]));
  assert.notEqual(outline([status({}, { state: 'active' })]), outline([status()]));
});
