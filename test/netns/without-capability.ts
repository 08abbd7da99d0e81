/** Run by links-refused.test.ts as a process without capabilities: says what each call came to, as JSON. */
import { Arp } from '../../src/native/arp.ts';
import { Links } from '../../src/native/links.ts';
import { Ndp } from '../../src/native/ndp.ts';
import { Netns } from '../../src/native/netns.ts';

async function outcome(call: () => Promise<unknown>): Promise<string> {
  try {
    await call();
    return 'ok';
  } catch (error) {
    return String(error);
  }
}

await using links = await Links.open();
await using arp = await Arp.open();
await using ndp = await Ndp.open();
const report = {
  links: await outcome(() => links.links()),
  add: await outcome(async () => {
    const { failed } = await links.apply([{ op: 'addAddress', interface: 'lo', address: '192.0.2.10', prefix: 32 }]);
    if (failed[0] !== undefined) throw failed[0].error;
  }),
  create: await outcome(() => Netns.create()),
  arp: await outcome(() => arp.announce('lo', ['192.0.2.10'], 'both')),
  ndp: await outcome(() => ndp.announce('lo', ['2001:db8::10'])),
};
process.stdout.write(JSON.stringify(report));
