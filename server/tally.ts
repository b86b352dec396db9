import { assert } from "../cluster/assert.ts";

/** Values of a metric's labels. */
export type Labels<Name extends string> = Readonly<Record<Name, string>>;

/** One line of a scrape. `shared` are the labels of its series: the same object every time, so that they need be put into words once. */
export interface Sample {
  readonly suffix: "" | "_bucket" | "_sum" | "_count";
  readonly bound: number | "+Inf" | null;
  readonly shared: Labels<string>;
  readonly value: number;
}

/**
 * All series of one metric. Finding the series by its label values costs some ten nanoseconds, because a write is counted in a dozen of
 * them: that is why the library that renders a scrape does not count as well.
 */
abstract class Tally<Name extends string, Series extends Countable> {
  readonly #names: readonly Name[];
  readonly #make: () => Series;
  #root: Branch<Series> = newBranch();
  #all: { readonly labels: Labels<Name>; readonly series: Series }[] = [];

  constructor(names: readonly Name[], make: () => Series) {
    this.#names = names;
    this.#make = make;
  }

  /** The series with these label values; a new one when there is none. */
  of(labels: Labels<Name>): Series {
    let branch = this.#root;
    for (const name of this.#names) {
      const value = labels[name];
      let next = branch.next.get(value);
      if (next === undefined) {
        next = newBranch();
        branch.next.set(value, next);
      }
      branch = next;
    }
    branch.series ??= this.#add(labels);
    return branch.series;
  }

  /** Forgets all series. */
  reset(): void {
    this.#root = newBranch();
    this.#all = [];
  }

  /** What a scrape shows, in the order in which the series came. */
  samples(): Sample[] {
    return this.#all.flatMap(({ labels, series }) => series.samples(labels));
  }

  #add(labels: Labels<Name>): Series {
    const series = this.#make();
    this.#all.push({ labels: { ...labels }, series });
    return series;
  }
}

interface Countable {
  samples(shared: Labels<string>): Sample[];
}

interface Branch<Series> {
  readonly next: Map<string, Branch<Series>>;
  series: Series | null;
}

function newBranch<Series>(): Branch<Series> {
  return { next: new Map(), series: null };
}

/** One number: a counter or a gauge. */
export class NumberSeries implements Countable {
  #value = 0;

  inc(by: number): void {
    this.#value += by;
  }

  set(value: number): void {
    this.#value = value;
  }

  reset(): void {
    this.#value = 0;
  }

  samples(shared: Labels<string>): Sample[] {
    return [{ suffix: "", bound: null, shared, value: this.#value }];
  }
}

/** Observations counted in buckets. */
export class HistogramSeries implements Countable {
  readonly #bounds: readonly number[];
  /** Observations per bucket, not cumulated; the last is for what exceeds every bound. */
  readonly #counts: Float64Array;
  #sum = 0;

  /** @param bounds upper bounds of the buckets, ascending */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    assert(Number.isFinite(value), "an observation is a number");
    const bounds = this.#bounds;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] ?? 0)) {
      bucket += 1;
    }
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
  }

  samples(shared: Labels<string>): Sample[] {
    let count = 0;
    const samples: Sample[] = [];
    this.#counts.forEach((inBucket, at) => {
      count += inBucket;
      const bound = this.#bounds[at] ?? "+Inf";
      samples.push({ suffix: "_bucket", bound, shared, value: count });
    });
    samples.push({ suffix: "_sum", bound: null, shared, value: this.#sum });
    samples.push({ suffix: "_count", bound: null, shared, value: count });
    return samples;
  }
}

/** A number per series. */
export class NumberTally<Name extends string> extends Tally<Name, NumberSeries> {
  constructor(names: readonly Name[]) {
    super(names, () => new NumberSeries());
  }

  inc(labels: Labels<Name>, by: number): void {
    this.of(labels).inc(by);
  }

  set(labels: Labels<Name>, value: number): void {
    this.of(labels).set(value);
  }
}

/** A histogram per series, all with the same buckets. */
export class HistogramTally<Name extends string> extends Tally<Name, HistogramSeries> {
  /** @param bounds upper bounds of the buckets, ascending */
  constructor(names: readonly Name[], bounds: readonly number[]) {
    super(names, () => new HistogramSeries(bounds));
  }

  observe(labels: Labels<Name>, value: number): void {
    this.of(labels).observe(value);
  }
}
