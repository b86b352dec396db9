import { LogIndex } from "../cluster/types.ts";
import type { RequestId } from "./commands.ts";
import type { StateLimits } from "./state-limits.ts";
import { soleRow, stateTable } from "./state-tables.ts";
import type { StateStore } from "./state-store.ts";
import {
  type ByteReader,
  type ByteWriter,
  decodeWith,
  expectVersion,
  readList,
  writeList,
} from "./wire-codec.ts";

/** One asking node's window: what it may still ask about again. */
interface Session {
  readonly name: string;
  ackedBelow: number;
  /** Log position of its last request. */
  lastIndex: LogIndex;
  /** Sequence -> encoded outcome, in the order of the log. */
  readonly answers: Map<number, Uint8Array>;
  bytes: number;
}

/** What is known of a request that is about to be applied. */
export type RequestState =
  | { readonly type: "new" }
  | { readonly type: "answered"; readonly outcome: Uint8Array }
  | { readonly type: "stale" };

/**
 * Client sessions (Raft paper, section 8): a request that is applied a second time gets the answer of the first. All sessions are in
 * memory; those that were touched are written once per batch.
 */
export class Sessions {
  readonly #store: StateStore;
  readonly #limits: StateLimits;
  readonly #sessions = new Map<string, Session>();
  readonly #touched = new Set<Session>();
  #isDirectoryDirty = false;

  constructor(store: StateStore, limits: StateLimits) {
    this.#store = store;
    this.#limits = limits;
    this.reload();
  }

  get count(): number {
    return this.#sessions.size;
  }

  /** Reads the sessions of the store's present state. */
  reload(): void {
    this.#sessions.clear();
    this.#touched.clear();
    this.#isDirectoryDirty = false;
    const directory = this.#store.get(stateTable.sessionDirectory, soleRow);
    for (const name of directory === null ? [] : decodeWith(readDirectory, directory)) {
      const body = this.#store.get(stateTable.sessions, Buffer.from(name));
      if (body !== null) {
        this.#sessions.set(
          name,
          decodeWith((reader) => readSession(reader, name), body),
        );
      }
    }
  }

  /** Moves the session's window and says whether the request was applied before. */
  begin(request: RequestId, index: LogIndex): RequestState {
    const session = this.#sessions.get(request.session) ?? this.#create(request.session);
    session.lastIndex = index;
    this.#touched.add(session);
    if (request.ackedBelow > session.ackedBelow) {
      session.ackedBelow = request.ackedBelow;
      this.#dropAcknowledged(session);
    }
    if (request.sequence < session.ackedBelow) {
      return { type: "stale" };
    }
    const outcome = session.answers.get(request.sequence);
    return outcome === undefined ? { type: "new" } : { type: "answered", outcome };
  }

  /** Keeps the answer to a request that `begin` found new. */
  record(request: RequestId, outcome: Uint8Array): void {
    const session = this.#sessions.get(request.session);
    if (session === undefined) {
      return;
    }
    session.answers.set(request.sequence, outcome);
    session.bytes += outcome.length;
    const { sessionAnswersMax, sessionBytesMax } = this.#limits;
    for (const sequence of session.answers.keys()) {
      if (session.answers.size <= sessionAnswersMax && session.bytes <= sessionBytesMax) {
        break;
      }
      forget(session, sequence);
      session.ackedBelow = Math.max(session.ackedBelow, sequence + 1);
    }
  }

  /** Writes the rows of what changed since the last call. */
  flush(): void {
    for (const session of this.#touched) {
      const row = this.#store.find(stateTable.sessions, Buffer.from(session.name));
      this.#store.put(row, writeSession, session);
    }
    this.#touched.clear();
    if (this.#isDirectoryDirty) {
      this.#isDirectoryDirty = false;
      const row = this.#store.find(stateTable.sessionDirectory, soleRow);
      this.#store.put(row, writeDirectory, [...this.#sessions.keys()]);
    }
  }

  #create(name: string): Session {
    if (this.#sessions.size >= this.#limits.sessionsMax) {
      this.#evictOldest();
    }
    const session = { name, ackedBelow: 0, lastIndex: LogIndex(0), answers: new Map(), bytes: 0 };
    this.#sessions.set(name, session);
    this.#isDirectoryDirty = true;
    return session;
  }

  #evictOldest(): void {
    let oldest: Session | undefined;
    for (const session of this.#sessions.values()) {
      if (oldest === undefined || session.lastIndex < oldest.lastIndex) {
        oldest = session;
      }
    }
    if (oldest !== undefined) {
      this.#sessions.delete(oldest.name);
      this.#touched.delete(oldest);
      this.#store.delete(this.#store.find(stateTable.sessions, Buffer.from(oldest.name)));
    }
  }

  /**
   * From the front only: answers are nearly in the order of their sequence, and one that is not goes with a later call. `begin` does
   * not look at answers below the window.
   */
  #dropAcknowledged(session: Session): void {
    for (const sequence of session.answers.keys()) {
      if (sequence >= session.ackedBelow) {
        break;
      }
      forget(session, sequence);
    }
  }
}

function forget(session: Session, sequence: number): void {
  session.bytes -= session.answers.get(sequence)?.length ?? 0;
  session.answers.delete(sequence);
}

const version = 1;

function writeDirectory(writer: ByteWriter, names: readonly string[]): void {
  writer.u8(version);
  writeList(writer, names, (to, name) => to.string(name));
}

function readDirectory(reader: ByteReader): readonly string[] {
  expectVersion(reader, version, "the directory of sessions");
  return readList(reader, 1, (from) => from.string());
}

/** version u8, acked below, last index, then sequence and outcome of each answer. */
function writeSession(writer: ByteWriter, session: Session): void {
  writer.u8(version);
  writer.varuint(session.ackedBelow);
  writer.varuint(session.lastIndex);
  writer.varuint(session.answers.size);
  for (const [sequence, outcome] of session.answers) {
    writer.varuint(sequence);
    writer.bytes(outcome);
  }
}

function readSession(reader: ByteReader, name: string): Session {
  expectVersion(reader, version, "a session");
  const ackedBelow = reader.varuint();
  const lastIndex = LogIndex(reader.varuint());
  const answers = new Map<number, Uint8Array>();
  let bytes = 0;
  for (let left = reader.count(2); left > 0; left--) {
    const sequence = reader.varuint();
    const outcome = reader.bytes();
    answers.set(sequence, outcome);
    bytes += outcome.length;
  }
  return { name, ackedBelow, lastIndex, answers, bytes };
}
