/** What we write is what iptables-legacy prints, what we read is what it wrote, and what is not ours stays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffIptables } from '../../src/diff/iptables.ts';
import type { IptablesProgram } from '../../src/native/iptables-types.ts';
import { Iptables } from '../../src/native/iptables.ts';
import { Netns } from '../../src/native/netns.ts';
import { unsupported } from './iptables-available.ts';
import { chainOf, load, natService, programOf, saved } from './iptables-support.ts';
import { inside } from './nftables-support.ts';
import { openDescriptors, threads, until } from '../native/processes.ts';

const options = { skip: unsupported };

const API = ['10.50.1.2', '10.50.1.3', '10.50.1.4'];
const api = () => [natService('192.0.2.10', 80, 'shop/api:http', API), natService('192.0.2.11', 8443, 'shop/api:http', API)];

const NOTHING = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
`;

test('case C12: nat rules of a realserver', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  const outcome = await iptables.commit(programOf(api()));
  assert.deepEqual(outcome, { changed: true, attempts: 1, lockWaitMs: outcome.lockWaitMs, added: 7, rewritten: 0, removed: 0, jumps: 3 });
  // 0.33333333349 is 0.33333333333 in the 31 bits that the kernel keeps.
  assert.equal(
    saved(netns),
    `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:RAVEL - [0:0]
:RAVEL-MASQ - [0:0]
:RAVEL-POSTROUTING - [0:0]
:RAVEL-SEP-AI4BQ7R5M34QSYGT - [0:0]
:RAVEL-SEP-C3T25LG3VRROJZ4C - [0:0]
:RAVEL-SEP-EXJDSLQI5OY6EQPI - [0:0]
:RAVEL-SVC-RUKNB3TURLFC6SGL - [0:0]
[0:0] -A PREROUTING -j RAVEL
[0:0] -A OUTPUT -j RAVEL
[0:0] -A POSTROUTING -j RAVEL-POSTROUTING
[0:0] -A RAVEL -d 192.0.2.10/32 -p tcp -m tcp --dport 80 -m comment --comment "shop/api:http" -j RAVEL-MASQ
[0:0] -A RAVEL -d 192.0.2.10/32 -p tcp -m tcp --dport 80 -m comment --comment "shop/api:http" -j RAVEL-SVC-RUKNB3TURLFC6SGL
[0:0] -A RAVEL -d 192.0.2.11/32 -p tcp -m tcp --dport 8443 -m comment --comment "shop/api:http" -j RAVEL-MASQ
[0:0] -A RAVEL -d 192.0.2.11/32 -p tcp -m tcp --dport 8443 -m comment --comment "shop/api:http" -j RAVEL-SVC-RUKNB3TURLFC6SGL
[0:0] -A RAVEL-MASQ -j MARK --set-xmark 0x4000/0x4000
[0:0] -A RAVEL-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
[0:0] -A RAVEL-SEP-AI4BQ7R5M34QSYGT -s 10.50.1.4/32 -j MARK --set-xmark 0x4000/0x4000
[0:0] -A RAVEL-SEP-AI4BQ7R5M34QSYGT -p tcp -j DNAT --to-destination 10.50.1.4:8080
[0:0] -A RAVEL-SEP-C3T25LG3VRROJZ4C -s 10.50.1.2/32 -j MARK --set-xmark 0x4000/0x4000
[0:0] -A RAVEL-SEP-C3T25LG3VRROJZ4C -p tcp -j DNAT --to-destination 10.50.1.2:8080
[0:0] -A RAVEL-SEP-EXJDSLQI5OY6EQPI -s 10.50.1.3/32 -j MARK --set-xmark 0x4000/0x4000
[0:0] -A RAVEL-SEP-EXJDSLQI5OY6EQPI -p tcp -j DNAT --to-destination 10.50.1.3:8080
[0:0] -A RAVEL-SVC-RUKNB3TURLFC6SGL -m statistic --mode random --probability 0.33333333349 -j RAVEL-SEP-C3T25LG3VRROJZ4C
[0:0] -A RAVEL-SVC-RUKNB3TURLFC6SGL -m statistic --mode random --probability 0.50000000000 -j RAVEL-SEP-EXJDSLQI5OY6EQPI
[0:0] -A RAVEL-SVC-RUKNB3TURLFC6SGL -j RAVEL-SEP-AI4BQ7R5M34QSYGT
COMMIT
`,
  );
  // iptables takes what it printed for the same table.
  await using again = await Netns.create();
  load(again, saved(netns));
  assert.equal(saved(again), saved(netns));
});

test('case C12: a node without pods has the skeleton only, UDP has chains of its own', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  await iptables.commit(programOf([]));
  const lines = saved(netns).split('\n');
  assert.deepEqual(
    lines.filter((line) => line.includes('RAVEL')),
    [
      ':RAVEL - [0:0]',
      ':RAVEL-MASQ - [0:0]',
      '[0:0] -A PREROUTING -j RAVEL',
      '[0:0] -A OUTPUT -j RAVEL',
      '[0:0] -A RAVEL-MASQ -j MARK --set-xmark 0x4000/0x4000',
    ],
  );
  await iptables.commit(programOf([natService('192.0.2.10', 53, 'dns/resolver:dns', ['10.50.1.9'], 17)]));
  assert.deepEqual(chainOf(saved(netns), 'RAVEL').at(-1)?.split(' -j ')[1], 'RAVEL-SVC-JLUUYCJAWZ2LAHMK');
  assert.match(chainOf(saved(netns), 'RAVEL').at(-1) ?? '', /^-d 192\.0\.2\.10\/32 -p udp -m udp --dport 53 /);
});

test('case C13: masquerade off, and for sources outside the pods only', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  const service = [natService('192.0.2.10', 80, 'shop/api:http', ['10.50.1.2'])];
  await iptables.commit(programOf(service, { enabled: true }));
  const endpoint = chainOf(saved(netns), 'RAVEL-SEP-C3T25LG3VRROJZ4C');
  await iptables.commit(programOf(service, { enabled: false }));
  assert.deepEqual(
    chainOf(saved(netns), 'RAVEL').map((rule) => rule.split(' -j ')[1]),
    ['RAVEL-SVC-RUKNB3TURLFC6SGL'],
    'no mark',
  );
  assert.deepEqual(chainOf(saved(netns), 'RAVEL-SEP-C3T25LG3VRROJZ4C'), endpoint, 'a pod that reaches itself is masqueraded all the same');
  await iptables.commit(programOf(service, { enabled: true, exceptSource: { address: '10.50.7.7', prefix: 16 } }));
  assert.deepEqual(chainOf(saved(netns), 'RAVEL-MASQ'), ['! -s 10.50.0.0/16 -j MARK --set-xmark 0x4000/0x4000']);
  assert.deepEqual(chainOf(saved(netns), 'RAVEL-SEP-C3T25LG3VRROJZ4C'), endpoint, 'also when the pod is inside the excepted prefix');
});

/** Rules of other programs in many forms, and what was left of ours by an earlier one. */
const OTHERS = `*nat
:PREROUTING ACCEPT [11:660]
:INPUT ACCEPT [3:180]
:OUTPUT ACCEPT [5:300]
:POSTROUTING ACCEPT [7:420]
:KUBE-MARK-DROP - [0:0]
:KUBE-SERVICES - [0:0]
:RAVEL-SVC-OLD - [0:0]
:RAVELIN - [0:0]
:cali-PREROUTING - [0:0]
[21:1260] -A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
[22:1320] -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
[23:1380] -A PREROUTING -i eth7 -p tcp -m multiport --dports 80,443 -j RAVELIN
[24:1440] -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
[25:1500] -A POSTROUTING -p tcp -m conntrack --ctstate DNAT -j MASQUERADE --to-ports 1024-65535 --random-fully
[26:1560] -A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
[27:1620] -A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
[28:1680] -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j DNAT --to-destination 10.0.0.1:6443
[29:1740] -A KUBE-SERVICES -m addrtype --dst-type LOCAL -m statistic --mode nth --every 3 --packet 1 -j RETURN
[30:1800] -A KUBE-SERVICES -p udp -m udp --dport 53 -g cali-PREROUTING
[31:1860] -A RAVEL-SVC-OLD -p tcp -j DNAT --to-destination 10.9.9.9:80
[32:1920] -A RAVELIN -p tcp -j REDIRECT --to-ports 8080
[33:1980] -A cali-PREROUTING -m comment --comment "cali:r6XmIziWUJsdOK6Z" -j ACCEPT
COMMIT
`;

const withoutOurs = (table: string): string => table.replace(/^(?:\[\d+:\d+\] -A|:)(?: ?RAVEL[- ]| \S+ -j RAVEL).*\n/gm, '');

test('case C13: rules and counters of others stay, what is stale of ours goes, nothing is written twice', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  load(netns, OTHERS);
  assert.equal(saved(netns), OTHERS);
  const outcome = await iptables.commit(programOf(api()));
  assert.deepEqual([outcome.added, outcome.removed, outcome.jumps], [7, 1, 3]);
  const table = saved(netns);
  assert.equal(withoutOurs(table), withoutOurs(OTHERS));
  assert.ok(!table.includes('RAVEL-SVC-OLD'));
  assert.equal(chainOf(table, 'KUBE-MARK-DROP').length, 2);
  assert.deepEqual(chainOf(table, 'PREROUTING').slice(2), ['-i eth7 -p tcp -m multiport --dports 80,443 -j RAVELIN', '-j RAVEL']);
  assert.equal((await iptables.commit(programOf(api()))).changed, false);
  await iptables.remove();
  assert.equal(saved(netns), OTHERS.replace(/^.*RAVEL-SVC-OLD.*\n/gm, ''));
});

test('the comparison sees one lost rule and one counter', options, () => {
  assert.notEqual(withoutOurs(OTHERS.replace(/^.*RAVELIN -p tcp.*\n/m, '')), withoutOurs(OTHERS));
  assert.notEqual(withoutOurs(OTHERS.replace('[33:', '[34:')), withoutOurs(OTHERS));
});

test('what did not change keeps its counters, in place or moved, few changes or many', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  const service = (index: number) => natService(`192.0.${index >> 8}.${index & 255}`, 80, `shop/s-${index}:http`, ['10.50.1.2']);
  // With 3,000 the base chain is filled anew, with 30 it is edited.
  for (const count of [30, 3000]) {
    const all = Array.from({ length: count }, (_, index) => service(index));
    await iptables.commit(programOf(all, { enabled: false }));
    let rule = 0;
    load(
      netns,
      saved(netns).replace(/^\[0:0\] -A RAVEL /gm, () => `[${++rule}:${rule * 60}] -A RAVEL `),
    );
    const before = saved(netns).split('\n');
    const some = all.filter((_, index) => index % 2 === 1).toSpliced(3, 0, natService('192.0.0.4', 80, 'shop/new:http', ['10.50.1.3']));
    assert.equal((await iptables.commit(programOf(some, { enabled: false }))).changed, true);
    const after = saved(netns).split('\n');
    const kept = before.filter((line) => /^\[\d+:\d+\] -A RAVEL -d /.test(line)).filter((_, index) => index % 2 === 1);
    const base = after.filter((line) => line.includes('-A RAVEL -d '));
    assert.deepEqual(
      base.filter((line) => !line.includes('shop/new')),
      kept,
    );
    assert.match(base.find((line) => line.includes('shop/new')) ?? '', /^\[0:0\] /);
    await iptables.remove();
  }
});

test('list() returns what was committed, and rules of ours that somebody changed as foreign', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  const program = programOf(api(), { enabled: true, exceptSource: { address: '10.50.0.0', prefix: 16 } });
  await iptables.commit(program);
  const listing = await iptables.list();
  assert.equal(listing.present, true);
  assert.deepEqual(diffIptables(listing, program, 'RAVEL'), { chains: [], jumps: [], services: [] });
  assert.deepEqual(listing.chains.map(({ name }) => name).sort(), program.chains.map(({ name }) => name).sort());
  const golden = saved(netns);
  inside(netns, 'iptables-legacy -w -t nat -I RAVEL 2 -d 192.0.2.9 -p tcp -m multiport --dports 1,2 -j RETURN'.split(' '));
  inside(netns, 'iptables-legacy -w -t nat -N RAVEL-SEP-MINE'.split(' '));
  inside(netns, 'iptables-legacy -w -t nat -A RAVEL-MASQ -g RAVEL-SEP-MINE'.split(' '));
  inside(netns, 'iptables-legacy -w -t nat -I OUTPUT -p udp -j RAVEL'.split(' '));
  const changed = await iptables.list();
  assert.deepEqual(
    changed.chains.flatMap(({ rules }) => rules.flatMap(({ foreign }) => foreign ?? [])),
    ['-d 192.0.2.9/32 -p 6 -m multiport -j RETURN', '-j RAVEL-SEP-MINE'],
  );
  assert.deepEqual(diffIptables(changed, program, 'RAVEL'), {
    chains: [
      { name: 'RAVEL', change: 'change' },
      { name: 'RAVEL-MASQ', change: 'change' },
      { name: 'RAVEL-SEP-MINE', change: 'remove' },
    ],
    jumps: [{ from: 'OUTPUT', to: 'RAVEL', change: 'remove' }],
    services: [],
  });
  const outcome = await iptables.commit(program);
  assert.deepEqual([outcome.added, outcome.rewritten, outcome.removed, outcome.jumps], [0, 2, 1, 1]);
  assert.equal(saved(netns), golden);
});

test('of several jumps to us the first plain one stays where it is, all others go', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  load(
    netns,
    NOTHING.replace(
      'COMMIT',
      `:RAVEL - [0:0]
:RAVEL-SVC-OLD - [0:0]
:OTHER - [0:0]
[1:1] -A PREROUTING -i eth0 -j RAVEL
[2:2] -A PREROUTING -j RAVEL
[3:3] -A PREROUTING -j OTHER
[4:4] -A PREROUTING -j RAVEL
[5:5] -A OTHER -j RAVEL-SVC-OLD
[6:6] -A OTHER -g RAVEL
COMMIT`,
    ),
  );
  await iptables.commit(programOf([]));
  assert.deepEqual(
    saved(netns)
      .split('\n')
      .filter((line) => /-A (PREROUTING|OTHER)/.test(line)),
    ['[2:2] -A PREROUTING -j RAVEL', '[3:3] -A PREROUTING -j OTHER'],
  );
});

test('reading and removing make no table where there is none', options, async () => {
  await using netns = await Netns.create();
  for (const [family, names] of [
    ['ip', 'ip_tables_names'],
    ['ip6', 'ip6_tables_names'],
  ] as const) {
    await using iptables = await Iptables.open({ family, netns });
    assert.deepEqual(await iptables.list(), { present: false, jumps: [], chains: [] });
    assert.equal((await iptables.remove()).changed, false);
    assert.equal(inside(netns, ['cat', `/proc/net/${names}`]), '');
    await iptables.commit(programOf([], { enabled: false }, { family }));
    assert.equal(inside(netns, ['cat', `/proc/net/${names}`]), 'nat\n', 'a program makes it, PREROUTING and all');
  }
});

test('IPv6 is as IPv4', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip6', netns });
  const services = [natService('2001:db8::10', 80, 'shop/api:http', ['fd00::2', 'fd00::3']), ...api()];
  const program = programOf(services, { enabled: true, exceptSource: { address: 'fd00::', prefix: 48 } }, { family: 'ip6' });
  await iptables.commit(program);
  assert.equal(
    saved(netns, 'ip6').replaceAll(/^:.*\n/gm, ''),
    `*nat
[0:0] -A PREROUTING -j RAVEL
[0:0] -A OUTPUT -j RAVEL
[0:0] -A POSTROUTING -j RAVEL-POSTROUTING
[0:0] -A RAVEL -d 2001:db8::10/128 -p tcp -m tcp --dport 80 -m comment --comment "shop/api:http" -j RAVEL-MASQ
[0:0] -A RAVEL -d 2001:db8::10/128 -p tcp -m tcp --dport 80 -m comment --comment "shop/api:http" -j RAVEL-SVC-RUKNB3TURLFC6SGL
[0:0] -A RAVEL-MASQ ! -s fd00::/48 -j MARK --set-xmark 0x4000/0x4000
[0:0] -A RAVEL-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
${['fd00::2', 'fd00::3']
  .map((pod) => {
    const { name } = program.chains.find(({ rules }) => rules[0]?.source?.address === pod)!;
    return { pod, name };
  })
  .sort((a, b) => (a.name < b.name ? -1 : 1))
  .map(
    ({ pod, name }) =>
      `[0:0] -A ${name} -s ${pod}/128 -j MARK --set-xmark 0x4000/0x4000\n[0:0] -A ${name} -p tcp -j DNAT --to-destination [${pod}]:8080\n`,
  )
  .join('')}${program.chains
      .find(({ name }) => name === 'RAVEL-SVC-RUKNB3TURLFC6SGL')!
      .rules.map(
        ({ probability, target }) =>
          `[0:0] -A RAVEL-SVC-RUKNB3TURLFC6SGL ${probability === undefined ? '' : '-m statistic --mode random --probability 0.50000000000 '}-j ${target.kind === 'jump' ? target.chain : ''}\n`,
      )
      .join('')}COMMIT
`,
  );
  assert.deepEqual(diffIptables(await iptables.list(), program, 'RAVEL'), { chains: [], jumps: [], services: [] });
  assert.equal((await iptables.commit(program)).changed, false);
  assert.equal(saved(netns), NOTHING, 'the other family is untouched');
});

const rule = (fields: object): IptablesProgram => ({
  jumps: [],
  chains: [{ name: 'RAVEL', rules: [{ target: { kind: 'masquerade' }, ...fields }] }],
});

const BAD: readonly (readonly [program: unknown, message: RegExp])[] = [
  [null, /^TypeError: program: expected an object, got null/],
  [{ chains: [] }, /^TypeError: jumps: expected an array/],
  [{ jumps: [], chains: {} }, /^TypeError: chains: expected an array/],
  [{ jumps: [], chains: [null] }, /^TypeError: chains\[0\]: expected an object/],
  [{ jumps: [], chains: [{ name: 'RAVELIN', rules: [] }] }, /^RangeError: chains\[0\]\.name: expected RAVEL or RAVEL-…, got 'RAVELIN'/],
  [{ jumps: [], chains: [{ name: 'KUBE-SERVICES', rules: [] }] }, /^RangeError: chains\[0\]\.name: /],
  [{ jumps: [], chains: [{ name: `RAVEL-${'X'.repeat(23)}`, rules: [] }] }, /^RangeError: chains\[0\]\.name: expected at most 28/],
  [{ jumps: [], chains: [{ name: 'RAVEL-a b', rules: [] }] }, /^RangeError: chains\[0\]\.name: /],
  [
    {
      jumps: [],
      chains: [
        { name: 'RAVEL', rules: [] },
        { name: 'RAVEL', rules: [] },
      ],
    },
    /^RangeError: chains\[1\]\.name: RAVEL is there already/,
  ],
  [{ jumps: [], chains: [{ name: 'RAVEL' }] }, /^TypeError: chains\[0\]\.rules: expected an array/],
  [{ jumps: [{ from: 'PREROUTING', to: 'RAVEL' }], chains: [] }, /^RangeError: jumps\[0\]\.to: no chain 'RAVEL' in the program/],
  [
    { jumps: [{ from: 'KUBE-SERVICES', to: 'RAVEL' }], chains: [{ name: 'RAVEL', rules: [] }] },
    /^RangeError: jumps\[0\]\.from: expected a chain of the kernel/,
  ],
  [{ jumps: [], chains: [{ name: 'RAVEL', rules: [null] }] }, /^TypeError: chains\[0\]\.rules\[0\]: expected an object, got null/],
  [rule({ target: { kind: 'log' } }), /^RangeError: chains\[0\]\.rules\[0\]\.target\.kind: unknown target 'log'/],
  [rule({ target: { kind: 'constructor' } }), /^RangeError: chains\[0\]\.rules\[0\]\.target\.kind: unknown target/],
  [rule({ target: { kind: 'jump', chain: 'RAVEL-X' } }), /rules\[0\]\.target\.chain: no chain 'RAVEL-X' in the program/],
  [rule({ target: { kind: 'dnat', address: 'fd00::1' } }), /rules\[0\]\.target\.address: expected an IPv4 address, got 'fd00::1'/],
  [rule({ target: { kind: 'dnat', address: '10.0.0.1', port: 80 } }), /rules\[0\]\.target\.port: needs protocol/],
  [rule({ target: { kind: 'setMark', value: -1, mask: 1 } }), /rules\[0\]\.target\.value: expected an integer from 0 to 4294967295/],
  [rule({ source: { address: '10.0.0.1/8', length: 8 } }), /rules\[0\]\.source\.address: expected an IPv4 address/],
  [rule({ destination: { address: '10.0.0.1', length: 0 } }), /rules\[0\]\.destination\.length: expected an integer from 1 to 32/],
  [rule({ protocol: 256 }), /rules\[0\]\.protocol: expected an integer from 1 to 255/],
  [rule({ port: 80 }), /rules\[0\]\.port: needs protocol/],
  [rule({ protocol: 6, port: 65536 }), /rules\[0\]\.port: expected an integer from 0 to 65535/],
  [rule({ opening: true }), /^RangeError: chains\[0\]\.rules\[0\]\.opening: needs protocol 6 \(TCP\) and a port/],
  [rule({ opening: true, protocol: 6 }), /rules\[0\]\.opening: needs protocol 6 \(TCP\) and a port/],
  [rule({ opening: true, protocol: 17, port: 80 }), /rules\[0\]\.opening: needs protocol 6 \(TCP\) and a port/],
  [rule({ probability: 1.5 }), /rules\[0\]\.probability: expected above 0 and at most 1/],
  [rule({ probability: 1e-10 }), /rules\[0\]\.probability: /],
  [rule({ comment: '' }), /rules\[0\]\.comment: expected 1 to 255 bytes/],
  [rule({ comment: 'ä'.repeat(128) }), /rules\[0\]\.comment: expected 1 to 255 bytes/],
  [rule({ comment: 'x\n-A INPUT -j DROP' }), /rules\[0\]\.comment: has a control character/],
  [rule({ mark: { value: 1 } }), /rules\[0\]\.mark\.mask: expected an integer/],
];

test('bad programs are refused at their path, by the kernel too, and change nothing', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  load(netns, OTHERS);
  for (const [program, message] of BAD) {
    await assert.rejects(iptables.commit(program as IptablesProgram), (error) => {
      assert.match(String(error), message);
      return true;
    });
  }
  // MASQUERADE is for POSTROUTING only, and the kernel follows the jumps.
  const wrongHook: IptablesProgram = { ...rule({}), jumps: [{ from: 'PREROUTING', to: 'RAVEL' }] };
  await assert.rejects(iptables.commit(wrongHook), { name: 'KernelError', code: 'EINVAL' });
  const circle: IptablesProgram = { ...rule({ target: { kind: 'jump', chain: 'RAVEL' } }), jumps: wrongHook.jumps };
  await assert.rejects(iptables.commit(circle), { name: 'KernelError', code: 'ELOOP' });
  assert.equal(saved(netns), OTHERS);
  await iptables.commit({ ...wrongHook, jumps: [{ from: 'POSTROUTING', to: 'RAVEL' }] });
  assert.notEqual(saved(netns), OTHERS, 'where it belongs it is taken');
});

test('options are checked, and a closed handle says so', options, async () => {
  await using netns = await Netns.create();
  const open = (fields: object) => Iptables.open({ family: 'ip', netns, ...fields });
  await assert.rejects(open({ family: 'inet' }), /^TypeError: family: /);
  for (const chainPrefix of ['', 'KUBE', 'PREROUTING', 'MARK', 'a b', 'R-', '-R', 'X'.repeat(28)]) {
    await assert.rejects(open({ chainPrefix }), /^RangeError: chainPrefix: /);
  }
  await assert.rejects(open({ chainPrefix: 5 }), /^TypeError: chainPrefix: /);
  await assert.rejects(open({ lockFile: 'xtables.lock' }), /^TypeError: lockFile: /);
  await assert.rejects(open({ lockFile: '/run/none/xtables.lock' }), { name: 'KernelError', code: 'ENOENT' });
  await assert.rejects(open({ lockFile: '/run' }), /EISDIR: is a directory; a hostPath mount needs type FileOrCreate/);
  await assert.rejects(open({ lockTimeoutMs: -1 }), /^RangeError: lockTimeoutMs: /);
  assert.throws(() => Reflect.construct(Iptables, []) as unknown, /^TypeError: Iptables is not constructible/);
  const iptables = await open({});
  await Promise.all([iptables.close(), iptables.close()]);
  await assert.rejects(iptables.list(), { name: 'ClosedError' });
  await assert.rejects(iptables.commit(programOf([])), { name: 'ClosedError' });
});

test('what was opened and closed leaves no thread and no descriptor', options, async () => {
  await using netns = await Netns.create();
  const once = async (): Promise<void> => {
    const iptables = await Iptables.open({ family: 'ip', netns });
    await iptables.commit(programOf(api()));
    await iptables.remove();
    await iptables.close();
  };
  await once();
  const [before, running] = [openDescriptors(), threads()];
  for (let k = 0; k < 20; k++) await once();
  await until('the threads have ended', () => threads() <= running);
  assert.equal(openDescriptors(), before);
  assert.equal(threads(), running);
});

test('a namespace that is closed meanwhile, or no namespace at all, is an error, not another namespace', options, async () => {
  const netns = await Netns.create();
  const opening = Iptables.open({ family: 'ip', netns });
  await netns.close();
  await using iptables = await opening;
  assert.equal((await iptables.list()).present, false);
  await assert.rejects(Iptables.open({ family: 'ip', netns }), { name: 'ClosedError' });
  await assert.rejects(Iptables.open({ family: 'ip', netns: {} as unknown as Netns }), /^TypeError: netns: expected a Netns/);
});
