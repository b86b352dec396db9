import { assert } from "../assert.ts";

/** Items (shards) that need places (nodes). Items, places and zones are numbered from 0. */
export interface AssignmentProblem {
  /** How many different places each item needs; at most as many as it is allowed. */
  readonly copies: readonly number[];
  /** The zone of each place. */
  readonly zones: readonly number[];
  /** Places where each item is now. */
  readonly current: readonly ReadonlySet<number>[];
  /** Places that each item may use; null: all. */
  readonly allowed: readonly ReadonlySet<number>[] | null;
}

/**
 * Gives each item its places. Among all possible answers it returns one that, in this order of importance,
 * 1. spreads each item over the zones as evenly as their sizes allow,
 * 2. has the smallest sum of squares of the places' loads: they differ by at most one wherever 1. permits,
 * 3. moves fewest copies away from where they are now.
 *
 * This is a minimum-cost flow, item -> (item, zone) -> place, solved by successive shortest paths: each copy enters by the
 * cheapest path, which may push earlier copies elsewhere. All costs are convex, so the greedy steps end at the true optimum.
 */
export function assign(problem: AssignmentProblem): readonly ReadonlySet<number>[] {
  const flow = new Flow(problem);
  for (const [item, copies] of problem.copies.entries()) {
    for (let copy = 0; copy < copies; copy++) {
      flow.addCopy(item);
    }
  }
  return flow.places;
}

/** The assignment so far. Vertices of its graph are numbered: items, then cells (item, zone), then places. */
class Flow {
  readonly #problem: AssignmentProblem;
  readonly #zoneCount: number;
  /** Places by zone. */
  readonly #placesIn: readonly number[][];
  readonly #firstCell: number;
  readonly #firstPlace: number;
  /** Copies of an item in a zone, by cell. */
  readonly #copiesIn: number[];
  /** Copies at each place. */
  readonly #load: number[];
  readonly places: readonly Set<number>[];
  readonly #itemsAt: readonly Set<number>[];
  /** One step of a more important goal costs more than any path can gain on the less important ones. A move costs 1. */
  readonly #loadCost: number;
  readonly #zoneCost: number;
  readonly #distance: Float64Array;
  readonly #previous: Int32Array;
  readonly #isQueued: Uint8Array;
  readonly #queue: number[] = [];

  constructor(problem: AssignmentProblem) {
    const items = problem.copies.length;
    this.#problem = problem;
    this.#zoneCount = Math.max(...problem.zones) + 1;
    this.#placesIn = Array.from({ length: this.#zoneCount }, () => []);
    for (const [place, zone] of problem.zones.entries()) {
      this.#placesIn[zone]?.push(place);
    }
    this.#firstCell = items;
    this.#firstPlace = items + items * this.#zoneCount;
    this.#copiesIn = new Array<number>(items * this.#zoneCount).fill(0);
    this.#load = problem.zones.map(() => 0);
    this.places = problem.copies.map(() => new Set<number>());
    this.#itemsAt = problem.zones.map(() => new Set<number>());
    const vertices = this.#firstPlace + problem.zones.length;
    this.#loadCost = vertices + 1;
    this.#zoneCost = this.#loadCost * (items + 2);
    this.#distance = new Float64Array(vertices);
    this.#previous = new Int32Array(vertices);
    this.#isQueued = new Uint8Array(vertices);
  }

  /** Adds one copy of `item` along the cheapest path. */
  addCopy(item: number): void {
    this.#search(item);
    let end = -1;
    let best = Infinity;
    for (const [place, load] of this.#load.entries()) {
      const cost = this.#distanceTo(this.#firstPlace + place) + load * this.#loadCost;
      if (cost < best) {
        best = cost;
        end = place;
      }
    }
    assert(end >= 0, "an item needs more places than it is allowed");
    this.#load[end] = (this.#load[end] ?? 0) + 1;
    this.#follow(item, this.#firstPlace + end);
  }

  /** Costs of reaching every vertex from `item`: Bellman-Ford with a queue. Undoing a choice gives its cost back. */
  #search(item: number): void {
    this.#distance.fill(Infinity);
    this.#distance[item] = 0;
    this.#queue.push(item);
    for (let vertex = this.#queue.shift(); vertex !== undefined; vertex = this.#queue.shift()) {
      this.#isQueued[vertex] = 0;
      if (vertex < this.#firstCell) {
        this.#leaveItem(vertex);
      } else if (vertex < this.#firstPlace) {
        this.#leaveCell(vertex);
      } else {
        this.#leavePlace(vertex);
      }
    }
  }

  /** Put one more copy into a zone: the dearer, the more are there already. */
  #leaveItem(item: number): void {
    for (let zone = 0; zone < this.#zoneCount; zone++) {
      const cell = this.#cellOf(item, zone);
      this.#relax(item, cell, this.#zoneCost * this.#copiesAt(cell));
    }
  }

  /** Use a free place of the zone, or take a copy out of the zone again. */
  #leaveCell(cell: number): void {
    const [item, zone] = this.#itemAndZone(cell);
    const allowed = this.#problem.allowed?.[item];
    for (const place of this.#placesIn[zone] ?? []) {
      if (this.places[item]?.has(place) === false && allowed?.has(place) !== false) {
        this.#relax(cell, this.#firstPlace + place, this.#moveCost(item, place));
      }
    }
    const copies = this.#copiesAt(cell);
    if (copies > 0) {
      this.#relax(cell, item, -this.#zoneCost * (copies - 1));
    }
  }

  /** Push another item away from the place. */
  #leavePlace(vertex: number): void {
    const place = vertex - this.#firstPlace;
    const zone = this.#problem.zones[place] ?? 0;
    for (const item of this.#itemsAt[place] ?? []) {
      this.#relax(vertex, this.#cellOf(item, zone), -this.#moveCost(item, place));
    }
  }

  #relax(from: number, to: number, cost: number): void {
    const distance = this.#distanceTo(from) + cost;
    if (distance < this.#distanceTo(to)) {
      this.#distance[to] = distance;
      this.#previous[to] = from;
      if (this.#isQueued[to] === 0) {
        this.#isQueued[to] = 1;
        this.#queue.push(to);
      }
    }
  }

  /** Makes the choices of the path from `start` to `end` come true. */
  #follow(start: number, end: number): void {
    for (let to = end; to !== start;) {
      const from = this.#previous[to] ?? start;
      if (to >= this.#firstPlace) {
        const [item] = this.#itemAndZone(from);
        this.places[item]?.add(to - this.#firstPlace);
        this.#itemsAt[to - this.#firstPlace]?.add(item);
      } else if (from >= this.#firstPlace) {
        const [item] = this.#itemAndZone(to);
        this.places[item]?.delete(from - this.#firstPlace);
        this.#itemsAt[from - this.#firstPlace]?.delete(item);
      } else {
        const isEntering = from < this.#firstCell;
        const cell = isEntering ? to : from;
        this.#copiesIn[cell - this.#firstCell] = this.#copiesAt(cell) + (isEntering ? 1 : -1);
      }
      to = from;
    }
  }

  #moveCost(item: number, place: number): number {
    return this.#problem.current[item]?.has(place) === true ? 0 : 1;
  }

  #cellOf(item: number, zone: number): number {
    return this.#firstCell + item * this.#zoneCount + zone;
  }

  #itemAndZone(cell: number): readonly [number, number] {
    const offset = cell - this.#firstCell;
    return [Math.floor(offset / this.#zoneCount), offset % this.#zoneCount];
  }

  #copiesAt(cell: number): number {
    return this.#copiesIn[cell - this.#firstCell] ?? 0;
  }

  #distanceTo(vertex: number): number {
    return this.#distance[vertex] ?? Infinity;
  }
}
