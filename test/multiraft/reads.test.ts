import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Reads } from "../../cluster/multiraft/reads.ts";
import { LogIndex } from "../../cluster/types.ts";

describe("Reads", () => {
  test("reads that arrive while a question is under way wait for the next question", () => {
    const reads = new Reads(10);
    const outcomes: string[] = [];
    reads.enqueue(() => outcomes.push("first"));
    const question = reads.nextQuestion(0);
    assert.equal(question, 1);
    reads.enqueue(() => outcomes.push("second"));
    assert.equal(reads.nextQuestion(0), null);
    reads.answered([{ context: 1, index: LogIndex(5) }]);
    reads.applied(LogIndex(5));
    assert.deepEqual(outcomes, ["first"]);
    assert.equal(reads.nextQuestion(0), 2);
  });

  test("a confirmed read waits until the state has reached its index", () => {
    const reads = new Reads(10);
    const outcomes: string[] = [];
    reads.enqueue((outcome) => outcomes.push(outcome));
    reads.nextQuestion(0);
    reads.answered([{ context: 1, index: LogIndex(5) }]);
    reads.applied(LogIndex(4));
    assert.deepEqual(outcomes, []);
    reads.applied(LogIndex(5));
    assert.deepEqual(outcomes, ["ready"]);
  });

  test("an answer to a question that was given up confirms nothing", () => {
    const reads = new Reads(10);
    const outcomes: string[] = [];
    reads.enqueue((outcome) => outcomes.push(outcome));
    assert.equal(reads.nextQuestion(0), 1);
    reads.retryLost(100, 50);
    assert.equal(reads.nextQuestion(100), 2);
    reads.answered([{ context: 1, index: LogIndex(1) }]);
    reads.applied(LogIndex(1));
    assert.deepEqual(outcomes, []);
    reads.answered([{ context: 2, index: LogIndex(1) }]);
    reads.applied(LogIndex(1));
    assert.deepEqual(outcomes, ["ready"]);
  });

  test("after a refusal nothing is asked until something has changed", () => {
    const reads = new Reads(10);
    reads.enqueue(() => {});
    reads.nextQuestion(0);
    reads.answered([{ context: 1, index: null }]);
    assert.equal(reads.nextQuestion(0), null);
    reads.release();
    assert.equal(reads.nextQuestion(0), 2);
  });

  test("a full queue refuses; stopping refuses everybody", () => {
    const reads = new Reads(1);
    const outcomes: string[] = [];
    assert.equal(
      reads.enqueue((outcome) => outcomes.push(outcome)),
      true,
    );
    assert.equal(
      reads.enqueue(() => {}),
      false,
    );
    reads.stop();
    assert.deepEqual(outcomes, ["refused"]);
    assert.equal(reads.pendingCount, 0);
  });
});
