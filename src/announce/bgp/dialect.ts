/**
 * Where GoBGP 3 and GoBGP 4 differ on the wire, in what the agent says and hears. Message layouts are the same in both, field
 * numbers included (also those of WatchEvent); version 4 renamed the service and moved its enumerations up by one, so that
 * 0 means that nothing was said. Taken from api/gobgp.proto of 3.10 and proto/api/gobgp.proto of 4.8.
 */
export interface Dialect {
  readonly major: 3 | 4;
  /** Path of a method less its name. */
  readonly service: string;
  /** TableType: the routing table, as opposed to a neighbour's. */
  readonly globalTable: number;
  /** TableLookupPrefix.Type: this prefix and no other. */
  readonly exactLookup: number;
  /** PeerType of a neighbour in the same autonomous system, and in another. */
  readonly internalPeer: number;
  readonly externalPeer: number;
  /** PeerState.AdminState: an operator has taken the neighbour out of service. */
  readonly adminDown: number;
}

export const gobgp3: Dialect = {
  major: 3,
  service: '/apipb.GobgpApi/',
  globalTable: 0,
  exactLookup: 0,
  internalPeer: 0,
  externalPeer: 1,
  adminDown: 1,
};

export const gobgp4: Dialect = {
  major: 4,
  service: '/api.GoBgpService/',
  globalTable: 1,
  exactLookup: 1,
  internalPeer: 1,
  externalPeer: 2,
  adminDown: 2,
};
