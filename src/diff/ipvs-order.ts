/**
 * Destinations of services whose scheduler fills its table in turns over the list of destinations, in the order of that list
 * (ip_vs_mh_populate): two directors place connections alike only when their lists are alike (docs/adr/0013).
 *
 * The kernel adds at the head of the list, keeps the place of what is edited, and lists from the head. So the wanted order
 * is the one that adding by ascending rank leaves: the largest first. Where something belongs behind what is there already,
 * that is taken out and put in again, and nothing else is.
 *
 *      there          wanted            done
 *   d · c · a    d · c · b · a     add b; c out, c in; d out, d in
 *
 * Only weights above zero have a place in the table. A destination of weight 0 may stand anywhere, but the kernel keeps
 * what it had before (last_weight in __ip_vs_update_dest): lowered to 0 it holds its places, and schedules past them; added with
 * 0 it has none. So weight 0 is reached by way of 1, which makes those that drain alike on all directors, and
 * once its connections are over it is taken out and put in again, as a new one.
 */
import type { DesiredDestination, DesiredIpvsService } from '../desired/types.ts';
import type { IpvsSnapshot, ServiceSpec } from '../native/ipvs-types.ts';
import { differsAt } from './ipvs-compare.ts';
import type { Placement, PlanInProgress } from './ipvs-plan.ts';
import { compareRanks, rankAt, rankOf, type Rank } from './ipvs-rank.ts';

/** Whether the order of destinations decides where connections go. */
export const isOrdered = ({ scheduler }: Pick<ServiceSpec, 'scheduler'>): boolean => scheduler === 'mh';

export interface OrderedLook {
  readonly wanted: DesiredIpvsService;
  readonly snapshot: IpvsSnapshot;
  /** Destination rows of the service. */
  readonly first: number;
  readonly end: number;
  /** {@link Placement.lingering} as of the last plan; undefined when this process made none. */
  readonly lingering: ReadonlySet<Rank> | undefined;
  /** Whatever has weight 0 may have had another: the scheduler before minded no order, or a process died before it had made all anew. */
  readonly doubtful: boolean;
  /** The snapshot knows about connections. */
  readonly counted: boolean;
  /** Destinations may be taken out and put in again. */
  readonly reorder: boolean;
}

interface Member {
  readonly rank: Rank;
  readonly destination: DesiredDestination;
  /** Undefined: not there yet. */
  readonly row: number | undefined;
}

const nobody: ReadonlySet<Rank> = new Set();

const connectionsAt = ({ destinations: columns }: IpvsSnapshot, row: number): number =>
  (columns.activeConnections[row] ?? 0) + (columns.inactiveConnections[row] ?? 0) + (columns.persistentConnections[row] ?? 0);

/** Whether rows with weight stand as they should. */
export function standInOrder(snapshot: IpvsSnapshot, first: number, end: number): boolean {
  let before: Rank | undefined;
  for (let row = first; row < end; row++) {
    if ((snapshot.destinations.weight[row] ?? 0) === 0) continue;
    const rank = rankAt(snapshot, row);
    if (before !== undefined && compareRanks(before, rank) <= 0) return false;
    before = rank;
  }
  return true;
}

/** Of weight 0 and with places in the table, as far as is known before this pass. */
function lingeringBefore({ snapshot, first, end, lingering, doubtful, counted }: OrderedLook): ReadonlySet<Rank> {
  if (lingering?.size === 0 && !doubtful) return nobody;
  const found = new Set<Rank>();
  for (let row = first; row < end; row++) {
    if ((snapshot.destinations.weight[row] ?? 0) > 0) continue;
    const rank = rankAt(snapshot, row);
    // Connections are from a time when it had weight.
    const assumed = lingering === undefined && counted && connectionsAt(snapshot, row) > 0;
    if (doubtful || assumed || lingering?.has(rank) === true) found.add(rank);
  }
  return found.size === 0 ? nobody : found;
}

/** Nothing lingers that could be made anew. */
export function nothingToRenew(look: OrderedLook): boolean {
  const { snapshot, first, end, counted, reorder } = look;
  const before = lingeringBefore(look);
  if (before.size === 0 || !counted || !reorder) return true;
  for (let row = first; row < end; row++) {
    if ((snapshot.destinations.weight[row] ?? 0) > 0 || connectionsAt(snapshot, row) > 0) continue;
    if (before.has(rankAt(snapshot, row))) return false;
  }
  return true;
}

/** Of a service that is as wanted. */
export function placementAsFound(look: OrderedLook, forwards: boolean): Placement {
  const { destinations } = look.wanted;
  const lingering = lingeringBefore(look);
  return { destinations: forwards ? destinations : destinations.toReversed(), lingering, lingered: lingering };
}

/** Of a service that is made anew. */
export function placementAsMade({ destinations }: DesiredIpvsService): Placement {
  const ranked = destinations.map((destination) => ({ destination, rank: rankOf(destination.id) }));
  return {
    destinations: ranked.sort((a, b) => compareRanks(b.rank, a.rank)).map(({ destination }) => destination),
    lingering: nobody,
    lingered: nobody,
  };
}

/** By ascending rank, what has to be put in, so that those with weight stand in order. `members` by descending rank. */
function misplaced(members: readonly Member[], reorder: boolean): Member[] {
  const weighted = members.filter(({ destination }) => destination.spec.weight > 0);
  if (!reorder) return weighted.filter(({ row }) => row === undefined).reverse();
  let last = Infinity;
  let stay = weighted.length;
  // The tail stays as long as it stands as it should: what is put in comes to stand before it.
  for (; stay > 0; stay--) {
    const row = weighted[stay - 1]?.row;
    if (row === undefined || row > last) break;
    last = row;
  }
  return weighted.slice(0, stay).reverse();
}

/** From weight `from` to 0, or further edits of what has it; the last weight above zero is 1 whoever lowers it. */
function planZero(plan: PlanInProgress, wanted: DesiredIpvsService, destination: DesiredDestination, from: number): void {
  if (from > 1) plan.edit(wanted, { ...destination, spec: { ...destination.spec, weight: 1 } }, from);
  plan.edit(wanted, destination, from);
}

/** Everything about the destinations of one service; gives what comes of it. */
export function planOrdered(plan: PlanInProgress, look: OrderedLook): Placement {
  const { wanted, snapshot, first, end, counted, reorder } = look;
  const rows = new Map<Rank, number>();
  for (let row = first; row < end; row++) rows.set(rankAt(snapshot, row), row);
  const members = wanted.destinations
    .map((destination): Member => {
      const rank = rankOf(destination.id);
      return { rank, destination, row: rows.get(rank) };
    })
    .sort((a, b) => compareRanks(b.rank, a.rank));
  const known = new Set(members.map(({ rank }) => rank));
  for (const [rank, row] of rows) if (!known.has(rank)) plan.remove('deleteDestination', wanted, snapshot, row);

  const before = lingeringBefore(look);
  const lingering = new Set<Rank>();
  const moving = misplaced(members, reorder);
  const renewed: Member[] = [];
  const added = new Set<Member>(moving);
  for (const member of members) {
    if (added.has(member)) continue;
    const { rank, destination, row } = member;
    if (row === undefined) {
      added.add(member);
      plan.add('addDestination', wanted, destination);
      continue;
    }
    const weight = snapshot.destinations.weight[row] ?? 0;
    const empty = destination.spec.weight === 0;
    if (empty && weight === 0 && before.has(rank) && counted && reorder && connectionsAt(snapshot, row) === 0) {
      renewed.push(member);
      continue;
    }
    if (empty && (weight > 0 || before.has(rank))) lingering.add(rank);
    if (!differsAt(snapshot, row, destination.spec)) continue;
    if (empty) planZero(plan, wanted, destination, weight);
    else plan.edit(wanted, destination, weight);
  }
  const phase = moving.some(({ row }) => row !== undefined) ? 'place' : 'addDestination';
  const placed = [
    ...moving.map((member) => ({ member, phase }) as const),
    ...renewed.map((member) => ({ member, phase: 'place' }) as const),
  ];
  for (const { member, phase: when } of placed) {
    if (member.row !== undefined) plan.remove(when, wanted, snapshot, member.row);
    plan.add(when, wanted, member.destination);
  }
  const out = new Set<Member>([...added, ...renewed]);
  const stay = members.filter((member) => !out.has(member)).sort((a, b) => (a.row ?? 0) - (b.row ?? 0));
  const byPhase = (wantedPhase: 'addDestination' | 'place'): Member[] => {
    const late = new Set(placed.filter((one) => one.phase === 'place').map(({ member }) => member));
    return members.filter((member) => out.has(member) && late.has(member) === (wantedPhase === 'place'));
  };
  // Members are by descending rank: within a phase the last one added is the first.
  const destinations = [...byPhase('place'), ...byPhase('addDestination'), ...stay].map(({ destination }) => destination);
  return { destinations, lingering: lingering.size === 0 ? nobody : lingering, lingered: before };
}
