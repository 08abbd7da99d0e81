/** The checks of `check` about translation to pods: which backend it would be, and whether the kernel takes its rules. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { diffNat } from '../diff/nat.ts';
import { NatState } from '../diff/nat-state.ts';
import type { NatChosen } from '../drivers/nat-backend.ts';
import { NatChoice } from '../drivers/nat-choice.ts';
import { KernelError, UnsupportedError } from '../native/errors.ts';
import type { Finding } from './check.ts';
import { fail, ok, warn, words, type CheckInput } from './findings.ts';

const modules = 'modprobe -a nf_tables nft_chain_nat nft_nat nft_masq nft_numgen nft_ct';

/** The check of the capability has said what to do about that, and no module would help. */
function mendOf(error: unknown): string | null {
  if (KernelError.is(error, 'EPERM')) return null;
  return (error instanceof UnsupportedError ? error.hint : undefined) ?? modules;
}

async function nftablesFinding({ kernel }: CheckInput): Promise<Finding> {
  // The smallest realserver there is, judged by the kernel without effect: every expression we use is in it.
  const service = {
    ...{ key: 'tcp 192.0.2.1:80', address: '192.0.2.1', protocol: 6, port: 80, comment: 'check' },
    pods: [{ address: '192.0.2.2', port: 8080 }],
  };
  const desired = {
    services: new Map([[service.key, service]]),
    addresses: ['192.0.2.1'],
    masquerade: { enabled: true },
    reasons: new Map(),
  };
  try {
    const exists = (await kernel.nftables.tables()).some(({ family, name }) => family === 'ip' && name === 'ravel');
    // Into a table that exists the same objects cannot be created again; that it stands says enough.
    if (!exists) for (const operations of diffNat(new NatState(), desired).transactions) await kernel.nftables.check(operations);
    return ok('nftables', exists ? 'table ip ravel is there' : 'the kernel takes our rules');
  } catch (error) {
    return fail('nftables', words(error), mendOf(error));
  }
}

/** Everybody who changes legacy tables agrees by this file; a container needs the host's. */
async function lockFinding({ root }: CheckInput): Promise<Finding> {
  const path = '/run/xtables.lock';
  const found = await stat(join(root, path)).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined) return warn('xtables lock', `${path} is not there and will be made; in a container it must be the host's`);
  return found.isDirectory()
    ? fail('xtables lock', `${path} is a directory, as a mount of a file that was not there makes it`, 'mount it with type FileOrCreate')
    : ok('xtables lock', `${path} is there`);
}

export async function natFindings(input: CheckInput): Promise<Finding[]> {
  const nat = new NatChoice(input.kernel, { asked: input.natBackend, chainPrefix: input.chainPrefix });
  let chosen: NatChosen;
  try {
    chosen = await nat.choose();
  } catch (error) {
    return [fail('NAT backend', words(error), mendOf(error))];
  }
  const findings = [ok('NAT backend', `${chosen.kind}: ${chosen.reason}`)];
  if (chosen.kind === 'nftables') findings.push(await nftablesFinding(input));
  else {
    findings.push(await lockFinding(input));
    findings.push(
      warn('NAT backend', 'iptables: clients inside the cluster reach pods of their own node only, and no segment is made smaller'),
    );
  }
  try {
    // Only what the choice itself looks at tells whether the other backend's rules can be seen.
    await nat.observe();
    findings.push(...nat.warnings.map((message) => warn('NAT backend', message)));
  } catch (error) {
    if (!findings.some(({ level }) => level === 'fail')) findings.push(fail('NAT backend', words(error), mendOf(error)));
  }
  return findings;
}
