import { assert } from "../assert.ts";
import type { ShardId } from "../types.ts";

/** Number of positions on the circle of hashes: 0 to 2^32 - 1. */
export const circle = 2 ** 32;

/** The part of a shard that matters on the ring. */
export interface TokenOwner {
  readonly id: ShardId;
  /** Share of the key space relative to other shards. */
  readonly weight: number;
  /** Positions on the circle, ascending. A token at t owns the arc from the token before it (exclusive) to t (inclusive). */
  readonly tokens: readonly number[];
}

/** Positions p with `from < p <= to`; `to` exceeds the circle when the arc crosses zero. */
interface Arc {
  readonly from: number;
  readonly to: number;
}

interface Donor {
  readonly weight: number;
  readonly arcs: Arc[];
  owned: number;
}

/**
 * Tokens for shards that join one after another: for each of them `count` positions, ascending, each inside an arc of another shard and never
 * on a token. So a new shard takes keys from others, nothing moves between the others, and removing its tokens gives every key back.
 *
 * Random tokens would leave the largest shard 30 to 50 % above the mean. These are chosen: each one takes an equal part of what the
 * new shard should own in the end, from the largest arc of the shard that owns most for its weight. Afterwards shards differ
 * by about one such part, 1/count of a shard. A function of its arguments alone, and the map stores what it
 * returned: nodes never have to agree on a procedure, only on a list of numbers.
 */
export function chooseTokens(
  shards: readonly TokenOwner[],
  joining: readonly { readonly weight: number; readonly count: number }[],
): readonly (readonly number[])[] {
  const donors = donorsOf(shards);
  return joining.map(({ weight, count }) => {
    const arcs = donors.length === 0 ? evenArcs(count) : takeArcs(donors, weight, count);
    donors.push({ weight, arcs, owned: sizeOf(arcs) });
    return arcs.map((arc) => arc.to % circle).sort((a, b) => a - b);
  });
}
/** The first shard owns everything, wherever its tokens are; even arcs are the best start for those that follow. */
function evenArcs(count: number): Arc[] {
  const edge = (index: number): number => Math.floor((index * circle) / count);
  return Array.from({ length: count }, (_, index) => ({ from: edge(index), to: edge(index + 1) }));
}

/** Cuts `count` arcs off the donors, together what a shard of this weight should own. */
function takeArcs(donors: readonly Donor[], weight: number, count: number): Arc[] {
  const weights = donors.reduce((sum, donor) => sum + donor.weight, weight);
  let need = Math.floor((circle * weight) / weights);
  const taken: Arc[] = [];
  for (let remaining = count; remaining > 0; remaining--) {
    const donor = heaviest(donors);
    const arc = removeLargestArc(donor);
    const size = Math.min(Math.ceil(need / remaining), arc.to - arc.from - 1);
    assert(size > 0, "an arc is too small to be split: too many tokens on the ring");
    taken.push({ from: arc.from, to: arc.from + size });
    donor.arcs.push({ from: arc.from + size, to: arc.to });
    donor.owned -= size;
    need -= size;
  }
  return taken;
}

/** What the shards on the ring own, in the order of `shards`. */
function donorsOf(shards: readonly TokenOwner[]): Donor[] {
  const owners = shards.filter((shard) => shard.tokens.length > 0);
  const donors = owners.map(({ weight }): Donor => ({ weight, arcs: [], owned: 0 }));
  const points = owners
    .flatMap(({ tokens }, index) => tokens.map((token) => ({ token, donor: donors[index] })))
    .sort((a, b) => a.token - b.token);
  let previous = (points.at(-1)?.token ?? 0) - circle;
  for (const { token, donor } of points) {
    // The arc that crosses zero is shifted up by one turn, so that positions inside it stay positive.
    const turn = previous < 0 ? circle : 0;
    donor?.arcs.push({ from: previous + turn, to: token + turn });
    previous = token;
  }
  for (const donor of donors) {
    donor.owned = sizeOf(donor.arcs);
  }
  return donors;
}

function sizeOf(arcs: readonly Arc[]): number {
  return arcs.reduce((sum, arc) => sum + arc.to - arc.from, 0);
}

/** The donor that owns most for its weight; the first of equals. */
function heaviest(donors: readonly Donor[]): Donor {
  return donors.reduce((a, b) => (b.owned / b.weight > a.owned / a.weight ? b : a));
}

/** Removes and returns the donor's largest arc; the first of equals. */
function removeLargestArc(donor: Donor): Arc {
  let largest = 0;
  let largestSize = 0;
  for (const [index, arc] of donor.arcs.entries()) {
    if (arc.to - arc.from > largestSize) {
      largest = index;
      largestSize = arc.to - arc.from;
    }
  }
  const [arc] = donor.arcs.splice(largest, 1);
  assert(arc !== undefined, "a donor has an arc");
  return arc;
}
