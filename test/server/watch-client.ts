import assert from "node:assert/strict";
import type { ShardId } from "../../cluster/types.ts";
import type { WatchItem, WatchPosition, WatchPositions } from "../../server/http/service.ts";
import { matches, type WatchFilter } from "../../server/watch-filter.ts";
import { decodePositions, encodePositions, positionAt } from "../../server/watch-positions.ts";
import type { ChangeEvent, KeyRecord } from "../../storage/commands.ts";
import type { WatchNodes } from "./watch-nodes.ts";

/** A client that checks every item of its watch against what really happened, over any number of connections. */
export class WatchClient {
  readonly filter: WatchFilter;
  readonly wantPrevious: boolean;
  readonly initial: boolean;
  readonly #all: WatchNodes;
  /** Where it resumes: as text, as clients have it. */
  cursor: string | null = null;
  changes = 0;
  resets = 0;
  lags = 0;
  /** What it was told since the last reset, while the current state is being told. */
  #telling: Map<string, KeyRecord> | null = null;
  #positions: WatchPositions | null = null;

  constructor(
    all: WatchNodes,
    filter: WatchFilter,
    options: { readonly wantPrevious: boolean; readonly initial: boolean },
  ) {
    this.#all = all;
    this.filter = filter;
    this.wantPrevious = options.wantPrevious;
    this.initial = options.initial;
  }

  /** The watch's request, but for its signal. */
  get request() {
    return {
      key: this.filter.type === "key" ? this.filter.key : null,
      prefix: this.filter.type === "prefix" ? this.filter.prefix : this.filter.key,
      after: this.cursor === null ? null : decodePositions(this.cursor),
      initial: this.initial,
      wantPrevious: this.wantPrevious,
    };
  }

  /** A new connection begins. */
  connected(): void {
    const isResumed = this.cursor !== null;
    // Resuming, what comes next decides: changes, or a reset.
    this.#telling = this.initial && !isResumed ? new Map() : null;
  }

  take(item: WatchItem): void {
    switch (item.type) {
      case "reset":
        this.resets += 1;
        this.#telling = new Map();
        break;
      case "synced":
        this.#checkState(item.positions);
        break;
      case "change":
        this.#change(item.event, item.positions);
        break;
      case "progress":
        this.#moved(item.positions, null);
        break;
      case "lagged":
        this.lags += 1;
        if (this.#telling === null) {
          this.#moved(item.positions, null);
        }
        break;
    }
    this.cursor = encodePositions(item.positions);
    if (this.#telling === null) {
      this.#positions = item.positions;
    }
  }

  /** Whether it has been told everything that was committed. */
  get isComplete(): boolean {
    return (
      this.#telling === null &&
      this.#positions !== null &&
      [...this.#positions].every(([shard, { index }]) => index >= this.#all.log(shard).length)
    );
  }

  #change(event: ChangeEvent, positions: WatchPositions): void {
    assert.ok(matches(this.filter, event.key), "a change outside of the filter");
    this.changes += 1;
    if (this.#telling !== null) {
      assert.equal(positions.size, 0, "positions before the state is complete");
      const key = textOf(event.key);
      if (event.record === null) {
        assert.ok(this.#telling.delete(key), "a key that was not told is gone");
      } else {
        const known = this.#telling.get(key);
        assert.ok(known === undefined || known.modRevision < event.revision, "told twice");
        this.#telling.set(key, event.record);
      }
      return;
    }
    this.#moved(positions, event);
  }

  /** Between the last positions and these lies nothing wanted but `event`. */
  #moved(positions: WatchPositions, event: ChangeEvent | null): void {
    if (this.#positions !== null) {
      const missed: ChangeEvent[] = [];
      for (const [shard, to] of positions) {
        const from = this.#positions.get(shard);
        assert.ok(from !== undefined, "a shard that was not there before");
        assert.ok(compare(from, to) <= 0, "positions went back");
        missed.push(...this.#between(shard, from, to));
      }
      assert.deepEqual(missed.map(plain), event === null ? [] : [plain(event)]);
    } else {
      assert.equal(event, null, "a change before the first positions");
    }
  }

  #between(shard: ShardId, from: WatchPosition, to: WatchPosition): readonly ChangeEvent[] {
    const found: ChangeEvent[] = [];
    for (const { index, events } of this.#all.truth.get(shard) ?? []) {
      events.forEach((event, ordinal) => {
        const at =
          ordinal === events.length - 1
            ? positionAt(index)
            : { index: index - 1, events: ordinal + 1 };
        if (compare(at, from) > 0 && compare(at, to) <= 0 && matches(this.filter, event.key)) {
          found.push(this.wantPrevious ? event : { ...event, previous: null });
        }
      });
    }
    return found;
  }

  #checkState(positions: WatchPositions): void {
    const told = this.#telling;
    assert.ok(told !== null, "synced without a state before it");
    const expected = new Map<string, KeyRecord>();
    for (const [shard, { index, events }] of positions) {
      assert.equal(events, 0);
      for (const entry of this.#all.truth.get(shard) ?? []) {
        for (const { key, record } of entry.index <= index ? entry.events : []) {
          if (matches(this.filter, key)) {
            if (record === null) {
              expected.delete(textOf(key));
            } else {
              expected.set(textOf(key), record);
            }
          }
        }
      }
    }
    assert.deepEqual(sorted(told), sorted(expected));
    this.#telling = null;
  }
}

function compare(a: WatchPosition, b: WatchPosition): number {
  return a.index - b.index || a.events - b.events;
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}

function sorted(state: ReadonlyMap<string, KeyRecord>) {
  return [...state].map(([key, record]) => [key, plainRecord(record)]).sort();
}

function plain({ kind, key, revision, record, previous }: ChangeEvent) {
  return {
    kind,
    key: textOf(key),
    revision,
    record: record && plainRecord(record),
    previous: previous && plainRecord(previous),
  };
}

function plainRecord({
  value,
  contentType,
  createRevision,
  modRevision,
  version,
  ttlMs,
}: KeyRecord) {
  const text = textOf(value);
  return { text, contentType, createRevision, modRevision, version, ttlMs };
}
