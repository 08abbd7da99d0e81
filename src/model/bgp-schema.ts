/** The key `bgp` of the configuration as people write it: routes to VIPs, and the neighbours they are told to. */
import { z } from 'zod';
import { addressFamily } from './address.ts';
import { CommunityError, parseCommunity } from './communities.ts';

const whole = (description: string, lowest: number, highest: number, what: string): z.ZodOptional<z.ZodNumber> => {
  const message = `${what} is a whole number from ${lowest} to ${highest}`;
  return z.int({ error: message }).min(lowest, message).max(highest, message).optional().meta({ description });
};

/** 0 and 4294967295 are reserved (RFC 7607, RFC 7300). */
const asn = (description: string): z.ZodNumber => {
  const message = 'an autonomous system is a number from 1 to 4294967294';
  return z.int({ error: message }).min(1, message).max(0xffff_fffe, message).meta({ description });
};

const address = (description: string): z.ZodString =>
  z
    .string()
    .refine((text) => addressFamily(text) !== undefined, { error: 'not an IP address' })
    .meta({ description });

const seconds = (description: string, lowest: number, highest: number): z.ZodOptional<z.ZodNumber> =>
  whole(description, lowest, highest, 'a time of this kind, in seconds,');

/** Slower than the hold timer is no use, faster than a scheduler's turn a false alarm. */
const interval = (description: string): z.ZodOptional<z.ZodNumber> =>
  whole(description, 10, 60_000, 'an interval of BFD, in milliseconds,').meta({ description, default: 300 });

export const bfdSchema = z
  .strictObject({
    transmitMilliseconds: interval('Time between two packets sent, 10 to 60000 ms.'),
    receiveMilliseconds: interval('Least time between two packets received, 10 to 60000 ms. Default: as transmitMilliseconds.'),
    multiplier: whole('Intervals without a packet after which the neighbour is gone, 2 to 50.', 2, 50, 'a multiplier').meta({
      description: 'Intervals without a packet after which the neighbour is gone, 2 to 50.',
      default: 3,
    }),
  })
  .meta({ description: 'Detection of a dead path (RFC 5880). Needs GoBGP 4.8 or newer; older ones set the session up without it.' });

export const peerSchema = z
  .strictObject({
    address: address('Address of the neighbour.'),
    asn: asn('Its autonomous system.'),
    multihop: whole('Hops away at most, 1 to 255. Default: directly connected.', 1, 255, 'a number of hops'),
    passwordFile: z
      .string()
      .regex(/^\/[^\0\n]+$/, 'is the absolute path of a file')
      .optional()
      .meta({
        description: 'File with the TCP MD5 password of the session (RFC 2385), such as a mounted Secret; read again when it changes.',
      }),
    holdSeconds: z
      .int({ error: 'a hold time is 0, or 3 to 65535 seconds' })
      .refine((value) => value === 0 || (value >= 3 && value <= 65_535), { error: 'a hold time is 0, or 3 to 65535 seconds' })
      .optional()
      .meta({ description: 'Seconds without a message after which the session is given up: 3 to 65535, or 0 for never.', default: 90 }),
    keepaliveSeconds: seconds('Seconds between two messages that say nothing else. Default: a third of holdSeconds.', 1, 21_845),
    connectRetrySeconds: seconds('Seconds between two attempts to connect.', 1, 65_535),
    passive: z.boolean().optional().meta({ description: 'Wait for the neighbour to connect.', default: false }),
    /** 12 bits of the capability, RFC 4724 section 3. */
    gracefulRestartSeconds: seconds(
      'Seconds for which the neighbour keeps our routes while the daemon is away. Default: it does not.',
      1,
      4095,
    ),
    bfd: bfdSchema.optional(),
    families: z
      .array(z.union([z.literal(4), z.literal(6)], { error: 'a family is 4 or 6' }), { error: 'families are a list of 4 and 6' })
      .min(1, 'families are a list of 4 and 6')
      .refine((list) => new Set(list).size === list.length, { error: 'a family is named twice' })
      .optional()
      .meta({ description: 'Address families exchanged: 4, 6. Default: that of the address; the other one needs a next hop of its own.' }),
  })
  .meta({ description: 'A neighbour that the agent sets up in the BGP daemon.' });

const metric = (description: string): z.ZodOptional<z.ZodNumber> => whole(description, 0, 0xffff_ffff, 'it');

export const routeSchema = z
  .strictObject({
    communities: z
      .array(
        z.string({ error: 'a community is a text, such as "65000:100"' }).superRefine((text, context) => {
          try {
            parseCommunity(text);
          } catch (error) {
            if (!(error instanceof CommunityError)) throw error;
            context.addIssue({ code: 'custom', message: error.message });
          }
        }),
        { error: 'communities are a list of texts' },
      )
      .optional()
      .meta({ description: 'Communities of the route, standard and large, besides those of --bgp-communities.' }),
    localPreference: metric('LOCAL_PREF of the route, instead of --bgp-local-preference.'),
    med: metric('MULTI_EXIT_DISC of the route, instead of --bgp-med.'),
  })
  .meta({ description: 'What the route to this VIP says.' });

/** All but `peers` and `vips`, which are looked at one by one. */
export const speakerSchema = z.strictObject({
  asn: asn('Autonomous system, for a daemon that was started without one; with routerId.').optional(),
  routerId: z
    .ipv4({ error: 'a router ID is written as an IPv4 address' })
    .refine((text) => text !== '0.0.0.0', { error: 'a router ID is not 0.0.0.0' })
    .optional()
    .meta({ description: 'Router ID that goes with asn.' }),
  listenPort: z
    .int({ error: 'a port is a number' })
    .refine((port) => port === -1 || (port >= 1 && port <= 65_535), { error: 'a port is 1 to 65535, or -1 to take no connections' })
    .optional()
    .meta({ description: 'Port on which the daemon takes connections of neighbours, -1 for none.', default: 179 }),
});

export const bgpSchema = speakerSchema
  .extend({
    peers: z
      .array(peerSchema, { error: 'peers are a list' })
      .optional()
      .meta({ description: 'Neighbours that the agent sets up. Absent: they are in the daemon’s own file, and left alone.' }),
    vips: z
      .record(z.string(), routeSchema, { error: 'expected a map from VIPs to what their routes say' })
      .optional()
      .meta({ description: 'VIP, then what its route says.', default: {} }),
  })
  .meta({ description: 'Routes and neighbours of directors in mode bgp; others take no notice of it.' });

export type PeerInput = z.output<typeof peerSchema>;
export type RouteInput = z.output<typeof routeSchema>;
