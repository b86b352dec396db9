import type { Entry, HardState, LogIndex, NodeId, SnapshotMetadata, Term } from "../types.ts";
import type { Message } from "./message.ts";

/**
 * All that the host has to do because of what went in since the last `ready()`. Beside it there is only what may wait: `commitNotices()`.
 *
 * The host, in this order:
 * 1. sends `messages` at once: a leader's replication runs beside its own disk write (thesis 10.2.1);
 * 2. applies `committed` in order, and answers `reads` whose index is applied;
 * 3. makes `write` durable, all of it in one atomic batch;
 * 4. then sends `write.messages` and calls `advance()`.
 *
 * One write is outstanding at a time: until `advance()`, further calls of `ready()` return `write: null` and may still return
 * messages, committed entries and reads. A host whose disk is busy with other groups asks with `ready(false)`: then there is no
 * write either, and what is to be written stays together for later.
 */
export interface Ready {
  readonly messages: readonly Message[];
  readonly committed: readonly Entry[];
  readonly reads: readonly ReadState[];
  readonly write: Write | null;
}

/** What must be on disk before anything that depends on it is said. */
export interface Write {
  /** Null when it did not change. A new commit index alone causes no write: it goes with the next one. */
  readonly hardState: HardState | null;
  /** Replaces the log from `entries[0].index` on: whatever was stored there and after is gone. */
  readonly entries: readonly Entry[];
  /** Replaces state and log; comes before `entries`. The bytes are already staged by the host. */
  readonly snapshot: SnapshotMetadata | null;
  /**
   * Whether the batch must be synced: true when it holds entries, a snapshot, or a new term or vote. A host may sync every batch, as
   * storage/ has to; the simulation of the core loses what need not be.
   */
  readonly mustSync: boolean;
  /**
   * Votes and append acknowledgements: promises that only this write makes true. Those that need no write, because what they promise is
   * durable already, are among `Ready.messages`.
   */
  readonly messages: readonly Message[];
}

/** The answer to `readIndex(context)`: a read at `index` or later is linearizable. Null: ask again, the leader could not confirm it. */
export interface ReadState {
  readonly context: number;
  readonly index: LogIndex | null;
}

/** What `propose` did. A refusal means that the proposal is certainly not in any log. */
export type ProposeResult =
  | { readonly type: "accepted"; readonly term: Term; readonly index: LogIndex }
  | {
      readonly type: "refused";
      readonly reason: "not_leader" | "transferring" | "uncommitted_full";
    };

/** What `proposeConfChange` did. `pending`: the previous change is not applied yet; `invalid`: it names impossible members. */
export type ConfChangeResult =
  | { readonly type: "accepted"; readonly term: Term; readonly index: LogIndex }
  | {
      readonly type: "refused";
      readonly reason: "not_leader" | "transferring" | "pending" | "invalid";
      readonly detail: string;
    };

/** Several changes at once. Targets are absolute: who shall vote, who shall learn; nobody else stays. */
export interface ConfChange {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
}

/** How the host learned that a peer cannot be reached. Only `gone` (its process closed or refused the connection) hastens an election. */
export type UnreachableEvidence = "gone" | "lost";
