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
});

const vip = z.strictObject({
  address: z.string(),
  placed: z.boolean().describe('the address is on the VIP device'),
  announced: z.boolean().nullable().describe('null on a realserver, and when no agent answers'),
  conflicts: z.int().describe('times another host claimed it'),
  reason: reason.describe('why it is not announced, or what is wrong although it is'),
  services: z.array(service),
});

const agent = z.strictObject({
  version: z.string(),
  mode: z.enum(['director', 'realserver']),
  node: z.string(),
  pid: z.int(),
  startedAt: z.string(),
  interface: z.string(),
  vipInterface: z.string(),
  source: z.strictObject({
    file: z.string(),
    synced: z.boolean().describe('false until the first input was accepted; nothing is written before'),
    acceptedAt: z.string().nullable().describe('when the configuration in force was accepted'),
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
  held: z.string().nullable().describe('why removals are held back'),
  failures: z.array(z.strictObject({ op: z.string(), object: z.string(), errno: z.string(), message: z.string() })),
  foreign: z.array(z.strictObject({ key: z.string(), message: z.string() })).describe('objects of others where ours would be'),
});

export const statusSchema = z.strictObject({
  mode: z.enum(['director', 'realserver']),
  agent: agent.nullable().describe('null when no agent answers on the socket'),
  vips: z.array(vip),
});
