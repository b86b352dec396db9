/** A place in the changes of one shard: after all of the entry at `index`, and after the first `events` changes of the next. */
export interface Place {
  readonly index: number;
  readonly events: number;
}

/** One change, as text, and the key that it is of. */
export interface Change {
  readonly key: string;
  readonly text: string;
}

/** What really happened: the changes of each entry, by index, of each shard. */
export type Truth = ReadonlyMap<number, ReadonlyMap<number, readonly Change[]>>;

/** An unbroken stretch of a watch on one shard: all changes of wanted keys after one place and up to another should have been seen. */
export interface WatchSpan {
  readonly shard: number;
  readonly after: Place;
  readonly upTo: Place;
  readonly wants: (key: string) => boolean;
  readonly seen: readonly string[];
}

/** What is wrong with what watchers saw, as sentences: every change in the stretch exactly once, in the order of the log, nothing else. */
export function checkWatches(truth: Truth, spans: readonly WatchSpan[]): readonly string[] {
  return spans.flatMap((span) => {
    const expected = changesWithin(truth.get(span.shard) ?? new Map(), span);
    const at = firstDifference(expected, span.seen);
    if (at === null) {
      return [];
    }
    const { shard, after, upTo } = span;
    const where = `a watch of shard ${shard} from ${place(after)} to ${place(upTo)}, change ${at + 1}`;
    return [`${where}: saw ${span.seen[at] ?? "nothing"} instead of ${expected[at] ?? "nothing"}`];
  });
}

function changesWithin(
  truth: ReadonlyMap<number, readonly Change[]>,
  { after, upTo, wants }: WatchSpan,
): readonly string[] {
  const within: string[] = [];
  for (const index of [...truth.keys()].sort((a, b) => a - b)) {
    (truth.get(index) ?? []).forEach(({ key, text }, ordinal) => {
      if (!includes(after, index, ordinal) && includes(upTo, index, ordinal) && wants(key)) {
        within.push(text);
      }
    });
  }
  return within;
}

function includes(upTo: Place, index: number, ordinal: number): boolean {
  return index <= upTo.index || (index === upTo.index + 1 && ordinal < upTo.events);
}

function firstDifference(a: readonly string[], b: readonly string[]): number | null {
  const length = Math.max(a.length, b.length);
  for (let at = 0; at < length; at++) {
    if (a[at] !== b[at]) {
      return at;
    }
  }
  return null;
}

function place({ index, events }: Place): string {
  return events === 0 ? String(index) : `${index}+${events}`;
}
