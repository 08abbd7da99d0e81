/** Chains and rules of a realserver in legacy iptables, and what differs from those that are there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DesiredNatService, MasqueradePolicy } from '../../src/desired/types.ts';
import { diffIptables, iptablesProgram } from '../../src/diff/iptables.ts';
import { iptablesRuleText } from '../../src/diff/iptables-text.ts';
import { chainHash } from '../../src/native/iptables-hash.ts';
import { encodeIptables } from '../../src/native/iptables-program.ts';
import type { IptablesListing, IptablesProgram } from '../../src/native/iptables-types.ts';

type Pods = DesiredNatService['pods'];

const pods = (...addresses: readonly string[]): Pods => addresses.map((address) => ({ address, port: 8080 }));

function service(address: string, port: number, comment: string, behind: Pods, protocol = 6): DesiredNatService {
  const host = address.includes(':') ? `[${address}]` : address;
  return { key: `${protocol === 6 ? 'tcp' : 'udp'} ${host}:${port}`, address, port, protocol, comment, pods: behind };
}

function program(
  services: readonly DesiredNatService[],
  masquerade: MasqueradePolicy = { enabled: true },
  { family = 'ip', prefix = 'RAVEL' }: { family?: 'ip' | 'ip6'; prefix?: string } = {},
): IptablesProgram {
  return iptablesProgram(services, { family, prefix, masquerade, hash: chainHash });
}

/** Rules by chain, as text. */
const text = ({ chains }: IptablesProgram): Record<string, string[]> =>
  Object.fromEntries(chains.map(({ name, rules }) => [name, rules.map(iptablesRuleText)]));

const listing = ({ chains, jumps }: IptablesProgram): IptablesListing => {
  const listed = (rule: (typeof chains)[number]['rules'][number]) => ({ rule, foreign: undefined, packets: 0n, bytes: 0n });
  return {
    present: true,
    jumps: jumps.map(({ from, to }) => ({ from, ...listed({ target: { kind: 'jump', chain: to } }) })),
    chains: chains.map(({ name, rules }) => ({ name, rules: rules.map(listed) })),
  };
};

test('names are those that are in the field', () => {
  for (const [ident, hash] of [
    ['shop/web:httptcp', '67NZLRHBNDSAWJRO'],
    ['shop/web:httpudp', 'KX7MO73YLK2BGQGP'],
    ['shop/web:http10.244.1.5tcp', 'GUR5CDCIXKDOPJIJ'],
    ['shop/api:httptcp', 'RUKNB3TURLFC6SGL'],
    ['shop/api:http10.50.1.3tcp', 'EXJDSLQI5OY6EQPI'],
    ['dns/resolver:dnsudp', 'JLUUYCJAWZ2LAHMK'],
  ] as const) {
    assert.equal(chainHash(ident), hash, ident);
  }
});

test('every pod gets the same share, and virtual services of one service share its chain', () => {
  const four = pods('10.50.1.2', '10.50.1.3', '10.50.1.4', '10.50.1.5');
  const rules = program([service('192.0.2.10', 80, 'shop/api:http', four), service('192.0.2.11', 8443, 'shop/api:http', four)]);
  const chosen = rules.chains.filter(({ name }) => name.startsWith('RAVEL-SVC-'));
  assert.equal(chosen.length, 1);
  let left = 1;
  const shares = chosen[0]!.rules.map(({ probability = 1 }) => {
    const share = left * probability;
    left -= share;
    return share;
  });
  assert.equal(shares.length, 4);
  for (const share of shares) assert.ok(Math.abs(share - 0.25) < 1e-9, String(shares));
  assert.equal(chosen[0]!.rules.at(-1)?.probability, undefined, 'the last takes whatever comes');
  assert.equal(text(rules)['RAVEL']?.length, 4);
});

test('the order of the configuration does not matter', () => {
  const all = [
    service('192.0.2.10', 80, 'shop/api:http', pods('10.50.1.2')),
    service('192.0.2.9', 443, 'shop/web:https', pods('10.50.1.2', '10.50.1.3')),
    service('192.0.2.10', 80, 'dns/resolver:dns', pods('10.50.1.4'), 17),
  ];
  assert.deepEqual(text(program(all.toReversed())), text(program(all)));
  assert.match(text(program(all))['RAVEL']![0]!, /^-d 192\.0\.2\.9\/32 /);
});

test('a pod that reaches itself is marked whatever the policy; a prefix of everything marks nothing else', () => {
  const one = [service('192.0.2.10', 80, 'shop/api:http', pods('10.50.1.2'))];
  const hairpin = '-s 10.50.1.2/32 -j MARK --set-xmark 0x4000/0x4000';
  for (const policy of [{ enabled: false }, { enabled: true }, { enabled: true, exceptSource: { address: '10.50.0.0', prefix: 16 } }]) {
    assert.equal(text(program(one, policy))['RAVEL-SEP-C3T25LG3VRROJZ4C']![0], hairpin);
  }
  const except = (address: string, prefix: number) =>
    text(program(one, { enabled: true, exceptSource: { address, prefix } }))['RAVEL-MASQ'];
  assert.deepEqual(except('10.51.255.1', 15), ['! -s 10.50.0.0/15 -j MARK --set-xmark 0x4000/0x4000']);
  assert.deepEqual(except('0.0.0.0', 0), []);
  assert.deepEqual(except('fd00::', 8), ['-j MARK --set-xmark 0x4000/0x4000'], 'a prefix of IPv6 excepts no IPv4 source');
});

test('each family has its own virtual services', () => {
  const both = [service('192.0.2.10', 80, 'a/b:c', pods('10.50.1.2')), service('2001:db8::10', 80, 'a/b:c', pods('fd00::2'))];
  assert.equal(text(program(both))['RAVEL']!.length, 2);
  const six = text(program(both, { enabled: false }, { family: 'ip6' }));
  assert.match(
    six['RAVEL']!.join(),
    /^-d 2001:db8::10\/128 -p tcp -m tcp --dport 80 -m comment --comment "a\/b:c" -j RAVEL-SVC-[A-Z2-7]{16}$/,
  );
  assert.ok(Object.values(six).flat().includes('-p tcp -j DNAT --to-destination [fd00::2]:8080'));
});

test('pods of one address and services of one name with different pods do not share a chain', () => {
  const host: Pods = [
    { address: '10.0.0.1', port: 8080 },
    { address: '10.0.0.1', port: 8081 },
  ];
  const twoPorts = text(program([service('192.0.2.10', 80, 'a/b:c', host)]));
  const targets = Object.values(twoPorts).flatMap((rules) => rules.filter((rule) => rule.includes('DNAT')));
  assert.deepEqual(targets.sort(), ['-p tcp -j DNAT --to-destination 10.0.0.1:8080', '-p tcp -j DNAT --to-destination 10.0.0.1:8081']);
  const different = program([
    service('192.0.2.10', 80, 'a/b:c', pods('10.0.0.1')),
    service('192.0.2.11', 80, 'a/b:c', [{ address: '10.0.0.1', port: 9090 }]),
  ]);
  const names = different.chains.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  const ends = Object.entries(text(different)).filter(([name]) => name.includes('-SEP-'));
  assert.deepEqual(ends.map(([, rules]) => rules[1]).sort(), [
    '-p tcp -j DNAT --to-destination 10.0.0.1:8080',
    '-p tcp -j DNAT --to-destination 10.0.0.1:9090',
  ]);
});

test('a prefix that leaves no room for a hash is refused; the longest gives names that encode', () => {
  assert.throws(() => program([], undefined, { prefix: 'RAVELING' }), /^RangeError: chain prefix RAVELING: at most 7 characters/);
  const longest = program([service('192.0.2.10', 80, 'a/b:c', pods('10.0.0.1'))], undefined, { prefix: 'RAVELED' });
  assert.ok(longest.chains.some(({ name }) => name.length === 28));
  assert.ok(encodeIptables('ip', 'RAVELED', longest).length > 0);
});

test('comments are quoted as iptables-save quotes them', () => {
  const comment = (value: string) => iptablesRuleText({ comment: value, target: { kind: 'masquerade' } });
  assert.equal(comment('plain'), '-m comment --comment plain -j MASQUERADE');
  assert.equal(comment('a/b "c" \\'), '-m comment --comment "a/b \\"c\\" \\\\" -j MASQUERADE');
});

test('the difference names chains, jumps and virtual services; none where all is as wanted', () => {
  const web = (behind: Pods) => service('192.0.2.9', 80, 'shop/web:http', behind);
  const api = service('192.0.2.10', 80, 'shop/api:http', pods('10.50.1.2'));
  const before = program([web(pods('10.50.1.3')), api]);
  const none = { chains: [], jumps: [], services: [] };
  assert.deepEqual(diffIptables(listing(before), before, 'RAVEL'), none);
  const moved = diffIptables(listing(before), program([web(pods('10.50.1.4')), api]), 'RAVEL');
  assert.deepEqual(moved.services, [{ key: 'tcp 192.0.2.9:80', change: 'change' }]);
  assert.deepEqual(moved.chains.map(({ change }) => change).sort(), ['add', 'change', 'remove']);
  assert.deepEqual(moved.jumps, []);
  const fresh = diffIptables({ present: false, jumps: [], chains: [] }, before, 'RAVEL');
  assert.deepEqual(
    fresh.services.map(({ change }) => change),
    ['add', 'add'],
  );
  assert.deepEqual(fresh.jumps, [
    { from: 'PREROUTING', to: 'RAVEL', change: 'add' },
    { from: 'OUTPUT', to: 'RAVEL', change: 'add' },
    { from: 'POSTROUTING', to: 'RAVEL-POSTROUTING', change: 'add' },
  ]);
  const gone = diffIptables(listing(before), program([]), 'RAVEL');
  assert.deepEqual(
    gone.services.map(({ change }) => change),
    ['remove', 'remove'],
  );
  assert.deepEqual(gone.jumps, [{ from: 'POSTROUTING', to: 'RAVEL-POSTROUTING', change: 'remove' }]);
  const foreign: IptablesListing = {
    ...listing(before),
    jumps: [...listing(before).jumps, { from: 'OUTPUT', rule: undefined, foreign: '-p 6 -j RAVEL', packets: 0n, bytes: 0n }],
  };
  assert.deepEqual(diffIptables(foreign, before, 'RAVEL').jumps, [{ from: 'OUTPUT', to: '-p 6 -j RAVEL', change: 'remove' }]);
});
