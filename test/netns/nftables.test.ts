/** What we write is what nft writes, and what we read is what we wrote. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Netns } from '../../src/native/netns.ts';
import { toElements } from '../../src/native/nftables-columns.ts';
import { toText } from '../../src/native/nftables-text.ts';
import { Nftables } from '../../src/native/nftables.ts';
import type { NftOperation, SetSpec, Statement, TableId } from '../../src/native/nftables-types.ts';
import { instructions, listing, nft, nftScript, reference, REFERENCE_SCRIPT, TABLE } from './nftables-support.ts';

test('a ruleset of ours is to nft what its own script makes', async () => {
  await using theirs = await Netns.create();
  await using ours = await Netns.create();
  await using nftables = await Nftables.open({ netns: ours });
  assert.equal(nftScript(theirs, REFERENCE_SCRIPT), '');
  await nftables.commit(reference());
  assert.deepEqual(listing(ours).length, listing(theirs).length);
  assert.deepEqual(listing(ours), listing(theirs));
  assert.deepEqual(instructions(ours), instructions(theirs));
});

/** What only a table of its own shows: conntrack, interfaces, TCP, and IPv6 beside IPv4. By hand, in nft's words. */
const PARTS_SCRIPT = `
add table ip parts
add set ip parts vips { type ipv4_addr; }
add set ip parts ports { type ipv4_addr . inet_proto . inet_service; }
add chain ip parts pre { type nat hook prerouting priority -101; }
add rule ip parts pre iifname "eth0" return
add rule ip parts pre iifname "a-name-of-15-by" return
add chain ip parts post { type nat hook postrouting priority 99; }
add rule ip parts post ct status dnat ip saddr @vips ct original ip daddr @vips masquerade
add rule ip parts post meta l4proto sctp ct original ip daddr . meta l4proto . ct original proto-dst @ports masquerade
add chain ip parts segments { type filter hook postrouting priority 101; }
add rule ip parts segments ip saddr @vips meta l4proto tcp tcp flags syn tcp option maxseg size set 1360
add table ip6 parts
add set ip6 parts vips { type ipv6_addr; }
add set ip6 parts ports { type ipv6_addr . inet_proto . inet_service; }
add map ip6 parts endpoints { typeof ip6 daddr . ip6 nexthdr . th dport . numgen random mod 2 : ip6 daddr . th dport; }
add chain ip6 parts pods
add rule ip6 parts pods meta l4proto udp dnat ip6 to ip6 daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints
add chain ip6 parts post { type nat hook postrouting priority 99; }
add rule ip6 parts post ct status dnat ct original ip6 daddr @vips ip6 saddr != 2001:db8:4000::/34 masquerade
add rule ip6 parts post meta l4proto tcp ct original ip6 daddr . meta l4proto . ct original proto-dst @ports masquerade
add chain ip6 parts segments { type filter hook postrouting priority 101; }
add rule ip6 parts segments ip6 saddr @vips meta l4proto tcp tcp flags syn tcp option maxseg size set 1220
add element ip6 parts ports { 2001:db8::1 . tcp . 443 }
add element ip6 parts endpoints { 2001:db8::1 . udp . 53 . 2 : 2001:db8:1::2 . 5353 }
`;

function parts(): NftOperation[] {
  const four: TableId = { family: 'ip', name: 'parts' };
  const six: TableId = { family: 'ip6', name: 'parts' };
  const vips = (type: 'ipv4_addr' | 'ipv6_addr'): SetSpec => ({ name: 'vips', key: [type] });
  const ports = (type: 'ipv4_addr' | 'ipv6_addr'): SetSpec => ({ name: 'ports', key: [type, 'inet_proto', 'inet_service'] });
  const endpoints: SetSpec = {
    name: 'endpoints',
    key: ['ipv6_addr', 'inet_proto', 'inet_service', 'slot'],
    value: ['ipv6_addr', 'inet_service'],
  };
  const chain = (
    table: TableId,
    name: string,
    type: 'nat' | 'filter',
    hook: 'prerouting' | 'postrouting',
    priority: number,
  ): NftOperation => ({
    ...{ op: 'addChain', table, chain: { name, hook: { type, hook, priority } } },
  });
  const rule = (table: TableId, name: string, ...statements: Statement[]): NftOperation => ({
    ...{ op: 'addRule', table, rule: { chain: name, statements } },
  });
  const [translated, masquerade]: Statement[] = [{ kind: 'destinationTranslated' }, { kind: 'masquerade' }];
  const protocol = (number: number): Statement => ({ kind: 'protocol', protocol: number });
  const clamp = (bytes: number): Statement[] => [protocol(6), { kind: 'tcpSyn' }, { kind: 'maxSegment', bytes }];
  const leave: Statement = { kind: 'verdict', verdict: { verdict: 'return' } };
  return [
    { op: 'addTable', table: four },
    { op: 'addSet', table: four, set: vips('ipv4_addr') },
    { op: 'addSet', table: four, set: ports('ipv4_addr') },
    chain(four, 'pre', 'nat', 'prerouting', -101),
    rule(four, 'pre', { kind: 'inputInterface', name: 'eth0' }, leave),
    rule(four, 'pre', { kind: 'inputInterface', name: 'a-name-of-15-by' }, leave),
    chain(four, 'post', 'nat', 'postrouting', 99),
    rule(
      ...([four, 'post', translated!, { kind: 'inSet', key: ['ip saddr'], set: 'vips' }] as const),
      ...([{ kind: 'inSet', key: ['ct original ip daddr'], set: 'vips' }, masquerade!] as const),
    ),
    rule(
      ...([four, 'post', protocol(132)] as const),
      { kind: 'inSet', key: ['ct original ip daddr', 'meta l4proto', 'ct original proto-dst'], set: 'ports' },
      masquerade!,
    ),
    chain(four, 'segments', 'filter', 'postrouting', 101),
    rule(four, 'segments', { kind: 'inSet', key: ['ip saddr'], set: 'vips' }, ...clamp(1360)),
    { op: 'addTable', table: six },
    { op: 'addSet', table: six, set: vips('ipv6_addr') },
    { op: 'addSet', table: six, set: ports('ipv6_addr') },
    { op: 'addSet', table: six, set: endpoints },
    { op: 'addChain', table: six, chain: { name: 'pods' } },
    rule(six, 'pods', protocol(17), {
      kind: 'dnatMap',
      key: ['ip6 daddr', 'meta l4proto', 'th dport', { numgen: 'random', modulus: 3 }],
      map: 'endpoints',
    }),
    chain(six, 'post', 'nat', 'postrouting', 99),
    rule(
      ...([six, 'post', translated!, { kind: 'inSet', key: ['ct original ip6 daddr'], set: 'vips' }] as const),
      ...([{ kind: 'source', address: '2001:db8:4000::', prefix: 34, inverted: true }, masquerade!] as const),
    ),
    rule(
      ...([six, 'post', protocol(6)] as const),
      { kind: 'inSet', key: ['ct original ip6 daddr', 'meta l4proto', 'ct original proto-dst'], set: 'ports' },
      masquerade!,
    ),
    chain(six, 'segments', 'filter', 'postrouting', 101),
    rule(six, 'segments', { kind: 'inSet', key: ['ip6 saddr'], set: 'vips' }, ...clamp(1220)),
    { op: 'addElements', table: six, set: ports('ipv6_addr'), elements: [{ key: ['2001:db8::1', 6, 443] }] },
    {
      ...{ op: 'addElements', table: six, set: endpoints },
      elements: [{ key: ['2001:db8::1', 17, 53, 2], value: ['2001:db8:1::2', 5353] }],
    },
  ];
}

test('conntrack, interfaces, segments and IPv6 are to nft what its own script makes, and come back as they went', async () => {
  await using theirs = await Netns.create();
  await using spelled = await Netns.create();
  await using again = await Netns.create();
  await using ours = await Netns.create();
  await using nftables = await Nftables.open({ netns: ours });
  const operations = parts();
  assert.equal(nftScript(theirs, PARTS_SCRIPT), '');
  assert.equal(nftScript(spelled, toText(operations)), '', toText(operations));
  await nftables.commit(operations);
  for (const other of [theirs, spelled]) {
    assert.deepEqual(listing(ours), listing(other));
    assert.deepEqual(instructions(ours), instructions(other));
  }
  assert.equal(nftScript(again, nft(ours, 'list', 'ruleset')), '');
  assert.deepEqual(listing(again), listing(ours));
  await using reader = await Nftables.open({ netns: theirs });
  for (const family of ['ip', 'ip6'] as const) {
    const { rules } = await reader.list({ family, name: 'parts' });
    const wanted = operations.flatMap((operation) =>
      operation.op === 'addRule' && operation.table.family === family ? [operation.rule.statements] : [],
    );
    // The kernel lists the rules chain by chain, in the order in which we made the chains.
    assert.deepEqual(
      rules.map(({ statements }) => statements),
      wanted,
    );
  }
});

test('what looks like the parts of ours and means something else is foreign', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const matches = [
    ...['iifname "eth*"', 'iifname != "eth0"', 'oifname "eth0"'],
    ...['ct status snat', 'ct status & dnat == 0', 'ct original ip saddr 192.0.2.1', 'ct reply ip daddr 192.0.2.1'],
    ...['tcp flags fin', 'tcp flags & (syn | ack) == syn', 'tcp option maxseg size 1360', 'tcp option sack-perm exists'],
  ];
  const script = ['add table ip parts', 'add chain ip parts c', ...matches.map((match) => `add rule ip parts c ${match}`)];
  assert.equal(nftScript(netns, script.join('\n')), '');
  const { rules } = await nftables.list({ family: 'ip', name: 'parts' });
  assert.deepEqual(
    rules.map(({ statements }, at) => [matches[at], statements]),
    matches.map((match) => [match, undefined]),
  );
});

test('the comparison sees one wrong port', async () => {
  await using theirs = await Netns.create();
  await using ours = await Netns.create();
  await using nftables = await Nftables.open({ netns: ours });
  assert.equal(nftScript(theirs, REFERENCE_SCRIPT.replace('10.1.1.2 . 8080', '10.1.1.2 . 8081')), '');
  await nftables.commit(reference());
  assert.notDeepEqual(listing(ours), listing(theirs));
  assert.notDeepEqual(instructions(ours), instructions(theirs));
});

test('toText() is a script that makes the same ruleset', async () => {
  await using theirs = await Netns.create();
  await using ours = await Netns.create();
  await using nftables = await Nftables.open({ netns: ours });
  assert.equal(nftScript(theirs, toText(reference())), '');
  await nftables.commit(reference());
  assert.deepEqual(listing(ours), listing(theirs));
  assert.deepEqual(instructions(ours), instructions(theirs));
});

test('nft loads its own listing of what we wrote', async () => {
  await using ours = await Netns.create();
  await using again = await Netns.create();
  await using nftables = await Nftables.open({ netns: ours });
  await nftables.commit(reference());
  assert.equal(nftScript(again, nft(ours, 'list', 'ruleset')), '');
  assert.deepEqual(listing(again), listing(ours));
});

test('list() and elements() return what was committed, also what nft committed', async () => {
  for (const writer of ['us', 'nft']) {
    await using netns = await Netns.create();
    await using nftables = await Nftables.open({ netns });
    if (writer === 'us') await nftables.commit(reference());
    else assert.equal(nftScript(netns, REFERENCE_SCRIPT), '');
    const operations = reference();
    assert.deepEqual(await nftables.tables(), [TABLE]);
    const state = await nftables.list(TABLE);
    for (const operation of operations) {
      if (operation.op === 'addChain') {
        const { handle: _, ...chain } = state.chains.find(({ name }) => name === operation.chain.name)!;
        assert.deepEqual(chain, { ...operation.chain, ...('policy' in chain && { policy: 'accept' }) });
      } else if (operation.op === 'addSet') {
        const { handle: _, known, ...set } = state.sets.find(({ name }) => name === operation.set.name)!;
        assert.deepEqual([set, known], [{ counter: false, ...operation.set }, true]);
      } else if (operation.op === 'addElements') {
        const listed = toElements(operation.set, await nftables.elements(TABLE, operation.set.name));
        for (const element of operation.elements) {
          const found = listed.find(({ key }) => key.join() === element.key.join());
          assert.deepEqual(found, element);
        }
      }
    }
    for (const chain of new Set(state.rules.map((rule) => rule.chain))) {
      const wanted = operations.flatMap((o) => (o.op === 'addRule' && o.rule.chain === chain ? [o.rule.statements] : []));
      const found = state.rules.filter((rule) => rule.chain === chain).map((rule) => rule.statements);
      assert.deepEqual(found, wanted);
    }
  }
});

test('rules and sets outside the vocabulary are listed as foreign, not misread', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const script = `
    add table ip ravel
    add set ip ravel ranges { type ipv4_addr; flags interval; }
    add set ip ravel aging { type ipv4_addr; timeout 1h; }
    add set ip ravel macs { type ether_addr; }
    add set ip ravel limited { type ipv4_addr; limit rate 5/second; }
    add chain ip ravel c { type nat hook postrouting priority 0; }
    add rule ip ravel c tcp dport 80-90 accept
    add rule ip ravel c masquerade random
    add rule ip ravel c ip saddr 10.0.0.0/8 ip daddr != 10.0.0.0/8 counter masquerade comment "ours would be the same"
    add rule ip ravel c ip ttl 3 drop
    add element ip ravel ranges { 10.0.0.0/8 }`;
  assert.equal(nftScript(netns, script), '');
  const { rules, sets } = await nftables.list(TABLE);
  assert.deepEqual(
    sets.map(({ name, known, key }) => [name, known, key]),
    ['ranges', 'aging', 'macs', 'limited'].map((name) => [name, false, []]),
  );
  assert.deepEqual(
    rules.map(({ statements }) => statements !== undefined),
    [false, false, true, false],
  );
  assert.equal(rules[2]?.comment, 'ours would be the same');
  assert.deepEqual(
    rules[2].statements?.map(({ kind }) => kind),
    ['source', 'destination', 'counter', 'masquerade'],
  );
  // nft writes an interval as its first address and an end that is not in it, and one more end at zero.
  const ranges = await nftables.elements(TABLE, 'ranges');
  assert.deepEqual([...(ranges.flags ?? [])].sort(), [0, 1, 1]);
});

test('rules are inserted, replaced and deleted by handle', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const rule = (protocol: number) => ({ chain: 'c', statements: [{ kind: 'protocol', protocol }, { kind: 'counter' }] as Statement[] });
  const protocols = async () =>
    (await nftables.list(TABLE)).rules.map(({ statements }) => (statements?.[0]?.kind === 'protocol' ? statements[0].protocol : -1));
  await nftables.commit([
    { op: 'addTable', table: TABLE },
    { op: 'addChain', table: TABLE, chain: { name: 'c' } },
    { op: 'addRule', table: TABLE, rule: rule(1) },
    { op: 'addRule', table: TABLE, rule: rule(2) },
    { op: 'insertRule', table: TABLE, rule: rule(3) },
  ]);
  assert.deepEqual(await protocols(), [3, 1, 2]);
  const [first, second] = (await nftables.list(TABLE)).rules;
  await nftables.commit([
    { op: 'replaceRule', table: TABLE, handle: second!.handle, rule: rule(4) },
    { op: 'deleteRule', table: TABLE, chain: 'c', handle: first!.handle },
  ]);
  assert.deepEqual(await protocols(), [4, 2]);
  await nftables.commit([{ op: 'flushTable', table: TABLE }]);
  assert.deepEqual(await protocols(), []);
});
