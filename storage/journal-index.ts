import { assert } from "../cluster/assert.ts";
import type { LogPart } from "../cluster/multiraft/store.ts";
import type { Entry, ShardId } from "../cluster/types.ts";
import type { LogChange, TurnChanges } from "./journal.ts";

/** Turns are counted together by so many: what one of them is still needed for, all of them are kept for. */
const segmentTurns = 64;

/** A journal that is larger than its limit may be so as long as this many parts of it hold one part that is in use. */
const journalPerLog = 3;

/** A run of entries that lie in one segment. */
interface Piece {
  readonly segment: number;
  readonly first: number;
  last: number;
  bytes: number;
}

interface ShardLog {
  /** In the order of their entries. */
  pieces: Piece[];
  headSegment: number;
}

/**
 * Which turns of the journal still hold something that is nowhere else: the newest head of a replica, or entries of its log. Turns before
 * the first of them can be deleted. A replica that nobody writes to keeps old turns; once the journal has outgrown its limit by that,
 * `outdated` says what has to be written again to let them go.
 */
export class JournalIndex {
  readonly #bytesMax: number;
  readonly #logs = new Map<ShardId, ShardLog>();
  /** Number of heads and pieces of each shard that lie in a segment. */
  readonly #uses = new Map<number, Map<ShardId, number>>();
  /** Bytes of the records of each segment that is needed or newer than one that is. */
  readonly #bytes = new Map<number, number>();
  #oldest: number | null = null;
  #newest = 0;
  #firstNeeded = 0;
  #journalBytes = 0;
  #logBytes = 0;

  /** @param bytesMax how large the journal may become before anything is written again */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Bytes of the turns that are needed, and of those between them. */
  get journalBytes(): number {
    return this.#journalBytes;
  }

  /** A turn was written, or found: `bytes` is the size of its record. Turns come in order. */
  add(turn: number, bytes: number, changes: TurnChanges): void {
    assert(turn > this.#newest, "turns are added in order");
    const segment = segmentOf(turn);
    if (this.#oldest === null) {
      this.#oldest = turn;
      this.#firstNeeded = segment;
    }
    this.#newest = turn;
    this.#bytes.set(segment, (this.#bytes.get(segment) ?? 0) + bytes);
    this.#journalBytes += bytes;
    for (const [shard, change] of changes) {
      if (change === null || change.isReset) {
        this.#forget(shard);
      }
      if (change !== null) {
        this.#change(shard, segment, change);
      }
    }
    this.#advance();
  }

  /** The oldest turns that nobody needs, at most `max`: they are deleted with the turn that is about to be written. */
  takeDeletable(max: number): readonly number[] {
    const turns: number[] = [];
    const end = this.#firstNeeded * segmentTurns;
    while (this.#oldest !== null && this.#oldest < end && turns.length < max) {
      turns.push(this.#oldest);
      this.#oldest += 1;
    }
    return turns;
  }

  /** What should be written again, because without it much of the journal could go; null as a rule. */
  outdated(): LogPart | null {
    if (this.#journalBytes <= Math.max(this.#bytesMax, journalPerLog * this.#logBytes)) {
      return null;
    }
    const segment = this.#firstNeeded;
    const [shard] = this.#uses.get(segment)?.keys() ?? [];
    if (shard === undefined || segment === segmentOf(this.#newest)) {
      return null;
    }
    const piece = this.#logs.get(shard)?.pieces.find((each) => each.segment === segment);
    return { shard, first: piece?.first ?? 1, last: piece?.last ?? 0 };
  }

  #change(shard: ShardId, segment: number, change: LogChange): void {
    const { head, appended, repeated } = change;
    let log = this.#logs.get(shard);
    if (log === undefined) {
      log = { pieces: [], headSegment: segment };
      this.#logs.set(shard, log);
    } else {
      this.#use(shard, log.headSegment, -1);
      log.headSegment = segment;
    }
    this.#use(shard, segment, 1);
    this.#compact(shard, log, head.compactedIndex);
    const [first] = appended;
    this.#truncate(shard, log, first?.index ?? head.lastIndex + 1);
    this.#append(shard, log, segment, appended);
    this.#replace(shard, log, segment, repeated);
  }

  #append(shard: ShardId, log: ShardLog, segment: number, entries: readonly Entry[]): void {
    const range = rangeOf(entries);
    if (range === null) {
      return;
    }
    const last = log.pieces.at(-1);
    if (last?.segment === segment && last.last === range.first - 1) {
      last.last = range.last;
      last.bytes += range.bytes;
      this.#logBytes += range.bytes;
    } else {
      const piece = { segment, ...range };
      log.pieces.push(piece);
      this.#keep(shard, piece);
    }
  }

  /** Entries that lay in older segments lie in this one now. When turns are read again, the older ones may be gone already. */
  #replace(shard: ShardId, log: ShardLog, segment: number, entries: readonly Entry[]): void {
    const range = rangeOf(entries);
    if (range === null) {
      return;
    }
    const { first, last } = range;
    const pieces: Piece[] = [{ segment, ...range }];
    for (const piece of log.pieces) {
      if (piece.first < first) {
        pieces.push(partOf(piece, piece.first, Math.min(piece.last, first - 1)));
      }
      if (piece.last > last) {
        pieces.push(partOf(piece, Math.max(piece.first, last + 1), piece.last));
      }
    }
    pieces.forEach((piece) => this.#keep(shard, piece));
    log.pieces.forEach((piece) => this.#drop(shard, piece));
    log.pieces = pieces.sort((a, b) => a.first - b.first);
  }

  #compact(shard: ShardId, log: ShardLog, index: number): void {
    for (let first = log.pieces[0]; first !== undefined; first = log.pieces[0]) {
      if (first.last > index) {
        log.pieces[0] = this.#resized(shard, first, Math.max(first.first, index + 1), first.last);
        return;
      }
      log.pieces.shift();
      this.#drop(shard, first);
    }
  }

  #truncate(shard: ShardId, log: ShardLog, from: number): void {
    for (let last = log.pieces.at(-1); last !== undefined; last = log.pieces.at(-1)) {
      if (last.first < from) {
        const end = Math.min(last.last, from - 1);
        log.pieces[log.pieces.length - 1] = this.#resized(shard, last, last.first, end);
        return;
      }
      log.pieces.pop();
      this.#drop(shard, last);
    }
  }

  #resized(shard: ShardId, piece: Piece, first: number, last: number): Piece {
    if (first === piece.first && last === piece.last) {
      return piece;
    }
    const part = partOf(piece, first, last);
    this.#keep(shard, part);
    this.#drop(shard, piece);
    return part;
  }

  #keep(shard: ShardId, piece: Piece): void {
    this.#logBytes += piece.bytes;
    this.#use(shard, piece.segment, 1);
  }

  #drop(shard: ShardId, piece: Piece): void {
    this.#logBytes -= piece.bytes;
    this.#use(shard, piece.segment, -1);
  }

  #forget(shard: ShardId): void {
    const log = this.#logs.get(shard);
    if (log !== undefined) {
      this.#logs.delete(shard);
      log.pieces.forEach((piece) => this.#drop(shard, piece));
      this.#use(shard, log.headSegment, -1);
    }
  }

  #use(shard: ShardId, segment: number, by: 1 | -1): void {
    const uses = this.#uses.get(segment) ?? new Map<ShardId, number>();
    this.#uses.set(segment, uses);
    const count = (uses.get(shard) ?? 0) + by;
    if (count > 0) {
      uses.set(shard, count);
      return;
    }
    uses.delete(shard);
    if (uses.size === 0) {
      this.#uses.delete(segment);
    }
  }

  /** Segments before the first that is in use are nobody's; the present one stays. */
  #advance(): void {
    const present = segmentOf(this.#newest);
    while (this.#firstNeeded < present && !this.#uses.has(this.#firstNeeded)) {
      this.#journalBytes -= this.#bytes.get(this.#firstNeeded) ?? 0;
      this.#bytes.delete(this.#firstNeeded);
      this.#firstNeeded += 1;
    }
  }
}

function segmentOf(turn: number): number {
  return Math.floor(turn / segmentTurns);
}

/** Entries of a piece count as equally large: exact sizes would have to be kept for each. */
function partOf({ segment, ...whole }: Piece, first: number, last: number): Piece {
  const share = (last - first + 1) / (whole.last - whole.first + 1);
  return { segment, first, last, bytes: whole.bytes * share };
}

function rangeOf(
  entries: readonly Entry[],
): { readonly first: number; readonly last: number; readonly bytes: number } | null {
  const first = entries[0];
  const last = entries.at(-1);
  if (first === undefined || last === undefined) {
    return null;
  }
  const bytes = entries.reduce((sum, { payload }) => sum + payload.length, 0);
  return { first: first.index, last: last.index, bytes };
}
