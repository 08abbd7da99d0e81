import type { BgpOptions } from '../modes/options.ts';
import type { FlagValues } from './flags.ts';
import { UsageError } from './resolve.ts';

/** How a director of mode bgp announces. Throws {@link UsageError} where flags need others. */
export function bgpOptions(values: FlagValues): BgpOptions {
  const { 'bgp-peers': peers, 'bgp-communities': communities } = values;
  const { 'bgp-local-preference': localPreference, 'bgp-med': med } = values;
  return {
    endpoint: values['bgp-endpoint'] ?? '',
    ...tlsOptions(values),
    ...speakerOptions(values),
    ...(peers === undefined ? {} : { peers }),
    attributes: {
      ...(communities ?? { communities: [], largeCommunities: [] }),
      ...(localPreference === undefined ? {} : { localPreference }),
      ...(med === undefined ? {} : { med }),
    },
    nextHop: values['bgp-next-hop'] ?? {},
    prefixLength: { 4: values['bgp-prefix-length-ipv4'] ?? 32, 6: values['bgp-prefix-length-ipv6'] ?? 128 },
    drainMilliseconds: values['bgp-drain'] ?? 0,
  };
}

function tlsOptions(values: FlagValues): Pick<BgpOptions, 'tls'> {
  const caFile = values['bgp-tls-ca'];
  const certificateFile = values['bgp-tls-cert'];
  const keyFile = values['bgp-tls-key'];
  const serverName = values['bgp-tls-server-name'];
  if ((certificateFile === undefined) !== (keyFile === undefined))
    throw new UsageError('--bgp-tls-cert and --bgp-tls-key: a certificate and its key go together; give both or none');
  if (caFile === undefined && certificateFile === undefined && serverName === undefined) return {};
  return {
    tls: {
      ...(caFile === undefined ? {} : { caFile }),
      ...(certificateFile === undefined ? {} : { certificateFile }),
      ...(keyFile === undefined ? {} : { keyFile }),
      ...(serverName === undefined ? {} : { serverName }),
    },
  };
}

function speakerOptions(values: FlagValues): Pick<BgpOptions, 'speaker'> {
  const asn = values['bgp-asn'];
  const routerId = values['bgp-router-id'];
  if (asn !== undefined && routerId !== undefined) return { speaker: { asn, routerId } };
  if (asn !== undefined || routerId !== undefined)
    throw new UsageError('--bgp-asn and --bgp-router-id: a daemon needs both; give both or none');
  return {};
}
