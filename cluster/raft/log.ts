import { assert } from "../assert.ts";
import { LogIndex } from "../types.ts";
import type { Entry, SnapshotMetadata, Term } from "../types.ts";
import type { RestoredState } from "./options.ts";

/** Entries handed out by one `takeCommitted`: a restart with a long log must not apply all of it in one turn. */
const committedEntriesMax = 1024;

/**
 * The log in memory: entries after the compacted index, and the five marks that move along it.
 *
 *     compacted <= applied <= commit <= last,   compacted <= persisted <= last,   persisted < unwritten <= last + 1
 *
 * `persisted` is durable; entries from `unwritten` on have not been given to any write yet; what lies between is on its way.
 */
export class RaftLog {
  #entries: Entry[];
  #compactedIndex: number;
  #compactedTerm: Term;
  #appliedIndex: number;
  #commitIndex: number;
  #persistedIndex: number;
  #unwrittenFrom: number;

  constructor(restored: RestoredState) {
    this.#entries = [...restored.entries];
    this.#compactedIndex = restored.compactedIndex;
    this.#compactedTerm = restored.compactedTerm;
    this.#appliedIndex = restored.appliedIndex;
    // What was applied was committed, even if the hard state that said so was not written yet.
    this.#commitIndex = Math.max(restored.hardState.commit, restored.appliedIndex);
    this.#persistedIndex = this.#compactedIndex + this.#entries.length;
    this.#unwrittenFrom = this.#persistedIndex + 1;
    assert(this.#appliedIndex >= this.#compactedIndex, "R7: applied index is below the compacted");
    assert(this.#commitIndex <= this.lastIndex, "R7: committed entries are missing from the log");
    let index = this.#compactedIndex;
    for (const entry of this.#entries) {
      index += 1;
      assert(entry.index === index, `R3: the restored log has a hole before ${entry.index}`);
    }
  }

  get compactedIndex(): LogIndex {
    return LogIndex(this.#compactedIndex);
  }

  get compactedTerm(): Term {
    return this.#compactedTerm;
  }

  get appliedIndex(): LogIndex {
    return LogIndex(this.#appliedIndex);
  }

  get commitIndex(): LogIndex {
    return LogIndex(this.#commitIndex);
  }

  get persistedIndex(): LogIndex {
    return LogIndex(this.#persistedIndex);
  }

  get lastIndex(): LogIndex {
    return LogIndex(this.#compactedIndex + this.#entries.length);
  }

  get lastTerm(): Term {
    return this.#entries.at(-1)?.term ?? this.#compactedTerm;
  }

  get hasUnwritten(): boolean {
    return this.#unwrittenFrom <= this.#compactedIndex + this.#entries.length;
  }

  get hasCommitted(): boolean {
    return this.#appliedIndex < this.#commitIndex;
  }

  /** Null for an index that is compacted away or not there yet. */
  termAt(index: number): Term | null {
    if (index === this.#compactedIndex) {
      return this.#compactedTerm;
    }
    return this.#entries[index - this.#compactedIndex - 1]?.term ?? null;
  }

  /** Whether the log holds, or did hold before compaction ended there, this entry. */
  matches(index: number, term: Term): boolean {
    return this.termAt(index) === term;
  }

  /** Whether a log that ends so may lead this one: by term first, then by length (Raft 5.4.1). */
  isUpToDate(lastIndex: LogIndex, lastTerm: Term): boolean {
    if (lastTerm !== this.lastTerm) {
      return lastTerm > this.lastTerm;
    }
    return lastIndex >= this.lastIndex;
  }

  /**
   * The largest index up to `index` whose term is not above `term`: where two logs can agree at best. Terms never fall along a log,
   * so the search halves. Ends at the compacted index.
   */
  findAgreement(index: number, term: Term): LogIndex {
    let low = this.#compactedIndex;
    let high = Math.min(index, this.lastIndex);
    if (high <= low) {
      return LogIndex(Math.min(index, low));
    }
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.termAt(middle) ?? 0) <= term) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return LogIndex(low);
  }

  /** Entries from `from` on, as many as fit into `bytesMax` of payload, but at least one if there is one. */
  slice(from: number, bytesMax: number): readonly Entry[] {
    const start = from - this.#compactedIndex - 1;
    assert(start >= 0, "the entries to send are compacted");
    let end = start;
    let bytes = 0;
    while (end < this.#entries.length) {
      bytes += this.#entries[end]?.payload.length ?? 0;
      if (bytes > bytesMax && end > start) {
        break;
      }
      end += 1;
    }
    return this.#entries.slice(start, end);
  }

  /** Entries `from` to `to`, both included, as far as they are in memory. */
  between(from: number, to: number): readonly Entry[] {
    const start = Math.max(0, from - this.#compactedIndex - 1);
    return this.#entries.slice(start, Math.max(start, to - this.#compactedIndex));
  }

  /** Payload bytes of the entries `from` to `to`, both included. */
  payloadBytes(from: number, to: number): number {
    let bytes = 0;
    for (let index = from; index <= to; index++) {
      bytes += this.#entries[index - this.#compactedIndex - 1]?.payload.length ?? 0;
    }
    return bytes;
  }

  /** Adds the leader's own next entry. */
  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, "R3: a leader's entry must follow its last one");
    assert(entry.term >= this.lastTerm, "R3: terms never fall along a log");
    this.#entries.push(entry);
  }

  /**
   * Takes over a leader's entries, which follow an entry that both logs have. Entries that are here already stay untouched: only a
   * real conflict cuts the log, or a delayed message would cut what was acknowledged since (Raft 5.3).
   */
  accept(entries: readonly Entry[]): void {
    for (let position = 0; position < entries.length; position++) {
      const entry = entries[position];
      if (entry === undefined || this.termAt(entry.index) === entry.term) {
        continue;
      }
      if (entry.index <= this.lastIndex) {
        this.#truncateFrom(entry.index);
      }
      for (let rest = position; rest < entries.length; rest++) {
        const next = entries[rest];
        if (next !== undefined) {
          this.#entries.push(next);
        }
      }
      return;
    }
  }

  commitTo(index: number): void {
    assert(index <= this.lastIndex, "R7: an entry that is not in the log cannot be committed");
    this.#commitIndex = Math.max(this.#commitIndex, index);
  }

  /** The next committed entries to apply; a config entry ends the list, because what follows it happens under other members. */
  takeCommitted(): readonly Entry[] {
    const start = this.#appliedIndex - this.#compactedIndex;
    const limit = Math.min(this.#commitIndex - this.#compactedIndex, start + committedEntriesMax);
    let end = start;
    while (end < limit) {
      end += 1;
      if (this.#entries[end - 1]?.type === "config") {
        break;
      }
    }
    this.#appliedIndex = this.#compactedIndex + end;
    return this.#entries.slice(start, end);
  }

  /** Whether a change of members is committed but not applied: this replica counts votes by an outdated list until it is. */
  hasUnappliedConfiguration(): boolean {
    for (let index = this.#appliedIndex + 1; index <= this.#commitIndex; index++) {
      if (this.#entries[index - this.#compactedIndex - 1]?.type === "config") {
        return true;
      }
    }
    return false;
  }

  /** Entries for the next write: all that no write has carried yet. */
  takeUnwritten(): readonly Entry[] {
    const entries = this.#entries.slice(this.#unwrittenFrom - this.#compactedIndex - 1);
    this.#unwrittenFrom = this.lastIndex + 1;
    return entries;
  }

  /** The outstanding write is durable: what it carried is, as far as it was not cut off meanwhile. */
  persistWritten(writtenTo: LogIndex): void {
    const durable = Math.min(writtenTo, this.#unwrittenFrom - 1);
    assert(durable >= this.#persistedIndex, "R4: durable entries must not be lost");
    this.#persistedIndex = durable;
  }

  /** Forgets entries up to `index`, which must be applied and durable. */
  compact(index: LogIndex): void {
    if (index <= this.#compactedIndex) {
      return;
    }
    assert(index <= this.#appliedIndex, "R8: only applied entries may be compacted");
    assert(index <= this.#persistedIndex, "R8: only durable entries may be compacted");
    const term = this.termAt(index);
    assert(term !== null, "R8: the compacted entry must be in the log");
    this.#entries = this.#entries.slice(index - this.#compactedIndex);
    this.#compactedIndex = index;
    this.#compactedTerm = term;
  }

  /** The log is empty after an installed snapshot. */
  reset(snapshot: SnapshotMetadata): void {
    assert(
      snapshot.index > this.#commitIndex,
      "R8: a snapshot must not take back what is committed",
    );
    this.#entries = [];
    this.#compactedIndex = snapshot.index;
    this.#compactedTerm = snapshot.term;
    this.#appliedIndex = snapshot.index;
    this.#commitIndex = snapshot.index;
    this.#persistedIndex = snapshot.index;
    this.#unwrittenFrom = snapshot.index + 1;
  }

  #truncateFrom(index: number): void {
    assert(index > this.#commitIndex, "R6: a committed entry must not be overwritten");
    this.#entries.length = index - this.#compactedIndex - 1;
    this.#persistedIndex = Math.min(this.#persistedIndex, index - 1);
    this.#unwrittenFrom = Math.min(this.#unwrittenFrom, index);
  }
}
