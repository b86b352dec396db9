import type { Revision } from "../cluster/types.ts";

/**
 * What a client wants done to one shard. Every command works on keys of one shard and is applied atomically.
 * Keys and values are raw bytes. Binary form: storage/command-codec.ts.
 */
export type Command =
  | PutCommand
  | DeleteCommand
  | IncrementCommand
  | AppendCommand
  | TouchCommand
  | TransactionCommand
  | LockAcquireCommand
  | LockKeepAliveCommand
  | LockReleaseCommand
  | ExpireCommand
  | TtlCheckpointCommand;

/** Precondition on one key, evaluated when the command is applied. */
export type Condition =
  /** If-None-Match: * */
  | { readonly type: "absent" }
  /** If-Match: * */
  | { readonly type: "present" }
  /** If-Match: "revision" (one of them) */
  | { readonly type: "revision_in"; readonly revisions: readonly Revision[] }
  /** If-None-Match: "revision": the key is absent or has none of these */
  | { readonly type: "revision_not_in"; readonly revisions: readonly Revision[] };

/** The write counts only while `lock` is held under `token` (Flotilla-Fence: lock=token). The lock must live in the key's shard. */
export interface Fence {
  readonly lock: Uint8Array;
  readonly token: Revision;
}

/**
 * Milliseconds to live from the moment of apply; `keep` leaves the current deadline alone (a key that did not exist lives for ever);
 * null: for ever.
 */
export type TtlChange = number | "keep" | null;

/** Replaces the value, its content type and, unless told to keep it, the time to live. */
export interface PutCommand {
  readonly type: "put";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly contentType: string;
  readonly ttlMs: TtlChange;
  readonly condition: Condition | null;
  readonly fence: Fence | null;
  readonly wantPrevious: boolean;
}

/** Removes the key; `deleted: false` when there was none. */
export interface DeleteCommand {
  readonly type: "delete";
  readonly key: Uint8Array;
  readonly condition: Condition | null;
  readonly fence: Fence | null;
  readonly wantPrevious: boolean;
}

/** Adds to a decimal integer of up to `numberDigitsMax` digits; an absent key counts as 0 and becomes `text/plain`. */
export interface IncrementCommand {
  readonly type: "increment";
  readonly key: Uint8Array;
  readonly by: bigint;
  readonly ttlMs: TtlChange;
  readonly condition: Condition | null;
  readonly fence: Fence | null;
}

/**
 * Adds bytes at the end of the value; an absent key counts as empty and gets `contentType`, an existing one keeps its own. Refused when
 * the value would exceed `valueBytesMax`.
 */
export interface AppendCommand {
  readonly type: "append";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly valueBytesMax: number;
  readonly contentType: string;
  readonly ttlMs: TtlChange;
  readonly condition: Condition | null;
  readonly fence: Fence | null;
}

/** Sets the time to live without touching value, version or mod revision. */
export interface TouchCommand {
  readonly type: "touch";
  readonly key: Uint8Array;
  readonly ttlMs: number | null;
  readonly condition: Condition | null;
  readonly fence: Fence | null;
}

/** Longest decimal integer that increment works on, and longest `by`: keeps big arithmetic cheap. A sign does not count. */
export const numberDigitsMax = 4096;

/** What of a key is compared. */
export type CompareTarget = "value" | "version" | "create_revision" | "mod_revision" | "exists";
/** How the present must stand to the operand. */
export type CompareOperator = "equal" | "not_equal" | "less" | "greater";

/** One assumption of a transaction. */
export interface Compare {
  readonly key: Uint8Array;
  readonly target: CompareTarget;
  readonly operator: CompareOperator;
  /**
   * Bytes for `value`, compared byte by byte; a number >= 0 for versions and revisions; 1 or 0 for `exists`. An absent key has version
   * and revisions 0, and no value compare but `not_equal` holds for it.
   */
  readonly operand: Uint8Array | number;
}

/** One step of a transaction. */
export type TransactionOperation =
  { readonly type: "get"; readonly key: Uint8Array } | PutCommand | DeleteCommand;

/**
 * All compares hold: `success` runs, else `failure`. Operations run in order and see what those before them did; all changes have one
 * revision. Conditions and fences of the operations in the branch that runs are judged before any of them: if one fails, nothing is
 * changed and its `condition_failed` or `lock_lost` is the result of the whole transaction. So is `value_too_large`, when the values that
 * the branch would answer with are more than every replica allows (storage/state-limits.ts).
 */
export interface TransactionCommand {
  readonly type: "transaction";
  readonly compares: readonly Compare[];
  readonly success: readonly TransactionOperation[];
  readonly failure: readonly TransactionOperation[];
}

/**
 * Longest value of a lock. A lock and its whole queue are one row, rewritten with every ask: this bounds it. Part of the state machine's
 * definition: the same on every replica.
 */
export const lockValueBytesMax = 4096;

/**
 * Takes the lock, or queues up for it. `owner` identifies the contender: asking again with the same owner answers with its present
 * state (same token, same place) and starts its time to live anew. A queued contender's place expires with its own ttl unless it asks
 * again. A full queue answers `lock_busy`, a longer value than `lockValueBytesMax` gets `value_too_large`.
 */
export interface LockAcquireCommand {
  readonly type: "lock_acquire";
  readonly lock: Uint8Array;
  readonly owner: string;
  /** Free text shown to others: who leads, where. */
  readonly value: Uint8Array;
  readonly ttlMs: number;
  /** False: do not queue, only try. */
  readonly wait: boolean;
}

/** Starts the holder's time to live anew; refused as `lock_lost` for anybody but the holder under its token. */
export interface LockKeepAliveCommand {
  readonly type: "lock_keep_alive";
  readonly lock: Uint8Array;
  readonly owner: string;
  readonly token: Revision;
  readonly ttlMs: number;
}

/**
 * Lets go of the lock. With `token` null: leaves the queue, and lets go also when the lock was handed over meanwhile; never fails.
 * The next in the queue holds the lock at once.
 */
export interface LockReleaseCommand {
  readonly type: "lock_release";
  readonly lock: Uint8Array;
  readonly owner: string;
  readonly token: Revision | null;
}

/**
 * Proposed by a leader whose own deadline for the key, lock holder or queue place has passed, and for a contender that gives up its
 * place. Does nothing when the record has changed its deadline since (`deadlineRevision` tells which deadline is meant: the revision of
 * the outcome that began it).
 */
export interface ExpireCommand {
  readonly type: "expire";
  readonly kind: "key" | "lock_holder" | "lock_waiter";
  readonly key: Uint8Array;
  readonly owner: string;
  readonly deadlineRevision: Revision;
}

/** Records how much time is left, so that a restarted replica does not begin from the full time to live. */
export interface TtlCheckpointCommand {
  readonly type: "ttl_checkpoint";
  readonly remaining: readonly {
    readonly kind: "key" | "lock_holder" | "lock_waiter";
    readonly key: Uint8Array;
    readonly owner: string;
    readonly deadlineRevision: Revision;
    readonly remainingMs: number;
  }[];
}

/**
 * Who asks, so that a retry is applied once. Sequences of a session grow per shard; everything below `ackedBelow` has been answered and
 * may be forgotten. (Client sessions of the Raft paper, section 8, with the window made explicit.)
 */
export interface RequestId {
  /** The asking node's start: `nodeId/incarnation`. */
  readonly session: string;
  readonly sequence: number;
  readonly ackedBelow: number;
}

/** A client's own Idempotency-Key and a hash of what it asked for: the same key with another request is refused. */
export interface IdempotencyKey {
  readonly key: string;
  readonly fingerprint: string;
}

/** One command with what makes its retry safe. */
export interface CommandEnvelope {
  readonly request: RequestId | null;
  readonly idempotency: IdempotencyKey | null;
  readonly command: Command;
}

/** What is known of a key besides its value. */
export interface KeyMetadata {
  readonly contentType: string;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** Count of changes since it was created; 1 for a new key. */
  readonly version: number;
  /** As last set; null: does not expire. */
  readonly ttlMs: number | null;
}

/** What a key holds. */
export interface KeyRecord extends KeyMetadata {
  readonly value: Uint8Array;
}

/** What anybody may know of a lock. */
export interface LockView {
  readonly holder: LockParty | null;
  /** In the order in which they will hold it. */
  readonly waiters: readonly LockParty[];
}

/** Who holds a lock or waits for it. */
export interface LockParty {
  readonly owner: string;
  readonly value: Uint8Array;
  readonly ttlMs: number;
  /** Fencing token of the holder; 0 for a waiter. */
  readonly token: Revision;
}

/** What applying a command did. `replayed`: this is the first outcome again, the retry changed nothing. */
export interface CommandOutcome {
  readonly result: CommandResult;
  /** The shard's revision after the command. */
  readonly revision: Revision;
  readonly replayed: boolean;
}

/**
 * What a command did, or why it did nothing. `revision` of a result is the key's mod revision afterwards; where nothing was there
 * (a delete without effect, a transaction without changes) it is the shard's.
 */
export type CommandResult =
  | {
      readonly type: "put";
      readonly created: boolean;
      readonly revision: Revision;
      readonly version: number;
      readonly previous: KeyRecord | null;
    }
  | {
      readonly type: "delete";
      readonly deleted: boolean;
      readonly revision: Revision;
      readonly previous: KeyRecord | null;
    }
  /** increment and append */
  | {
      readonly type: "update";
      readonly created: boolean;
      readonly revision: Revision;
      readonly version: number;
      /** The new value for increment, its length in decimal for append. */
      readonly value: Uint8Array;
    }
  | { readonly type: "touch"; readonly revision: Revision; readonly ttlMs: number | null }
  | {
      readonly type: "transaction";
      readonly succeeded: boolean;
      readonly revision: Revision;
      readonly results: readonly TransactionOperationResult[];
    }
  | { readonly type: "lock_held"; readonly token: Revision; readonly ttlMs: number }
  | {
      readonly type: "lock_queued";
      /** 1 = next. */
      readonly position: number;
      readonly holder: LockParty;
    }
  | { readonly type: "lock_busy"; readonly holder: LockParty; readonly waiters: number }
  | { readonly type: "lock_released" }
  | { readonly type: "condition_failed"; readonly current: KeyMetadata | null }
  /** touch of a key that is not there */
  | { readonly type: "not_found" }
  /** increment of a value that is not a decimal integer of at most `numberDigitsMax` digits */
  | { readonly type: "not_a_number" }
  | { readonly type: "value_too_large"; readonly bytesMax: number }
  | { readonly type: "lock_lost"; readonly holder: LockParty | null }
  /** Same Idempotency-Key, other request. */
  | { readonly type: "idempotency_mismatch" }
  /** The request's sequence lies below its session's window: it was answered, or given up, before. */
  | { readonly type: "stale_request" }
  /** A retry of a request that was applied, but whose answer was too large to keep. */
  | { readonly type: "answer_not_kept" }
  /** expire and ttl_checkpoint */
  | { readonly type: "done" };

/** What one step of a transaction did or read. */
export type TransactionOperationResult =
  | { readonly type: "get"; readonly record: KeyRecord | null }
  | {
      readonly type: "put";
      readonly created: boolean;
      readonly version: number;
      readonly previous: KeyRecord | null;
    }
  | { readonly type: "delete"; readonly deleted: boolean; readonly previous: KeyRecord | null };

/** One change that an entry made, for watchers, in the order of apply. */
export interface ChangeEvent {
  readonly kind: "put" | "delete" | "expire";
  readonly key: Uint8Array;
  /** Null for delete and expire. */
  readonly record: KeyRecord | null;
  readonly previous: KeyRecord | null;
  readonly revision: Revision;
}
