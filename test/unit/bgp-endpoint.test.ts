import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEndpoint } from '../../src/announce/bgp/endpoint.ts';

test('where a daemon may be', () => {
  for (const [text, target, host, canonical] of [
    ['127.0.0.1:50051', 'ipv4:127.0.0.1:50051', '127.0.0.1'],
    ['[::1]:50051', 'ipv6:[::1]:50051', '::1'],
    ['[2001:DB8:0::1]:1', 'ipv6:[2001:db8::1]:1', '2001:db8::1', '[2001:db8::1]:1'],
    ['localhost:50051', 'dns:localhost:50051', 'localhost'],
    ['gobgpd.routing.svc.cluster.local:65535', 'dns:gobgpd.routing.svc.cluster.local:65535', 'gobgpd.routing.svc.cluster.local'],
    ['unix:/run/gobgpd.sock', 'unix:/run/gobgpd.sock', 'localhost'],
    ['unix:///run/gobgpd.sock', 'unix:/run/gobgpd.sock', 'localhost', 'unix:/run/gobgpd.sock'],
  ] as const) {
    assert.deepEqual(parseEndpoint(text), { text: canonical ?? text, target, host }, text);
  }
});

test('what is none is refused, in words that quote it', () => {
  for (const text of [
    '',
    '127.0.0.1',
    ':50051',
    '127.0.0.1:',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '127.0.0.1:5005x',
    '127.0.0.256:50051',
    '1.2.3:50051',
    '::1:50051',
    '[127.0.0.1]:50051',
    '[::1%lo]:50051',
    '[::1]',
    'a b:50051',
    '-a:50051',
    'http://127.0.0.1:50051',
    'unix:',
    'unix:run/gobgpd.sock',
    'unix://host/run/gobgpd.sock',
    `unix:/${'x'.repeat(107)}`,
    'unix:/run/\0',
    'dns:name:50051',
    'xds:name:1',
  ]) {
    assert.throws(
      () => parseEndpoint(text),
      (error) => error instanceof TypeError && error.message.includes(JSON.stringify(text).slice(0, 60)),
      text,
    );
  }
});
