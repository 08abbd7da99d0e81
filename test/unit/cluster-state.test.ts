import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { clusterInput, read, stateOf, words, type Json } from './model-input.ts';

test('a whole cluster', () => {
  const { state, errors, coercions, warnings } = read(clusterInput());
  assert.deepEqual({ errors, coercions, warnings }, { errors: [], coercions: [], warnings: [] });
  assert.ok(state !== undefined);
  assert.deepEqual(state.nodes.get('n1'), {
    ...{ name: 'n1', addresses: ['10.20.0.11', '2001:db8:20::11'], labels: { pool: 'lb' } },
    ...{ ready: true, unschedulable: false },
  });
  assert.deepEqual(state.services.get('shop/api'), {
    namespace: 'shop',
    name: 'api',
    ports: [{ name: 'http', port: 8080, protocol: 'tcp' }],
    endpoints: [
      { address: '10.50.1.2', port: 8080, portName: 'http', node: 'n1', ready: true, terminating: false },
      { address: '10.50.2.2', port: 8080, portName: 'http', node: 'n2', ready: false, terminating: true },
    ],
  });
  assert.deepEqual(
    [...state.virtualServices.keys()].sort(),
    ['tcp 192.0.2.10:80', 'tcp 192.0.2.11:53', 'tcp [2001:db8::10]:80', 'udp 192.0.2.11:53'].sort(),
  );
  assert.deepEqual(state.virtualServices.get('udp 192.0.2.11:53'), {
    ...{ key: 'udp 192.0.2.11:53', address: '192.0.2.11', port: 53, protocol: 'udp', service: 'dns/resolver', portName: 'dns' },
    ...{ scheduler: 'rr', schedulerFlags: [], forward: 'tunnel', upperThreshold: 30000, lowerThreshold: 24000 },
  });
  assert.deepEqual(
    state.virtualServicesOf.get('shop/api')?.map(({ key }) => key),
    ['tcp 192.0.2.10:80', 'tcp [2001:db8::10]:80'],
  );
  assert.deepEqual(state.addresses, ['192.0.2.10', '192.0.2.11', '2001:db8::10']);
});

test('YAML with numbers as ports is the same as JSON with texts', () => {
  const yaml = `
services: [{namespace: shop, name: api, ports: [{name: http, port: 80}]}]
config:
  192.0.2.10:
    80: {namespace: shop, service: api, portName: http}
`;
  const json =
    '{"services":[{"namespace":"shop","name":"api","ports":[{"name":"http","port":80}]}],"config":{"192.0.2.10":{"80":{"namespace":"shop","service":"api","portName":"http"}}}}';
  assert.deepEqual(stateOf(yaml), stateOf(json));
  assert.equal(stateOf(yaml).virtualServices.size, 1);
});

describe('C05 protocols', () => {
  const withEntry = (entry: Record<string, Json>): Record<string, Json> => ({
    ...clusterInput(),
    config: { '192.0.2.11': { '54': { namespace: 'dns', service: 'resolver', portName: 'dns', ...entry } } },
    config6: {},
  });

  test('absent keys mean TCP', () => {
    assert.deepEqual([...stateOf(withEntry({})).virtualServices.keys()], ['tcp 192.0.2.11:54']);
    assert.deepEqual([...stateOf(withEntry({ udpEnabled: true })).virtualServices.keys()], ['tcp 192.0.2.11:54', 'udp 192.0.2.11:54']);
    assert.deepEqual([...stateOf(withEntry({ tcpEnabled: false, udpEnabled: true })).virtualServices.keys()], ['udp 192.0.2.11:54']);
    assert.deepEqual(
      [...stateOf(withEntry({ udpEnabled: true, sctpEnabled: true })).virtualServices.keys()],
      ['tcp 192.0.2.11:54', 'udp 192.0.2.11:54', 'sctp 192.0.2.11:54'],
    );
  });

  test('single datagrams are scheduled for UDP alone', () => {
    const { state, errors, coercions, warnings } = read(withEntry({ udpEnabled: true, ipvsOptions: { onePacket: true } }));
    assert.deepEqual({ errors, coercions, warnings }, { errors: [], coercions: [], warnings: [] });
    assert.deepEqual(
      [...(state?.virtualServices.values() ?? [])].map(({ key, onePacket }) => [key, onePacket]),
      [
        ['tcp 192.0.2.11:54', undefined],
        ['udp 192.0.2.11:54', true],
      ],
    );
  });

  test('both false: no virtual service, one warning, and the VIP stays known', () => {
    const { state, warnings } = read(withEntry({ tcpEnabled: false }));
    assert.equal(state?.virtualServices.size, 0);
    assert.deepEqual(state.addresses, ['192.0.2.11']);
    assert.deepEqual(words(warnings), ['config."192.0.2.11"."54": none of TCP, UDP and SCTP is enabled: nothing is balanced here']);
  });
});

test('C15 b: an MTU that is none is not applied and warned about; other VIPs are unaffected', () => {
  for (const value of ['', 'abc', '1400', '9001', 1499, -1500, '1500.5', '0x5dc'] as const) {
    const input = { ...clusterInput(), mtuConfig: { '192.0.2.10': value, '192.0.2.11': '9000' }, mtuConfig6: { '2001:db8::10': 1500 } };
    const { state, errors, coercions } = read(input);
    assert.deepEqual(errors, []);
    assert.deepEqual(words(coercions), [`mtuConfig."192.0.2.10": an MTU is 1500 to 9000, not ${JSON.stringify(value)}; it is not applied`]);
    assert.deepEqual(
      [...(state?.mtu ?? [])],
      [
        ['192.0.2.11', 9000],
        ['2001:db8::10', 1500],
      ],
    );
  }
});

/** Each spoils the valid cluster in one way; the error must be the only one, at that path. */
const spoilt: readonly (readonly [string, (input: ReturnType<typeof clusterInput>) => void, string])[] = (() => {
  const entry: Json = { namespace: 'shop', service: 'api', portName: 'http' };
  const config = (value: Json) => (input: Record<string, Json>) => {
    input['config'] = value;
  };
  const set = (key: string, value: Json) => (input: Record<string, Json>) => {
    input[key] = value;
  };
  return [
    [
      'port above the range',
      config({ '192.0.2.10': { '65536': entry } }),
      'config."192.0.2.10"."65536": port "65536" is out of range: 1 to 65535',
    ],
    ['port 0', config({ '192.0.2.10': { '0': entry } }), 'config."192.0.2.10"."0": port "0" is out of range: 1 to 65535'],
    ['negative port', config({ '192.0.2.10': { '-1': entry } }), 'config."192.0.2.10"."-1": port "-1" is out of range: 1 to 65535'],
    [
      'huge port',
      config({ '192.0.2.10': { '99999999999': entry } }),
      'config."192.0.2.10"."99999999999": port "99999999999" is out of range: 1 to 65535',
    ],
    ['named port', config({ '192.0.2.10': { http: entry } }), 'config."192.0.2.10".http: "http" is not a port: 1 to 65535'],
    ['fractional port', config({ '192.0.2.10': { '80.5': entry } }), 'config."192.0.2.10"."80.5": "80.5" is not a port: 1 to 65535'],
    [
      'port with zeros',
      config({ '192.0.2.10': { '080': entry } }),
      'config."192.0.2.10"."080": a port has no leading zeros, did you mean "80"?',
    ],
    ['VIP of a node', config({ '10.20.0.12': { '80': entry } }), 'config."10.20.0.12": the VIP 10.20.0.12 is also an address of node "n2"'],
    [
      'VIP6 of a node',
      set('config6', { '2001:DB8:20:0::11': {} }),
      'config6."2001:DB8:20:0::11": the VIP 2001:db8:20::11 is also an address of node "n1"',
    ],
    ['VIP not an address', config({ 'api.example': {} }), 'config."api.example": "api.example" is not an IP address'],
    ['VIP with zeros', config({ '192.0.2.010': {} }), 'config."192.0.2.010": "192.0.2.010" is not an IP address'],
    ['VIP with a prefix', config({ '192.0.2.10/32': {} }), 'config."192.0.2.10/32": "192.0.2.10/32" is not an IP address'],
    [
      'multicast VIP',
      config({ '224.0.0.5': {} }),
      'config."224.0.0.5": 224.0.0.5 cannot receive traffic from others: it is a multicast address',
    ],
    [
      'loopback VIP',
      config({ '127.0.0.1': {} }),
      'config."127.0.0.1": 127.0.0.1 cannot receive traffic from others: it is a loopback address',
    ],
    [
      'unspecified VIP',
      config({ '0.0.0.0': {} }),
      'config."0.0.0.0": 0.0.0.0 cannot receive traffic from others: it is an unspecified address',
    ],
    [
      'link-local VIP6',
      set('config6', { 'fe80::1': {} }),
      'config6."fe80::1": fe80::1 cannot receive traffic from others: it is a link-local address',
    ],
    [
      'mapped VIP6',
      set('config6', { '::ffff:192.0.2.1': {} }),
      'config6."::ffff:192.0.2.1": ::ffff:192.0.2.1 cannot receive traffic from others: it is an IPv4-mapped address: write it as IPv4',
    ],
    [
      'IPv6 in the IPv4 map',
      config({ '2001:db8::99': {} }),
      'config."2001:db8::99": IPv6 address in the IPv4 map config: it belongs into config6',
    ],
    [
      'IPv4 in the IPv6 map',
      set('config6', { '192.0.2.99': {} }),
      'config6."192.0.2.99": IPv4 address in the IPv6 map config6: it belongs into config',
    ],
    [
      'two spellings of one VIP:port',
      set('config6', { '2001:db8::10': { '80': entry }, '2001:0DB8:0::10': { '80': entry } }),
      'config6."2001:0DB8:0::10"."80": 2001:db8::10 port 80 is written twice: also config6."2001:db8::10"."80"',
    ],
    [
      'missing Service',
      config({ '192.0.2.10': { '80': { ...entry, service: 'apo' } } }),
      'config."192.0.2.10"."80".service: there is no Service shop/apo, did you mean "shop/api"?',
    ],
    ['no service key', config({ '192.0.2.10': { '80': { namespace: 'shop' } } }), 'config."192.0.2.10"."80".service: is missing'],
    ['no entry', config({ '192.0.2.10': { '80': null } }), 'config."192.0.2.10"."80": must be a map, not nothing'],
    ['no port map', config({ '192.0.2.10': 80 }), 'config."192.0.2.10": must be a map from ports to services; {} for none'],
    ['config a list', config([]), 'config: must be a map from VIPs to ports; {} for none'],
    [
      'wrong type',
      config({ '192.0.2.10': { '80': { ...entry, tcpEnabled: 'yes' } } }),
      'config."192.0.2.10"."80".tcpEnabled: must be true or false, not a text',
    ],
    [
      'wrong threshold',
      config({ '192.0.2.10': { '80': { ...entry, ipvsOptions: { uThreshold: '7' } } } }),
      'config."192.0.2.10"."80".ipvsOptions.uThreshold: must be a number, not a text',
    ],
    [
      'unknown key',
      config({ '192.0.2.10': { '80': { ...entry, ipvsOptions: { schedular: 'rr' } } } }),
      'config."192.0.2.10"."80".ipvsOptions.schedular: unknown key, did you mean "scheduler"?',
    ],
    ['unknown top key', set('cofnig', {}), 'cofnig: unknown key, did you mean "config"?'],
    ['nodes a map', set('nodes', {}), 'nodes: must be a list'],
    ['labels a list', set('labels', []), 'labels: must be a map'],
    ['label a number', set('labels', { a: 1 }), 'labels.a: must be a text (in quotes where it looks like a number)'],
    ['vipPool a map', set('vipPool', {}), 'vipPool: must be a list of addresses'],
    ['vipPool junk', set('vipPool', ['192.0.2.10', 'x']), 'vipPool[1]: "x" is not an IP address'],
    [
      'MTU of the other family',
      set('mtuConfig', { '2001:db8::10': 1500 }),
      'mtuConfig."2001:db8::10": 2001:db8::10 belongs into mtuConfig6',
    ],
    ['MTU a list', set('mtuConfig', { '192.0.2.10': [1500] }), 'mtuConfig."192.0.2.10": an MTU is a number'],
    ['pair junk', set('ipv6', { '192.0.2.10': 'x' }), 'ipv6."192.0.2.10": "x" is not an IP address'],
  ];
})();

for (const [name, spoil, expected] of spoilt) {
  test(`refused: ${name}`, () => {
    const input = clusterInput();
    spoil(input);
    const { state, errors } = read(input);
    assert.deepEqual(words(errors), [expected]);
    assert.equal(state, undefined);
    assert.ok((errors[0]?.line ?? 0) > 1, 'has a line');
  });
}

test('all errors are told at once, each with its line', () => {
  const text = 'services: []\nconfig:\n  192.0.2.10:\n    99999: {service: a}\n    80: {service: b}\n  nonsense: {}\n';
  assert.deepEqual(
    read(text).errors.map(({ line, path }) => `${line} ${path}`),
    [
      '4 config."192.0.2.10"."99999".service',
      '4 config."192.0.2.10"."99999"',
      '5 config."192.0.2.10"."80".service',
      '6 config.nonsense',
    ].sort(),
  );
});

test('duplicate keys are errors at their second place', () => {
  const json = '{"config": {\n"192.0.2.10": {},\n"192.0.2.10": {}}}';
  assert.deepEqual(read(json).errors, [{ path: 'config."192.0.2.10"', message: 'is written twice', line: 3 }]);
  const yaml = 'services: [{name: a}]\nconfig:\n  192.0.2.10:\n    80: {service: a}\n    "80": {service: a}\n';
  assert.deepEqual(read(yaml).errors, [{ path: 'config."192.0.2.10"."80"', message: 'is written twice', line: 5 }]);
});

test('coercions are told once each and refuse nothing', () => {
  const input = clusterInput();
  input['config'] = {
    '192.0.2.10': {
      '80': { namespace: 'shop', service: 'api', portName: 'http', ipvsOptions: { scheduler: 'xyz' } },
      '81': { namespace: 'shop', service: 'api', portName: 'http', ipvsOptions: { scheduler: 'xyz' } },
    },
  };
  const { state, coercions } = read(input);
  assert.equal(state?.virtualServices.get('tcp 192.0.2.10:80')?.scheduler, 'wrr');
  assert.deepEqual(
    coercions.map(({ path }) => path),
    ['config."192.0.2.10"."80".ipvsOptions.scheduler', 'config."192.0.2.10"."81".ipvsOptions.scheduler'],
  );
});

test('what cannot work but harms nobody is a warning', () => {
  const input = clusterInput();
  input['config'] = { '192.0.2.10': { '80': { namespace: 'shop', service: 'api' } } };
  input['labels'] = { pool: 'other' };
  input['mtuConfig'] = { '192.0.2.77': '1500', '192.0.2.10': '9000' };
  const { state, warnings } = read(input);
  assert.deepEqual(words(warnings).sort(), [
    'config."192.0.2.10"."80".portName: Service shop/api has no port "" (it has "http"): nothing is balanced here',
    'labels.pool: no node carries "pool=other": none can be a backend',
    'mtuConfig."192.0.2.77": 192.0.2.77 is not a VIP of the configuration',
  ]);
  assert.deepEqual(state?.mtu, new Map([['192.0.2.10', 9000]]));
});

test('a configuration alone is not held against a cluster that is not in it', () => {
  const text = '{"config": {"192.0.2.10": {"80": {"namespace": "shop", "service": "api"}}}, "config6": {}, "ipv6": null}';
  const { state, warnings } = read(text, { carrier: 'auto' });
  assert.equal(state?.virtualServices.size, 1);
  assert.deepEqual(words(warnings), [': no nodes and services in it: what the configuration refers to was not checked']);
  assert.deepEqual(words(read(text, { carrier: 'cluster' }).errors), ['config."192.0.2.10"."80".service: there is no Service shop/api']);
  assert.deepEqual(words(read('{"config": {}, "nodes": []}', { carrier: 'config' }).errors).length, 1);
});

test('C11 the default listener goes to VIPs of the pool that have nothing on its port', () => {
  const input = clusterInput();
  input['vipPool'] = ['192.0.2.10', '192.0.2.20'];
  const listener = { namespace: 'ops', service: 'canary', portName: 'http', port: 80 };
  const state = stateOf(input, { defaultListener: listener });
  assert.equal(state.virtualServices.get('tcp 192.0.2.10:80')?.service, 'shop/api');
  assert.deepEqual(state.virtualServices.get('tcp 192.0.2.20:80'), {
    ...{ key: 'tcp 192.0.2.20:80', address: '192.0.2.20', port: 80, protocol: 'tcp', service: 'ops/canary', portName: 'http' },
    ...{ scheduler: 'wrr', schedulerFlags: [], forward: 'tunnel', upperThreshold: 0, lowerThreshold: 0 },
  });
  assert.ok(state.addresses.includes('192.0.2.20'));
  assert.equal(stateOf(input).addresses.includes('192.0.2.20'), false);
});

test('what is no configuration at all', () => {
  for (const [text, message, line] of [
    ['', ': there is nothing in it', undefined],
    ['# only a comment\n', ': there is nothing in it', undefined],
    ['hello', ': must be a map with config, services and nodes', undefined],
    ['[]', ': must be a map with config, services and nodes', undefined],
    ['{}', 'config: is missing; write {} for none', undefined],
    ['nodes: []\nconfig:\n', 'config: is missing; write {} for none', 2],
    ['config: {}\nx: [', ': ', 2],
  ] as const) {
    const { errors, state } = read(text);
    assert.equal(state, undefined, text);
    assert.equal(errors.length, 1, text);
    assert.ok(words(errors)[0]?.startsWith(message), `${text}: ${words(errors)[0]}`);
    assert.equal(errors[0]?.line, line, text);
  }
});

test('one of the two maps is enough', () => {
  assert.equal(stateOf('{"config6": {}}').addresses.length, 0);
  assert.equal(stateOf('{"config": {}}').addresses.length, 0);
});
