import { decodeConfiguration } from "../../cluster/raft/membership.ts";
import type { Configuration, Entry, LogIndex, NodeId, Term } from "../../cluster/types.ts";
import { check } from "./failure.ts";
import { haveOverlappingQuorums } from "./quorums.ts";

/** A committed entry, and the term of the leader that first committed it. */
interface CommittedEntry {
  readonly entry: Entry;
  readonly committedIn: Term;
  /** Hash over all entries up to this one. */
  readonly digest: number;
}

/**
 * What really happened, as an observer knows who sees all nodes at once: the one committed log, and what clients were told. Nodes are
 * measured against it.
 */
export class Ledger {
  readonly #committed: CommittedEntry[] = [];
  /** For every (index, term) that any log ever held: what it was and what term preceded it. */
  readonly #known = new Map<number, { readonly hash: number; readonly previousTerm: number }>();
  /** Commands whose proposal was refused: they must never be committed. */
  readonly #refused = new Set<number>();
  #configuration: Configuration;
  #configurationIndex = 0;
  /** Largest index whose effect some client has seen, by an acknowledged write or a read. */
  #visible = 0;

  constructor(configuration: Configuration) {
    this.#configuration = configuration;
  }

  /** Last committed index. */
  get commitIndex(): number {
    return this.#committed.length;
  }

  get visibleIndex(): number {
    return this.#visible;
  }

  /** The members by the last committed change. */
  get configuration(): Configuration {
    return this.#configuration;
  }

  get configurationIndex(): number {
    return this.#configurationIndex;
  }

  /** Term of a committed entry; null when nothing is committed there. */
  termAt(index: number): Term | null {
    return this.#committed[index - 1]?.entry.term ?? null;
  }

  /** Hash over the committed entries up to `index`; 0 before the log. */
  digestAt(index: number): number {
    return this.#committed[index - 1]?.digest ?? 0;
  }

  /** Number of committed entries that leaders of terms before `term` committed: all of them must be in the log of the leader of `term`. */
  committedBefore(term: Term): number {
    let index = this.#committed.length;
    while (index > 0 && (this.#committed[index - 1]?.committedIn ?? 0) >= term) {
      index -= 1;
    }
    return index;
  }

  /** A leader of `term` counted a quorum for `entry`, the next one after `commitIndex`. */
  commit(entry: Entry, term: Term, leader: NodeId): void {
    check(entry.index === this.commitIndex + 1, "log-contiguous", () => {
      return `${leader} commits ${entry.index} after ${this.commitIndex}`;
    });
    const command = commandOf(entry);
    check(command === null || !this.#refused.has(command), "refused-means-not-done", () => {
      return `command ${command} was refused and is committed at ${entry.index}`;
    });
    const digest = extendDigest(this.digestAt(entry.index - 1), entry);
    this.#committed.push({ entry, committedIn: term, digest });
    if (entry.type === "config") {
      this.#follow(entry, leader);
    }
  }

  #follow(entry: Entry, leader: NodeId): void {
    const next = decodeConfiguration(entry.payload);
    const previous = this.#configuration;
    check(next !== null, "configuration-readable", () => `entry ${entry.index} of ${leader}`);
    if (next !== null) {
      check(haveOverlappingQuorums(previous, next), "quorums-overlap", () => {
        return `${JSON.stringify(previous)} is followed by ${JSON.stringify(next)} at ${entry.index}`;
      });
      this.#configuration = next;
      this.#configurationIndex = entry.index;
    }
  }

  /** Log matching (Raft 5.3): an index and a term name one entry, and with it all entries before it. */
  checkLogMatching(entry: Entry, previousTerm: number, owner: NodeId): void {
    const key = entry.index * 1_000_000 + entry.term;
    const hash = hashEntry(entry);
    const known = this.#known.get(key);
    if (known === undefined) {
      this.#known.set(key, { hash, previousTerm });
      return;
    }
    check(known.hash === hash && known.previousTerm === previousTerm, "log-matching", () => {
      return `${owner} has another entry (${entry.index}, ${entry.term}) than somebody before`;
    });
  }

  /** A client was told that its proposal is certainly not in any log. */
  refused(command: number): void {
    this.#refused.add(command);
  }

  /** A client has learned of the state at `index`. */
  seen(index: LogIndex): void {
    this.#visible = Math.max(this.#visible, index);
  }
}

/** The digest after one more entry. */
export function extendDigest(digest: number, entry: Entry): number {
  return Math.imul(digest ^ hashEntry(entry), 0x9e3779b1) ^ (digest >>> 15);
}

/** The number of the client operation that an entry carries; null for entries that are not commands. */
export function commandOf(entry: Entry): number | null {
  if (entry.type !== "command") {
    return null;
  }
  const [a = 0, b = 0, c = 0, d = 0] = entry.payload;
  return a | (b << 8) | (c << 16) | (d << 24);
}

/** The payload of a client operation: its number, then filling. */
export function commandPayload(command: number, length: number): Uint8Array {
  const payload = new Uint8Array(Math.max(4, length));
  new DataView(payload.buffer).setUint32(0, command, true);
  return payload;
}

function hashEntry(entry: Entry): number {
  let hash = Math.imul(entry.term, 0x85ebca6b) ^ entry.index ^ (entry.type.charCodeAt(0) << 24);
  for (const byte of entry.payload) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  return hash;
}
