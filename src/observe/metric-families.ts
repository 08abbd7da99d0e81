/**
 * What a running agent tells Prometheus: one row for each family, read from the document that `status` shows, so that the
 * two cannot differ. Names and units: Prometheus' conventions (seconds, bytes, `_total` for what only grows). Text that an
 * error wrote is never a label: reasons are codes (docs/reasons.md), and words are in `status` and the log.
 */
import type { ReasonCode } from '../model/cluster.ts';
import type { AgentDocument } from './agent-document.ts';
import type { BgpDocument, BgpPeerDocument } from './bgp-document.ts';

/** A value, then a word for each label. */
export type MetricSample = readonly [value: number, ...labels: string[]];

export interface MetricFamily {
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  readonly labels: readonly string[];
  /** Empty where it says nothing: of BGP without BGP, of announcements on a realserver. */
  read(document: AgentDocument): Iterable<MetricSample>;
}

const seconds = (time: string | null): number | undefined => (time === null ? undefined : Date.parse(time) / 1000);
/** A sample when there is a value. */
const sample = (value: number | boolean | null | undefined, ...labels: string[]): MetricSample[] =>
  value === null || value === undefined ? [] : [[Number(value), ...labels]];

function counted(words: Iterable<string>): MetricSample[] {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([word, count]) => [count, word]);
}

const codes = (reasons: Iterable<{ readonly code: ReasonCode }>): string[] => [...reasons].map(({ code }) => code);

const general: readonly MetricFamily[] = [
  {
    ...{ name: 'ravel_build_info', type: 'gauge', labels: ['version', 'mode', 'node'] },
    help: 'Always 1: which agent this is.',
    read: ({ version, mode, node }) => [[1, version, mode, node]],
  },
  {
    ...{ name: 'ravel_start_time_seconds', type: 'gauge', labels: [] },
    help: 'When the agent started, seconds since the epoch.',
    read: ({ startedAt }) => sample(seconds(startedAt)),
  },
  {
    ...{ name: 'ravel_standby', type: 'gauge', labels: [] },
    help: '1 while the agent leaves its work to another one on this machine.',
    read: ({ standby }) => sample(standby !== null),
  },
  {
    ...{ name: 'ravel_warnings', type: 'gauge', labels: [] },
    help: 'Things that the agent does without; status has their words.',
    read: ({ warnings }) => sample(warnings.length),
  },
];

const input: readonly MetricFamily[] = [
  {
    ...{ name: 'ravel_source_synced', type: 'gauge', labels: [] },
    help: '1 once a whole configuration was accepted.',
    read: ({ source }) => sample(source.synced),
  },
  {
    ...{ name: 'ravel_source_refused', type: 'gauge', labels: [] },
    help: '1 while newer input is refused and the last good one stays in force.',
    read: ({ source }) => sample(source.refused !== null),
  },
  {
    ...{ name: 'ravel_source_changed_time_seconds', type: 'gauge', labels: [] },
    help: 'When what is in force changed last, seconds since the epoch.',
    read: ({ source }) => sample(seconds(source.changedAt)),
  },
  {
    ...{ name: 'ravel_watch_up', type: 'gauge', labels: ['resource'] },
    help: '1 while a kind of object of the Kubernetes API is followed.',
    read: ({ source }) => (source.kubernetes?.watches ?? []).map(({ resource, state }) => [Number(state === 'watching'), resource]),
  },
  {
    ...{ name: 'ravel_watch_silent_seconds', type: 'gauge', labels: ['resource'] },
    help: 'Since the API server was last heard on a watch.',
    read: ({ source }) =>
      (source.kubernetes?.watches ?? []).flatMap(({ resource, silentMilliseconds: silent }) =>
        sample(silent === null ? null : silent / 1000, resource),
      ),
  },
  {
    ...{ name: 'ravel_watch_lists_total', type: 'counter', labels: ['resource'] },
    help: 'Complete lists read.',
    read: ({ source }) => (source.kubernetes?.watches ?? []).map(({ resource, lists }) => [lists, resource]),
  },
];

const loop: readonly MetricFamily[] = [
  {
    ...{ name: 'ravel_passes_total', type: 'counter', labels: [] },
    help: 'Passes in which desired and actual state were compared.',
    read: ({ loop: { passes } }) => sample(passes),
  },
  {
    ...{ name: 'ravel_kernel_writes_total', type: 'counter', labels: [] },
    help: 'Changes made to the kernel.',
    read: ({ loop: { written } }) => sample(written),
  },
  {
    ...{ name: 'ravel_doubts_total', type: 'counter', labels: [] },
    help: 'Times that something else changed what the agent keeps, so that it looked again.',
    read: ({ loop: { doubts } }) => sample(doubts),
  },
  {
    ...{ name: 'ravel_last_pass_time_seconds', type: 'gauge', labels: [] },
    help: 'When the last pass ended, seconds since the epoch.',
    read: ({ loop: { lastPass } }) => sample(seconds(lastPass?.at ?? null)),
  },
  {
    ...{ name: 'ravel_last_pass_duration_seconds', type: 'gauge', labels: [] },
    help: 'How long the last pass took.',
    read: ({ loop: { lastPass } }) => sample(lastPass === null ? null : lastPass.milliseconds / 1000),
  },
  {
    ...{ name: 'ravel_kernel_failures', type: 'gauge', labels: ['errno'] },
    help: 'Operations that the kernel refused in the last pass and that are tried again, by its error.',
    read: ({ failures }) => counted(failures.map(({ errno }) => errno)),
  },
  {
    ...{ name: 'ravel_retries', type: 'gauge', labels: [] },
    help: 'Passes in a row that failed.',
    read: ({ loop: { attempts } }) => sample(attempts),
  },
  {
    ...{ name: 'ravel_removals_held', type: 'gauge', labels: [] },
    help: '1 while a change that would remove too much is held back.',
    read: ({ held }) => sample(held !== null),
  },
];

const announcements: readonly MetricFamily[] = [
  {
    ...{ name: 'ravel_virtual_services_not_in_force', type: 'gauge', labels: ['reason'] },
    help: 'Virtual services that are not, or not wholly, in force.',
    read: ({ reasons }) => counted(codes(Object.values(reasons))),
  },
  {
    ...{ name: 'ravel_vip_announced', type: 'gauge', labels: ['vip'] },
    help: 'On directors: 1 while the VIP is announced.',
    read: ({ vips }) => vips.flatMap(({ address, announced }) => sample(announced, address)),
  },
  {
    ...{ name: 'ravel_vip_reason', type: 'gauge', labels: ['vip', 'reason'] },
    help: 'Always 1: why a VIP is not, or not wholly, in force.',
    read: ({ vips }) => vips.flatMap(({ address, reason }) => (reason === null ? [] : sample(1, address, reason.code))),
  },
  {
    ...{ name: 'ravel_vip_conflicts_total', type: 'counter', labels: ['vip'] },
    help: 'Times that another machine answered for a VIP that is announced here.',
    read: ({ vips }) => vips.flatMap(({ address, announced, conflicts }) => sample(announced === null ? null : conflicts, address)),
  },
];

type OfBgp = Omit<MetricFamily, 'read'> & { read(bgp: BgpDocument): Iterable<MetricSample> };
type OfPeer = Omit<MetricFamily, 'labels' | 'read'> & { read(peer: BgpPeerDocument): number | boolean | null | undefined };

const daemon: readonly OfBgp[] = [
  {
    ...{ name: 'ravel_bgp_connected', type: 'gauge', labels: [] },
    help: 'Mode bgp: 1 while the BGP daemon answers.',
    read: ({ state }) => sample(state !== 'connecting' && state !== 'unreachable'),
  },
  {
    ...{ name: 'ravel_bgp_draining', type: 'gauge', labels: [] },
    help: 'Mode bgp: 1 during a planned stop, once routers were told to go elsewhere.',
    read: ({ state }) => sample(state === 'draining' || state === 'drained'),
  },
  {
    ...{ name: 'ravel_bgp_failing', type: 'gauge', labels: [] },
    help: 'Mode bgp: 1 while the daemon does not answer or has refused something; status has its words.',
    read: ({ error }) => sample(error !== null),
  },
  {
    ...{ name: 'ravel_bgp_retries', type: 'gauge', labels: [] },
    help: 'Mode bgp: attempts in a row that failed.',
    read: ({ attempts }) => sample(attempts),
  },
  {
    ...{ name: 'ravel_bgp_paths_wanted', type: 'gauge', labels: [] },
    help: 'Mode bgp: paths that the daemon is to have.',
    read: ({ paths }) => sample(paths.wanted),
  },
  {
    ...{ name: 'ravel_bgp_paths_announced', type: 'gauge', labels: [] },
    help: 'Mode bgp: those that it has.',
    read: ({ paths }) => sample(paths.announced),
  },
  {
    ...{ name: 'ravel_bgp_paths_added_total', type: 'counter', labels: [] },
    help: 'Mode bgp: paths given to the daemon, or replaced.',
    read: ({ paths }) => sample(paths.added),
  },
  {
    ...{ name: 'ravel_bgp_paths_withdrawn_total', type: 'counter', labels: [] },
    help: 'Mode bgp: paths taken back.',
    read: ({ paths }) => sample(paths.withdrawn),
  },
];

const peers: readonly OfPeer[] = [
  {
    ...{ name: 'ravel_bgp_session_up', type: 'gauge' },
    help: 'Mode bgp: 1 while the session with a neighbour is established.',
    read: ({ state }) => state === 'established',
  },
  {
    ...{ name: 'ravel_bgp_session_start_time_seconds', type: 'gauge' },
    help: 'Mode bgp: since when it is, seconds since the epoch.',
    read: ({ since }) => seconds(since),
  },
  {
    ...{ name: 'ravel_bgp_session_flaps_total', type: 'counter' },
    help: 'Mode bgp: times that it went down; absent where the daemon does not count.',
    read: ({ flaps }) => flaps,
  },
  {
    ...{ name: 'ravel_bgp_advertised_prefixes', type: 'gauge' },
    help: 'Mode bgp: prefixes sent to the neighbour; absent where the daemon does not say.',
    read: ({ advertised }) => advertised,
  },
  {
    ...{ name: 'ravel_bgp_updates_sent_total', type: 'counter' },
    help: 'Mode bgp: UPDATE messages sent to the neighbour.',
    read: ({ sent }) => sent.updates,
  },
  {
    ...{ name: 'ravel_bgp_updates_received_total', type: 'counter' },
    help: 'Mode bgp: UPDATE messages received from it.',
    read: ({ received }) => received.updates,
  },
  {
    ...{ name: 'ravel_bgp_notifications_sent_total', type: 'counter' },
    help: 'Mode bgp: NOTIFICATION messages sent to the neighbour: errors that end a session.',
    read: ({ sent }) => sent.notifications,
  },
  {
    ...{ name: 'ravel_bgp_notifications_received_total', type: 'counter' },
    help: 'Mode bgp: NOTIFICATION messages received from it.',
    read: ({ received }) => received.notifications,
  },
  {
    ...{ name: 'ravel_bgp_bfd_up', type: 'gauge' },
    help: 'Mode bgp: 1 while BFD sees the neighbour; absent where there is none.',
    read: ({ bfd }) => (bfd === null ? null : bfd === 'up'),
  },
];

const peerLabels = ['peer', 'asn'] as const;

const ofProcess: readonly MetricFamily[] = [
  {
    ...{ name: 'process_cpu_seconds_total', type: 'counter', labels: [] },
    help: 'CPU time of the agent, user and system.',
    read: () => {
      const { user, system } = process.cpuUsage();
      return sample((user + system) / 1e6);
    },
  },
  {
    ...{ name: 'process_resident_memory_bytes', type: 'gauge', labels: [] },
    help: 'Resident memory of the agent.',
    read: () => sample(process.memoryUsage.rss()),
  },
  {
    ...{ name: 'nodejs_heap_size_used_bytes', type: 'gauge', labels: [] },
    help: 'Of that, the heap in use.',
    read: () => sample(process.memoryUsage().heapUsed),
  },
  {
    ...{ name: 'nodejs_external_memory_bytes', type: 'gauge', labels: [] },
    help: 'Memory outside of the heap that its objects hold.',
    read: () => sample(process.memoryUsage().external),
  },
];

export const metricFamilies: readonly MetricFamily[] = [
  ...[...general, ...input, ...loop, ...announcements],
  ...daemon.map((family): MetricFamily => ({ ...family, read: ({ bgp }) => (bgp === null ? [] : family.read(bgp)) })),
  ...peers.map((family): MetricFamily => ({
    ...family,
    labels: peerLabels,
    read: ({ bgp }) => (bgp?.peers ?? []).flatMap((peer) => sample(family.read(peer), peer.address, String(peer.asn))),
  })),
  ...ofProcess,
];
