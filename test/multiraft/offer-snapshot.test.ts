import assert from "node:assert/strict";
import { test } from "node:test";
import type { MultiRaftLimits } from "../../cluster/multiraft/options.ts";
import { Replica } from "../../cluster/multiraft/replica.ts";
import type { SnapshotWriter, StateMachine } from "../../cluster/multiraft/state-machine.ts";
import type { TurnBatch } from "../../cluster/multiraft/store.ts";
import type { InstallSnapshot } from "../../cluster/raft/message.ts";
import { LogIndex, NodeId, Revision, ShardId, Term } from "../../cluster/types.ts";
import { smallOptions } from "../raft/options.ts";

const a = NodeId("a");
const b = NodeId("b");
const configuration = {
  voters: [a, b],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

/** A staged snapshot that only remembers what became of it. */
class Staged implements SnapshotWriter {
  isAborted = false;
  write(): Promise<void> {
    return Promise.resolve();
  }
  finish(): never {
    throw new Error("not asked for");
  }
  abort(): Promise<void> {
    this.isAborted = true;
    return Promise.resolve();
  }
}

/** Replica b of a group of two in term 2, with an empty log, and what its machine installs. */
function follower(): { replica: Replica; installed: SnapshotWriter[] } {
  const installed: SnapshotWriter[] = [];
  const machine: Partial<StateMachine> = {
    appliedIndex: LogIndex(0),
    revision: Revision(0),
    isDirty: false,
    install: (_batch, received) => installed.push(received),
    staged: () => {},
  };
  const limits: Partial<MultiRaftLimits> = { retainedEntries: 10, unstagedBytesMax: 1000 };
  const replica = new Replica({
    shard: ShardId(1),
    raft: { ...smallOptions, id: b, random: () => 0.5 },
    limits: limits as MultiRaftLimits,
    machine: machine as StateMachine,
    recovered: {
      shard: ShardId(1),
      hardState: { term: Term(2), vote: null, commit: LogIndex(0) },
      compactedIndex: LogIndex(0),
      compactedTerm: Term(0),
      entries: [],
      appliedIndex: LogIndex(0),
      configuration,
      isQuarantined: false,
      verdict: { type: "ok" },
    },
    encodePayload: () => new Uint8Array(0),
    retainedBytes: () => 1000,
    onComparable: () => {},
    onInstalled: () => {},
  });
  return { replica, installed };
}

function snapshotAt(index: number, term: number): InstallSnapshot {
  const snapshot = { index: LogIndex(index), term: Term(1), configuration };
  return { type: "InstallSnapshot", from: a, to: b, term: Term(term), snapshot };
}

/** The disk is free: writes what there is. */
function write(replica: Replica): void {
  replica.pump(0, true);
  const ignored = (): void => {};
  const batch: Partial<TurnBatch> = { resetLog: ignored, setHardState: ignored };
  replica.fill(batch as TurnBatch, false);
  replica.written();
}

test("a snapshot of a term that is over does not take the place of one that waits for the disk", () => {
  const { replica, installed } = follower();
  const [wanted, late] = [new Staged(), new Staged()];
  replica.offerSnapshot(snapshotAt(450, 2), wanted);
  replica.raft.step({
    ...snapshotAt(450, 3),
    type: "Heartbeat",
    commit: LogIndex(0),
    round: 1,
    quiesce: false,
  });
  replica.offerSnapshot(snapshotAt(472, 2), late);
  assert.equal(late.isAborted, true);
  write(replica);
  assert.deepEqual(installed, [wanted]);
  assert.equal(wanted.isAborted, false);
  assert.equal(replica.raft.commitIndex, 450);
});

test("a newer snapshot takes the place of one that waits for the disk", () => {
  const { replica, installed } = follower();
  const [first, second] = [new Staged(), new Staged()];
  replica.offerSnapshot(snapshotAt(450, 2), first);
  replica.offerSnapshot(snapshotAt(472, 2), second);
  assert.equal(first.isAborted, true);
  write(replica);
  assert.deepEqual(installed, [second]);
  assert.equal(replica.raft.commitIndex, 472);
});

test("a snapshot that is no news is thrown away, and so is one for a replica that has stopped", () => {
  const { replica, installed } = follower();
  replica.offerSnapshot(snapshotAt(450, 2), new Staged());
  write(replica);
  const [older, late] = [new Staged(), new Staged()];
  replica.offerSnapshot(snapshotAt(440, 2), older);
  assert.equal(older.isAborted, true);
  replica.stop();
  replica.offerSnapshot(snapshotAt(500, 2), late);
  assert.equal(late.isAborted, true);
  assert.equal(installed.length, 1);
});
