import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipvsDefaults, ipvsRequirements } from '../../src/desired/ipvs-sysctls.ts';

const values = (requirements: ReturnType<typeof ipvsRequirements>): Record<string, string> =>
  Object.fromEntries(requirements.map(({ key, value }) => [key.replace('net/ipv4/vs/', ''), value]));
const none = new Map<string, string>();

test('the defaults are the table, each once, with a reason', () => {
  const requirements = ipvsRequirements({ asked: none, defaults: true, conntrack: false });
  assert.equal(requirements.length, ipvsDefaults.length);
  assert.deepEqual(values(requirements), {
    ...{ am_droprate: '10', amemthresh: '1024', backup_only: '0', cache_bypass: '0', conn_reuse_mode: '1', drop_entry: '0' },
    ...{ drop_packet: '0', expire_nodest_conn: '1', expire_quiescent_template: '1', ignore_tunneled: '1', nat_icmp_send: '0' },
    ...{ pmtu_disc: '1', schedule_icmp: '0', secure_tcp: '0', sloppy_sctp: '0', sloppy_tcp: '1', snat_reroute: '1' },
    ...{ sync_persist_mode: '0', sync_ports: '1', sync_qlen_max: '1028304', sync_refresh_period: '0', sync_retries: '0' },
    ...{ sync_sock_size: '0', sync_threshold: '3\t50', sync_version: '1' },
  });
  assert.ok(requirements.every(({ why, optional }) => why.length > 10 && optional === true));
});

test('without them only what is needed is written', () => {
  assert.deepEqual(values(ipvsRequirements({ asked: none, defaults: false, conntrack: false })), { expire_nodest_conn: '1' });
  assert.deepEqual(values(ipvsRequirements({ asked: none, defaults: false, conntrack: true })), {
    expire_nodest_conn: '1',
    conntrack: '1',
  });
});

test('connection tracking is required where rules depend on it, and left alone elsewhere', () => {
  const find = (conntrack: boolean): ReturnType<typeof ipvsRequirements>[number] | undefined =>
    ipvsRequirements({ asked: none, defaults: true, conntrack }).find(({ key }) => key === 'net/ipv4/vs/conntrack');
  assert.equal(find(false), undefined);
  assert.equal(find(true)?.optional, undefined);
});

test('what is asked for by name goes first and stays as asked, however the kernel prints it', () => {
  const asked = new Map([
    ['expire_nodest_conn', '0'],
    ['sync_threshold', '5 60'],
    ['conntrack', '0'],
  ]);
  const requirements = ipvsRequirements({ asked, defaults: true, conntrack: true });
  const { expire_nodest_conn: expire, sync_threshold: threshold, conntrack } = values(requirements);
  assert.deepEqual([expire, threshold, conntrack], ['0', '5 60', '0']);
  assert.equal(requirements.filter(({ key }) => key.endsWith('/conntrack')).length, 1);
  const accepts = requirements.find(({ key }) => key.endsWith('/sync_threshold'))?.accepts;
  assert.deepEqual([accepts?.('5\t60'), accepts?.('3\t50')], [true, false]);
  assert.match(requirements.flatMap(({ warning }) => warning ?? []).join(), /^--ipvs-sysctl=conntrack=0: masquerading needs 1/);
  assert.deepEqual(
    ipvsRequirements({ asked, defaults: true, conntrack: false }).flatMap(({ warning }) => warning ?? []),
    [],
  );
});

test('directors that share the connections of a VIP need what lets one go on in its midst, whatever the defaults', () => {
  assert.deepEqual(values(ipvsRequirements({ asked: none, defaults: false, conntrack: false, shared: true })), {
    ...{ expire_nodest_conn: '1', sloppy_tcp: '1', sloppy_sctp: '1' },
  });
  const all = ipvsRequirements({ asked: none, defaults: true, conntrack: false, shared: true });
  assert.equal(all.length, ipvsDefaults.length, 'each once');
  assert.equal(values(all)['sloppy_sctp'], '1');
  assert.equal(values(ipvsRequirements({ asked: none, defaults: true, conntrack: false }))['sloppy_sctp'], '0', 'one director: as before');
  const asked = new Map([['sloppy_tcp', '0']]);
  const warnings = (shared: boolean): string[] =>
    ipvsRequirements({ asked, defaults: true, conntrack: false, shared }).flatMap(({ warning }) => warning ?? []);
  assert.match(warnings(true).join(), /--ipvs-sysctl=sloppy_tcp=0: in mode bgp 1 is needed/);
  assert.deepEqual(warnings(false), []);
  assert.equal(values(ipvsRequirements({ asked, defaults: true, conntrack: false, shared: true }))['sloppy_tcp'], '0', 'asked for by name');
});
