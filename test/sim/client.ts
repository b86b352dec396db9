import type { Raft } from "../../cluster/raft/raft.ts";
import type { Entry, Term } from "../../cluster/types.ts";
import { LogIndex } from "../../cluster/types.ts";
import { check } from "./failure.ts";
import { commandOf, commandPayload } from "./ledger.ts";
import type { Ledger } from "./ledger.ts";
import type { Statistics } from "./surroundings.ts";

interface WaitingProposal {
  readonly term: Term;
  readonly command: number;
}

interface WaitingRead {
  readonly index: LogIndex;
  /** What clients had seen when the read began: it must not show less. */
  readonly floor: number;
}

/** Numbers for operations and reads, never used twice in one world. */
export interface Numbers {
  next: number;
}

/**
 * The clients that are connected to one node, and the waiters that the node keeps for them. A write is acknowledged when its entry is
 * applied here, a read when its index is; both are told to the ledger as seen.
 */
export class Client {
  readonly #ledger: Ledger;
  readonly #statistics: Statistics;
  readonly #numbers: Numbers;
  readonly #proposals = new Map<LogIndex, WaitingProposal>();
  /** Reads that wait for their index, by context, with their floor. */
  readonly #questions = new Map<number, number>();
  #reads: WaitingRead[] = [];

  constructor(ledger: Ledger, statistics: Statistics, numbers: Numbers) {
    this.#ledger = ledger;
    this.#statistics = statistics;
    this.#numbers = numbers;
  }

  /** Writes, with as many entries as there are `lengths` of payloads. */
  propose(raft: Raft, lengths: readonly number[]): void {
    const commands = lengths.map(() => this.#numbers.next++);
    const payloads = commands.map((command, at) => commandPayload(command, lengths[at] ?? 0));
    const result = raft.propose(payloads);
    this.#statistics.proposed += commands.length;
    if (result.type === "refused") {
      this.#statistics.refused += commands.length;
      for (const command of commands) {
        this.#ledger.refused(command);
      }
      return;
    }
    let index = result.index;
    for (const command of commands) {
      this.#proposals.set(index, { term: result.term, command });
      index = LogIndex(index + 1);
    }
  }

  /** Begins a linearizable read. `floor` is what clients had seen when it was sent. */
  read(raft: Pick<Raft, "readIndex">, floor: number): void {
    const context = this.#numbers.next++;
    this.#questions.set(context, floor);
    raft.readIndex(context);
  }

  /** Reads by lease, if there is one. */
  leaseRead(raft: Raft, floor: number, applied: LogIndex): void {
    const index = raft.leaseRead();
    if (index !== null) {
      this.#statistics.leaseReads += 1;
      this.#reads.push({ index, floor });
      this.applied(applied);
    }
  }

  /** Raft has found an index for a read, or asks to try again; then the client gives up. */
  readAnswered(context: number, index: LogIndex | null): void {
    const floor = this.#questions.get(context);
    check(floor !== undefined, "read-answered-once", () => `context ${context}`);
    this.#questions.delete(context);
    if (floor !== undefined && index !== null) {
      this.#reads.push({ index, floor });
    }
  }

  /** The state is at `index` now: reads that waited for it are served from it. */
  applied(index: LogIndex): void {
    if (this.#reads.length === 0) {
      return;
    }
    const waiting = this.#reads;
    this.#reads = [];
    for (const read of waiting) {
      if (read.index > index) {
        this.#reads.push(read);
        continue;
      }
      check(index >= read.floor, "linearizable-read", () => {
        return `a read sees ${index} although clients had seen ${read.floor} when it began`;
      });
      this.#statistics.reads += 1;
      this.#ledger.seen(index);
    }
  }

  /** An entry was applied: its proposer hears of it, if it is the proposed one. */
  entryApplied(entry: Entry): void {
    const waiting = this.#proposals.get(entry.index);
    if (waiting === undefined) {
      return;
    }
    this.#proposals.delete(entry.index);
    if (waiting.term === entry.term) {
      check(commandOf(entry) === waiting.command, "acknowledged-is-own", () => {
        return `command ${waiting.command} is answered by entry (${entry.index}, ${entry.term})`;
      });
      this.#statistics.acknowledged += 1;
      this.#ledger.seen(entry.index);
    }
  }

  /** A snapshot replaced the state: what happened to proposals up to there is unknown. */
  jumpedTo(index: LogIndex): void {
    for (const waiting of this.#proposals.keys()) {
      if (waiting <= index) {
        this.#proposals.delete(waiting);
      }
    }
    this.applied(index);
  }

  /** The process is gone, and with it all connections. */
  crashed(): void {
    this.#proposals.clear();
    this.#questions.clear();
    this.#reads = [];
  }
}
