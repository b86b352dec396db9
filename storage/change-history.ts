import { LogIndex } from "../cluster/types.ts";
import type { ChangeEvent } from "./commands.ts";
import { eventBytesMin, readEvent, writeEvent } from "./record-codec.ts";
import { ByteReader, ByteWriter, readList, writeList } from "./wire-codec.ts";

/** The changes of one log entry, in order. */
export interface EntryChanges {
  readonly index: LogIndex;
  readonly events: readonly ChangeEvent[];
}

/** How much a shard's history may hold in memory. */
export interface ChangeHistoryLimits {
  readonly eventsMax: number;
  /** Bytes of the changes as they are kept. Asked for anew: shards share what the node has for all. */
  readonly bytesMax: () => number;
}

/** Entries are kept in blocks of this size, or of a part of what may be kept; a larger entry has a block of its own. */
const blockBytesMax = 64 * 1024;
const blockBytesMin = 1024;
const blocksPerHistory = 8;
/** So much of the newest changes is also kept as it was made. */
const freshBytesMax = 32 * 1024;

/** Some entries, one after the other: length of the rest n, index n, changes. */
interface Block {
  readonly bytes: Buffer;
  /** Where the first entry that is not forgotten begins. */
  start: number;
  /** Where the next one goes. */
  end: number;
  lastIndex: number;
}

/**
 * The last changes of one shard on one replica, in memory: what a watcher that comes back is told. Positions are log indexes; the
 * history before this process, or before an installed snapshot, is gone.
 *
 * Changes are kept as bytes and read when somebody asks: as objects, tens of thousands of them would be looked at by the garbage collector
 * again and again, and as memory of their own they would be garbage that is old and collected late. The newest are kept as objects, too,
 * because all who watch ask for these, and what is made of them is made once.
 */
export class ChangeHistory {
  readonly #limits: ChangeHistoryLimits;
  #blocks: Block[] = [];
  /** Memory of the block that was forgotten last, for the next one. */
  #spare: Buffer | null = null;
  #fresh: { readonly changes: EntryChanges; readonly bytes: number }[] = [];
  #freshBytes = 0;
  #entries = 0;
  #events = 0;
  #bytes = 0;
  /** Changes up to here are not known. */
  #goneIndex: LogIndex;

  /** @param index applied index at which the history begins */
  constructor(limits: ChangeHistoryLimits, index: LogIndex) {
    this.#limits = limits;
    this.#goneIndex = index;
  }

  /** Changes after this position are complete. */
  get goneIndex(): LogIndex {
    return this.#goneIndex;
  }

  get eventCount(): number {
    return this.#events;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds the changes of the next entry that has any. The newest entry is kept whatever its size: who has kept up is told of it. */
  add(index: LogIndex, events: readonly ChangeEvent[]): void {
    const changes = { index, events };
    const bytes = this.#write(changes);
    this.#entries += 1;
    this.#events += events.length;
    this.#bytes += bytes;
    this.#fresh.push({ changes, bytes });
    this.#freshBytes += bytes;
    while (this.#freshBytes > freshBytesMax && this.#fresh.length > 1) {
      this.#freshBytes -= this.#fresh.shift()?.bytes ?? 0;
    }
    const bytesMax = this.#limits.bytesMax();
    const isOver = (): boolean => this.#events > this.#limits.eventsMax || this.#bytes > bytesMax;
    while (isOver() && this.#entries > 1) {
      this.#dropFirst();
    }
  }

  /**
   * The changes of all entries after `index`, in order, read while they are asked for, which must be before the next entry is added; null
   * when some of them are gone.
   */
  since(index: LogIndex): Iterable<EntryChanges> | null {
    return index < this.#goneIndex ? null : this.#read(index);
  }

  /** Another state has taken the place of the one whose history this is. */
  reset(index: LogIndex): void {
    this.#blocks = [];
    this.#fresh = [];
    this.#freshBytes = 0;
    this.#entries = 0;
    this.#events = 0;
    this.#bytes = 0;
    this.#goneIndex = index;
  }

  *#read(index: LogIndex): Generator<EntryChanges> {
    const freshFrom = this.#fresh[0]?.changes.index ?? Infinity;
    if (index < freshFrom - 1) {
      for (const block of this.#blocks) {
        if (block.lastIndex > index) {
          yield* readBlock(block, index, freshFrom);
        }
      }
    }
    for (const { changes } of this.#fresh) {
      if (changes.index > index) {
        yield changes;
      }
    }
  }

  #write(changes: EntryChanges): number {
    body.clear();
    body.varuint(changes.index);
    writeList(body, changes.events, writeEvent);
    head.clear();
    head.varuint(body.length);
    const length = head.length + body.length;
    const block = this.#blockFor(length);
    block.bytes.set(head.view(), block.end);
    block.bytes.set(body.view(), block.end + head.length);
    block.end += length;
    block.lastIndex = changes.index;
    return length;
  }

  #blockFor(length: number): Block {
    const last = this.#blocks.at(-1);
    if (last !== undefined && last.end + length <= last.bytes.length) {
      return last;
    }
    const part = Math.floor(this.#limits.bytesMax() / blocksPerHistory);
    const size = Math.max(length, Math.min(blockBytesMax, Math.max(blockBytesMin, part)));
    const bytes = this.#spare?.length === size ? this.#spare : Buffer.allocUnsafeSlow(size);
    this.#spare = null;
    const block = { bytes, start: 0, end: 0, lastIndex: 0 };
    this.#blocks.push(block);
    return block;
  }

  #dropFirst(): void {
    const [block] = this.#blocks;
    if (block === undefined) {
      return;
    }
    const reader = new ByteReader(block.bytes.subarray(block.start, block.end));
    const before = reader.remaining;
    const rest = reader.varuint();
    const length = before - reader.remaining + rest;
    const index = LogIndex(reader.varuint());
    this.#events -= reader.varuint();
    this.#entries -= 1;
    this.#bytes -= length;
    this.#goneIndex = index;
    block.start += length;
    if (block.start === block.end) {
      this.#blocks.shift();
      this.#spare = block.bytes.length > blockBytesMax ? null : block.bytes;
    }
    const [fresh] = this.#fresh;
    if (fresh?.changes.index === index) {
      this.#fresh.shift();
      this.#freshBytes -= fresh.bytes;
    }
  }
}

/** What one entry is written with. */
const head = new ByteWriter();
const body = new ByteWriter();

/** The entries of a block with `after < index < before`, in memory of their own: the block's is used again. */
function* readBlock(block: Block, after: number, before: number): Generator<EntryChanges> {
  const reader = new ByteReader(block.bytes.subarray(block.start, block.end));
  while (reader.remaining > 0) {
    const entry = new ByteReader(reader.bytes());
    const index = LogIndex(entry.varuint());
    if (index >= before) {
      return;
    }
    if (index > after) {
      const own = new ByteReader(Buffer.from(entry.raw(entry.remaining)));
      yield { index, events: readList(own, eventBytesMin, readEvent) };
    }
  }
}
