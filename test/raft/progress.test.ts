import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Progress } from "../../cluster/raft/progress.ts";
import { LogIndex } from "../../cluster/types.ts";

const window = { inflightMessagesMax: 3, inflightBytesMax: 100 };
const at = (index: number): LogIndex => LogIndex(index);

function probing(next: number): Progress {
  return new Progress(at(next), true, window);
}

function replicating(match: number): Progress {
  const progress = probing(match + 1);
  progress.accepted(at(match));
  progress.becomeReplicate();
  return progress;
}

describe("a rejection", () => {
  const cases = [
    // state, match, next, rejected, agreement -> isNews, state, next
    ["probe", 0, 10, 9, 9, true, "probe", 9],
    ["probe", 0, 10, 9, 5, true, "probe", 6],
    ["probe", 0, 10, 9, 0, true, "probe", 1],
    ["probe", 0, 10, 7, 5, false, "probe", 10],
    ["probe", 4, 10, 9, 2, true, "probe", 5],
    ["probe", 4, 10, 3, 2, false, "probe", 10],
    ["replicate", 4, 10, 9, 6, true, "probe", 5],
    ["replicate", 4, 10, 4, 3, false, "replicate", 10],
    ["replicate", 4, 10, 2, 1, false, "replicate", 10],
    ["snapshot", 0, 10, 9, 5, false, "snapshot", 10],
  ] as const;
  for (const [state, match, next, rejected, agreement, isNews, stateAfter, nextAfter] of cases) {
    test(`of ${rejected} in ${state} with match ${match} and next ${next} leads to next ${nextAfter}`, () => {
      const progress = probing(next);
      progress.accepted(at(match));
      if (state === "replicate") {
        progress.becomeReplicate();
      } else if (state === "snapshot") {
        progress.becomeSnapshot(at(20));
      }
      progress.nextIndex = at(next);
      progress.isPaused = true;
      assert.equal(progress.rejected(at(rejected), at(agreement)), isNews);
      assert.equal(progress.state, stateAfter);
      assert.equal(progress.nextIndex, nextAfter);
      assert.equal(progress.isPaused, !isNews);
    });
  }
});

describe("an acceptance", () => {
  test("moves the match forward, and next with it", () => {
    const progress = probing(5);
    assert.equal(progress.accepted(at(7)), true);
    assert.equal(progress.matchIndex, 7);
    assert.equal(progress.nextIndex, 8);
  });

  test("does not move next back when more was sent already", () => {
    const progress = replicating(2);
    progress.sent(at(9), 10);
    assert.equal(progress.accepted(at(5)), true);
    assert.equal(progress.nextIndex, 10);
  });

  test("that is late or repeated moves nothing", () => {
    const progress = replicating(6);
    assert.equal(progress.accepted(at(6)), false);
    assert.equal(progress.accepted(at(3)), false);
    assert.equal(progress.matchIndex, 6);
    assert.equal(progress.nextIndex, 7);
  });
});

describe("the window", () => {
  test("is full after as many messages as it holds, and opens with an answer", () => {
    const progress = replicating(0);
    for (const index of [1, 2, 3]) {
      assert.equal(progress.isWindowFull, false);
      progress.sent(at(index), 1);
    }
    assert.equal(progress.isWindowFull, true);
    progress.accepted(at(1));
    assert.equal(progress.isWindowFull, false);
    progress.sent(at(4), 1);
    assert.equal(progress.isWindowFull, true);
    progress.accepted(at(4));
    progress.sent(at(5), 1);
    progress.sent(at(6), 1);
    assert.equal(progress.isWindowFull, false);
  });

  test("is full after as many bytes, even in one message", () => {
    const progress = replicating(0);
    progress.sent(at(1), 40);
    assert.equal(progress.isWindowFull, false);
    progress.sent(at(2), 60);
    assert.equal(progress.isWindowFull, true);
    progress.accepted(at(1));
    assert.equal(progress.isWindowFull, false);
  });

  test("turns round its ring many times without losing count", () => {
    const progress = replicating(0);
    for (let index = 1; index < 1000; index++) {
      progress.sent(at(index), 1);
      if (index > 1) {
        progress.accepted(at(index - 1));
      }
      assert.equal(progress.isWindowFull, false);
    }
  });

  test("is empty after every change of state", () => {
    const progress = replicating(4);
    for (const index of [5, 6, 7]) {
      progress.sent(at(index), 1);
    }
    progress.becomeProbe();
    assert.equal(progress.isWindowFull, false);
    assert.equal(progress.nextIndex, 5);
  });
});

describe("a member that lost its log", () => {
  test("starts from nothing, whatever it acknowledged before", () => {
    const progress = replicating(9);
    progress.becomeQuarantined();
    assert.equal(progress.state, "probe");
    assert.equal(progress.matchIndex, 0);
    assert.equal(progress.nextIndex, 1);
    assert.equal(progress.isRecentlyActive, false);
  });

  test("keeps waiting for a snapshot that is on its way", () => {
    const progress = replicating(9);
    progress.becomeSnapshot(at(12));
    progress.becomeQuarantined();
    assert.equal(progress.state, "snapshot");
    assert.equal(progress.snapshotIndex, 12);
  });
});
