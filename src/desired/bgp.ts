/** Which routes stand for VIPs, and what they say. Pure. */
import { compareAddresses, parsePrefix } from '../model/address.ts';
import type { BgpConfig, BgpPath, LargeCommunity, RouteAttributes, RouteOptions, StandardCommunity } from '../model/bgp.ts';
import type { Address } from '../model/cluster.ts';
import { familyOf } from './eligibility.ts';

/** RFC 8326 section 4: whoever has another way to the destination takes that. 65535:0. */
export const GRACEFUL_SHUTDOWN: StandardCommunity = 0xffff0000;

/** Of an address or a prefix. */
const hostLength = (text: string): number => (familyOf(text) === 6 ? 128 : 32);

export function familyOfPrefix(prefix: string): 4 | 6 {
  return familyOf(prefix);
}

/** The address of a prefix that holds one address; undefined for longer ranges. */
export function hostOf(prefix: string): Address | undefined {
  const full = `/${hostLength(prefix)}`;
  return prefix.endsWith(full) ? prefix.slice(0, -full.length) : undefined;
}

/** The prefix that holds this address alone. */
export function hostPrefix(address: Address): string {
  return `${address}/${hostLength(address)}`;
}

function compareLarge(a: LargeCommunity, b: LargeCommunity): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

function mergeStandard(lists: readonly (readonly StandardCommunity[])[]): readonly StandardCommunity[] {
  return [...new Set(lists.flat())].sort((a, b) => a - b);
}

function mergeLarge(lists: readonly (readonly LargeCommunity[])[]): readonly LargeCommunity[] {
  return lists
    .flat()
    .sort(compareLarge)
    .filter((one, index, all) => index === 0 || compareLarge(one, all[index - 1] ?? one) !== 0);
}

/** The least attractive of several wishes, so that none of the VIPs draws more traffic than it was meant to. */
function choose(values: readonly (number | undefined)[], pick: (...values: number[]) => number): number | undefined {
  const given = values.filter((value) => value !== undefined);
  return given.length === 0 ? undefined : pick(...given);
}

function compose(parts: readonly Partial<RouteAttributes>[]): RouteAttributes {
  const localPreference = choose(
    parts.map((part) => part.localPreference),
    Math.min,
  );
  const med = choose(
    parts.map((part) => part.med),
    Math.max,
  );
  return {
    communities: mergeStandard(parts.map((part) => part.communities ?? [])),
    largeCommunities: mergeLarge(parts.map((part) => part.largeCommunities ?? [])),
    ...(localPreference === undefined ? {} : { localPreference }),
    ...(med === undefined ? {} : { med }),
  };
}

/** Both wishes for one VIP: communities add up, a preference and MED of its own replace. */
function override(base: RouteAttributes, own: Partial<RouteAttributes>): RouteAttributes {
  const { localPreference = base.localPreference, med = base.med } = own;
  return {
    communities: mergeStandard([base.communities, own.communities ?? []]),
    largeCommunities: mergeLarge([base.largeCommunities, own.largeCommunities ?? []]),
    ...(localPreference === undefined ? {} : { localPreference }),
    ...(med === undefined ? {} : { med }),
  };
}

/**
 * What flags and configuration say about routes, looked up by prefix: the cost of one route does not grow with
 * the number of VIPs, only with those of its own that the configuration names.
 */
export class Routing {
  readonly #options: RouteOptions;
  /** What a VIP says that the configuration does not name. */
  readonly #base: RouteAttributes;
  /** Prefix → VIPs in it that the configuration names, with what each says. */
  readonly #named = new Map<string, Map<Address, RouteAttributes>>();

  constructor(options: RouteOptions, config: BgpConfig | undefined) {
    this.#options = options;
    this.#base = compose([options.attributes]);
    for (const [address, own] of config?.routes ?? []) {
      const prefix = this.prefixOf(address);
      const named = this.#named.get(prefix) ?? new Map<Address, RouteAttributes>();
      this.#named.set(prefix, named.set(address, override(options.attributes, own)));
    }
  }

  /** The prefix that stands for a VIP: its own, or the aggregate around it. */
  prefixOf(address: Address): string {
    const parsed = parsePrefix(`${address}/${this.#options.prefixLength[familyOf(address)]}`);
    if (parsed === undefined) throw new RangeError(`${address}: no route of ${this.#options.prefixLength[familyOf(address)]} bits`);
    return `${parsed.address}/${parsed.prefix}`;
  }

  /**
   * The route of a prefix that stands for these VIPs, at least one. An aggregate bears the communities of all of them,
   * the lowest preference and the highest MED that any of them has.
   */
  path(prefix: string, vips: ReadonlySet<Address>): BgpPath {
    const named = [...(this.#named.get(prefix) ?? [])].filter(([address]) => vips.has(address)).map(([, attributes]) => attributes);
    const parts = named.length < vips.size ? [this.#base, ...named] : named;
    const attributes = parts.length === 1 ? (parts[0] ?? this.#base) : compose(parts);
    const family = familyOf(prefix);
    return { prefix, nextHop: this.#options.nextHop[family] ?? (family === 4 ? '0.0.0.0' : '::'), ...attributes };
  }
}

export interface Route {
  readonly path: BgpPath;
  /** In the order of their numbers. */
  readonly vips: readonly Address[];
}

/** Prefix → its route and the VIPs it stands for. */
export function routes(vips: Iterable<Address>, routing: Routing): ReadonlyMap<string, Route> {
  const members = new Map<string, Set<Address>>();
  for (const address of vips) {
    const prefix = routing.prefixOf(address);
    members.set(prefix, (members.get(prefix) ?? new Set()).add(address));
  }
  const found = new Map<string, Route>();
  for (const [prefix, set] of members) found.set(prefix, { path: routing.path(prefix, set), vips: [...set].sort(compareAddresses) });
  return found;
}

/** The same route, said to be about to go: routers that have another take that. */
export function shuttingDown(path: BgpPath): BgpPath {
  return { ...path, communities: mergeStandard([path.communities, [GRACEFUL_SHUTDOWN]]), localPreference: 0 };
}

/** Whether two routes say the same. */
export function samePath(a: BgpPath, b: BgpPath): boolean {
  if (a === b) return true;
  return (
    a.prefix === b.prefix &&
    a.nextHop === b.nextHop &&
    a.localPreference === b.localPreference &&
    a.med === b.med &&
    sameList(mergeStandard([a.communities]), mergeStandard([b.communities]), (one, other) => one === other) &&
    sameList(mergeLarge([a.largeCommunities]), mergeLarge([b.largeCommunities]), (one, other) => compareLarge(one, other) === 0)
  );
}

function sameList<T>(a: readonly T[], b: readonly T[], same: (one: T, other: T) => boolean): boolean {
  return a.length === b.length && a.every((one, index) => same(one, b[index] ?? one));
}
