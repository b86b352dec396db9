/** A change as a watcher was told of it over HTTP. Its identity is key and revision. */
export interface ToldChange {
  readonly key: string;
  readonly revision: number;
  /** Everything that was said of it: the same to every watcher. */
  readonly data: string;
}

/** What a watcher was told between two resets: where they began, and what happened since. */
export interface WatchStretch {
  /** The state that it was told after a reset; the first stretch begins before the first change and has none. */
  readonly state: readonly ToldChange[];
  readonly changes: readonly ToldChange[];
}

/** Everything that one watcher was told, through whichever node. */
export interface WatchStream {
  readonly prefix: string;
  readonly stretches: readonly WatchStretch[];
}

/** A write that was acknowledged. */
export interface AcknowledgedChange {
  readonly key: string;
  readonly revision: number;
}

/**
 * What is wrong with what watchers were told, as sentences: a change that is not like what another was told, foreign to the prefix, out of
 * its key's order, told twice, or left out. What really happened is what anybody was told; acknowledged changes must be part of it as long
 * as some watcher of everything was never reset.
 */
export function checkWatchStreams(
  streams: readonly WatchStream[],
  acknowledged: readonly AcknowledgedChange[],
): readonly string[] {
  const wrong: string[] = [];
  const union = new Map<string, ToldChange>();
  for (const change of streams.flatMap(changesOf)) {
    const known = union.get(nameOf(change)) ?? change;
    union.set(nameOf(change), known);
    if (known.data !== change.data) {
      wrong.push(`${nameOf(change)} was told as ${change.data} and as ${known.data}`);
    }
  }
  const happened = [...union.values()];
  for (const stream of streams) {
    wrong.push(...disorderOf(stream), ...missedOf(stream, happened));
  }
  const seesAll = ({ prefix, stretches }: WatchStream): boolean =>
    prefix === "" && stretches.length === 1;
  if (streams.some(seesAll)) {
    const lost = acknowledged.filter((change) => !union.has(nameOf(change)));
    wrong.push(...lost.map((change) => `${nameOf(change)} was acknowledged but told to nobody`));
  }
  return wrong;
}

/** All changes of a stream, in the order in which they were told. */
export function changesOf({ stretches }: WatchStream): readonly ToldChange[] {
  return stretches.flatMap(({ changes }) => changes);
}

function nameOf({ key, revision }: AcknowledgedChange): string {
  return `${key}@${revision}`;
}

function disorderOf({ prefix, stretches }: WatchStream): readonly string[] {
  const wrong: string[] = [];
  for (const { state, changes } of stretches) {
    const last = new Map(state.map(({ key, revision }) => [key, revision]));
    for (const change of changes) {
      const { key, revision } = change;
      if (!key.startsWith(prefix)) {
        wrong.push(`${nameOf(change)} was told to a watcher of "${prefix}"`);
      }
      const before = last.get(key) ?? 0;
      if (revision <= before) {
        wrong.push(`${nameOf(change)} was told to a watcher of "${prefix}" after ${before}`);
      }
      last.set(key, Math.max(before, revision));
    }
  }
  return wrong;
}

/** Within a stretch nothing is left out; around a reset, what is certain. */
function missedOf(
  { prefix, stretches }: WatchStream,
  happened: readonly ToldChange[],
): readonly string[] {
  return stretches.flatMap(({ state, changes }, at) => {
    const told = new Set(changes.map(nameOf));
    const firsts = new Map(state.map(({ key, revision }) => [key, revision]));
    const lasts = new Map<string, number>();
    for (const { key, revision } of changes) {
      // A key that is not in the state may have been deleted before: what is sure begins with its first change.
      firsts.set(key, firsts.get(key) ?? (at === 0 ? 0 : revision));
      lasts.set(key, revision);
    }
    const isWanted = ({ key, revision }: ToldChange): boolean => {
      const first = firsts.get(key) ?? (at === 0 ? 0 : Infinity);
      const last = at === stretches.length - 1 ? Infinity : (lasts.get(key) ?? 0);
      return key.startsWith(prefix) && revision > first && revision < last;
    };
    const missed = happened.filter((change) => isWanted(change) && !told.has(nameOf(change)));
    return missed.map((change) => `${nameOf(change)} was not told to a watcher of "${prefix}"`);
  });
}
