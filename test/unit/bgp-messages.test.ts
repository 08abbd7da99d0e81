/** Messages against bytes put together by hand: field numbers of api/gobgp.proto (GoBGP 3.10) and proto/api/gobgp.proto (4.8). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gobgp3, gobgp4 } from '../../src/announce/bgp/dialect.ts';
import { addPathRequest, deletePathRequest, listPathRequest, readListedPaths } from '../../src/announce/bgp/path-messages.ts';
import { deletePeerRequest, listPeerRequest, peerRequest, startRequest, watchPeersRequest } from '../../src/announce/bgp/peer-messages.ts';
import { readIdentity, readListedPeer, readPeerEvent } from '../../src/announce/bgp/peer-status.ts';
import { MessageError } from '../../src/announce/bgp/protobuf.ts';
import { bytes, number } from './gobgp-server.ts';

const hex = (message: Uint8Array): string => Buffer.from(message).toString('hex');
const expected = (...parts: readonly string[]): string => parts.join('').replaceAll(/\s/g, '');
const raw = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

const vip = { prefix: '192.0.2.10/32', nextHop: '0.0.0.0', communities: [], largeCommunities: [] };

/** Path: family IPv4 unicast, identifier "ravl", prefix, ORIGIN, NEXT_HOP; 38 bytes. */
const path = '4a04 0801 1001  9001 ecec859307  a201 05 20c000020a  aa01 04 40010100  aa01 07 40030400000000';

describe('paths', () => {
  test('AddPath, with the table of each version', () => {
    assert.equal(hex(addPathRequest(gobgp3, vip)), expected('1a26', path));
    assert.equal(hex(addPathRequest(gobgp4, vip)), expected('0801 1a26', path));
  });

  test('DeletePath never comes without a path: that would empty the family', () => {
    assert.equal(hex(deletePathRequest(gobgp3, '192.0.2.10/32')), expected('1a04 0801 1001  2226', path));
    assert.equal(hex(deletePathRequest(gobgp4, '192.0.2.10/32')), expected('0801  1a04 0801 1001  2226', path));
    for (const none of ['', '192.0.2.10', 'x/32', '192.0.2.10/33']) assert.throws(() => deletePathRequest(gobgp4, none), TypeError, none);
  });

  test('ListPath of a family, binary only; of some prefixes, exactly these', () => {
    assert.equal(hex(listPathRequest(gobgp3, 4, [])), expected('1a04 0801 1001  4801'));
    assert.equal(hex(listPathRequest(gobgp4, 6, [])), expected('0801  1a04 0802 1001  4801'));
    const text = Buffer.from('192.0.2.10/32').toString('hex');
    assert.equal(hex(listPathRequest(gobgp3, 4, ['192.0.2.10/32'])), expected('1a04 0801 1001  220f 0a0d', text, '4801'));
    assert.equal(hex(listPathRequest(gobgp4, 4, ['192.0.2.10/32'])), expected('0801  1a04 0801 1001  2211 0a0d', text, '1001 4801'));
  });

  const mark = number(18, 0x7261766c);
  const content = Buffer.concat([bytes(20, raw('20 c000020a')), bytes(21, raw('40010100')), bytes(21, raw('400304 0a000007'))]);
  const page = (...paths: readonly Buffer[]): Buffer => bytes(1, bytes(1, '192.0.2.10/32'), ...paths.map((item) => bytes(2, item)));
  const nextHop = { prefix: '192.0.2.10/32', nextHop: '10.0.0.7', communities: [], largeCommunities: [] };

  test('ours: of this machine, and with our identifier', () => {
    for (const [neighbour, identifier, ours] of [
      ['', mark, true],
      ['<nil>', mark, true],
      ['invalid IP', mark, true],
      ['invalid IP', Buffer.alloc(0), false],
      ['<nil>', number(18, 1), false],
      ['10.0.0.2', mark, false],
    ] as const) {
      const listed = readListedPaths(page(Buffer.concat([number(4, 1), bytes(15, neighbour), identifier, content])), 4, false);
      const told = neighbour === '10.0.0.2' ? neighbour : undefined;
      assert.deepEqual(listed, [{ path: nextHop, ours, neighbour: told, best: true }], neighbour);
    }
  });

  test('a link-local neighbour, which comes with its interface, is a neighbour all the same', () => {
    const [listed] = readListedPaths(page(Buffer.concat([bytes(15, 'fe80::1%eth0'), mark, content])), 4, false);
    assert.deepEqual([listed?.neighbour, listed?.ours], ['fe80::1', false]);
  });

  test('a sweep keeps learned paths only beside one of this machine', () => {
    const learned = Buffer.concat([bytes(15, '10.0.0.2'), content, bytes(21, raw('400206 0201 0000fde9'))]);
    const made = Buffer.concat([bytes(15, '<nil>'), mark, content]);
    assert.deepEqual(readListedPaths(page(learned), 4, true), []);
    assert.equal(readListedPaths(page(learned), 4, false)[0]?.originAsn, 65001);
    assert.deepEqual(
      readListedPaths(page(learned, made), 4, true).map(({ ours, neighbour }) => [ours, neighbour]),
      [
        [false, '10.0.0.2'],
        [true, undefined],
      ],
    );
  });

  test('a path of others that is damaged is left out; one that bears our mark is an error; a withdrawn one is none', () => {
    const damaged = bytes(21, raw('400304 0a00'));
    assert.deepEqual(readListedPaths(page(Buffer.concat([bytes(15, '10.0.0.2'), bytes(20, raw('20c000020a')), damaged])), 4, false), []);
    assert.throws(() => readListedPaths(page(Buffer.concat([mark, bytes(20, raw('20c000020a')), damaged])), 4, false), /attribute 3/);
    assert.throws(() => readListedPaths(page(mark), 4, false), /NLRI: absent/);
    assert.deepEqual(readListedPaths(page(Buffer.concat([number(5, 1), mark, content])), 4, false), []);
    assert.throws(() => readListedPaths(page(Buffer.concat([mark, content])).subarray(0, -1), 4, false), MessageError);
  });
});

describe('neighbours', () => {
  const self = { major: 4, asn: 65000, routerId: '10.0.0.1', listenPort: 179 } as const;

  test('a neighbour with everything', () => {
    const peer = {
      address: '10.0.0.2',
      asn: 65001,
      password: 'secret',
      multihop: 3,
      holdSeconds: 9,
      keepaliveSeconds: 2,
      connectRetrySeconds: 5,
      passive: true,
      gracefulRestartSeconds: 120,
      bfd: { transmitMilliseconds: 300, receiveMilliseconds: 400, multiplier: 3 },
      families: [6] as const,
    };
    const conf = (type: number): Buffer =>
      bytes(
        2,
        ...[bytes(1, 'secret'), bytes(2, 'ravel-agent'), number(3, 65000), bytes(4, '10.0.0.2'), number(5, 65001)],
        ...[number(7, type)],
      );
    const rest = [
      bytes(3, number(1, 1), number(2, 3)),
      bytes(6, bytes(1, number(1, 5), number(2, 9), number(3, 2), number(5, 30))),
      bytes(7, bytes(1, '0.0.0.0'), number(4, 1)),
      bytes(9, number(1, 1), number(2, 120), number(4, 360)),
      bytes(10, bytes(1, bytes(1, number(1, 1))), bytes(2, bytes(1, number(1, 2), number(2, 1)), number(2, 1))),
      // Microseconds.
      bytes(12, number(1, 1), number(3, 300_000), number(4, 400_000), number(5, 3)),
    ];
    assert.equal(hex(peerRequest(gobgp4, peer, self)), hex(bytes(1, conf(2), ...rest)));
    assert.equal(hex(peerRequest(gobgp3, peer, self)), hex(bytes(1, conf(1), ...rest)));
  });

  test('a neighbour with nothing: the defaults are said, since an absent one resets the session of GoBGP 3', () => {
    const family = (afi: number): Buffer => bytes(10, bytes(2, bytes(1, number(1, afi), number(2, 1)), number(2, 1)));
    const rest = [bytes(6, bytes(1, number(1, 120), number(2, 90), number(3, 30), number(5, 30))), bytes(7, bytes(1, '::')), family(2)];
    const conf = [bytes(2, 'ravel-agent'), number(3, 65000), bytes(4, '2001:db8::2'), number(5, 65000)];
    const peer = { address: '2001:db8::2', asn: 65000 };
    assert.equal(hex(peerRequest(gobgp4, peer, self)), hex(bytes(1, bytes(2, ...conf, number(7, 1)), ...rest)));
    assert.equal(hex(peerRequest(gobgp3, peer, self)), hex(bytes(1, bytes(2, ...conf), ...rest)));
  });

  test('the others', () => {
    assert.equal(hex(deletePeerRequest('10.0.0.2')), hex(bytes(1, '10.0.0.2')));
    assert.equal(hex(listPeerRequest(undefined, true)), '1001');
    assert.equal(hex(listPeerRequest('10.0.0.2', false)), hex(bytes(1, '10.0.0.2')));
    assert.equal(hex(watchPeersRequest()), '0a00');
    assert.equal(
      hex(startRequest({ asn: 65000, routerId: '10.0.0.1' })),
      hex(bytes(1, number(1, 65000), bytes(2, '10.0.0.1'), number(3, 179))),
    );
    // -1, as the encoding has negative numbers: ten bytes.
    const silent = Buffer.concat([number(1, 4200000000), bytes(2, '10.0.0.1'), raw('18 ffffffffffffffffff01')]);
    assert.equal(hex(startRequest({ asn: 4200000000, routerId: '10.0.0.1', listenPort: -1 })), hex(bytes(1, silent)));
    assert.deepEqual(readIdentity(bytes(1, silent), 3), { major: 3, asn: 4200000000, routerId: '10.0.0.1', listenPort: -1 });
    assert.deepEqual(readIdentity(Buffer.alloc(0), 4), { major: 4, asn: 0, routerId: '', listenPort: 0 });
  });

  const listed = (state: number, admin: number): Buffer =>
    bytes(
      1,
      bytes(2, bytes(1, 'secret'), bytes(2, 'ravel-agent'), bytes(4, '10.0.0.2'), number(5, 65001)),
      bytes(3, number(1, 1), number(2, 3)),
      bytes(
        5,
        bytes(4, bytes(1, number(1, 7), number(2, 8)), bytes(2, number(1, 9), number(2, 10))),
        ...[number(13, state), number(15, admin), number(17, 11), number(21, 2), bytes(22, 'no word from it\n')],
        bytes(23, number(1, 1)),
      ),
      bytes(6, bytes(1, number(1, 120), number(2, 9), number(3, 3)), bytes(2, bytes(6, number(1, 1_800_000_000), number(2, 5)))),
      bytes(7, number(4, 1)),
      bytes(9, number(1, 1), number(2, 120)),
      bytes(10, bytes(2, bytes(1, number(1, 1), number(2, 1)), number(2, 1)), bytes(3, number(5, 12))),
      bytes(10, bytes(2, bytes(1, number(1, 2), number(2, 1)), number(2, 1)), bytes(3, number(5, 30))),
      // Switched off, and of another kind.
      bytes(10, bytes(2, bytes(1, number(1, 2), number(2, 1)))),
      bytes(10, bytes(2, bytes(1, number(1, 25), number(2, 70)), number(2, 1))),
      bytes(12, number(1, 1), number(3, 300_000), number(4, 400_500), number(5, 3)),
    );

  test('a neighbour as it is listed', () => {
    const { status, password } = readListedPeer(listed(6, 1), gobgp4, true);
    assert.deepEqual(status, {
      address: '10.0.0.2',
      asn: 65001,
      state: 'established',
      disabled: false,
      establishedSeconds: 1_800_000_000,
      flaps: 11,
      received: { notifications: 7, updates: 8 },
      sent: { notifications: 9, updates: 10 },
      advertised: 42,
      lastError: 'hold timer expired: no word from it',
      bfd: { state: 'up' },
      ours: true,
      configured: {
        address: '10.0.0.2',
        asn: 65001,
        multihop: 3,
        holdSeconds: 9,
        keepaliveSeconds: 3,
        connectRetrySeconds: 120,
        passive: true,
        gracefulRestartSeconds: 120,
        bfd: { transmitMilliseconds: 300, receiveMilliseconds: 400.5, multiplier: 3 },
        families: [4, 6],
      },
    });
    assert.equal(password, 'secret');
    assert.ok(!JSON.stringify(status).includes('secret'));
  });

  test('one that is down, disabled, uncounted, of somebody else, of a state that is new', () => {
    const down = readListedPeer(listed(3, 2), gobgp4, true).status;
    assert.deepEqual([down.state, down.disabled, down.establishedSeconds, down.advertised], ['active', true, undefined, 0]);
    const old = readListedPeer(listed(6, 1), gobgp3, false).status;
    assert.deepEqual([old.disabled, old.flaps, old.advertised], [true, undefined, undefined], 'DOWN is 1 in version 3');
    assert.equal(readListedPeer(listed(9, 0), gobgp4, true).status.state, 'unknown');
    const other = readListedPeer(bytes(1, bytes(2, bytes(2, 'ravel-agent2'), bytes(4, 'fe80::1%eth0'))), gobgp4, true).status;
    assert.deepEqual([other.address, other.ours, other.bfd, other.configured.bfd], ['fe80::1%eth0', false, undefined, undefined]);
  });

  test('news', () => {
    const event = (type: number, state: number): Buffer =>
      bytes(2, number(1, type), bytes(2, bytes(2, bytes(4, '10.0.0.2')), bytes(5, number(13, state))));
    assert.deepEqual(readPeerEvent(event(1, 6)), { kind: 'peer', address: '10.0.0.2', state: 'established' });
    assert.deepEqual(readPeerEvent(event(3, 1)), { kind: 'peer', address: '10.0.0.2', state: 'idle' });
    assert.deepEqual(readPeerEvent(event(2, 0)), { kind: 'gap' });
    assert.equal(readPeerEvent(bytes(3, bytes(2, 'a path'))), undefined);
    assert.throws(() => readPeerEvent(event(3, 1).subarray(0, -1)), MessageError);
  });
});
