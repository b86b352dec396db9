import { Revision } from "../cluster/types.ts";
import type { ChangeEvent, KeyRecord, TtlChange } from "./commands.ts";
import { readContentType, writeContentType } from "./content-types.ts";
import type { DeadlineId, Deadlines } from "./deadlines.ts";
import { stateTable } from "./state-tables.ts";
import type { FoundRow, StateStore } from "./state-store.ts";
import { expectVersion, type ByteReader, type ByteWriter, decodeWith } from "./wire-codec.ts";

/** What the state holds of a key. */
export interface StoredRecord extends KeyRecord {
  /** Of the change that set the time to live; 0 when there is none. Tells one deadline of a key from the next. */
  readonly deadlineRevision: Revision;
}

/** A key as a command found it; good for one change. */
export interface FoundKey {
  readonly key: Uint8Array;
  readonly row: FoundRow;
  readonly record: StoredRecord | null;
}

/** New content of a key. */
export interface KeyChange {
  readonly value: Uint8Array;
  readonly contentType: string;
  readonly ttlMs: TtlChange;
  readonly revision: Revision;
}

/** The table of user keys with what hangs on it: deadlines, and the events that tell watchers of each change. */
export class KeyTable {
  readonly #store: StateStore;
  readonly #deadlines: Deadlines;
  #events: ChangeEvent[] = [];

  constructor(store: StateStore, deadlines: Deadlines) {
    this.#store = store;
    this.#deadlines = deadlines;
  }

  find(key: Uint8Array): FoundKey {
    const row = this.#store.find(stateTable.keys, key);
    const body = this.#store.body(row);
    return { key, row, record: body === null ? null : decodeStoredRecord(body) };
  }

  /** Writes the key and returns what it holds now. */
  put(found: FoundKey, change: KeyChange): StoredRecord {
    const { record: previous } = found;
    const { revision } = change;
    const keeps = change.ttlMs === "keep";
    const ttlMs = change.ttlMs === "keep" ? (previous?.ttlMs ?? null) : change.ttlMs;
    const record: StoredRecord = {
      value: change.value,
      contentType: change.contentType,
      createRevision: previous?.createRevision ?? revision,
      modRevision: revision,
      version: (previous?.version ?? 0) + 1,
      ttlMs,
      deadlineRevision: keeps
        ? (previous?.deadlineRevision ?? noRevision)
        : deadlineOf(ttlMs, revision),
    };
    this.#store.put(found.row, writeStoredRecord, record);
    if (!keeps) {
      this.#setDeadline(found.key, previous, record);
    }
    this.#events.push({ kind: "put", key: found.key, record, previous, revision });
    return record;
  }

  /** Sets the time to live and nothing else: no event, the key's mod revision stays. */
  touch(found: FoundKey, previous: StoredRecord, ttlMs: number | null, revision: Revision): void {
    const record = { ...previous, ttlMs, deadlineRevision: deadlineOf(ttlMs, revision) };
    this.#store.put(found.row, writeStoredRecord, record);
    this.#setDeadline(found.key, previous, record);
  }

  delete(found: FoundKey, kind: "delete" | "expire", revision: Revision): void {
    const { key, record: previous } = found;
    this.#store.delete(found.row);
    if (previous !== null && previous.ttlMs !== null) {
      this.#removeDeadline(key);
    }
    this.#events.push({ kind, key, record: null, previous, revision });
  }

  /** Less time is left than the state knows: a replica that restarts begins from there. */
  checkpoint(key: Uint8Array, revision: Revision, remainingMs: number): void {
    const row = this.#store.find(stateTable.deadlines, key);
    const body = this.#store.body(row);
    if (body === null) {
      return;
    }
    const known = decodeKeyDeadline(body);
    if (known.revision === revision && remainingMs < known.remainingMs) {
      this.#store.put(row, writeKeyDeadline, { ...known, remainingMs });
      this.#deadlines.tighten(deadlineId(key), remainingMs);
    }
  }

  /** Milliseconds left of a key that does not live for ever, by this replica's clock; at worst, all it began with. */
  remainingMs(key: Uint8Array, ttlMs: number): number {
    return this.#deadlines.remainingMs(deadlineId(key)) ?? ttlMs;
  }

  /** The changes since the last call, in order. */
  takeEvents(): readonly ChangeEvent[] {
    const events = this.#events;
    if (events.length > 0) {
      this.#events = [];
    }
    return events;
  }

  #setDeadline(key: Uint8Array, previous: StoredRecord | null, record: StoredRecord): void {
    const { ttlMs, deadlineRevision: revision } = record;
    if (ttlMs !== null) {
      const row = this.#store.find(stateTable.deadlines, key);
      this.#store.put(row, writeKeyDeadline, { ttlMs, remainingMs: ttlMs, revision });
      this.#deadlines.set(deadlineId(key), ttlMs, revision);
    } else if (previous !== null && previous.ttlMs !== null) {
      this.#removeDeadline(key);
    }
  }

  #removeDeadline(key: Uint8Array): void {
    this.#store.delete(this.#store.find(stateTable.deadlines, key));
    this.#deadlines.remove(deadlineId(key));
  }
}

function deadlineId(key: Uint8Array): DeadlineId {
  return { kind: "key", key, owner: "" };
}

const noRevision = Revision(0);

function deadlineOf(ttlMs: number | null, revision: Revision): Revision {
  return ttlMs === null ? noRevision : revision;
}

const version = 1;

/** version u8, content type, create, mod revision, version, ttl + 1 or 0, deadline revision if there is a ttl, then the value. */
function writeStoredRecord(writer: ByteWriter, record: StoredRecord): void {
  writer.u8(version);
  writeContentType(writer, record.contentType);
  writer.varuint(record.createRevision);
  writer.varuint(record.modRevision);
  writer.varuint(record.version);
  if (record.ttlMs === null) {
    writer.u8(0);
  } else {
    writer.varuint(record.ttlMs + 1);
    writer.varuint(record.deadlineRevision);
  }
  writer.raw(record.value);
}

/** The content of a row of the table of user keys. The value is a view. */
export function decodeStoredRecord(body: Uint8Array): StoredRecord {
  return decodeWith(readStoredRecord, body);
}

function readStoredRecord(reader: ByteReader): StoredRecord {
  expectVersion(reader, version, "the record of a key");
  const contentType = readContentType(reader);
  const createRevision = Revision(reader.varuint());
  const modRevision = Revision(reader.varuint());
  const changes = reader.varuint();
  const ttl = reader.varuint();
  const deadlineRevision = ttl === 0 ? noRevision : Revision(reader.varuint());
  return {
    value: reader.raw(reader.remaining),
    contentType,
    createRevision,
    modRevision,
    version: changes,
    ttlMs: ttl === 0 ? null : ttl - 1,
    deadlineRevision,
  };
}

/** What is left of a key's time to live, as the state knows it. */
export interface KeyDeadline {
  readonly revision: Revision;
  readonly ttlMs: number;
  readonly remainingMs: number;
}

/** version u8, deadline revision, ttl, remaining milliseconds. */
function writeKeyDeadline(writer: ByteWriter, deadline: KeyDeadline): void {
  writer.u8(version);
  writer.varuint(deadline.revision);
  writer.varuint(deadline.ttlMs);
  writer.varuint(deadline.remainingMs);
}

/** The content of a row of the table of deadlines. */
export function decodeKeyDeadline(body: Uint8Array): KeyDeadline {
  return decodeWith(readKeyDeadline, body);
}

function readKeyDeadline(reader: ByteReader): KeyDeadline {
  expectVersion(reader, version, "the deadline of a key");
  return {
    revision: Revision(reader.varuint()),
    ttlMs: reader.varuint(),
    remainingMs: reader.varuint(),
  };
}
