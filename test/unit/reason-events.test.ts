/** Which object of the cluster an Event about a reason is on, and when it holds no longer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterState, ReasonCode } from '../../src/model/cluster.ts';
import { ReasonEvents } from '../../src/modes/reason-events.ts';
import type { EventReason, EventSubject } from '../../src/observe/kubernetes/events.ts';
import type { ReasonChange, ReasonSubject } from '../../src/observe/reasons.ts';
import { cluster } from '../fake-kernel/cluster.ts';

function rig() {
  const holds = new Map<string, EventReason>();
  const report = ({ kind, namespace, name, matter = '' }: EventSubject, reason: EventReason | undefined): void => {
    const id = `${kind} ${namespace}/${name} ${matter}`;
    if (reason === undefined) holds.delete(id);
    else holds.set(id, reason);
  };
  const events = new ReasonEvents({ report }, { namespace: 'lb', name: 'ravel' });
  return { events, holds: () => [...holds].map(([id, { code }]) => `${id}: ${code}`), holding: holds };
}

const state = cluster({ pods: { web: ['n1'], api: ['n1'] }, vips: [['10.50.0.1', 80, 'web']] });
const key = 'tcp 10.50.0.1:80';
const port = (service = 'default/web'): ReasonSubject => ({ kind: 'virtualService', key, address: '10.50.0.1', service });
const vip = (...services: string[]): ReasonSubject => ({ kind: 'vip', address: '10.50.0.1', services });
const change = (subject: ReasonSubject, code: ReasonCode | undefined, of: ClusterState = state): ReasonChange => ({
  ...{ subject, state: of, before: undefined },
  reason: code === undefined ? undefined : { code, message: 'because' },
});

test('on the Service; another reason takes its place; nothing when it is in force', () => {
  const { events, holds, holding } = rig();
  events.change(change(port(), 'NoEndpoints'));
  assert.deepEqual(holds(), [`Service default/web ${key}: NoEndpoints`]);
  assert.deepEqual([...holding.values()], [{ code: 'NoEndpoints', message: `${key}: because`, type: 'Warning' }]);
  events.change(change(port(), 'AwaitingNode'));
  assert.deepEqual(holds(), [`Service default/web ${key}: AwaitingNode`]);
  assert.equal([...holding.values()][0]?.type, 'Normal', 'a matter of seconds');
  events.change(change(port(), undefined));
  assert.deepEqual(holds(), []);
});

test('on the ConfigMap where the Service does not exist, and there no longer when it does', () => {
  const { events, holds } = rig();
  events.change(change(port('default/absent'), 'ServiceMissing'));
  assert.deepEqual(holds(), [`ConfigMap lb/ravel ${key}: ServiceMissing`]);
  events.change(change(port(), 'PortMissing'));
  assert.deepEqual(holds(), [`Service default/web ${key}: PortMissing`]);
});

test('of a VIP on each Service it leads to, at most ten; on the ConfigMap when it leads nowhere', () => {
  const { events, holds } = rig();
  events.change(change(vip('default/web', 'default/api', 'default/absent'), 'AddressConflict'));
  assert.deepEqual(holds(), ['Service default/web vip 10.50.0.1: AddressConflict', 'Service default/api vip 10.50.0.1: AddressConflict']);
  events.change(change(vip(), 'InterfaceDown'));
  assert.deepEqual(holds(), ['ConfigMap lb/ravel vip 10.50.0.1: InterfaceDown']);
  const names = Array.from({ length: 30 }, (_, index) => `s${index}`);
  const many = cluster({ pods: Object.fromEntries(names.map((name) => [name, []])), vips: [] });
  events.change(change(vip(...names.map((name) => `default/${name}`)), 'InterfaceDown', many));
  assert.equal(holds().length, 10);
  events.change(change(vip(), undefined));
  assert.deepEqual(holds(), []);
});

test('what its virtual services tell already is not told of the VIP again', () => {
  const { events, holds } = rig();
  events.change(change(vip('default/web'), 'AddressConflict'));
  events.change(change(vip('default/web'), 'NoEndpoints'));
  assert.deepEqual(holds(), []);
});

test('a refused configuration: its first path and how many more, until one is accepted', () => {
  const { events, holding } = rig();
  events.refused([
    { path: 'config."x"', message: 'is no address' },
    { path: 'config."y"', message: 'is no address' },
  ]);
  assert.deepEqual(
    [...holding],
    [
      [
        'ConfigMap lb/ravel configuration',
        { code: 'ConfigurationRefused', message: 'config."x": is no address (and 1 more); the last good configuration stays in force' },
      ],
    ],
  );
  events.refused([{ path: '', message: 'ConfigMap lb/ravel was deleted' }]);
  assert.match([...holding.values()][0]?.message ?? '', /^ConfigMap lb\/ravel was deleted; the last/);
  events.refused(undefined);
  assert.equal(holding.size, 0);
});

test('a planned stop of a director is no matter of the Service; that its daemon is away is', () => {
  const { events, holds } = rig();
  events.change(change(vip('default/web'), 'BgpUnreachable'));
  assert.deepEqual(holds(), ['Service default/web vip 10.50.0.1: BgpUnreachable']);
  events.change(change(vip('default/web'), 'BgpDraining'));
  assert.deepEqual(holds(), []);
});
