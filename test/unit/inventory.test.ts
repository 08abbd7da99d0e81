import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterInput, read, stateOf, words, type Json } from './model-input.ts';

const withNodes = (...nodes: Json[]): unknown => ({ config: {}, nodes });
const withServices = (...services: Json[]): unknown => ({ ...clusterInput(), config: {}, config6: {}, services });

test('a node may have one address or a list, and defaults to ready', () => {
  const { nodes } = stateOf(
    withNodes({ name: 'a', address: '10.0.0.1' }, { name: 'b', address: '10.0.0.2', addresses: ['10.0.0.3', '10.0.0.2'] }),
  );
  assert.deepEqual(nodes.get('a'), { name: 'a', addresses: ['10.0.0.1'], labels: {}, ready: true, unschedulable: false });
  assert.deepEqual(nodes.get('b')?.addresses, ['10.0.0.2', '10.0.0.3']);
});

test('addresses become canonical', () => {
  assert.deepEqual(stateOf(withNodes({ name: 'a', addresses: ['2001:DB8:0:0:0:0:0:1'] })).nodes.get('a')?.addresses, ['2001:db8::1']);
});

test('wrong nodes', () => {
  for (const [nodes, expected] of [
    [
      [
        { name: 'a', address: '10.0.0.1' },
        { name: 'a', address: '10.0.0.2' },
      ],
      'nodes[1].name: node "a" is listed twice',
    ],
    [
      [
        { name: 'a', address: '10.0.0.1' },
        { name: 'b', address: '10.0.0.1' },
      ],
      'nodes[1].address: 10.0.0.1 is also an address of node "a"',
    ],
    [
      [{ name: 'a', addresses: ['10.0.0.1', '127.0.0.1'] }],
      'nodes[0].addresses[1]: 127.0.0.1 cannot receive traffic from others: it is a loopback address',
    ],
    [[{ name: 'a', address: '10.0.0' }], 'nodes[0].address: not an IP address'],
    [[{ address: '10.0.0.1' }], 'nodes[0].name: is missing'],
    [[{ name: 'a b', address: '10.0.0.1' }], /^nodes\[0\]\.name: a name has letters/],
    [[{ name: 'a', address: '10.0.0.1', label: {} }], 'nodes[0].label: unknown key, did you mean "labels"?'],
    [
      [{ name: 'a', address: '10.0.0.1', labels: { x: 1 } }],
      'nodes[0].labels.x: must be a text (in quotes where it looks like a number), not a number',
    ],
    [['a'], 'nodes[0]: must be a map, not a text'],
    [[null], 'nodes[0]: must be a map, not nothing'],
  ] as const) {
    const [first, ...rest] = words(read(withNodes(...(nodes as unknown as Json[]))).errors);
    assert.deepEqual(rest, []);
    if (typeof expected === 'string') assert.equal(first, expected);
    else assert.match(first ?? '', expected);
  }
});

test('a node without an address is only warned about', () => {
  assert.deepEqual(words(read(withNodes({ name: 'a' })).warnings), ['nodes[0]: node "a" has no address: it can get no traffic']);
});

test('defaults of a Service, its ports and endpoints', () => {
  const { services } = stateOf(
    withServices({
      name: 'web',
      ports: [{ port: 80 }],
      endpoints: [{ address: '10.1.0.1', port: 8080, node: 'n1' }],
    }),
  );
  assert.deepEqual(services.get('default/web'), {
    namespace: 'default',
    name: 'web',
    ports: [{ name: '', port: 80, protocol: 'tcp' }],
    endpoints: [{ address: '10.1.0.1', port: 8080, portName: '', node: 'n1', ready: true, terminating: false }],
  });
});

test('an endpoint outside the cluster has no node', () => {
  const { services } = stateOf(withServices({ name: 'web', endpoints: [{ address: '10.1.0.1', port: 8080 }] }));
  assert.equal(services.get('default/web')?.endpoints[0]?.node, undefined);
});

test('wrong Services', () => {
  for (const [services, expected] of [
    [[{ name: 'a' }, { namespace: 'default', name: 'a' }], 'services[1].name: Service default/a is listed twice (also services[0])'],
    [[{ name: 'a', ports: [{ port: 0 }] }], 'services[0].ports[0].port: a port is 1 to 65535'],
    [[{ name: 'a', ports: [{ port: '80' }] }], 'services[0].ports[0].port: must be a number, not a text'],
    [[{ name: 'a', ports: [{ port: 80, protocol: 'icmp' }] }], 'services[0].ports[0].protocol: a protocol is TCP, UDP or SCTP'],
    [
      [
        {
          name: 'a',
          ports: [
            { name: 'x', port: 80 },
            { name: 'x', port: 81 },
          ],
        },
      ],
      'services[0].ports[1].name: two ports are named "x"',
    ],
    [
      [{ name: 'a', ports: [{ name: 'x', port: 80 }, { port: 81 }] }],
      'services[0].ports[1]: needs a name, because the Service has more than one port',
    ],
    [[{ name: 'a', endpoints: [{ address: 'x', port: 1 }] }], 'services[0].endpoints[0].address: not an IP address'],
    [[{ name: 'a', endpoints: [{ address: '10.1.0.1' }] }], 'services[0].endpoints[0].port: is missing'],
    [[{ name: 'a', endpoints: {} }], 'services[0].endpoints: must be a list, not a map'],
  ] as const) {
    assert.deepEqual(words(read(withServices(...(services as unknown as Json[]))).errors), [expected]);
  }
});

test('doubtful endpoints are warned about', () => {
  const { state, warnings } = read(
    withServices({
      name: 'a',
      ports: [{ name: 'http', port: 80 }],
      endpoints: [
        { address: '10.1.0.1', port: 8080, node: 'n1' },
        { address: '10.1.0.1', port: 8080, node: 'n1' },
        { address: '10.1.0.2', port: 8080, node: 'n3', portName: 'htpt' },
      ],
    }),
  );
  assert.equal(state?.services.get('default/a')?.endpoints.length, 2);
  assert.deepEqual(words(warnings), [
    'services[0].endpoints[1]: 10.1.0.1 port 8080 is listed twice and counts once',
    'services[0].endpoints[2].node: there is no node "n3", did you mean "n1"?',
    'services[0].endpoints[2].portName: the Service has no port "htpt", did you mean "http"?',
  ]);
});
