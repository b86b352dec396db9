import { unreachable } from "../cluster/assert.ts";
import type { LockView } from "./commands.ts";
import { decodeStoredRecord, type KeyTable, type StoredRecord } from "./key-table.ts";
import { successor } from "./keys.ts";
import { decodeStoredLock, lockView, type LockTable } from "./locks.ts";
import type {
  AsOf,
  GetManyQuery,
  LiveRecord,
  Query,
  QueryResult,
  ScanItem,
  ScanQuery,
} from "./queries.ts";
import type { StateRow } from "./state-scan.ts";
import { stateTable } from "./state-tables.ts";
import type { StateStore } from "./state-store.ts";

/** What reads look at. */
export interface KeyQueriesOptions {
  readonly store: StateStore;
  readonly keys: KeyTable;
  readonly locks: LockTable;
}

/** Answers reads of one shard as of the moment at which they are asked. Point reads are synchronous. */
export class KeyQueries {
  readonly #store: StateStore;
  readonly #keys: KeyTable;
  readonly #locks: LockTable;

  constructor(options: KeyQueriesOptions) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#locks = options.locks;
  }

  get(key: Uint8Array): LiveRecord | null {
    const { record } = this.#keys.find(key);
    return record === null ? null : this.#live(key, record);
  }

  query(query: Query): QueryResult | Promise<QueryResult> {
    switch (query.type) {
      case "get":
        return { type: "get", record: this.get(query.key), ...this.#asOf() };
      case "get_many":
        return this.#getMany(query);
      case "scan":
        return this.#scan(query);
      case "lock":
        return { type: "lock", lock: this.#locks.view(query.lock), ...this.#asOf() };
      case "locks":
        return this.#listLocks(query.prefix, query.limit);
      default:
        return unreachable(query);
    }
  }

  #getMany({ keys, bytesMax }: GetManyQuery): QueryResult {
    const records: (LiveRecord | null)[] = [];
    let bytes = 0;
    for (const key of keys) {
      const record = this.get(key);
      bytes += record?.value.length ?? 0;
      if (bytes > bytesMax) {
        break;
      }
      records.push(record);
    }
    return { type: "get_many", records, ...this.#asOf() };
  }

  async #scan(query: ScanQuery): Promise<QueryResult> {
    const { start, end, limit, bytesMax, keysOnly } = query;
    const asOf = this.#asOf();
    const items: ScanItem[] = [];
    if (end !== null && Buffer.compare(start, end) >= 0) {
      return { type: "scan", items, more: false, ...asOf };
    }
    let bytes = 0;
    const more = await this.#eachRow({ table: stateTable.keys, start, end, limit }, (row) => {
      const item = this.#item(row, keysOnly);
      bytes += item.key.length + item.record.value.length;
      const fits = items.length === 0 || (items.length < limit && bytes <= bytesMax);
      if (fits) {
        items.push(item);
      }
      return fits;
    });
    return { type: "scan", items, more, ...asOf };
  }

  async #listLocks(prefix: Uint8Array, limit: number): Promise<QueryResult> {
    const asOf = this.#asOf();
    const locks: { readonly name: Uint8Array; readonly lock: LockView }[] = [];
    const end = endOfPrefix(prefix);
    await this.#eachRow({ table: stateTable.locks, start: prefix, end, limit }, (row) => {
      const fits = locks.length < limit;
      if (fits) {
        locks.push({ name: row.key, lock: lockView(decodeStoredLock(row.body)) });
      }
      return fits;
    });
    return { type: "locks", locks, ...asOf };
  }

  /** Hands rows to `take` in order until it refuses one: true then, false when the range has ended. */
  async #eachRow(
    range: {
      readonly table: number;
      readonly start: Uint8Array;
      readonly end: Uint8Array | null;
      readonly limit: number;
    },
    take: (row: StateRow) => boolean,
  ): Promise<boolean> {
    const scan = this.#store.scan(range.table, range.start, range.end);
    try {
      for (;;) {
        const rows = await scan.next(Math.min(rowsPerStep, range.limit + 1));
        if (rows.length === 0) {
          return false;
        }
        for (const row of rows) {
          if (!take(row)) {
            return true;
          }
        }
      }
    } finally {
      await scan.close();
    }
  }

  #item({ key, body }: StateRow, keysOnly: boolean): ScanItem {
    const record = decodeStoredRecord(body);
    return { key, record: this.#live(key, keysOnly ? { ...record, value: noBytes } : record) };
  }

  #live(key: Uint8Array, record: StoredRecord): LiveRecord {
    const { value, contentType, createRevision, modRevision, version, ttlMs } = record;
    const expiresInMs = ttlMs === null ? null : this.#keys.remainingMs(key, ttlMs);
    return { value, contentType, createRevision, modRevision, version, ttlMs, expiresInMs };
  }

  #asOf(): AsOf {
    return { revision: this.#store.revision, appliedIndex: this.#store.appliedIndex };
  }
}

/** One trip to the database for the usual limits, and one row more tells whether any follow. The database bounds a step in bytes. */
const rowsPerStep = 1024;
const noBytes = new Uint8Array(0);

/** The end of the range of keys that begin with `prefix`; null when it is the table's end. */
function endOfPrefix(prefix: Uint8Array): Uint8Array | null {
  return prefix.every((byte) => byte === 0xff) ? null : successor(prefix);
}
