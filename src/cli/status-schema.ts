import { z } from 'zod';

const reason = z.strictObject({ code: z.string().describe('a stable word, see docs/reasons.md'), message: z.string() }).nullable();
const problem = z.strictObject({ path: z.string(), message: z.string(), line: z.int().optional() });

const traffic = z
  .strictObject({
    connections: z.number().describe('since it was programmed'),
    inPackets: z.number().nullable().describe('null on a realserver, whose rules see the first packet of a connection only'),
    inBytes: z.number().nullable(),
    connectionsPerSecond: z.number().nullable(),
    inPacketsPerSecond: z.number().nullable(),
    inBytesPerSecond: z.number().nullable(),
  })
  .nullable();

const destination = z.strictObject({
  address: z.string().describe('a node on a director, a pod on a realserver'),
  port: z.int(),
  forward: z.string().nullable().describe('forwarding method; null on a realserver'),
  weight: z.int().nullable(),
  activeConnections: z.int().nullable(),
  inactiveConnections: z.int().nullable(),
  traffic: traffic.describe('null on a realserver, which counts per virtual service'),
});

const service = z.strictObject({
  key: z.string().describe('protocol, address and port: tcp 192.0.2.10:80'),
  programmed: z.boolean().describe('in the kernel'),
  scheduler: z.string().nullable(),
  traffic,
  reason: reason.describe('why it is not, or not wholly, in force'),
  destinations: z.array(destination),
  local: z
    .strictObject({
      shares: z.int().describe('of how many shares the pods of this machine get one each; IPVS forwards the others'),
      pods: z.array(z.strictObject({ address: z.string(), port: z.int() })),
    })
    .nullable()
    .describe('director: what its own pods get; null when they get nothing, and on a realserver, whose destinations they are'),
});

const vip = z.strictObject({
  address: z.string(),
  placed: z.boolean().describe('the address is on the VIP device'),
  protocol: z.enum(['arp', 'ndp', 'bgp']).nullable().describe('what it is announced by; null on a realserver'),
  announced: z.boolean().nullable().describe('null on a realserver, and when no agent answers'),
  conflicts: z.int().describe('times another host claimed it'),
  reason: reason.describe('why it is not announced, or what is wrong although it is'),
  services: z.array(service),
});

const watch = z.strictObject({
  resource: z.string().describe('services, endpointslices, …'),
  state: z.enum(['listing', 'watching', 'waiting']).describe('waiting: after a failure, for the next attempt'),
  objects: z.int(),
  resourceVersion: z.string().nullable(),
  silentMilliseconds: z.number().nullable().describe('since the server was last heard on it; null before the first time'),
  lists: z.int().describe('complete lists read since the start'),
  watches: z.int().describe('watches opened since the start'),
  error: z.string().nullable().describe('why it waits; where a right is missing, its verb and resource'),
});

const lease = z.strictObject({
  lease: z.string().describe('namespace/name'),
  programmed: z.int().nullable().describe('EndpointSlices up to this resource version are in the kernel'),
  confirmed: z.int().nullable().describe('the one that the API server has acknowledged last'),
  silentMilliseconds: z.number().nullable().describe('since it did'),
  failures: z.int().describe('since the last success'),
  error: z.string().nullable().describe('why the last attempt failed; where a right is missing, its verb and resource'),
});

const events = z.strictObject({
  holding: z.int().describe('reasons that hold now'),
  waiting: z.int().describe('of those, not written yet'),
  written: z.int().describe('since the start: created, or counted up'),
  dropped: z.int().describe('given up since the start: too many, or refused by the server'),
  failures: z.int().describe('since the start'),
  error: z.string().nullable().describe('why the last attempt failed; where a right is missing, its verb and resource'),
});

const kubernetes = z.strictObject({
  server: z.string(),
  configMap: z.strictObject({ namespace: z.string(), name: z.string(), key: z.string() }),
  watches: z.array(watch).describe('what is followed, one entry for each kind of object'),
  lease: lease.nullable().describe('realserver: tells directors what is programmed; null on a director'),
  events: events.nullable().describe('director: tells why something is not in force; null with --events=false'),
});

const messages = z.strictObject({ updates: z.int(), notifications: z.int() });

const neighbour = z.strictObject({
  address: z.string(),
  asn: z.int().describe('its autonomous system'),
  state: z.enum(['idle', 'connect', 'active', 'openSent', 'openConfirm', 'established', 'unknown']),
  disabled: z.boolean().describe('by an operator of the daemon'),
  since: z.string().nullable().describe('when the session came up; null while it is not up'),
  advertised: z.int().nullable().describe('prefixes sent to it; null where the daemon does not say'),
  flaps: z.int().nullable().describe('times it went down; null where the daemon does not count (GoBGP 3)'),
  received: messages,
  sent: messages,
  lastError: z.string().nullable().describe("why it went down last, in the daemon's words"),
  bfd: z.enum(['up', 'down', 'unknown']).nullable().describe('null without BFD'),
  managed: z.boolean().describe('set up by the agent; false: by the file of the daemon'),
});

const bgp = z.strictObject({
  endpoint: z.string(),
  state: z
    .enum(['connecting', 'connected', 'unreachable', 'draining', 'drained'])
    .describe('draining and drained: on the way to a planned stop'),
  daemon: z
    .strictObject({ major: z.union([z.literal(3), z.literal(4)]).describe('version of GoBGP'), asn: z.int(), routerId: z.string() })
    .nullable()
    .describe('null while it does not answer'),
  error: z.string().nullable().describe('why it is not connected, or what is refused'),
  attempts: z.int().describe('in a row that ended with a failure'),
  nextRetryMilliseconds: z.int().nullable(),
  paths: z.strictObject({
    wanted: z.int().describe('prefixes to be announced'),
    announced: z.int().describe('of those, in the daemon'),
    added: z.int().describe('written since the start, replacements among them'),
    withdrawn: z.int().describe('since the start'),
  }),
  peers: z.array(neighbour).describe('all neighbours of the daemon, whoever set them up'),
});

const agent = z.strictObject({
  version: z.string(),
  mode: z.enum(['director', 'bgp', 'realserver', 'director,realserver']).describe('as it was started'),
  node: z.string(),
  pid: z.int(),
  startedAt: z.string(),
  interface: z.string(),
  vipInterface: z.string(),
  source: z.strictObject({
    kind: z.enum(['file', 'kubernetes']),
    file: z.string().nullable().describe('null when the cluster comes from the Kubernetes API'),
    kubernetes: kubernetes.nullable().describe('null when it comes from a file'),
    synced: z.boolean().describe('false until the first input was accepted; nothing is written before'),
    acceptedAt: z.string().nullable().describe('when the configuration in force was accepted'),
    changedAt: z.string().nullable().describe('when the configuration or the cluster changed last'),
    refused: z
      .strictObject({ at: z.string(), problems: z.array(problem) })
      .nullable()
      .describe('newer input that was refused; the accepted one stays in force'),
    warnings: z.array(problem),
  }),
  loop: z.strictObject({
    passes: z.int(),
    written: z.int().describe('kernel operations since the start'),
    doubts: z.int().describe('times the kernel was found changed by others, or events about it were lost'),
    lastPass: z.strictObject({ at: z.string(), milliseconds: z.number(), written: z.int(), full: z.boolean() }).nullable(),
    attempts: z.int().describe('passes in a row that ended with a failure'),
    nextRetryMilliseconds: z.int().nullable(),
  }),
  nat: z
    .strictObject({ kind: z.enum(['nftables', 'iptables']), reason: z.string() })
    .nullable()
    .describe('what writes translation rules, and why; null when nothing does'),
  standby: reason.describe('why this realserver leaves everything to a director on its machine; null when it does not'),
  bgp: bgp.nullable().describe('between the agent and its BGP daemon; null but in mode bgp'),
  held: z.string().nullable().describe('why removals are held back'),
  failures: z.array(z.strictObject({ op: z.string(), object: z.string(), errno: z.string(), message: z.string() })),
  foreign: z.array(z.strictObject({ key: z.string(), message: z.string() })).describe('objects of others where ours would be'),
  warnings: z.array(z.string()).describe('what is done without: settings that this kernel does not have, or that may not be written'),
});

export const statusSchema = z.strictObject({
  mode: z.enum(['director', 'bgp', 'realserver', 'director,realserver']),
  agent: agent.nullable().describe('null when no agent answers on the socket'),
  vips: z.array(vip),
});
