import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  bestSuccessor,
  betterLeader,
  nextConfiguration,
} from "../../cluster/multiraft/supervisor.ts";
import type { ProgressStatus, Status } from "../../cluster/raft/status.ts";
import { LogIndex, NodeId, Term } from "../../cluster/types.ts";

const [n1, n2, n3, n4] = ["n1", "n2", "n3", "n4"].map(NodeId) as [NodeId, NodeId, NodeId, NodeId];

function progress(change: Partial<ProgressStatus> = {}): ProgressStatus {
  return {
    state: "replicate",
    matchIndex: LogIndex(1000),
    nextIndex: LogIndex(1001),
    isLearner: false,
    isRecentlyActive: true,
    isQuarantined: false,
    ...change,
  };
}

function status(
  voters: readonly NodeId[],
  learners: readonly NodeId[],
  others: readonly (readonly [NodeId, ProgressStatus])[],
): Status {
  return {
    id: n1,
    role: "leader",
    term: Term(3),
    vote: n1,
    leader: n1,
    commitIndex: LogIndex(1000),
    appliedIndex: LogIndex(1000),
    lastIndex: LogIndex(1000),
    persistedIndex: LogIndex(1000),
    compactedIndex: LogIndex(0),
    configuration: { voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false },
    isQuiesced: false,
    isQuarantined: false,
    transferTarget: null,
    uncommittedBytes: 0,
    progress: new Map(others),
  };
}

describe("nextConfiguration", () => {
  const wanted = { voters: [n1, n2, n3], learners: [] };
  const healthy = [
    [n2, progress()],
    [n3, progress()],
  ] as const;

  test("asks for nothing when everything is as wanted", () => {
    assert.equal(nextConfiguration(status([n1, n2, n3], [], healthy), wanted), null);
  });

  test("makes a voter that lost its log a learner", () => {
    const others = [
      [n2, progress()],
      [n3, progress({ isQuarantined: true })],
    ] as const;
    assert.deepEqual(nextConfiguration(status([n1, n2, n3], [], others), wanted), {
      voters: [n1, n2],
      learners: [n3],
    });
  });

  test("promotes a wanted learner only when it has caught up", () => {
    const behind = progress({ matchIndex: LogIndex(10), isLearner: true });
    const before = status(
      [n1, n2],
      [n3],
      [
        [n2, progress()],
        [n3, behind],
      ],
    );
    assert.equal(nextConfiguration(before, wanted), null);
    const after = status(
      [n1, n2],
      [n3],
      [
        [n2, progress()],
        [n3, progress({ isLearner: true })],
      ],
    );
    assert.deepEqual(nextConfiguration(after, wanted), { voters: [n1, n2, n3], learners: [] });
  });

  test("replaces a node by learning first and dropping last", () => {
    const replaced = { voters: [n1, n2, n4], learners: [] };
    const first = nextConfiguration(status([n1, n2, n3], [], healthy), replaced);
    assert.deepEqual(first, { voters: [n1, n2, n3], learners: [n4] });
    const caughtUp = status([n1, n2, n3], [n4], [...healthy, [n4, progress({ isLearner: true })]]);
    assert.deepEqual(nextConfiguration(caughtUp, replaced), { voters: [n1, n2, n4], learners: [] });
  });

  test("leaves a joint configuration alone", () => {
    const joint = status([n1, n2], [], healthy);
    const configuration = { ...joint.configuration, votersOutgoing: [n3] };
    assert.equal(nextConfiguration({ ...joint, configuration }, wanted), null);
  });
});

describe("leadership", () => {
  test("goes to the preferred voter when it is healthy and complete, and not otherwise", () => {
    const desired = { voters: [n2, n1, n3], learners: [] };
    const good = status([n1, n2, n3], [], [[n2, progress()]]);
    assert.equal(betterLeader(good, desired), n2);
    const late = status([n1, n2, n3], [], [[n2, progress({ matchIndex: LogIndex(5) })]]);
    assert.equal(betterLeader(late, desired), null);
    assert.equal(betterLeader(good, { voters: [n1, n2], learners: [] }), null);
  });

  test("is handed to the most advanced healthy voter", () => {
    const others = [
      [n2, progress({ matchIndex: LogIndex(900) })],
      [n3, progress({ matchIndex: LogIndex(990) })],
      [n4, progress({ isLearner: true })],
    ] as const;
    assert.equal(bestSuccessor(status([n1, n2, n3], [n4], others)), n3);
    const silent = [[n2, progress({ isRecentlyActive: false })]] as const;
    assert.equal(bestSuccessor(status([n1, n2], [], silent)), null);
  });
});
