import { Revision } from "../cluster/types.ts";
import {
  lockValueBytesMax,
  type CommandResult,
  type Fence,
  type LockAcquireCommand,
  type LockKeepAliveCommand,
  type LockParty,
  type LockReleaseCommand,
  type LockView,
} from "./commands.ts";
import type { Deadlines } from "./deadlines.ts";
import { stateTable } from "./state-tables.ts";
import type { FoundRow, StateStore } from "./state-store.ts";
import {
  type ByteReader,
  type ByteWriter,
  decodeWith,
  expectVersion,
  readList,
  writeList,
} from "./wire-codec.ts";

/** Places in the queue of one lock. Part of the state machine's definition: the same on every replica. */
export const lockWaitersMax = 1000;

/** A holder or waiter as the state holds it. */
export interface StoredParty extends LockParty {
  /** Of the command that began the party's time to live. */
  readonly deadlineRevision: Revision;
  /** As of the last checkpoint. */
  readonly remainingMs: number;
}

/** A lock that is held. A free lock has no row. */
export interface StoredLock {
  readonly holder: StoredParty;
  readonly waiters: readonly StoredParty[];
}

interface FoundLock {
  readonly name: Uint8Array;
  readonly row: FoundRow;
  readonly lock: StoredLock | null;
}

/** What locks work on. */
export interface LockTableOptions {
  readonly store: StateStore;
  readonly deadlines: Deadlines;
  /** The revision of the running command's change. */
  readonly nextRevision: () => Revision;
}

/**
 * Locks with a fair queue, all of a lock in one row. A token is the revision at which its holder got the lock: revisions of a shard
 * only grow, so tokens do, also when the row of the lock has been gone in between.
 */
export class LockTable {
  readonly #store: StateStore;
  readonly #deadlines: Deadlines;
  readonly #nextRevision: () => Revision;

  constructor(options: LockTableOptions) {
    this.#store = options.store;
    this.#deadlines = options.deadlines;
    this.#nextRevision = options.nextRevision;
  }

  acquire(command: LockAcquireCommand): CommandResult {
    const { owner, value, ttlMs } = command;
    if (value.length > lockValueBytesMax) {
      return { type: "value_too_large", bytesMax: lockValueBytesMax };
    }
    const found = this.#find(command.lock);
    const { lock } = found;
    if (lock === null) {
      const holder = this.#handOver(found.name, { owner, value, ttlMs });
      this.#put(found, { holder, waiters: [] });
      return { type: "lock_held", token: holder.token, ttlMs };
    }
    if (lock.holder.owner === owner) {
      const holder = this.#renewed(found.name, "lock_holder", { ...lock.holder, value, ttlMs });
      this.#put(found, { ...lock, holder });
      return { type: "lock_held", token: holder.token, ttlMs };
    }
    const place = lock.waiters.findIndex((waiter) => waiter.owner === owner);
    if (place < 0 && (!command.wait || lock.waiters.length >= lockWaitersMax)) {
      return { type: "lock_busy", holder: viewOf(lock.holder), waiters: lock.waiters.length };
    }
    const waiter = this.#renewed(found.name, "lock_waiter", {
      owner,
      value,
      ttlMs,
      token: noToken,
    });
    const waiters = place < 0 ? [...lock.waiters, waiter] : lock.waiters.with(place, waiter);
    this.#put(found, { ...lock, waiters });
    const position = place < 0 ? waiters.length : place + 1;
    return { type: "lock_queued", position, holder: viewOf(lock.holder) };
  }

  keepAlive(command: LockKeepAliveCommand): CommandResult {
    const { owner, token, ttlMs } = command;
    const found = this.#find(command.lock);
    const { lock } = found;
    if (lock === null || lock.holder.owner !== owner || lock.holder.token !== token) {
      return lost(lock);
    }
    const holder = this.#renewed(found.name, "lock_holder", { ...lock.holder, ttlMs });
    this.#put(found, { ...lock, holder });
    return { type: "lock_held", token, ttlMs };
  }

  release(command: LockReleaseCommand): CommandResult {
    const { owner, token } = command;
    const found = this.#find(command.lock);
    const { lock } = found;
    const isHolder = lock !== null && lock.holder.owner === owner;
    if (isHolder && (token === null || lock.holder.token === token)) {
      this.#nextHolder(found, lock);
    } else if (token !== null) {
      return lost(lock);
    } else if (lock !== null) {
      this.#leaveQueue(found, lock, owner);
    }
    return { type: "lock_released" };
  }

  /** The holder's or a waiter's time is over, unless it has been renewed since. */
  expire(
    kind: "lock_holder" | "lock_waiter",
    name: Uint8Array,
    owner: string,
    revision: Revision,
  ): void {
    const found = this.#find(name);
    const party = partyOf(found.lock, kind, owner);
    if (found.lock === null || party?.deadlineRevision !== revision) {
      this.#deadlines.removeStale({ kind, key: name, owner }, revision);
    } else if (kind === "lock_holder") {
      this.#nextHolder(found, found.lock);
    } else {
      this.#leaveQueue(found, found.lock, owner);
    }
  }

  /** Less time is left than the state knows. */
  checkpoint(options: {
    readonly kind: "lock_holder" | "lock_waiter";
    readonly name: Uint8Array;
    readonly owner: string;
    readonly revision: Revision;
    readonly remainingMs: number;
  }): void {
    const { kind, name, owner, remainingMs } = options;
    const found = this.#find(name);
    const { lock } = found;
    const party = partyOf(lock, kind, owner);
    const isMeant = party?.deadlineRevision === options.revision;
    if (lock === null || party === null || !isMeant || remainingMs >= party.remainingMs) {
      return;
    }
    const changed = { ...party, remainingMs };
    const next =
      kind === "lock_holder"
        ? { ...lock, holder: changed }
        : { ...lock, waiters: lock.waiters.map((waiter) => (waiter === party ? changed : waiter)) };
    this.#put(found, next);
    this.#deadlines.tighten({ kind, key: name, owner }, remainingMs);
  }

  /** Null when the fence holds, else the answer to the command that it guards. */
  refusal(fence: Fence | null): CommandResult | null {
    if (fence === null) {
      return null;
    }
    const { lock } = this.#find(fence.lock);
    return lock?.holder.token === fence.token ? null : lost(lock);
  }

  view(name: Uint8Array): LockView {
    return lockView(this.#find(name).lock);
  }

  #find(name: Uint8Array): FoundLock {
    const row = this.#store.find(stateTable.locks, name);
    const body = this.#store.body(row);
    return { name, row, lock: body === null ? null : decodeStoredLock(body) };
  }

  #put(found: FoundLock, lock: StoredLock): void {
    this.#store.put(found.row, writeStoredLock, lock);
  }

  /** The party with a new token and all of its time, which begins now. */
  #handOver(name: Uint8Array, party: Pick<LockParty, "owner" | "value" | "ttlMs">): StoredParty {
    const revision = this.#nextRevision();
    return this.#started(name, "lock_holder", { ...party, token: revision }, revision);
  }

  #renewed(name: Uint8Array, kind: "lock_holder" | "lock_waiter", party: LockParty): StoredParty {
    return this.#started(name, kind, party, this.#nextRevision());
  }

  #started(
    name: Uint8Array,
    kind: "lock_holder" | "lock_waiter",
    party: LockParty,
    deadlineRevision: Revision,
  ): StoredParty {
    const { owner, ttlMs } = party;
    this.#deadlines.set({ kind, key: name, owner }, ttlMs, deadlineRevision);
    return { ...party, deadlineRevision, remainingMs: ttlMs };
  }

  #nextHolder(found: FoundLock, lock: StoredLock): void {
    const { name } = found;
    this.#deadlines.remove({ kind: "lock_holder", key: name, owner: lock.holder.owner });
    const [next, ...waiters] = lock.waiters;
    if (next === undefined) {
      this.#nextRevision();
      this.#store.delete(found.row);
      return;
    }
    this.#deadlines.remove({ kind: "lock_waiter", key: name, owner: next.owner });
    this.#put(found, { holder: this.#handOver(name, next), waiters });
  }

  #leaveQueue(found: FoundLock, lock: StoredLock, owner: string): void {
    const waiters = lock.waiters.filter((waiter) => waiter.owner !== owner);
    if (waiters.length < lock.waiters.length) {
      this.#nextRevision();
      this.#deadlines.remove({ kind: "lock_waiter", key: found.name, owner });
      this.#put(found, { ...lock, waiters });
    }
  }
}

const noToken = Revision(0);

function lost(lock: StoredLock | null): CommandResult {
  return { type: "lock_lost", holder: lock === null ? null : viewOf(lock.holder) };
}

function partyOf(
  lock: StoredLock | null,
  kind: "lock_holder" | "lock_waiter",
  owner: string,
): StoredParty | null {
  if (lock === null) {
    return null;
  }
  if (kind === "lock_holder") {
    return lock.holder.owner === owner ? lock.holder : null;
  }
  return lock.waiters.find((waiter) => waiter.owner === owner) ?? null;
}

function viewOf({ owner, value, ttlMs, token }: StoredParty): LockParty {
  return { owner, value, ttlMs, token };
}

/** What clients see of a lock. */
export function lockView(lock: StoredLock | null): LockView {
  return lock === null
    ? { holder: null, waiters: [] }
    : { holder: viewOf(lock.holder), waiters: lock.waiters.map(viewOf) };
}

const version = 1;

/** version u8, holder, list of waiters; each party: owner, value, ttl, token, deadline revision, remaining milliseconds. */
function writeStoredLock(writer: ByteWriter, lock: StoredLock): void {
  writer.u8(version);
  writeStoredParty(writer, lock.holder);
  writeList(writer, lock.waiters, writeStoredParty);
}

/** The content of a row of the table of locks. Values are views. */
export function decodeStoredLock(body: Uint8Array): StoredLock {
  return decodeWith(readStoredLock, body);
}

function readStoredLock(reader: ByteReader): StoredLock {
  expectVersion(reader, version, "the record of a lock");
  return { holder: readStoredParty(reader), waiters: readList(reader, 6, readStoredParty) };
}

function writeStoredParty(writer: ByteWriter, party: StoredParty): void {
  writer.string(party.owner);
  writer.bytes(party.value);
  writer.varuint(party.ttlMs);
  writer.varuint(party.token);
  writer.varuint(party.deadlineRevision);
  writer.varuint(party.remainingMs);
}

function readStoredParty(reader: ByteReader): StoredParty {
  return {
    owner: reader.string(),
    value: reader.bytes(),
    ttlMs: reader.varuint(),
    token: Revision(reader.varuint()),
    deadlineRevision: Revision(reader.varuint()),
    remainingMs: reader.varuint(),
  };
}
