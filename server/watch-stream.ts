import { assert } from "../cluster/assert.ts";
import { metaShard, type ShardId } from "../cluster/types.ts";
import type { ChangeEvent } from "../storage/commands.ts";
import type { ScanItem } from "../storage/queries.ts";
import type {
  WatchItem,
  WatchPosition,
  WatchPositions,
  WatchRequest,
  WatchStream,
} from "./http/service.ts";
import type { ScanPage, WatchAccess } from "./watch-access.ts";
import { chunkBytesMax, ShardFeed } from "./watch-feed.ts";
import { positionAfter, type Wanted } from "./watch-changes.ts";
import { filterOf, keyAfter, rangeOf } from "./watch-filter.ts";
import type { ChangeSink } from "./watch-hub.ts";
import { comparePositions, positionAt } from "./watch-positions.ts";

/** The shards' feeds and the watcher's buffer. */
export interface MergedStreamOptions {
  readonly request: WatchRequest;
  readonly access: WatchAccess;
  /** Bytes of changes that may wait for this reader. */
  readonly bufferBytes: number;
  /** Shared by the streams of a node: each adds what it does. */
  readonly counts: WatchCounts;
  /** Called once, when the stream has ended, however it did. */
  readonly onEnd: () => void;
}

/** What watches have done since the node started. */
export interface WatchCounts {
  /** Changes and records of the current state, handed to readers. */
  events: number;
  /** Streams cut off because their reader was too slow. */
  lagged: number;
  /** Times that a stream could only go on by telling the whole state anew. */
  reset: number;
}

/** Why the stream cannot just go on; the strongest reason counts. */
const interruptions = ["reset", "lagged", "ended"] as const;
type Interruption = (typeof interruptions)[number];

const pageItemsMax = 1000;
const nowhere: WatchPositions = new Map();

/**
 * One watch: the feeds of its shards merged, each change with the positions to resume after. Pulled by its reader; nothing is prepared for
 * one that does not pull.
 *
 * The current state is told shard by shard, page by page, and each page is as of a later index than the one before. Before a page is told,
 * what has changed up to its index in the keys told already is told too: so at every page the part that was told is consistent as of one
 * index, memory is bounded by one page whatever the size of the state, and no snapshot is held open for a slow reader. (The low and high
 * watermarks of DBLog, Netflix 2019, with log indexes for watermarks.)
 */
export class MergedStream implements ChangeSink, WatchStream {
  readonly #options: MergedStreamOptions;
  readonly #wanted: Wanted;
  /** By shard, ascending. Empty until the node knows the shards. */
  #feeds: ReadonlyMap<ShardId, ShardFeed> = new Map();
  #interruption: Interruption | null = null;
  #mustTellState = false;
  #isProgressDue = false;
  #isRead = false;
  /** What the reader has, where it is between two changes that its feed has handed out together. */
  #within: { readonly feed: ShardFeed; readonly position: WatchPosition } | null = null;
  #lastTold: WatchPositions = nowhere;
  /** Set by `wake` until it is waited for. */
  #isAwake = false;
  #resume: (() => void) | null = null;

  constructor(options: MergedStreamOptions) {
    this.#options = options;
    const { request } = options;
    this.#wanted = { filter: filterOf(request), wantPrevious: request.wantPrevious };
    request.signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchItem> {
    assert(!this.#isRead, "a watch has one reader");
    this.#isRead = true;
    return this.#items();
  }

  onChange(shard: ShardId, index: number, event: ChangeEvent): void {
    const feed = this.#feeds.get(shard);
    if (feed !== undefined) {
      feed.noticed(index, event);
      // Who waits for changes is not slow, however many come at once.
      if (feed.waitingBytes > this.#options.bufferBytes && this.#resume === null) {
        this.#interrupt("lagged");
      }
    }
  }

  onReplaced(shard: ShardId, index: number): void {
    this.#feeds.get(shard)?.replaced(index);
  }

  /** Replicas may have come or gone; keys may have moved between shards, which only the whole state anew can tell. */
  refresh(): void {
    if (this.#feeds.size === 0) {
      return;
    }
    const shards = this.#shards();
    if (shards.length !== this.#feeds.size || !shards.every((shard) => this.#feeds.has(shard))) {
      this.#interrupt("reset");
    }
    this.#feeds.forEach((feed) => feed.refresh());
  }

  /** The reader should hear how far it is, if it is farther than it knows. */
  progressDue(): void {
    this.#isProgressDue = true;
    this.#wake();
  }

  /** The reader is told nothing more. Idempotent. */
  end(): void {
    if (this.#interruption !== "ended") {
      this.#interrupt("ended");
      this.#close();
      this.#options.onEnd();
    }
  }

  readonly #onAbort = (): void => this.end();

  async *#items(): AsyncGenerator<WatchItem> {
    try {
      yield* this.#begin();
      for (;;) {
        if (this.#interruption === "ended") {
          return;
        }
        if (this.#interruption === "lagged") {
          this.#options.counts.lagged += 1;
          yield { type: "lagged", positions: this.#positions() };
          return;
        }
        if (this.#interruption === "reset") {
          yield this.#reset();
        }
        if (this.#mustTellState) {
          yield* this.#tellState();
        } else if (!(yield* this.#tellChanges(this.#feeds.values()))) {
          yield* this.#tellProgress();
          await this.#woken();
        }
      }
    } finally {
      this.end();
    }
  }

  async *#begin(): AsyncGenerator<WatchItem> {
    const { access, request } = this.#options;
    // A node that starts has watchers wait: an EventSource that is refused does not come back.
    while (!access.isReady && this.#interruption === null) {
      await access.pause(metaShard);
    }
    if (this.#interruption !== null) {
      return;
    }
    this.#feeds = this.#newFeeds();
    const { after, initial } = request;
    if (after === null && !initial) {
      await Promise.all([...this.#feeds.values()].map((feed) => feed.seekNow()));
      if (this.#interruption === null) {
        yield this.#told({ type: "progress", positions: this.#positions() });
      }
      return;
    }
    this.#mustTellState = after === null;
    for (const [shard, feed] of this.#feeds) {
      const position = after?.get(shard);
      if (position !== undefined) {
        feed.seek(position);
      } else if (after !== null) {
        this.#interrupt("reset");
      }
    }
    this.#lastTold = after ?? nowhere;
  }

  /** Begins anew with the shards that there are now. */
  #reset(): WatchItem {
    this.#feeds.forEach((feed) => feed.close());
    this.#feeds = this.#newFeeds();
    this.#within = null;
    this.#interruption = null;
    this.#mustTellState = true;
    this.#options.counts.reset += 1;
    return { type: "reset", positions: nowhere };
  }

  async *#tellState(): AsyncGenerator<WatchItem> {
    const finished: ShardFeed[] = [];
    for (const feed of this.#feeds.values()) {
      yield* this.#tellShard(feed, finished);
      if (this.#interruption !== null) {
        return;
      }
      finished.push(feed);
    }
    this.#mustTellState = false;
    yield this.#told({ type: "synced", positions: this.#positions() });
  }

  /** `finished`: the shards whose state was told before; they must not fall behind meanwhile. */
  async *#tellShard(feed: ShardFeed, finished: readonly ShardFeed[]): AsyncGenerator<WatchItem> {
    const range = rangeOf(this.#wanted.filter);
    let start = range.start;
    for (let isFirst = true; ; isFirst = false) {
      const page = await this.#page(feed.shard, start, range.end);
      if (page === null) {
        return;
      }
      if (!isFirst) {
        yield* this.#tellChangesUpTo(feed, page.appliedIndex, start);
      }
      yield* this.#tellPage(page.items);
      if (this.#interruption !== null) {
        return;
      }
      feed.seek(positionAt(page.appliedIndex));
      const last = page.items.at(-1);
      if (!page.more || last === undefined) {
        return;
      }
      start = keyAfter(last.key);
      yield* this.#tellChanges(finished);
    }
  }

  /** Null when the stream is interrupted. */
  async #page(shard: ShardId, start: Uint8Array, end: Uint8Array | null): Promise<ScanPage | null> {
    const { access, request } = this.#options;
    const limits = { limit: pageItemsMax, bytesMax: chunkBytesMax, keysOnly: false };
    while (this.#interruption === null) {
      const query = { type: "scan", start, end, ...limits } as const;
      const page = await access.scan(shard, query, request.signal);
      if (page !== null) {
        return page;
      }
      await access.pause(shard);
    }
    return null;
  }

  async *#tellPage(items: readonly ScanItem[]): AsyncGenerator<WatchItem> {
    for (const { key, record } of items) {
      if (this.#interruption !== null) {
        return;
      }
      const revision = record.modRevision;
      const event: ChangeEvent = { kind: "put", key, record, previous: null, revision };
      yield this.#change(event, nowhere);
    }
  }

  /** Changes of keys below `end`, which were told as of the feed's position, until `index`. */
  async *#tellChangesUpTo(
    feed: ShardFeed,
    index: number,
    end: Uint8Array,
  ): AsyncGenerator<WatchItem> {
    while (this.#interruption === null && feed.position.index < index) {
      const chunk = feed.take({ hurries: true });
      if (chunk === "gone") {
        this.#interrupt("reset");
        return;
      }
      for (const { index: at, event } of chunk?.changes ?? []) {
        if (at <= index && Buffer.compare(event.key, end) < 0 && this.#interruption === null) {
          yield this.#change(event, nowhere);
        }
      }
      if (chunk === null && feed.position.index < index) {
        await this.#woken();
      }
    }
  }

  /** Tells what the feeds have now, in turn; false when they had nothing. */
  async *#tellChanges(feeds: Iterable<ShardFeed>): AsyncGenerator<WatchItem, boolean> {
    let hasTold = false;
    for (const feed of feeds) {
      if (this.#interruption !== null) {
        return true;
      }
      const chunk = feed.take();
      if (chunk === "gone") {
        this.#interrupt("reset");
        return true;
      }
      for (const change of chunk?.changes ?? []) {
        if (this.#interruption !== null) {
          return true;
        }
        hasTold = true;
        this.#within = { feed, position: positionAfter(change) };
        yield this.#told(this.#change(change.event, this.#positions()));
      }
      if (this.#interruption === null) {
        this.#within = null;
      }
    }
    return hasTold;
  }

  *#tellProgress(): Generator<WatchItem> {
    if (!this.#isProgressDue) {
      return;
    }
    this.#isProgressDue = false;
    const positions = this.#positions();
    for (const [shard, position] of positions) {
      const told = this.#lastTold.get(shard);
      if (told === undefined || comparePositions(told, position) < 0) {
        yield this.#told({ type: "progress", positions });
        return;
      }
    }
  }

  #change(event: ChangeEvent, positions: WatchPositions): WatchItem {
    this.#options.counts.events += 1;
    return { type: "change", event, positions };
  }

  #told(item: WatchItem): WatchItem {
    this.#lastTold = item.positions;
    return item;
  }

  #positions(): WatchPositions {
    if (this.#mustTellState) {
      return nowhere;
    }
    const positions = new Map<ShardId, WatchPosition>();
    for (const [shard, feed] of this.#feeds) {
      const position = this.#within?.feed === feed ? this.#within.position : feed.position;
      positions.set(shard, position);
    }
    return positions;
  }

  #shards(): readonly ShardId[] {
    const { access, request } = this.#options;
    return request.key === null ? access.shards() : [access.shardOf(request.key)];
  }

  #newFeeds(): ReadonlyMap<ShardId, ShardFeed> {
    const { access } = this.#options;
    const wake = (): void => this.#wake();
    return new Map(
      this.#shards().map((shard) => [
        shard,
        new ShardFeed({ shard, wanted: this.#wanted, access, wake }),
      ]),
    );
  }

  #interrupt(reason: Interruption): void {
    const present = this.#interruption;
    if (present === null || interruptions.indexOf(reason) > interruptions.indexOf(present)) {
      this.#interruption = reason;
    }
    this.#wake();
  }

  #close(): void {
    this.#options.request.signal.removeEventListener("abort", this.#onAbort);
    this.#feeds.forEach((feed) => feed.close());
  }

  #wake(): void {
    this.#isAwake = true;
    this.#resume?.();
  }

  /** Resolves when `wake` is called, or was since the last time. */
  async #woken(): Promise<void> {
    if (!this.#isAwake) {
      await new Promise<void>((resolve) => (this.#resume = resolve));
      this.#resume = null;
    }
    this.#isAwake = false;
  }
}
