import type { LogVerdict } from "../cluster/multiraft/store.ts";
import type { Entry, ShardId } from "../cluster/types.ts";
import { LogIndex } from "../cluster/types.ts";
import { type Database, pairsOf } from "./database.ts";
import type { FoundChanges, LogChange, TurnChanges } from "./journal.ts";
import { decodeJournalRecord } from "./journal.ts";
import { JournalIndex } from "./journal-index.ts";
import { journalRange, turnOf } from "./keys.ts";
import type { ShardHead } from "./shard-head.ts";

/** One replica's log as the journal tells it. */
export interface FoundLog {
  readonly head: ShardHead;
  /** Contiguous from the compacted index to the recorded end when the verdict is `ok`. */
  readonly entries: readonly Entry[];
  readonly verdict: LogVerdict;
}

/** All that the journal says. */
export interface FoundJournal {
  /** Null: the replica is known, its head is not. */
  readonly logs: ReadonlyMap<ShardId, FoundLog | null>;
  readonly index: JournalIndex;
  /** Of the last turn; 0 when there is none. */
  readonly lastTurn: number;
  /** A turn in the middle is not there, or nobody can say what it did. */
  readonly isBroken: boolean;
}

/** Reads the journal from its oldest turn to its newest, as if all of it happened again. */
export async function replayJournal(
  database: Database,
  journalBytesMax: number,
): Promise<FoundJournal> {
  const index = new JournalIndex(journalBytesMax);
  const logs = new Map<ShardId, ReplayedLog>();
  let lastTurn = 0;
  let isBroken = false;
  for await (const [key, value] of pairsOf(database, journalRange)) {
    const turn = turnOf(key);
    const changes = decodeJournalRecord(key, value);
    isBroken ||= changes === null || (lastTurn > 0 && turn !== lastTurn + 1);
    lastTurn = turn;
    if (changes !== null) {
      replayTurn(logs, changes);
    }
    index.add(turn, value.length, readable(changes));
  }
  return {
    logs: new Map([...logs].map(([shard, log]) => [shard, log.found()])),
    index,
    lastTurn,
    isBroken,
  };
}

function replayTurn(logs: Map<ShardId, ReplayedLog>, changes: FoundChanges): void {
  for (const [shard, change] of changes) {
    if (change === null) {
      logs.delete(shard);
      continue;
    }
    const log = logs.get(shard) ?? new ReplayedLog();
    logs.set(shard, log);
    log.replay(change);
  }
}

/** A replica with a damaged change gets a new log, which forgets all that is known of its old one. */
function readable(changes: FoundChanges | null): TurnChanges {
  const found = new Map<ShardId, LogChange | null>();
  for (const [shard, change] of changes ?? []) {
    if (change !== "damaged") {
      found.set(shard, change);
    }
  }
  return found;
}

/** A log on its way through the journal. */
class ReplayedLog {
  #head: ShardHead | null = null;
  readonly #entries = new Map<number, Entry>();
  /** First index in doubt since a change could not be read. */
  #damagedFrom: LogIndex | null = null;

  replay(change: LogChange | "damaged"): void {
    if (change === "damaged") {
      this.#damagedFrom ??= LogIndex((this.#head?.lastIndex ?? 0) + 1);
      return;
    }
    const { head, isReset, appended, repeated } = change;
    const lastBefore = this.#head?.lastIndex ?? 0;
    if (isReset) {
      this.#entries.clear();
      this.#damagedFrom = null;
    }
    const [first] = appended;
    for (let cut = first?.index ?? lastBefore + 1; cut <= lastBefore; cut++) {
      this.#entries.delete(cut);
    }
    for (const entry of [...appended, ...repeated]) {
      this.#entries.set(entry.index, entry);
    }
    for (let gone = this.#head?.compactedIndex ?? 0; gone < head.compactedIndex; gone++) {
      this.#entries.delete(gone + 1);
    }
    this.#head = head;
  }

  found(): FoundLog | null {
    return this.#head === null ? null : this.#check(this.#head);
  }

  /** All entries from the snapshot to the recorded end: none missing, terms ascending up to the hard state's. */
  #check(head: ShardHead): FoundLog {
    const { compactedIndex, compactedTerm, lastIndex, hardState } = head;
    const entries: Entry[] = [];
    const result = (verdict: LogVerdict): FoundLog => ({ head, entries, verdict });
    if (this.#damagedFrom !== null) {
      return result({ type: "corrupt", index: this.#damagedFrom });
    }
    if (compactedTerm > hardState.term || compactedIndex > lastIndex) {
      return result({ type: "corrupt", index: compactedIndex });
    }
    let term = compactedTerm;
    for (let index = compactedIndex + 1; index <= lastIndex; index++) {
      const entry = this.#entries.get(index);
      if (entry === undefined) {
        return result({ type: "hole", index: LogIndex(index) });
      }
      if (entry.term < term || entry.term > hardState.term) {
        return result({ type: "corrupt", index: LogIndex(index) });
      }
      // Memory of its own: a view would keep all of its turn's record.
      entries.push({ ...entry, payload: new Uint8Array(entry.payload) });
      term = entry.term;
    }
    return result({ type: "ok" });
  }
}
