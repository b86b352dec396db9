import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Proposals, type ProposalOutcome } from "../../cluster/multiraft/proposals.ts";
import { type Entry, LogIndex, Term } from "../../cluster/types.ts";

const limits = {
  queuedCommandsMax: 4,
  queuedBytesMax: 100,
  entryCommandsMax: 3,
  entryBytesMax: 50,
};

function bytes(length: number): Uint8Array {
  return new Uint8Array(length);
}

function entry(term: number, index: number): Entry {
  return { term: Term(term), index: LogIndex(index), type: "command", payload: bytes(0) };
}

describe("Proposals", () => {
  test("a full queue refuses, and one oversized command still goes alone", () => {
    const proposals = new Proposals(limits);
    assert.equal(
      proposals.enqueue(bytes(500), () => {}),
      true,
    );
    assert.equal(
      proposals.enqueue(bytes(1), () => {}),
      false,
      "bytes",
    );
    proposals.takeGroups();
    for (let count = 0; count < 4; count += 1) {
      assert.equal(
        proposals.enqueue(bytes(1), () => {}),
        true,
      );
    }
    assert.equal(
      proposals.enqueue(bytes(1), () => {}),
      false,
      "count",
    );
  });

  test("groups keep the order and respect both bounds of an entry", () => {
    const proposals = new Proposals({ ...limits, queuedCommandsMax: 100, queuedBytesMax: 1000 });
    for (const length of [10, 20, 20, 1, 1, 1, 1, 60, 5]) {
      proposals.enqueue(bytes(length), () => {});
    }
    const groups = proposals.takeGroups().map((group) => group.commands.map((c) => c.length));
    assert.deepEqual(groups, [[10, 20, 20], [1, 1, 1], [1], [60], [5]]);
    assert.equal(proposals.queuedCount, 0);
  });

  test("a waiter gets the result of its own entry only", () => {
    const proposals = new Proposals(limits);
    const outcomes: ProposalOutcome[] = [];
    const done = (outcome: ProposalOutcome): void => void outcomes.push(outcome);
    proposals.wait(Term(2), LogIndex(7), [done, done]);
    proposals.applied(entry(2, 6), []);
    assert.equal(outcomes.length, 0);
    proposals.applied(entry(2, 7), [bytes(1), bytes(2)]);
    assert.deepEqual(outcomes, [
      { type: "applied", result: bytes(1) },
      { type: "applied", result: bytes(2) },
    ]);
    assert.equal(proposals.waitingCount, 0);
  });

  test("another leader's entry at the same index tells the waiter that its own is lost", () => {
    const proposals = new Proposals(limits);
    const outcomes: ProposalOutcome[] = [];
    proposals.wait(Term(2), LogIndex(7), [(outcome) => outcomes.push(outcome)]);
    proposals.applied(entry(3, 7), [bytes(1)]);
    assert.deepEqual(outcomes, [{ type: "dropped" }]);
  });

  // In a group of five a leader can lose an entry from its own log, lead again, and be followed by a member that still holds the entry.
  test("who waited at an index in an older term is answered only by what is applied there", () => {
    for (const [term, expected] of [
      [2, ["older applied", "newer dropped"]],
      [4, ["newer applied", "older dropped"]],
      [5, ["newer dropped", "older dropped"]],
    ] as const) {
      const proposals = new Proposals(limits);
      const outcomes: string[] = [];
      proposals.wait(Term(2), LogIndex(7), [(outcome) => outcomes.push(`older ${outcome.type}`)]);
      proposals.wait(Term(4), LogIndex(7), [(outcome) => outcomes.push(`newer ${outcome.type}`)]);
      assert.deepEqual(outcomes, []);
      proposals.applied(entry(term, 7), [bytes(1)]);
      assert.deepEqual(outcomes.sort(), expected.toSorted());
      assert.equal(proposals.waitingCount, 0);
    }
  });

  test("a snapshot past an index makes all outcomes there unknown", () => {
    const proposals = new Proposals(limits);
    const outcomes: string[] = [];
    proposals.wait(Term(2), LogIndex(7), [(outcome) => outcomes.push(outcome.type)]);
    proposals.wait(Term(4), LogIndex(7), [(outcome) => outcomes.push(outcome.type)]);
    proposals.skippedTo(LogIndex(7));
    assert.deepEqual(outcomes, ["unknown", "unknown"]);
  });

  test("a snapshot past a waiter makes its outcome unknown, and later waiters stay", () => {
    const proposals = new Proposals(limits);
    const outcomes: string[] = [];
    proposals.wait(Term(2), LogIndex(7), [(outcome) => outcomes.push(`7 ${outcome.type}`)]);
    proposals.wait(Term(2), LogIndex(9), [(outcome) => outcomes.push(`9 ${outcome.type}`)]);
    proposals.skippedTo(LogIndex(8));
    assert.deepEqual(outcomes, ["7 unknown"]);
  });

  test("stopping refuses what is queued and leaves what is in a log unknown", () => {
    const proposals = new Proposals(limits);
    const outcomes: ProposalOutcome[] = [];
    const done = (outcome: ProposalOutcome): void => void outcomes.push(outcome);
    proposals.wait(Term(1), LogIndex(1), [done]);
    proposals.enqueue(bytes(1), done);
    proposals.stop();
    assert.deepEqual(outcomes, [{ type: "refused", reason: "stopped" }, { type: "unknown" }]);
  });
});
