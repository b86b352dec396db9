import assert from "node:assert/strict";
import { checkInvariants } from "../../cluster/raft/invariants.ts";
import type { Message } from "../../cluster/raft/message.ts";
import type { RaftOptions } from "../../cluster/raft/options.ts";
import { Raft } from "../../cluster/raft/raft.ts";
import type { Ready, Write } from "../../cluster/raft/ready.ts";
import type { Configuration, LogIndex, NodeId } from "../../cluster/types.ts";
import type { ScriptDisk } from "./disk.ts";
import { printEntry, printRole } from "./print.ts";

/** One replica of a golden script, with the host's part of the contract: what ready.ts asks for, in that order. */
export class ScriptReplica {
  readonly id: NodeId;
  readonly disk: ScriptDisk;
  raft: Raft;
  /** What `random()` gives it: 0 unless the script says otherwise. */
  random = 0;
  isCrashed = false;
  /** While held, writes stay outstanding. */
  isDiskHeld = false;
  #outstanding: Write | null = null;
  #applied: { readonly index: LogIndex; readonly configuration: Configuration } | null = null;
  #seenRole = "";
  readonly #options: Omit<RaftOptions, "id" | "random">;

  constructor(id: NodeId, disk: ScriptDisk, options: Omit<RaftOptions, "id" | "random">) {
    this.id = id;
    this.disk = disk;
    this.#options = options;
    this.raft = this.#open();
    this.#seenRole = printRole(this.raft);
  }

  get hasOutstanding(): boolean {
    return this.#outstanding !== null;
  }

  /** Whether there is something to do or to tell. */
  get hasReady(): boolean {
    return this.raft.hasReady || this.raft.isCommitUntold;
  }

  /** What Raft has ready, and with it, while the disk is free, all that may be told. */
  ready(mayWrite = true): Ready {
    const raftReady = this.raft.ready(mayWrite);
    const notices = this.raft.commitNotices(() => mayWrite);
    const ready = { ...raftReady, messages: [...raftReady.messages, ...notices] };
    checkInvariants(this.raft);
    const last = ready.committed.at(-1);
    if (last !== undefined) {
      this.#applied = { index: last.index, configuration: this.raft.configuration };
    }
    if (ready.write !== null) {
      assert.equal(this.#outstanding, null, "one write at a time");
      this.#outstanding = ready.write;
    }
    return ready;
  }

  /** The outstanding write is durable; returns the messages that may leave now. */
  written(): readonly Message[] {
    const write = this.#outstanding;
    assert(write !== null, `${this.id} writes nothing`);
    this.#outstanding = null;
    this.disk.write(write);
    if (this.#applied !== null && this.#applied.index > this.disk.appliedIndex) {
      this.disk.apply(this.#applied.index, this.#applied.configuration);
    }
    this.#applied = null;
    this.raft.advance();
    checkInvariants(this.raft);
    return write.messages;
  }

  restart(): void {
    this.#outstanding = null;
    this.#applied = null;
    this.isCrashed = false;
    this.raft = this.#open();
    this.#seenRole = printRole(this.raft);
  }

  /** Its role, if it changed since the last call. */
  takeRoleChange(): readonly string[] {
    checkInvariants(this.raft);
    const role = printRole(this.raft);
    const isNew = role !== this.#seenRole;
    this.#seenRole = role;
    return isNew ? [role] : [];
  }

  #open(): Raft {
    const raft = new Raft(
      { ...this.#options, id: this.id, random: () => this.random },
      this.disk.restore(),
    );
    checkInvariants(raft);
    return raft;
  }
}

/** Sees what every replica applies: the same entry at the same index (state machine safety). */
export class AppliedEntries {
  readonly #entries = new Map<LogIndex, string>();

  check(ready: Ready): void {
    for (const entry of ready.committed) {
      const printed = printEntry(entry);
      const known = this.#entries.get(entry.index) ?? printed;
      assert.equal(printed, known, "every replica applies the same entry at an index");
      this.#entries.set(entry.index, printed);
    }
  }
}
