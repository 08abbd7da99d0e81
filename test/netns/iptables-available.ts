import { UnsupportedError } from '../../src/native/errors.ts';
import { Iptables } from '../../src/native/iptables.ts';
import { Netns } from '../../src/native/netns.ts';

/** Why this machine has no iptables backend, or false: a kernel may be without legacy tables, a build without libiptc. */
export const unsupported: string | false = await (async () => {
  await using netns = await Netns.create();
  try {
    await (await Iptables.open({ family: 'ip', netns })).close();
    return false;
  } catch (error) {
    if (error instanceof UnsupportedError) return error.message;
    throw error;
  }
})();
