/** What `check` says about the BGP daemon: reads only. */
import { access, constants } from 'node:fs/promises';
import { DaemonError, type BgpDaemon, type DaemonIdentity, type PeerStatus } from '../announce/bgp/daemon.ts';
import type { BgpConfig, BgpPeer } from '../model/bgp.ts';
import type { Finding } from './check.ts';
import { fail, ok, warn, words } from './findings.ts';

export interface BgpCheckInput {
  /** The caller's to close. */
  readonly daemon: BgpDaemon;
  /** Of flags and configuration together. */
  readonly config: BgpConfig;
}

/** Commands that mend what stands between us and the daemon. */
function mendOf(error: unknown, endpoint: string): string | null {
  if (!(error instanceof DaemonError) || error.code !== 'Unreachable') return null;
  return `gobgpd --config-file=FILE --api-hosts=${endpoint}`;
}

export async function bgpFindings({ daemon, config }: BgpCheckInput): Promise<Finding[]> {
  const files = await passwordFindings(config.peers ?? []);
  let identity: DaemonIdentity;
  try {
    identity = await daemon.identity();
  } catch (error) {
    return [fail('BGP daemon', words(error), mendOf(error, daemon.endpoint)), ...files];
  }
  const { major, asn } = identity;
  const findings = [ok('BGP daemon', `${daemon.endpoint}: GoBGP ${major}`), systemFinding(identity, config.speaker), ...files];
  try {
    const peers = asn === 0 ? [] : await daemon.peers();
    return [...findings, ...neighbourFindings(peers, config.peers ?? []), ...bfdFindings(major, peers, config.peers ?? [])];
  } catch (error) {
    return [...findings, fail('neighbours', words(error))];
  }
}

function systemFinding({ asn, routerId }: DaemonIdentity, asked: BgpConfig['speaker']): Finding {
  const what = 'autonomous system';
  if (asn === 0) {
    return asked === undefined
      ? fail(what, 'the daemon has none, in its own file or by --bgp-asn and --bgp-router-id: it announces nothing')
      : ok(what, `the daemon waits for one; the agent gives it ${asked.asn} with router ID ${asked.routerId}`);
  }
  if (asked !== undefined && asked.asn !== asn)
    return fail(what, `the daemon has ${asn}, and ${asked.asn} is asked for; its own file says, or whoever started it`);
  return ok(what, `${asn}, router ID ${routerId}`);
}

function neighbourFindings(there: readonly PeerStatus[], asked: readonly BgpPeer[]): Finding[] {
  const known = new Set(there.map(({ address }) => address));
  const coming = asked.filter(({ address }) => !known.has(address));
  if (there.length + coming.length === 0)
    return [warn('neighbours', 'the daemon has none, and none are asked for: nobody hears of the VIPs')];
  return [
    ...there.map(({ address, asn, state, disabled, lastError }) => {
      const name = `${address}, AS ${asn}`;
      if (state === 'established') return ok('neighbour', `${name}: established`);
      return warn(
        'neighbour',
        `${name}: ${disabled ? 'disabled by an operator' : state}${lastError === undefined ? '' : ` (${lastError})`}`,
      );
    }),
    ...coming.map(({ address, asn }) => ok('neighbour', `${address}, AS ${asn}: the agent sets it up`)),
  ];
}

function bfdFindings(major: DaemonIdentity['major'], there: readonly PeerStatus[], asked: readonly BgpPeer[]): Finding[] {
  const wanting = asked.filter(({ bfd }) => bfd !== undefined);
  if (wanting.length === 0) return [];
  if (major === 3) return [warn('BFD', 'GoBGP 3 has none: a dead neighbour is noticed by the hold timer; version 4.8 or newer has it')];
  return wanting.flatMap(({ address }) => {
    const peer = there.find((one) => one.address === address);
    if (peer?.ours !== true) return [];
    const { bfd } = peer;
    if (bfd === undefined) return [warn('BFD', `not with ${address}: this daemon has none (GoBGP before 4.8), or it was not set up yet`)];
    return [bfd.state === 'up' ? ok('BFD', `up with ${address}`) : warn('BFD', `${bfd.state} with ${address}`)];
  });
}

async function passwordFindings(peers: readonly BgpPeer[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { address, passwordFile } of peers) {
    if (passwordFile === undefined) continue;
    const finding = await access(passwordFile, constants.R_OK).then(
      () => ok('password', `${passwordFile} for ${address} can be read`),
      (error: unknown) => fail('password', `${passwordFile} for ${address}: ${words(error)}`),
    );
    findings.push(finding);
  }
  return findings;
}
