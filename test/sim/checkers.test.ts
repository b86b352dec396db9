import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Configuration, Entry } from "../../cluster/types.ts";
import { LogIndex, NodeId, Term } from "../../cluster/types.ts";
import { Client } from "./client.ts";
import { Disk, noMembers } from "./disk.ts";
import type { Batch } from "./disk.ts";
import { SimulationFailure } from "./failure.ts";
import { Ledger } from "./ledger.ts";
import { Prng } from "./prng.ts";
import { haveOverlappingQuorums, isQuorum } from "./quorums.ts";
import { Schedule } from "./schedule.ts";
import { noStatistics } from "./surroundings.ts";

const [a, b, c, d] = [NodeId("n1"), NodeId("n2"), NodeId("n3"), NodeId("n4")] as const;

function members(voters: readonly NodeId[], votersOutgoing: readonly NodeId[] = []): Configuration {
  return { ...noMembers, voters, votersOutgoing };
}

function entry(index: number, term: number, byte = 0): Entry {
  const payload = Uint8Array.of(byte, 0, 0, 0);
  return { index: LogIndex(index), term: Term(term), type: "command", payload };
}

function batch(parts: Partial<Batch>): Batch {
  const nothing = { hardState: null, snapshot: null, entries: [], applied: null, compactTo: null };
  return { ...nothing, ...parts };
}

function breaks(invariant: string): (error: unknown) => boolean {
  return (error) => error instanceof SimulationFailure && error.invariant === invariant;
}

describe("the simulated disk", () => {
  test("a crash loses what was not synced and keeps what was", () => {
    const disk = new Disk(a, members([a]));
    disk.write(batch({ entries: [entry(1, 1)] }));
    disk.sync();
    disk.write(batch({ entries: [entry(2, 1)] }));
    assert.equal(disk.lastIndex, 1);
    const lastIndexes = new Set<number>();
    for (let seed = 0; seed < 50; seed++) {
      const copy = new Disk(a, members([a]));
      copy.write(batch({ entries: [entry(1, 1)] }));
      copy.sync();
      copy.write(batch({ entries: [entry(2, 1)] }));
      copy.crash(new Prng(seed));
      lastIndexes.add(copy.lastIndex);
    }
    assert.deepEqual(lastIndexes, new Set([1, 2]));
  });

  test("a hole, a fallen term, a second vote and a premature compaction are noticed", () => {
    const disk = new Disk(a, members([a]));
    const write = (parts: Partial<Batch>): void => {
      disk.write(batch(parts));
      disk.sync();
    };
    const commit = LogIndex(0);
    write({ entries: [entry(1, 2)], hardState: { term: Term(2), vote: a, commit } });
    assert.throws(() => write({ entries: [entry(3, 2)] }), breaks("log-contiguous"));
    const fresh = (): Disk => {
      const copy = new Disk(a, members([a]));
      copy.hardState = { term: Term(2), vote: a, commit };
      return copy;
    };
    const fallen = fresh();
    fallen.write(batch({ hardState: { term: Term(1), vote: null, commit } }));
    assert.throws(() => fallen.sync(), breaks("term-monotonic"));
    const double = fresh();
    double.write(batch({ hardState: { term: Term(2), vote: b, commit } }));
    assert.throws(() => double.sync(), breaks("one-vote-per-term"));
    const early = fresh();
    early.write(batch({ compactTo: { index: LogIndex(1), term: Term(1) } }));
    assert.throws(() => early.sync(), breaks("compaction-behind-applied"));
  });
});

describe("the ledger", () => {
  test("notices one index and term that mean two entries", () => {
    const ledger = new Ledger(members([a]));
    ledger.checkLogMatching(entry(1, 1, 7), 0, a);
    ledger.checkLogMatching(entry(1, 1, 7), 0, b);
    assert.throws(() => ledger.checkLogMatching(entry(1, 1, 8), 0, b), breaks("log-matching"));
    ledger.checkLogMatching(entry(2, 2, 1), 1, a);
    assert.throws(() => ledger.checkLogMatching(entry(2, 2, 1), 2, b), breaks("log-matching"));
  });

  test("notices a refused command that is committed, and a gap", () => {
    const ledger = new Ledger(members([a]));
    ledger.refused(7);
    assert.throws(
      () => ledger.commit(entry(1, 1, 7), Term(1), a),
      breaks("refused-means-not-done"),
    );
    assert.throws(() => ledger.commit(entry(2, 1), Term(1), a), breaks("log-contiguous"));
  });

  test("knows which entries a leader must have", () => {
    const ledger = new Ledger(members([a]));
    ledger.commit(entry(1, 1), Term(1), a);
    ledger.commit(entry(2, 1), Term(3), b);
    assert.equal(ledger.committedBefore(Term(1)), 0);
    assert.equal(ledger.committedBefore(Term(2)), 1);
    assert.equal(ledger.committedBefore(Term(4)), 2);
  });
});

describe("the clients", () => {
  test("notice a read that shows less than somebody had seen before it began", () => {
    const ledger = new Ledger(members([a]));
    const client = new Client(ledger, noStatistics(), { next: 1 });
    const raft = { readIndex: (): void => {} };
    client.read(raft, 5);
    client.readAnswered(1, LogIndex(3));
    assert.throws(() => client.applied(LogIndex(3)), breaks("linearizable-read"));
    client.read(raft, 5);
    client.readAnswered(2, LogIndex(5));
    client.applied(LogIndex(4));
    client.applied(LogIndex(6));
    assert.equal(ledger.visibleIndex, 6);
  });
});

describe("quorums", () => {
  test("need a majority, of both halves while joint", () => {
    const holds = (id: NodeId): boolean => id === a || id === b;
    assert(isQuorum(members([a, b, c]), holds));
    assert(!isQuorum(members([a, b, c, d]), holds));
    assert(!isQuorum(members([a, b, c], [c, d]), holds));
  });

  test("of neighbouring configurations must overlap", () => {
    assert(haveOverlappingQuorums(members([a, b, c]), members([a, b, c, d])));
    assert(!haveOverlappingQuorums(members([a, b]), members([c, d])));
    assert(!haveOverlappingQuorums(members([a]), members([a, b, c])));
    assert(haveOverlappingQuorums(members([a]), members([a, b, c], [a])));
  });
});

describe("the schedule", () => {
  test("runs events by time, and those of one time in the order of their scheduling", () => {
    const schedule = new Schedule();
    const order: string[] = [];
    schedule.after(5, () => order.push("late"));
    schedule.after(2, () => {
      order.push("first");
      schedule.after(0, () => order.push("third"));
    });
    schedule.after(2, () => order.push("second"));
    schedule.runUntil(4, () => false);
    assert.deepEqual(order, ["first", "second", "third"]);
    schedule.runUntil(10, () => false);
    assert.deepEqual(order, ["first", "second", "third", "late"]);
  });

  test("goes on where it was told to stop", () => {
    const schedule = new Schedule();
    const order: number[] = [];
    for (const value of [1, 2, 3]) {
      schedule.after(1, () => order.push(value));
    }
    schedule.runUntil(9, () => order.length === 1);
    assert.deepEqual(order, [1]);
    schedule.runUntil(9, () => false);
    assert.deepEqual(order, [1, 2, 3]);
  });
});
