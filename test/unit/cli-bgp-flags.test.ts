/** Flags of directors among several: what they mean, what is refused, and where they do nothing. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { agentOptions, idleFlags } from '../../src/cli/agent-options.ts';
import { bgpFlags } from '../../src/cli/bgp-flags.ts';
import { bgpOptions } from '../../src/cli/bgp-options.ts';
import { resolveFlags, UsageError } from '../../src/cli/resolve.ts';
import { parseCommunities } from '../../src/model/communities.ts';
import type { BgpOptions } from '../../src/modes/options.ts';
import { ravelAgent } from './cli.ts';

const chosen = async (flags: Record<string, unknown>): Promise<BgpOptions> => bgpOptions((await resolveFlags(flags, {})).values);
const value = async (name: keyof typeof bgpFlags, text: unknown): Promise<unknown> =>
  (await resolveFlags({ [name]: text }, {})).values[name];
const refused = (flags: Record<string, unknown>, ...patterns: readonly RegExp[]): Promise<void> =>
  assert.rejects(chosen(flags), (error: unknown) => {
    assert.ok(error instanceof UsageError);
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  });

test('without any: the daemon on this machine, whole addresses, nothing said, routes stay', async () => {
  assert.deepEqual(await chosen({}), {
    ...{ endpoint: '127.0.0.1:50051', attributes: { communities: [], largeCommunities: [] }, nextHop: {} },
    ...{ prefixLength: { 4: 32, 6: 128 }, drainMilliseconds: 0 },
  });
});

test('all of them', async () => {
  const { values } = await resolveFlags(
    {
      ...{ mode: 'bgp', 'compute-iface': 'eth0', 'source-file': 'x', 'bgp-endpoint': '[2001:DB8::1]:50051', 'bgp-tls-ca': '/ca' },
      ...{
        'bgp-tls-cert': '/c',
        'bgp-tls-key': '/k',
        'bgp-tls-server-name': 'gobgpd',
        'bgp-communities': ['65000:2,no-export', '65000:1:2'],
      },
      ...{ 'bgp-local-preference': '200', 'bgp-med': '7', 'bgp-next-hop': '10.0.0.2,2001:0db8::2', 'bgp-prefix-length-ipv4': '24' },
      ...{ 'bgp-prefix-length-ipv6': '64', 'bgp-drain': '30s', 'bgp-asn': '65000', 'bgp-router-id': '10.0.0.2' },
      ...{ 'bgp-peers': '10.0.0.1,asn=65001', 'ipvs-sync': 'eth1' },
    },
    {},
  );
  const options = agentOptions(values);
  assert.equal(options.mode, 'bgp');
  assert.deepEqual(options.ipvsSync, { interface: 'eth1', syncId: 82 });
  assert.deepEqual(options.bgp, {
    ...{ endpoint: '[2001:db8::1]:50051', tls: { caFile: '/ca', certificateFile: '/c', keyFile: '/k', serverName: 'gobgpd' } },
    ...{ speaker: { asn: 65000, routerId: '10.0.0.2' }, peers: [{ address: '10.0.0.1', asn: 65001 }] },
    attributes: { ...parseCommunities(['65000:2', 'no-export', '65000:1:2']), localPreference: 200, med: 7 },
    ...{ nextHop: { 4: '10.0.0.2', 6: '2001:db8::2' }, prefixLength: { 4: 24, 6: 64 }, drainMilliseconds: 30_000 },
  });
  assert.equal(agentOptions({ ...values, mode: 'director' }).bgp, undefined, 'in mode bgp only');
});

test('an endpoint is a host and port, or a socket', async () => {
  for (const good of ['127.0.0.1:50051', 'gobgpd.lb.svc:50051', '[::1]:1', 'unix:/run/gobgpd.sock', 'localhost:65535'])
    assert.equal(await value('bgp-endpoint', good), good);
  for (const bad of [
    '',
    '127.0.0.1',
    '::1:50051',
    '[::1]',
    'a:0',
    'a:65536',
    'unix:run/x',
    'http://a:1',
    '1.2.3:50051',
    'a b:1',
    `unix:/${'x'.repeat(120)}`,
  ])
    await refused({ 'bgp-endpoint': bad }, /^--bgp-endpoint: must be host:port, \[IPv6 address\]:port or unix:\/path, not /);
});

test('communities: standard, large and words; the first that is none is named', async () => {
  assert.deepEqual(await value('bgp-communities', ''), { communities: [], largeCommunities: [] });
  assert.deepEqual(await value('bgp-communities', [' 1:1 , 1:1', '1:1:1']), { communities: [65_537], largeCommunities: [[1, 1, 1]] });
  await refused({ 'bgp-communities': '65000:1,65536:1' }, /^--bgp-communities: .*"65536:1"/);
  await refused({ 'bgp-communities': 'no-exports' }, /did you mean "no-export"\?/);
  await refused({ 'bgp-communities': '1:2:3:4' }, /more than three numbers/);
  await refused({ 'bgp-communities': '-1:1' }, /--bgp-communities/);
});

test('numbers and addresses within their ranges', async () => {
  assert.equal(await value('bgp-med', '4294967295'), 4_294_967_295);
  assert.equal(await value('bgp-med', '0'), 0);
  await refused({ 'bgp-med': '4294967296' }, /--bgp-med: must be a whole number from 0 to 4294967295/);
  await refused({ 'bgp-local-preference': '-1' }, /--bgp-local-preference/);
  await refused({ 'bgp-asn': '0', 'bgp-router-id': '10.0.0.1' }, /--bgp-asn: must be a whole number from 1 to 4294967294/);
  await refused({ 'bgp-asn': '4294967295' }, /--bgp-asn/);
  await refused({ 'bgp-router-id': '2001:db8::1' }, /--bgp-router-id: must be written as an IPv4 address/);
  await refused({ 'bgp-router-id': '0.0.0.0' }, /--bgp-router-id/);
  await refused({ 'bgp-prefix-length-ipv4': '33' }, /from 8 to 32/);
  await refused({ 'bgp-prefix-length-ipv6': '129' }, /from 16 to 128/);
  await refused({ 'bgp-next-hop': '10.0.0.1,10.0.0.2' }, /more than one next hop for IPv4/);
  await refused({ 'bgp-next-hop': 'router' }, /"router" is no address that a router could send packets to/);
  await refused({ 'bgp-next-hop': '127.0.0.1' }, /no address that a router/);
  await refused({ 'bgp-next-hop': 'fe80::1' }, /no address that a router/);
  await refused({ 'bgp-drain': '11m' }, /--bgp-drain: must be a time from 0s to 10m/);
  await refused({ 'bgp-drain': 'soon' }, /--bgp-drain/);
  assert.equal((await chosen({ 'bgp-drain': '0' })).drainMilliseconds, 0);
});

test('what needs another flag', async () => {
  await refused({ 'bgp-tls-key': '/k' }, /--bgp-tls-cert and --bgp-tls-key/);
  await refused({ 'bgp-asn': '1' }, /--bgp-asn and --bgp-router-id/);
  await refused({ 'bgp-router-id': '10.0.0.1' }, /--bgp-asn and --bgp-router-id/);
  assert.deepEqual((await chosen({ 'bgp-tls-ca': '/ca' })).tls, { caFile: '/ca' });
  assert.deepEqual((await chosen({ 'bgp-tls-server-name': 'x' })).tls, { serverName: 'x' }, 'TLS, by the authorities that Node knows');
});

suite('--bgp-peers', () => {
  test('everything that can be said, in the units of the configuration', async () => {
    const words =
      '10.0.0.1,asn=65001,multihop=2,password-file=/etc/a b,hold=9s,keepalive=3s,connect-retry=5,bfd=300ms,bfd-multiplier=5,' +
      'graceful-restart=2m,families=6+4,passive';
    assert.deepEqual(await value('bgp-peers', `${words} ; 2001:0db8::1, asn=65002;`), [
      {
        ...{ address: '10.0.0.1', asn: 65001, multihop: 2, passwordFile: '/etc/a b', holdSeconds: 9, keepaliveSeconds: 3 },
        ...{ connectRetrySeconds: 5, gracefulRestartSeconds: 120, passive: true, families: [4, 6] },
        bfd: { transmitMilliseconds: 300, receiveMilliseconds: 300, multiplier: 5 },
      },
      { address: '2001:db8::1', asn: 65002 },
    ]);
    assert.deepEqual(await value('bgp-peers', ['10.0.0.1,asn=1', '10.0.0.2,asn=2']), [
      { address: '10.0.0.1', asn: 1 },
      { address: '10.0.0.2', asn: 2 },
    ]);
    assert.deepEqual(await value('bgp-peers', ''), [], 'none at all: those that we set up are removed');
  });

  test('a password that was written there by mistake is not repeated', async () => {
    await assert.rejects(chosen({ 'bgp-peers': '10.0.0.1,asn=1,password=hunter2' }), (error: Error) => {
      assert.match(error.message, /^--bgp-peers: 10\.0\.0\.1: unknown "password"/);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    });
  });

  for (const [words, pattern] of [
    ['10.0.0.1', /10\.0\.0\.1: asn is missing/],
    ['router,asn=1', /router: address not an IP address/],
    ['10.0.0.1,asn=0', /10\.0\.0\.1: asn an autonomous system is a number from 1/],
    ['10.0.0.1,asn=x', /10\.0\.0\.1: asn must be a number/],
    ['10.0.0.1,asn=1,hold=2s', /hold a hold time is 0, or 3 to 65535/],
    ['10.0.0.1,asn=1,hold=soon', /10\.0\.0\.1: hold must be a number/],
    ['10.0.0.1,asn=1,hold=1500ms', /10\.0\.0\.1: hold/],
    ['10.0.0.1,asn=1,keepalive=90s', /keepalive must be below holdSeconds/],
    ['10.0.0.1,asn=1,bfd=9ms', /bfd .* 10 to 60000/],
    ['10.0.0.1,asn=1,bfd=2m', /bfd .* 10 to 60000/],
    ['10.0.0.1,asn=1,bfd=50ms,bfd-multiplier=1', /bfd-multiplier .* 2 to 50/],
    ['10.0.0.1,asn=1,bfd-multiplier=3', /bfd-multiplier needs bfd beside it/],
    ['10.0.0.1,asn=1,pasword-file=/x', /unknown "pasword-file", did you mean "password-file"\?/],
    ['10.0.0.1,asn=1,password-file=relative', /password-file is the absolute path/],
    ['10.0.0.1,asn=1,multihop', /multihop needs a value/],
    ['10.0.0.1,asn=1,passive=yes', /unknown "passive"/],
    ['10.0.0.1,asn=1,asn=2', /asn is given twice/],
    ['10.0.0.1,asn=1;10.0.0.1,asn=2', /10\.0\.0\.1 is given twice/],
    ['10.0.0.1,asn=1,families=5', /families/],
    [',asn=1', /address not an IP address/],
    ['10.0.0.1;asn=1', /asn=1: address not an IP address|asn is missing/],
    ['192.0.2.1,asn=1,graceful-restart=4096', /graceful-restart .* 1 to 4095/],
  ] as const)
    test(`refuses ${words}`, () => refused({ 'bgp-peers': words }, /^--bgp-peers: /, pattern));
});

test('connection synchronization: an interface and a number', async () => {
  assert.deepEqual(await value('ipvs-sync', 'bond0.7,id=255'), { interface: 'bond0.7', syncId: 255 });
  for (const bad of ['', 'eth0,id=0', 'eth0,id=256', 'eth0,7', 'eth0,id=1,id=2', 'a b', 'a-name-that-is-too-long'])
    await refused({ 'ipvs-sync': bad }, /^--ipvs-sync: must be INTERFACE or INTERFACE,id=N/);
});

test('in other modes they do nothing, and that is said, once for each; defaults are not spoken of', async () => {
  const idle = async (mode: string, flags: Record<string, string>): Promise<string[]> =>
    idleFlags((await resolveFlags({ mode, 'source-file': 'x', ...flags }, {})).values);
  const some = { 'bgp-endpoint': 'a:1', 'bgp-communities': '1:1', 'ipvs-sync': 'eth0' };
  assert.deepEqual(await idle('bgp', some), []);
  assert.deepEqual(await idle('director', some), [
    '--bgp-endpoint has no effect: it is for --mode=bgp',
    '--bgp-communities has no effect: it is for --mode=bgp',
  ]);
  assert.equal((await idle('realserver', some)).length, 3);
  assert.match((await idle('realserver', some)).at(-1) ?? '', /--ipvs-sync has no effect: it is for a director/);
  assert.deepEqual(await idle('director,realserver', {}), []);
  const { values } = await resolveFlags(some, {});
  assert.equal(idleFlags(values, 'director').length, 2, 'as the command director has it');
});

test('--bgp-bin is accepted, and starts nothing', async () => {
  const { warnings } = await resolveFlags({ 'bgp-bin': '/bin/gobgp' }, {});
  assert.match(warnings.join(), /^--bgp-bin has no effect: the agent speaks to the BGP daemon itself \(--bgp-endpoint\)/);
});

test('help shows them with their defaults and an example', async () => {
  const { out } = await ravelAgent(['bgp', '--help']);
  for (const name of Object.keys(bgpFlags)) assert.ok(out.includes(`--${name}`), name);
  assert.match(out.replaceAll(/\s+/g, ' '), /\(default: 127\.0\.0\.1:50051\)/);
  assert.match(out, /--bgp-peers="10\.0\.0\.1,asn=65001,bfd=300ms"/);
});
