import { paint, short, table, type Output } from './output.ts';
import type { WatchStatus } from '../model/cluster.ts';
import type { EventsDocument, KubernetesDocument, LeaseDocument } from '../observe/agent-document.ts';
import type { BgpDocument } from '../observe/bgp-document.ts';
import type { ServiceStatus, StatusDocument, VipStatusDocument } from './status-document.ts';

const rate = (value: number | null | undefined, unit: string): string =>
  value === null || value === undefined ? '' : `${short(value)} ${unit}/s`;

function serviceRows({ key, scheduler, traffic, destinations, programmed, reason, local }: ServiceStatus): string[][] {
  const head = [
    key,
    programmed ? (scheduler ?? 'evenly') : 'not programmed',
    traffic === null ? '' : `${short(traffic.connections)} conn`,
    rate(traffic?.connectionsPerSecond, 'conn'),
    rate(traffic?.inPacketsPerSecond, 'pkt'),
    rate(traffic?.inBytesPerSecond, 'B'),
    reason === null ? '' : `${reason.code}: ${reason.message}`,
  ];
  const rows = destinations.map((to) => [
    `  -> ${to.address}:${to.port}`,
    to.weight === null ? '' : `${to.forward ?? ''} weight ${to.weight}`,
    to.activeConnections === null ? '' : `${to.activeConnections}+${to.inactiveConnections ?? 0} conn`,
    rate(to.traffic?.connectionsPerSecond, 'conn'),
    rate(to.traffic?.inPacketsPerSecond, 'pkt'),
    rate(to.traffic?.inBytesPerSecond, 'B'),
    '',
  ]);
  const here = (local?.pods ?? []).map(({ address, port }) => [
    `  -> ${address}:${port}`,
    `here, 1 of ${local?.shares ?? 0} shares`,
    ...['', '', '', '', ''],
  ]);
  return [head, ...here, ...rows];
}

const how = ({ protocol }: VipStatusDocument): string => (protocol === null ? '' : ` by ${protocol.toUpperCase()}`);

function vipLine(output: Output, vip: VipStatusDocument): string {
  const words = [
    vip.placed ? '' : paint(output, 'red', 'address missing'),
    vip.announced === null ? '' : vip.announced ? paint(output, 'green', `announced${how(vip)}`) : paint(output, 'yellow', 'not announced'),
    vip.reason === null ? '' : `${vip.reason.code}: ${vip.reason.message}`,
    vip.conflicts === 0 ? '' : paint(output, 'red', `${vip.conflicts} conflicts`),
  ];
  return `${paint(output, 'bold', vip.address)}  ${words.filter((word) => word !== '').join(', ')}`.trimEnd();
}

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;

function watchRow({ resource, state, objects, silentMilliseconds, lists, watches, error }: WatchStatus): string[] {
  const heard = silentMilliseconds === null ? 'never heard' : `heard ${seconds(silentMilliseconds)} ago`;
  return [resource, state, `${objects} objects`, heard, `${lists} lists, ${watches} watches`, error ?? ''];
}

function leaseRow({ lease, programmed, confirmed, silentMilliseconds, failures, error }: LeaseDocument): string[] {
  const last = silentMilliseconds === null ? 'never written' : `written ${seconds(silentMilliseconds)} ago`;
  const revisions = `revision ${programmed ?? 'none'} programmed, ${confirmed ?? 'none'} confirmed`;
  return [`lease ${lease}`, error === null ? 'kept' : 'failing', '', last, revisions, error === null ? '' : `${error} (${failures} times)`];
}

function eventsRow({ holding, waiting, written, dropped, error }: EventsDocument): string[] {
  const counts = `${waiting} waiting, ${written} written, ${dropped} dropped`;
  return ['events', error === null ? 'kept' : 'failing', `${holding} reasons`, '', counts, error ?? ''];
}

function printKubernetes(output: Output, { server, watches, lease, events }: KubernetesDocument): void {
  const healthy = watches.length > 0 && watches.every(({ error }) => error === null);
  output.print(
    `${server}: ${healthy ? 'followed' : paint(output, 'red', 'not followed as it should be; the last state stays in force')}\n`,
  );
  const rows = [...watches.map(watchRow), ...(lease === null ? [] : [leaseRow(lease)]), ...(events === null ? [] : [eventsRow(events)])];
  output.print(table(rows, '  '));
}

function neighbourRow({ address, asn, state, disabled, since, advertised, flaps, bfd, lastError }: BgpDocument['peers'][number]): string[] {
  return [
    ...[address, `AS ${asn}`, disabled ? 'disabled' : state, since === null ? '' : `since ${since}`],
    advertised === null ? '' : `${advertised} prefixes`,
    ...[flaps === null ? '' : `${flaps} times down`, bfd === null ? '' : `BFD ${bfd}`, lastError ?? ''],
  ];
}

function printBgp(output: Output, { endpoint, state, daemon, error, attempts, nextRetryMilliseconds, paths, peers }: BgpDocument): void {
  const who = daemon === null ? '' : `, GoBGP ${daemon.major}, AS ${daemon.asn}, router ID ${daemon.routerId}`;
  output.print(`BGP daemon ${endpoint}: ${paint(output, state === 'connected' ? 'green' : 'yellow', state)}${who}\n`);
  if (error !== null) {
    const next = nextRetryMilliseconds === null ? '' : `, next attempt in ${seconds(nextRetryMilliseconds)}`;
    output.print(`  ${paint(output, 'red', error)}${attempts === 0 ? '' : ` (${attempts} attempts${next})`}\n`);
  }
  output.print(
    `  ${paths.announced} of ${paths.wanted} routes announced; ${paths.added} written, ${paths.withdrawn} withdrawn since the start\n`,
  );
  output.print(table(peers.map(neighbourRow), '  '));
}

function printAgent(output: Output, { mode, agent }: StatusDocument): void {
  if (agent === null) {
    output.print(`${mode}: ${paint(output, 'yellow', 'no agent answers')}; this is what is in the kernel\n`);
    return;
  }
  const { source, loop, held, nat, standby, bgp, failures, foreign, warnings } = agent;
  output.print(`${mode} ${agent.node}, process ${agent.pid}, version ${agent.version}, since ${agent.startedAt}\n`);
  const { kubernetes } = source;
  const place = kubernetes === null ? (source.file ?? '') : `ConfigMap ${kubernetes.configMap.namespace}/${kubernetes.configMap.name}`;
  output.print(`${place}: ${source.acceptedAt === null ? 'nothing accepted yet' : `in force since ${source.acceptedAt}`}`);
  output.print(source.changedAt === source.acceptedAt ? '\n' : `, last change ${source.changedAt ?? ''}\n`);
  if (kubernetes !== null) printKubernetes(output, kubernetes);
  if (source.refused !== null) {
    output.print(paint(output, 'red', `newer input refused at ${source.refused.at}:\n`));
    for (const { path, message } of source.refused.problems) output.print(`  ${path === '' ? '' : `${path}: `}${message}\n`);
  }
  output.print(`${loop.passes} passes, ${loop.written} kernel operations, ${loop.doubts} times read again\n`);
  if (nat !== null) output.print(`translation by ${nat.kind}: ${nat.reason}\n`);
  if (standby !== null) output.print(`${paint(output, 'yellow', standby.code)}: ${standby.message}\n`);
  if (bgp !== null) printBgp(output, bgp);
  if (held !== null) output.print(`${paint(output, 'yellow', held)}\n`);
  if (failures.length > 0) {
    const next = loop.nextRetryMilliseconds === null ? '' : `, next in ${(loop.nextRetryMilliseconds / 1000).toFixed(1)} s`;
    output.print(paint(output, 'red', `failing, ${loop.attempts} attempts${next}:\n`));
    for (const { message } of failures) output.print(`  ${message}\n`);
  }
  for (const { key, message } of foreign) output.print(`${paint(output, 'yellow', 'foreign')} ${key}: ${message}\n`);
  for (const message of warnings) output.print(`${paint(output, 'yellow', 'warning')} ${message}\n`);
}

export function printStatus(output: Output, document: StatusDocument): void {
  printAgent(output, document);
  if (document.vips.length === 0) output.print('no VIP is programmed\n');
  for (const vip of document.vips) {
    output.print(`\n${vipLine(output, vip)}\n`);
    output.print(table(vip.services.flatMap(serviceRows), '  '));
  }
}
