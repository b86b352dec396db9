import type { LogIndex, Revision } from "../cluster/types.ts";
import type { KeyRecord, LockView } from "./commands.ts";

/** A read of one shard. Binary form: storage/query-codec.ts. */
export type Query =
  | { readonly type: "get"; readonly key: Uint8Array }
  | GetManyQuery
  | ScanQuery
  | { readonly type: "lock"; readonly lock: Uint8Array }
  | { readonly type: "locks"; readonly prefix: Uint8Array; readonly limit: number };

/** Several keys at one moment, in their order, up to the first whose value would make it more than `bytesMax` bytes of values: that is perhaps none. */
export interface GetManyQuery {
  readonly type: "get_many";
  readonly keys: readonly Uint8Array[];
  readonly bytesMax: number;
}

/** Keys in `[start, end)` in byte order; `end` null: to the last. Stops at `limit` keys or `bytesMax` bytes of keys and values, but gives at least one. */
export interface ScanQuery {
  readonly type: "scan";
  readonly start: Uint8Array;
  readonly end: Uint8Array | null;
  readonly limit: number;
  readonly bytesMax: number;
  readonly keysOnly: boolean;
}

/** A record with what this replica knows of its remaining time. */
export interface LiveRecord extends KeyRecord {
  /** Milliseconds left by this replica's own clock; null: does not expire. */
  readonly expiresInMs: number | null;
}

/** One key of a scan. */
export interface ScanItem {
  readonly key: Uint8Array;
  /** With `keysOnly`, `value` is empty. */
  readonly record: LiveRecord;
}

/** Says as of when an answer is true: after the entry at `appliedIndex`, which left the shard at `revision`. */
export interface AsOf {
  readonly revision: Revision;
  readonly appliedIndex: LogIndex;
}

/** The answer to a query has its type. */
export type QueryResult = AsOf &
  (
    | { readonly type: "get"; readonly record: LiveRecord | null }
    /** Of the asked keys in their order; fewer when `bytesMax` was reached. */
    | { readonly type: "get_many"; readonly records: readonly (LiveRecord | null)[] }
    | {
        readonly type: "scan";
        readonly items: readonly ScanItem[];
        /** Whether keys follow in the range after the last item. */
        readonly more: boolean;
      }
    | { readonly type: "lock"; readonly lock: LockView }
    | {
        readonly type: "locks";
        readonly locks: readonly { readonly name: Uint8Array; readonly lock: LockView }[];
      }
  );
