/** What one log entry of a shard changed, as one text. */
export interface Change {
  readonly index: number;
  readonly text: string;
}

/** An unbroken stretch of a watch on one shard: everything in `(after, upTo]` should have been seen. */
export interface WatchSpan {
  readonly shard: number;
  readonly after: number;
  readonly upTo: number;
  readonly seen: readonly Change[];
}

/**
 * What is wrong with what watchers saw, as sentences: every change in the stretch exactly once, in the order of the log, nothing else. `truth`
 * holds all changes of a shard by index.
 */
export function checkWatches(
  truth: ReadonlyMap<number, ReadonlyMap<number, string>>,
  spans: readonly WatchSpan[],
): readonly string[] {
  return spans.flatMap((span) => checkSpan(truth.get(span.shard) ?? new Map(), span));
}

function checkSpan(truth: ReadonlyMap<number, string>, span: WatchSpan): readonly string[] {
  const { shard, after, upTo, seen } = span;
  const where = `a watch of shard ${shard} after ${after} up to ${upTo}`;
  const wrong: string[] = [];
  let last = after;
  for (const { index, text } of seen) {
    if (index <= last) {
      wrong.push(`${where} saw ${index} after ${last}`);
    }
    if (truth.get(index) !== text) {
      wrong.push(`${where} saw something else at ${index} than was applied`);
    }
    last = Math.max(last, index);
  }
  const indexes = new Set(seen.map((change) => change.index));
  for (const index of truth.keys()) {
    if (index > after && index <= upTo && !indexes.has(index)) {
      wrong.push(`${where} missed ${index}`);
    }
  }
  return wrong;
}
