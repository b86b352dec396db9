import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Core } from "../../cluster/raft/core.ts";
import { checkInvariants } from "../../cluster/raft/invariants.ts";
import { beginChange, leaveJoint } from "../../cluster/raft/membership.ts";
import { Raft } from "../../cluster/raft/raft.ts";
import type { Leader, Role } from "../../cluster/raft/role.ts";
import { LogIndex, NodeId, Term } from "../../cluster/types.ts";
import type { Configuration } from "../../cluster/types.ts";

const [a, b] = [NodeId("a"), NodeId("b")];

const alone: Configuration = {
  voters: [a],
  votersOutgoing: [],
  learners: [b],
  learnersNext: [],
  autoLeave: false,
};

function leading(): Raft {
  const raft = new Raft(
    {
      id: a,
      electionTicks: 10,
      electionJitterTicks: 10,
      heartbeatTicks: 1,
      fastElectionJitterTicks: 2,
      electionPriorityDelayTicks: 0,
      inflightMessagesMax: 4,
      inflightBytesMax: 1000,
      appendBytesMax: 100,
      uncommittedBytesMax: 1000,
      pendingReadsMax: 4,
      leaseMarginTicks: 2,
      random: () => 0,
    },
    {
      hardState: { term: Term(1), vote: null, commit: LogIndex(0) },
      compactedIndex: LogIndex(0),
      compactedTerm: Term(0),
      entries: [],
      appliedIndex: LogIndex(0),
      configuration: alone,
      isQuarantined: false,
    },
  );
  raft.campaign();
  while (raft.hasReady) {
    if (raft.ready().write !== null) {
      raft.advance();
    }
    checkInvariants(raft);
  }
  return raft;
}

function leaderOf(core: Core): Leader {
  assert(core.role.type === "leader");
  return core.role;
}

describe("the checker finds", () => {
  const faults: readonly (readonly [string, RegExp, (core: Core) => void])[] = [
    ["a term that fell", /R1/, (core) => (core.term = Term(1))],
    ["a durable term that was never written", /R1/, (core) => (core.durableTerm = Term(9))],
    ["a written vote that changed", /R2/, (core) => (core.vote = b)],
    [
      "a promise of another term",
      /R4/,
      (core) => core.promises.push({ type: "TimeoutNow", from: a, to: b, term: Term(1) }),
    ],
    [
      "an entry of a term to come",
      /R3/,
      (core) => {
        core.log.append({
          index: LogIndex(2),
          term: Term(9),
          type: "noop",
          payload: new Uint8Array(0),
        });
      },
    ],
    ["a group without voters", /R9/, (core) => (core.configuration = { ...alone, voters: [] })],
    [
      "a learner that votes",
      /R9/,
      (core) => {
        core.configuration = { ...alone, voters: [a, b] };
      },
    ],
    [
      "a future learner that does not vote",
      /R9/,
      (core) => {
        core.configuration = { ...alone, learnersNext: [b] };
      },
    ],
    ["peers that are not the members", /R9/, (core) => (core.peers = [])],
    ["a quarantined leader", /R10/, (core) => (core.isQuarantined = true)],
    [
      "a leader that is no voter",
      /R9/,
      (core) => {
        core.configuration = { ...alone, voters: [b], learners: [] };
      },
    ],
    [
      "a leader that voted for nobody",
      /R2/,
      (core) => {
        core.vote = null;
        core.written = { ...core.written, vote: null };
      },
    ],
    [
      "bytes that were counted down twice",
      /uncommitted/,
      (core) => {
        leaderOf(core).uncommittedBytes = -1;
      },
    ],
    ["a member that nobody tracks", /R9/, (core) => leaderOf(core).progress.clear()],
    [
      "a match that is not below next",
      /R5/,
      (core) => {
        const progress = leaderOf(core).progress.get(b);
        assert(progress !== undefined);
        progress.matchIndex = progress.nextIndex;
      },
    ],
    [
      "a round that was answered before it began",
      /R11/,
      (core) => {
        const progress = leaderOf(core).progress.get(b);
        assert(progress !== undefined);
        progress.ackedRound = 99;
      },
    ],
    [
      "an acknowledgement of a member that lost its log",
      /R10/,
      (core) => {
        const progress = leaderOf(core).progress.get(b);
        assert(progress !== undefined);
        progress.nextIndex = LogIndex(2);
        progress.matchIndex = LogIndex(1);
        progress.isQuarantined = true;
      },
    ],
    [
      "a candidate that voted for somebody else",
      /R2/,
      (core) => {
        core.role = { type: "candidate", votes: new Map() };
        core.vote = null;
        core.written = { ...core.written, vote: null };
      },
    ],
    [
      "a role that does not exist",
      /unreachable/,
      (core) => {
        const alien: Role = JSON.parse('{"type":"alien"}');
        core.role = alien;
      },
    ],
  ];
  for (const [what, message, break_] of faults) {
    test(what, () => {
      const raft = leading();
      raft.inspect((core) => {
        break_(core);
      });
      assert.throws(() => checkInvariants(raft), message);
    });
  }

  test("a role that does not exist also when a message arrives", () => {
    const raft = leading();
    raft.inspect((core) => {
      const alien: Role = JSON.parse('{"type":"alien"}');
      core.role = alien;
    });
    const heartbeat = {
      type: "HeartbeatResponse",
      from: b,
      to: a,
      term: Term(2),
      round: 0,
    } as const;
    assert.throws(() => raft.step(heartbeat), /unreachable/);
  });
});

test("a change cannot begin before the previous one is over, nor end before it began", () => {
  const joint = beginChange(alone, { voters: [b], learners: [] });
  assert.throws(() => beginChange(joint, { voters: [a], learners: [] }), /R9/);
  assert.throws(() => leaveJoint(alone), /R9/);
});
