import { LogIndex } from "../cluster/types.ts";
import type { ChangeHistory } from "../storage/change-history.ts";
import type { ChangeEvent } from "../storage/commands.ts";
import type { WatchPosition } from "./http/service.ts";
import { type WatchFilter, matches } from "./watch-filter.ts";
import { positionAt } from "./watch-positions.ts";

/** A replica of a data shard, as watches see it. */
export interface ChangeSource {
  readonly history: ChangeHistory;
  readonly appliedIndex: LogIndex;
}

/** What a watch wants to be told. */
export interface Wanted {
  readonly filter: WatchFilter;
  readonly wantPrevious: boolean;
}

/** One change and its place in the shard's log. */
export interface ShardChange {
  readonly index: number;
  /** Among all changes of its entry, from 0. */
  readonly ordinal: number;
  /** Whether it is the last of its entry. */
  readonly isLast: boolean;
  readonly event: ChangeEvent;
}

/** Changes that were wanted, in order, and the position that they lead to. */
export interface ChangeChunk {
  readonly changes: readonly ShardChange[];
  readonly position: WatchPosition;
}

/** The position right after this change, also when more changes of its entry follow. */
export function positionAfter({ index, ordinal, isLast }: ShardChange): WatchPosition {
  return isLast ? positionAt(index) : { index: index - 1, events: ordinal + 1 };
}

/**
 * The wanted changes after a position that the source has reached: all of them, or the first `bytesMax` bytes and one at least. Null when
 * the source does not know them any more.
 */
export function readChanges(
  source: ChangeSource,
  after: WatchPosition,
  wanted: Wanted,
  bytesMax: number,
): ChangeChunk | null {
  const entries = source.history.since(LogIndex(after.index));
  if (entries === null) {
    return null;
  }
  const changes: ShardChange[] = [];
  let bytes = 0;
  for (const { index, events } of entries) {
    const first = index === after.index + 1 ? after.events : 0;
    for (let ordinal = first; ordinal < events.length; ordinal++) {
      const event = events[ordinal];
      if (event === undefined || !matches(wanted.filter, event.key)) {
        continue;
      }
      const told = wanted.wantPrevious ? event : withoutPrevious(event);
      const change = { index, ordinal, isLast: ordinal === events.length - 1, event: told };
      changes.push(change);
      bytes += eventBytes(told);
      if (bytes >= bytesMax) {
        return { changes, position: positionAfter(change) };
      }
    }
  }
  return { changes, position: positionAt(source.appliedIndex) };
}

/** A guess at what an event costs besides its bytes. */
const eventOverhead = 200;

/** What an event takes in memory, roughly. */
export function eventBytes({ key, record, previous }: ChangeEvent): number {
  return eventOverhead + key.length + (record?.value.length ?? 0) + (previous?.value.length ?? 0);
}

const bare = new WeakMap<ChangeEvent, ChangeEvent>();

/** The same object each time, so that whoever encodes an event for many watchers can do so once. */
function withoutPrevious(event: ChangeEvent): ChangeEvent {
  if (event.previous === null) {
    return event;
  }
  const known = bare.get(event);
  if (known !== undefined) {
    return known;
  }
  const made = { ...event, previous: null };
  bare.set(event, made);
  return made;
}
