import type {
  Configuration,
  Entry,
  HardState,
  NodeId,
  SnapshotMetadata,
} from "../../cluster/types.ts";
import { LogIndex, Term } from "../../cluster/types.ts";
import { check } from "./failure.ts";
import type { Prng } from "./prng.ts";

/** What a state machine has become: enough to tell two of them apart. */
export interface AppliedState {
  readonly index: LogIndex;
  /** Of the entry at `index`. */
  readonly term: Term;
  /** Hash over everything that was applied. */
  readonly digest: number;
  readonly configuration: Configuration;
}

/** One atomic write. */
export interface Batch {
  readonly hardState: HardState | null;
  readonly snapshot: { readonly metadata: SnapshotMetadata; readonly state: AppliedState } | null;
  readonly entries: readonly Entry[];
  readonly applied: AppliedState | null;
  /** Forget the log up to here. */
  readonly compactTo: { readonly index: LogIndex; readonly term: Term } | null;
}

export const noMembers: Configuration = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

/**
 * A node's disk, as a power cut leaves it. Batches are written in order to one sequential log (as LevelDB's): a synced batch
 * makes everything before it durable too, and a crash keeps some beginning of what was not synced.
 */
export class Disk {
  readonly id: NodeId;
  hardState: HardState = { term: Term(0), vote: null, commit: LogIndex(0) };
  compactedIndex: LogIndex = LogIndex(0);
  compactedTerm: Term = Term(0);
  entries: Entry[] = [];
  applied: AppliedState;
  isQuarantined = false;
  /** How often the data directory was lost. */
  wipes = 0;
  /** What was on the disk that was lost last. */
  #lost: Disk | null = null;
  /** Written, not synced. */
  #unsynced: Batch[] = [];

  constructor(id: NodeId, configuration: Configuration) {
    this.id = id;
    this.applied = { index: LogIndex(0), term: Term(0), digest: 0, configuration };
  }

  get lastIndex(): number {
    return this.compactedIndex + this.entries.length;
  }

  /** Term of a durable entry; null when it is not there. */
  termAt(index: number): Term | null {
    if (index === this.compactedIndex) {
      return this.compactedTerm;
    }
    return this.entries[index - this.compactedIndex - 1]?.term ?? null;
  }

  /**
   * Whether the entry is durable here, in the log or in the state that replaced it. While quarantined: whether it was before the disk was
   * lost. Then its acknowledgement counts, because who is quarantined helps nobody to be elected without the entry.
   */
  holds(index: number, term: number): boolean {
    const disk = this.isQuarantined && this.#lost !== null ? this.#lost : this;
    return index < disk.compactedIndex || disk.termAt(index) === term;
  }

  /** Written but not synced: it is there unless the power fails. */
  write(batch: Batch): void {
    this.#unsynced.push(batch);
  }

  /** Everything written so far is durable. */
  sync(): void {
    for (const batch of this.#unsynced) {
      this.#apply(batch);
    }
    this.#unsynced = [];
  }

  /** The power fails: of what was not synced a random beginning survives, often nothing. */
  crash(random: Prng): void {
    const kept = random.chance(0.5) ? 0 : random.between(0, this.#unsynced.length);
    this.#unsynced.length = kept;
    this.sync();
  }

  /** A replica of a running group begins here, as one that only listens. */
  create(members: Configuration): void {
    this.applied = { ...this.applied, configuration: asLearner(members, this.id) };
  }

  /**
   * The log is lost, by a hole that opening has found (`isTotal` false), or with it the whole data directory. Whoever opens or creates it
   * knows that much: the replica is quarantined.
   */
  wipe(members: Configuration, isTotal: boolean): void {
    if (!this.isQuarantined) {
      this.#lost = new Disk(this.id, noMembers);
      this.#lost.compactedIndex = this.compactedIndex;
      this.#lost.compactedTerm = this.compactedTerm;
      this.#lost.entries = this.entries;
    }
    const { term, vote } = this.hardState;
    this.hardState = isTotal
      ? { term: Term(0), vote: null, commit: LogIndex(0) }
      : { term, vote, commit: LogIndex(0) };
    this.compactedIndex = LogIndex(0);
    this.compactedTerm = Term(0);
    this.entries = [];
    const configuration = asLearner(members, this.id);
    this.applied = { index: LogIndex(0), term: Term(0), digest: 0, configuration };
    this.isQuarantined = true;
    this.wipes += 1;
    this.#unsynced = [];
  }

  #apply(batch: Batch): void {
    const { hardState, snapshot, entries, applied, compactTo } = batch;
    if (snapshot !== null) {
      const { index, term, configuration } = snapshot.metadata;
      check(
        !this.isQuarantined || configuration.learners.includes(this.id),
        "quarantined-is-silent",
        () => `${this.id} leaves quarantine under ${JSON.stringify(configuration)}`,
      );
      this.compactedIndex = index;
      this.compactedTerm = term;
      this.entries = [];
      this.applied = snapshot.state;
      this.isQuarantined = false;
    }
    if (hardState !== null) {
      this.#setHardState(hardState);
    }
    const first = entries[0];
    if (first !== undefined) {
      const kept = first.index - this.compactedIndex - 1;
      check(kept >= 0 && kept <= this.entries.length, "log-contiguous", () => {
        return `${this.id} writes ${first.index} to a log of (${this.compactedIndex}, ${this.lastIndex}]`;
      });
      this.entries.length = kept;
      this.entries.push(...entries);
    }
    if (applied !== null && applied.index > this.applied.index) {
      this.applied = applied;
    }
    if (compactTo !== null) {
      this.#compact(compactTo.index, compactTo.term);
    }
    check(this.hardState.commit <= this.lastIndex, "commit-durable", () => {
      return `${this.id} stores commit ${this.hardState.commit} beyond its log ${this.lastIndex}`;
    });
  }

  #setHardState(next: HardState): void {
    const { term, vote, commit } = this.hardState;
    check(
      next.term >= term,
      "term-monotonic",
      () => `${this.id} stores ${next.term} after ${term}`,
    );
    check(next.commit >= commit, "commit-monotonic", () => {
      return `${this.id} stores commit ${next.commit} after ${commit}`;
    });
    check(next.term > term || vote === null || next.vote === vote, "one-vote-per-term", () => {
      return `${this.id} stores a vote for ${next.vote} after ${vote} in term ${term}`;
    });
    this.hardState = next;
  }

  #compact(index: LogIndex, term: Term): void {
    check(index <= this.applied.index, "compaction-behind-applied", () => {
      return `${this.id} compacts ${index} with durable state ${this.applied.index}`;
    });
    if (index > this.compactedIndex) {
      this.entries.splice(0, index - this.compactedIndex);
      this.compactedIndex = index;
      this.compactedTerm = term;
    }
  }
}

function asLearner(members: Configuration, id: NodeId): Configuration {
  const voters = members.voters.filter((voter) => voter !== id);
  const others = voters.length > 0 ? voters : members.voters;
  return { ...noMembers, voters: others, learners: others.includes(id) ? [] : [id] };
}
