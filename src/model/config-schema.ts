/**
 * The configuration as people write it: the shape, types and ranges of every key, in one place. The JSON
 * Schema that `validate --schema` prints comes from here; what needs more than one key at a time (duplicates,
 * references, coercions) is in cluster-state.ts.
 */
import { z } from 'zod';
import { addressFamily } from './address.ts';
import { bgpSchema } from './bgp-schema.ts';
import { parseDrainSteps, parseDrainTimeout } from './drain.ts';

/** Keys of the configuration this format comes from that never did anything: accepted, and warned about. */
const unused = (what: string): z.ZodOptional<z.ZodUnknown> =>
  z
    .unknown()
    .optional()
    .meta({ description: `${what} Accepted and ignored.`, deprecated: true });

/** To what one who writes them should write. */
export const unusedKeys: ReadonlyMap<string, string | undefined> = new Map([
  ...(['ipv4Enabled', 'ipv6Enabled', 'proxyProtocolEnabled'] as const).map((key) => [key, undefined] as const),
  ['persistenceEnabled', 'ipvsOptions.persistenceSeconds'],
  ['persistenceTimeout', 'ipvsOptions.persistenceSeconds'],
  ['persistenceNetmask', 'ipvsOptions.persistencePrefix'],
]);

const persistence = {
  persistenceEnabled: unused('See ipvsOptions.persistenceSeconds.'),
  persistenceTimeout: unused('See ipvsOptions.persistenceSeconds.'),
  persistenceNetmask: unused('See ipvsOptions.persistencePrefix.'),
};

const address = (description: string): z.ZodString =>
  z
    .string()
    .refine((text) => addressFamily(text) !== undefined, { error: 'not an IP address' })
    .meta({ description });

/** Names end up in logs and in comments inside the kernel: no blanks, no control characters. */
const name = (what: string): z.ZodString =>
  z
    .string()
    .regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/, {
      error: 'a name has letters, digits, "-", "." and "_", at most 253, and begins and ends with a letter or digit',
    })
    .meta({ description: what });

const portName = (what: string): z.ZodType<string | undefined, string | undefined> =>
  z
    .union([z.literal(''), name(what)], { error: 'a port name is empty, or has letters, digits, "-", "." and "_"' })
    .optional()
    .meta({ description: what });

const portNumber = (what: string): z.ZodNumber =>
  z.int({ error: 'a port is a number' }).min(1, 'a port is 1 to 65535').max(65535, 'a port is 1 to 65535').meta({ description: what });

const labels = z.record(z.string(), z.string(), { error: 'labels are a map of texts' });

/** Thresholds are unsigned 32-bit numbers in the kernel (IPVS_DEST_ATTR_U_THRESH). */
const threshold = (description: string): z.ZodOptional<z.ZodNumber> =>
  z.int({ error: 'a threshold is a whole number' }).max(0xffff_ffff, 'a threshold is at most 4294967295').optional().meta({ description });

export const ipvsOptionsSchema = z
  .strictObject({
    scheduler: z
      .string()
      .optional()
      .meta({
        description: 'How IPVS picks a backend: rr, wrr, lc, wlc, dh, sh, mh, lblc, lblcr, sed, nq, fo, ovf or twos.',
        default: 'wrr',
        examples: ['mh'],
      }),
    flags: z
      .string()
      .optional()
      .meta({
        description:
          'Scheduler flags, with commas between: flag-1 to flag-3, or sh-fallback, sh-port, mh-fallback, mh-port. Default: both for mh, else none.',
        examples: ['flag-1,flag-2'],
      }),
    forwardingMethod: z
      .string()
      .optional()
      .meta({
        description:
          'g or direct: direct routing to nodes of the segment; i or tunnel: in a tunnel to nodes anywhere; m or masquerade: straight to pods, whose replies come back through the director.',
        default: 'g',
        examples: ['i'],
      }),
    tunnelType: z
      .string()
      .optional()
      .meta({ description: 'Only with a tunnel. ipip: IP in IP; gue: Generic UDP Encapsulation; gre: GRE.', default: 'ipip' }),
    tunnelPort: z
      .int({ error: 'a port is a number' })
      .optional()
      .meta({ description: 'Only with the tunnel type gue: UDP port of all nodes, 1 to 65535.', default: 6080 }),
    masqueradeSource: z.boolean().optional().meta({
      description:
        "Only with masquerade. true: pods see the director's address. false: they see the client's, and their replies are routed through the director by other means.",
      default: true,
    }),
    persistenceSeconds: z
      .int({ error: 'is a whole number of seconds' })
      .optional()
      .meta({ description: 'How long after its last connection a client keeps its backend, up to 2678400. 0: not at all.', default: 0 }),
    persistencePrefix: z.int({ error: 'a prefix length is a whole number' }).optional().meta({
      description: 'Only with persistenceSeconds: clients that share so many leading bits count as one. Default: each by itself.',
    }),
    onePacket: z.boolean().optional().meta({ description: 'Only for UDP: each datagram is scheduled by itself.', default: false }),
    uThreshold: threshold('Connections of the whole virtual service above which it takes no new ones. 0: no limit.'),
    lThreshold: threshold('Connections below which it takes new ones again. Must be below uThreshold.'),
    ...persistence,
  })
  .meta({ description: 'Options of the virtual service. Values that are not understood are replaced, with a warning.' });

export const entrySchema = z
  .strictObject({
    namespace: name('Namespace of the Service.').optional().meta({ description: 'Namespace of the Service.', default: 'default' }),
    service: name('Name of the Service that gets the traffic.'),
    portName: portName('Name of the Service port; empty for a port without a name.'),
    tcpEnabled: z.boolean().optional().meta({ description: 'Balance TCP.', default: true }),
    udpEnabled: z.boolean().optional().meta({ description: 'Balance UDP.', default: false }),
    sctpEnabled: z.boolean().optional().meta({ description: 'Balance SCTP.', default: false }),
    ipvsOptions: ipvsOptionsSchema.optional(),
    ipv4Enabled: unused('The address says it.'),
    ipv6Enabled: unused('The address says it.'),
    proxyProtocolEnabled: unused('No proxy is involved.'),
    ...persistence,
  })
  .meta({ description: 'What is behind one VIP and port.' });

export const servicePortSchema = z.strictObject({
  name: portName('Empty for the only port of a Service.'),
  port: portNumber('Port of the Service.'),
  protocol: z
    .string()
    .toLowerCase()
    .pipe(z.enum(['tcp', 'udp', 'sctp'], { error: 'a protocol is TCP, UDP or SCTP' }))
    .optional()
    .meta({ description: 'TCP, UDP or SCTP, in any letter case.', default: 'tcp' }),
});

export const endpointSchema = z.strictObject({
  address: address('Address of the pod.'),
  port: portNumber('Port of the pod.'),
  portName: portName('Name of the Service port it belongs to. Default: the only port of the Service.'),
  node: name('Node')
    .optional()
    .meta({ description: 'Name of the node that runs the pod. Without it, no node gets traffic for this endpoint.' }),
  ready: z.boolean().optional().meta({ description: 'Takes traffic.', default: true }),
  terminating: z.boolean().optional().meta({ description: 'Is being stopped.', default: false }),
  serving: z
    .boolean()
    .optional()
    .meta({ description: 'Answers, though it may be terminating. Default: it does while it is ready or terminating.' }),
});

export const serviceSchema = z
  .strictObject({
    namespace: name('Namespace').optional().meta({ description: 'Namespace of the Service.', default: 'default' }),
    name: name('Name of the Service.'),
    ports: z.array(servicePortSchema, { error: 'ports are a list' }).optional().meta({ description: 'Ports of the Service.', default: [] }),
    endpoints: z.array(endpointSchema, { error: 'endpoints are a list' }).optional().meta({ description: 'Its pods.', default: [] }),
    drainTimeout: z
      .string()
      .refine((text) => parseDrainTimeout(text) !== undefined, { error: 'must be a time from 0s to 1h, such as 30s' })
      .optional()
      .meta({ description: 'How long a node that has no ready pod any more may finish its connections. Default: as --drain-timeout.' }),
    drainSteps: z
      .string()
      .refine((text) => parseDrainSteps(text) !== undefined, { error: 'must be a count from 1 to 100 and a time up to 1h, such as 4/20s' })
      .optional()
      .meta({ description: 'The weight of such a node goes down in so many equal steps over that time. Default: at once.' }),
  })
  .meta({ description: 'A Service and its pods.' });

export const nodeSchema = z
  .strictObject({
    name: name('Name of the node.'),
    address: address('Short for `addresses` with one entry.').optional(),
    addresses: z
      .array(address('An address of the node.'), { error: 'addresses are a list' })
      .optional()
      .meta({ description: 'Addresses of the node; the first of a family is used for it.', default: [] }),
    labels: labels.optional().meta({ description: 'Labels of the node.', default: {} }),
    ready: z.boolean().optional().meta({ description: 'May get traffic.', default: true }),
    unschedulable: z.boolean().optional().meta({ description: 'Cordoned.', default: false }),
  })
  .meta({ description: 'A node of the cluster.' });

export const portMapSchema = z.record(z.string().regex(/^[1-9][0-9]{0,4}$/), entrySchema, {
  error: 'expected a map from ports to services',
});

const vipMap = (family: string): z.ZodOptional<z.ZodRecord<z.ZodString, typeof portMapSchema>> =>
  z
    .record(z.string(), portMapSchema, { error: 'expected a map from VIPs to ports' })
    .optional()
    .meta({ description: `${family} virtual services: VIP, then port, then what is behind it.` });

/** MTU of a VIP: upstream writes numbers as texts, people write numbers. A value out of range is left out, not refused. */
export const mtuSchema = z.union([z.string(), z.int()], { error: 'an MTU is a number' });

export const clusterConfigSchema = z.strictObject({
  config: vipMap('IPv4'),
  config6: vipMap('IPv6'),
  vipPool: z
    .array(address('A VIP.'), { error: 'vipPool is a list of addresses' })
    .optional()
    .meta({ description: 'VIPs that get the default listener, where one is configured.', default: [] }),
  labels: labels.optional().meta({ description: 'A node must carry all of these to be a backend.', default: {} }),
  mtuConfig: z.record(z.string(), mtuSchema).optional().meta({ description: 'IPv4 VIP to MTU, 1500 to 9000 bytes.', default: {} }),
  mtuConfig6: z.record(z.string(), mtuSchema).optional().meta({ description: 'IPv6 VIP to MTU, 1500 to 9000 bytes.', default: {} }),
  bgp: bgpSchema.optional(),
  ipv6: z
    .record(z.string(), address('IPv6 VIP.'))
    .optional()
    .meta({ description: 'Pairs IPv4 VIPs with IPv6 VIPs of the same meaning, for people.', default: {} }),
});

export const clusterFileSchema = clusterConfigSchema
  .extend({
    nodes: z.array(nodeSchema, { error: 'nodes are a list' }).optional().meta({ description: 'The nodes of the cluster.', default: [] }),
    services: z
      .array(serviceSchema, { error: 'services are a list' })
      .optional()
      .meta({ description: 'The Services of the cluster.', default: [] }),
  })
  .meta({ title: 'ravel-agent cluster file' });

export type IpvsOptionsInput = z.output<typeof ipvsOptionsSchema>;
export type EntryInput = z.output<typeof entrySchema>;
export type ServiceInput = z.output<typeof serviceSchema>;
export type NodeInput = z.output<typeof nodeSchema>;

/** JSON Schema, draft 7: the newest that all editors and validators in use understand. */
export function configurationJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(clusterFileSchema, { io: 'input', target: 'draft-7', unrepresentable: 'any' });
}
