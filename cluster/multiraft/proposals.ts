import type { Entry, LogIndex, Term } from "../types.ts";

/**
 * What became of a command. `refused` and `dropped` are certain: it is in no log, or its place in the log went to another entry.
 * `unknown` is honest: the entry may or may not be committed by others.
 */
export type ProposalOutcome =
  | { readonly type: "applied"; readonly result: Uint8Array }
  | { readonly type: "refused"; readonly reason: "not_leader" | "overloaded" | "stopped" }
  | { readonly type: "dropped" }
  | { readonly type: "unknown" };

/** Called once, with what became of a command. Must not throw. */
export type ProposalDone = (outcome: ProposalOutcome) => void;

/** Told at which index the command stands in the log, once it does: for those who follow its way. */
export type ProposalLogged = (index: LogIndex) => void;

interface Waiting {
  readonly term: Term;
  readonly done: readonly ProposalDone[];
  /** Who waits for an entry of an older term at the same index. */
  readonly older: Waiting | null;
}

/** One entry to propose: its commands and who waits for them. */
export interface CommandGroup {
  readonly commands: readonly Uint8Array[];
  readonly done: readonly ProposalDone[];
}

/** Bounds of one shard's queue and of one entry. */
export interface ProposalLimits {
  readonly queuedCommandsMax: number;
  readonly queuedBytesMax: number;
  readonly entryCommandsMax: number;
  readonly entryBytesMax: number;
}

/**
 * The commands of one shard on their way through the log: first queued for the next turn, then waiting for (term, index).
 * Keyed by both, because another leader's entry may take the index (the waiter must not be answered by a stranger's entry).
 */
export class Proposals {
  readonly #limits: ProposalLimits;
  #commands: Uint8Array[] = [];
  #done: ProposalDone[] = [];
  #queuedBytes = 0;
  readonly #waiting = new Map<LogIndex, Waiting>();
  /** Of the few commands whose way is followed. */
  readonly #logged = new Map<ProposalDone, ProposalLogged>();

  constructor(limits: ProposalLimits) {
    this.#limits = limits;
  }

  /** Commands that no entry carries yet. */
  get queuedCount(): number {
    return this.#commands.length;
  }

  /** Places in the log at which somebody waits for an entry whose fate is open. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** False when the queue is full: the command was not taken and `done` will not be called. */
  enqueue(command: Uint8Array, done: ProposalDone, logged: ProposalLogged | null = null): boolean {
    const isFull =
      this.#commands.length >= this.#limits.queuedCommandsMax ||
      (this.#commands.length > 0 &&
        this.#queuedBytes + command.length > this.#limits.queuedBytesMax);
    if (isFull) {
      return false;
    }
    this.#commands.push(command);
    this.#done.push(done);
    this.#queuedBytes += command.length;
    if (logged !== null) {
      this.#logged.set(done, logged);
    }
    return true;
  }

  /** Empties the queue into groups of one entry each, bounded in commands and bytes. */
  takeGroups(): CommandGroup[] {
    const groups: CommandGroup[] = [];
    const commands = this.#commands;
    const done = this.#done;
    this.#commands = [];
    this.#done = [];
    this.#queuedBytes = 0;
    let start = 0;
    while (start < commands.length) {
      const end = this.#groupEnd(commands, start);
      const isWhole = start === 0 && end === commands.length;
      groups.push({
        commands: isWhole ? commands : commands.slice(start, end),
        done: isWhole ? done : done.slice(start, end),
      });
      start = end;
    }
    return groups;
  }

  #groupEnd(commands: readonly Uint8Array[], start: number): number {
    let bytes = commands[start]?.length ?? 0;
    let end = start + 1;
    while (end < commands.length && end - start < this.#limits.entryCommandsMax) {
      bytes += commands[end]?.length ?? 0;
      if (bytes > this.#limits.entryBytesMax) {
        break;
      }
      end += 1;
    }
    return end;
  }

  /**
   * The group is the entry at (term, index) now. Who waits there in an older term goes on waiting: that the entry is gone from this log
   * proves nothing, because a member that still holds it may lead once more and commit it. Only what is applied there is proof.
   */
  wait(term: Term, index: LogIndex, done: readonly ProposalDone[]): void {
    this.#waiting.set(index, { term, done, older: this.#waiting.get(index) ?? null });
    if (this.#logged.size > 0) {
      this.#tellLogged(index, done);
    }
  }

  #tellLogged(index: LogIndex, done: readonly ProposalDone[]): void {
    for (const each of done) {
      const logged = this.#logged.get(each);
      this.#logged.delete(each);
      logged?.(index);
    }
  }

  /** The group is in no log: whoever waits for it is told why. */
  refuse(reason: "not_leader" | "overloaded", done: readonly ProposalDone[]): void {
    for (const each of done) {
      this.#logged.delete(each);
      each({ type: "refused", reason });
    }
  }

  /** `entry` is applied: whoever waits for exactly this entry has the result; whoever waited for another one at this index lost. */
  applied(entry: Entry, results: readonly Uint8Array[]): void {
    let waiting = this.#waiting.get(entry.index) ?? null;
    if (waiting === null) {
      return;
    }
    this.#waiting.delete(entry.index);
    for (; waiting !== null; waiting = waiting.older) {
      for (let at = 0; at < waiting.done.length; at += 1) {
        const result = results[at];
        const outcome: ProposalOutcome =
          waiting.term === entry.term && result !== undefined
            ? { type: "applied", result }
            : { type: "dropped" };
        waiting.done[at]?.(outcome);
      }
    }
  }

  /** A snapshot replaced the log up to `index`: what waited below it can no longer be told. */
  skippedTo(index: LogIndex): void {
    for (const at of [...this.#waiting.keys()]) {
      if (at <= index) {
        this.#giveUp(at);
      }
    }
  }

  /** Answers everybody: what is queued is refused, what is in a log is unknown. */
  stop(): void {
    const queued = this.#done;
    this.#commands = [];
    this.#done = [];
    this.#queuedBytes = 0;
    this.#logged.clear();
    for (const done of queued) {
      done({ type: "refused", reason: "stopped" });
    }
    for (const at of [...this.#waiting.keys()]) {
      this.#giveUp(at);
    }
  }

  #giveUp(index: LogIndex): void {
    let waiting = this.#waiting.get(index) ?? null;
    this.#waiting.delete(index);
    for (; waiting !== null; waiting = waiting.older) {
      for (const done of waiting.done) {
        done({ type: "unknown" });
      }
    }
  }
}
