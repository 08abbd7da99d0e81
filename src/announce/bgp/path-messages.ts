/** Messages about paths: AddPath, DeletePath, ListPath. Prefixes and attributes travel as the bytes of BGP itself. */
import { canonicalAddress } from '../../model/address.ts';
import type { AddressFamily } from '../../model/address.ts';
import { AttributeError } from './attribute-error.ts';
import { decodeAttributes, encodeAttributes } from './attributes.ts';
import type { BgpPath, ListedPath } from './daemon.ts';
import type { Dialect } from './dialect.ts';
import { decodePrefix, encodePrefix, prefixFamily } from './nlri.ts';
import { Fields, MessageWriter, delimited, readMessage, varint } from './protobuf.ts';

/**
 * "ravl": the path identifier of every path of ours. The daemon keeps it, lists it, takes it for a part of the path's
 * identity (so that a path of somebody else for the same prefix stays beside ours) and sends it to nobody, as long as a
 * neighbour has not asked for several paths per prefix (RFC 7911).
 */
export const ourIdentifier = 0x7261766c;

/** Fields of the messages, as they are named there. */
const request = { tableType: 1, path: 3 };
const removal = { tableType: 1, family: 3, path: 4 };
const listing = { tableType: 1, family: 3, prefixes: 4, onlyBinary: 9 };
const lookup = { prefix: 1, type: 2 };
const path = { best: 4, isWithdraw: 5, family: 9, neighbourIp: 15, identifier: 18, nlriBinary: 20, attributesBinary: 21 };

/** AFI and SAFI (RFC 4760) in a message of their own. */
export function familyMessage(family: AddressFamily): MessageWriter {
  return new MessageWriter().number(1, family === 4 ? 1 : 2).number(2, 1);
}

function pathMessage(wanted: BgpPath): MessageWriter {
  const message = new MessageWriter()
    .message(path.family, familyMessage(prefixFamily(wanted.prefix)))
    .number(path.identifier, ourIdentifier)
    .bytes(path.nlriBinary, encodePrefix(wanted.prefix));
  for (const attribute of encodeAttributes(wanted)) message.bytes(path.attributesBinary, attribute);
  return message;
}

/** @throws TypeError for a path that cannot be said */
export function addPathRequest(dialect: Dialect, wanted: BgpPath): Uint8Array {
  return new MessageWriter().number(request.tableType, dialect.globalTable).message(request.path, pathMessage(wanted)).finish();
}

/**
 * There is always a path in it: a DeletePath without one takes every path of the family away, whoever made it. The path has
 * the attributes without which the daemon does not read it; it finds what it removes by prefix and identifier.
 * @throws TypeError for what is no prefix
 */
export function deletePathRequest(dialect: Dialect, prefix: string): Uint8Array {
  const family = prefixFamily(prefix);
  const nothing = { prefix, nextHop: family === 4 ? '0.0.0.0' : '::', communities: [], largeCommunities: [] };
  return new MessageWriter()
    .number(removal.tableType, dialect.globalTable)
    .message(removal.family, familyMessage(family))
    .message(removal.path, pathMessage(nothing))
    .finish();
}

/** The whole table of the family, or what is there for exactly these prefixes. */
export function listPathRequest(dialect: Dialect, family: AddressFamily, prefixes: readonly string[]): Uint8Array {
  const message = new MessageWriter().number(listing.tableType, dialect.globalTable).message(listing.family, familyMessage(family));
  for (const prefix of prefixes) {
    message.message(listing.prefixes, new MessageWriter().text(lookup.prefix, prefix).number(lookup.type, dialect.exactLookup));
  }
  return message.flag(listing.onlyBinary, true).finish();
}

/** GetTableRequest, for the number of prefixes in the routing table. */
export function tableRequest(dialect: Dialect, family: AddressFamily): Uint8Array {
  return new MessageWriter().number(1, dialect.globalTable).message(2, familyMessage(family)).finish();
}

/** GetTableResponse.num_destination. */
export function readTableSize(bytes: Uint8Array): number {
  return new Fields(bytes).number(1);
}

/** A Path with its bytes not yet looked into: most of a full table is thrown away at this point. */
interface RawPath {
  best: boolean;
  withdrawn: boolean;
  identifier: number;
  neighbour: string;
  nlri: Uint8Array | undefined;
  attributes: Uint8Array[];
}

function readPath(bytes: Uint8Array): RawPath {
  const raw: RawPath = { best: false, withdrawn: false, identifier: 0, neighbour: '', nlri: undefined, attributes: [] };
  readMessage(bytes, (tag, reader) => {
    if (tag === varint(path.best)) raw.best = reader.bool();
    else if (tag === varint(path.isWithdraw)) raw.withdrawn = reader.bool();
    else if (tag === delimited(path.neighbourIp)) raw.neighbour = reader.string();
    else if (tag === varint(path.identifier)) raw.identifier = reader.uint32();
    else if (tag === delimited(path.nlriBinary)) raw.nlri = reader.bytes();
    else if (tag === delimited(path.attributesBinary)) raw.attributes.push(reader.bytes());
    else return false;
    return true;
  });
  return raw;
}

/**
 * The neighbour's address; undefined for a path made on this machine, for which the daemon prints what its language has for
 * no address: nothing, `<nil>` or `invalid IP`. A link-local neighbour comes with its interface.
 */
function neighbourOf(text: string): string | undefined {
  return canonicalAddress(text.split('%', 1)[0] ?? '');
}

function listed(raw: RawPath, family: AddressFamily, neighbour: string | undefined): ListedPath | undefined {
  if (raw.withdrawn) return undefined;
  const ours = neighbour === undefined && raw.identifier === ourIdentifier;
  try {
    if (raw.nlri === undefined) throw new AttributeError('NLRI', 'absent');
    const { nextHop, med, localPreference, communities, largeCommunities, originAsn } = decodeAttributes(raw.attributes);
    return {
      path: {
        prefix: decodePrefix(raw.nlri, family),
        nextHop: nextHop ?? (family === 4 ? '0.0.0.0' : '::'),
        communities,
        largeCommunities,
        ...(med !== undefined && { med }),
        ...(localPreference !== undefined && { localPreference }),
      },
      ours,
      neighbour,
      best: raw.best,
      ...(originAsn !== undefined && { originAsn }),
    };
  } catch (error) {
    // What others sent to the daemon is between the two. Of ours it has what we gave it, or is not what it seems to be.
    if (error instanceof AttributeError && !ours) return undefined;
    throw error;
  }
}

/** Paths of one message of ListPath: of one prefix. With `sweep` nothing where none of them was made on this machine. */
export function readListedPaths(bytes: Uint8Array, family: AddressFamily, sweep: boolean): ListedPath[] {
  const paths: RawPath[] = [];
  readMessage(bytes, (tag, reader) => {
    if (tag !== delimited(1)) return false;
    readMessage(reader.bytes(), (inner, destination) => {
      if (inner !== delimited(2)) return false;
      paths.push(readPath(destination.bytes()));
      return true;
    });
    return true;
  });
  const neighbours = paths.map(({ neighbour }) => neighbourOf(neighbour));
  if (sweep && neighbours.every((neighbour) => neighbour !== undefined)) return [];
  return paths.map((raw, index) => listed(raw, family, neighbours[index])).filter((item) => item !== undefined);
}
