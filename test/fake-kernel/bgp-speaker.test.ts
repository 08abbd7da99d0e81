/** Routes of a director in a daemon that may do anything. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteOptions } from '../../src/model/bgp.ts';
import { plainRoutes, route, SpeakerRig } from './speaker-rig.ts';

const communities: RouteOptions = {
  ...plainRoutes,
  attributes: { communities: [65000 * 65536 + 100, 65000 * 65536 + 200], largeCommunities: [] },
};

test('C15 a: adds .11 with both communities as one list, withdraws .12, leaves .10; IPv6 likewise; again: nothing', async () => {
  const rig = new SpeakerRig({ routes: communities });
  const own = { communities: [65000 * 65536 + 100, 65000 * 65536 + 200] };
  for (const prefix of ['192.0.2.10/32', '192.0.2.12/32', '2001:db8::10/128', '2001:db8::12/128']) rig.daemon.setOurs(route(prefix, own));
  await rig.settled(['192.0.2.10', '192.0.2.11', '2001:db8::10', '2001:db8::11']);
  assert.deepEqual(
    rig.daemon.writes.map(({ op, prefix }) => `${op} ${prefix}`),
    ['withdraw 192.0.2.12/32', 'withdraw 2001:db8::12/128', 'add 192.0.2.11/32', 'add 2001:db8::11/128'],
  );
  assert.deepEqual(rig.daemon.ours.get('192.0.2.11/32'), route('192.0.2.11/32', own));
  assert.deepEqual(rig.daemon.ours.get('2001:db8::11/128'), route('2001:db8::11/128', own));
  const before = rig.daemon.writes.length;
  await rig.pass(['192.0.2.10', '192.0.2.11', '2001:db8::10', '2001:db8::11']);
  await rig.clock.advance(300_000);
  assert.equal(rig.daemon.writes.length, before);
  await rig.stop();
});
