import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkInvariants } from "../../cluster/raft/invariants.ts";
import { decodeConfiguration, encodeConfiguration } from "../../cluster/raft/membership.ts";
import type { AppendEntries, Message } from "../../cluster/raft/message.ts";
import type { RaftOptions } from "../../cluster/raft/options.ts";
import { Raft } from "../../cluster/raft/raft.ts";
import { LogIndex, NodeId, Term } from "../../cluster/types.ts";
import type { Configuration, Entry } from "../../cluster/types.ts";
import { smallOptions } from "./options.ts";

const [a, b, c] = [NodeId("a"), NodeId("b"), NodeId("c")];
const nothing = new Uint8Array(0);

const options: RaftOptions = { ...smallOptions, id: a, heartbeatTicks: 1, random: () => 0 };

function members(voters: readonly NodeId[], learners: readonly NodeId[] = []): Configuration {
  return { voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false };
}

function entry(index: number, term: number): Entry {
  return { index: LogIndex(index), term: Term(term), type: "command", payload: nothing };
}

function open(configuration: Configuration, entries: readonly Entry[] = [], term = 0): Raft {
  return new Raft(options, {
    hardState: { term: Term(term), vote: null, commit: LogIndex(0) },
    compactedIndex: LogIndex(0),
    compactedTerm: Term(0),
    entries,
    appliedIndex: LogIndex(0),
    configuration,
    isQuarantined: false,
  });
}

/** A replica that leads term 1, everything written; what the others would say is made up by the test. */
function leading(): Raft {
  const raft = open(members([a, b, c]));
  raft.campaign();
  raft.step({
    type: "RequestPreVoteResponse",
    from: b,
    to: a,
    term: Term(1),
    granted: true,
    commit: LogIndex(0),
    commitTerm: Term(0),
  });
  write(raft);
  raft.step({ type: "RequestVoteResponse", from: b, to: a, term: Term(1), granted: true });
  write(raft);
  assert(raft.isLeader);
  return raft;
}

function write(raft: Raft): readonly Message[] {
  const messages: Message[] = [];
  while (raft.hasReady) {
    const ready = raft.ready();
    messages.push(...ready.messages);
    if (ready.write !== null) {
      messages.push(...ready.write.messages);
      raft.advance();
    }
    checkInvariants(raft);
  }
  return messages;
}

function append(entries: readonly Entry[], prev = { index: 0, term: 0 }, term = 1): AppendEntries {
  return {
    type: "AppendEntries",
    from: b,
    to: a,
    term: Term(term),
    prevIndex: LogIndex(prev.index),
    prevTerm: Term(prev.term),
    entries,
    commit: LogIndex(0),
  };
}

describe("what a peer sends is checked, not trusted", () => {
  test("a message for somebody else, or from itself, changes nothing", () => {
    const raft = open(members([a, b, c]));
    raft.step({ ...append([entry(1, 1)]), to: c });
    raft.step({ ...append([entry(1, 1)]), from: a });
    assert.equal(raft.hasReady, false);
  });

  const garbage: readonly (readonly [string, readonly Entry[]])[] = [
    ["a hole", [entry(1, 1), entry(3, 1)]],
    ["a wrong start", [entry(2, 1)]],
    ["falling terms", [entry(1, 2), entry(2, 1)]],
    ["a term above the sender's", [entry(1, 9)]],
    ["an unreadable configuration", [{ ...entry(1, 1), type: "config" }]],
  ];
  for (const [what, entries] of garbage) {
    test(`entries with ${what} are ignored`, () => {
      const raft = open(members([a, b, c]));
      raft.step(append(entries, { index: 0, term: 0 }, 2));
      assert.equal(raft.lastIndex, 0);
      assert.equal(raft.hasReady, false);
    });
  }

  test("an acknowledgement of more than there is, by a stranger, or of a round to come counts for nothing", () => {
    const raft = leading();
    const accepted = { type: "accepted", matchIndex: LogIndex(9) } as const;
    const response = { type: "AppendEntriesResponse", to: a, term: Term(1) } as const;
    raft.step({ ...response, from: b, result: accepted });
    raft.step({ ...response, from: NodeId("x"), result: { ...accepted, matchIndex: LogIndex(1) } });
    raft.step({ type: "HeartbeatResponse", from: b, to: a, term: Term(1), round: 99 });
    raft.step({ type: "HeartbeatResponse", from: NodeId("x"), to: a, term: Term(1), round: 0 });
    assert.equal(raft.commitIndex, 0);
    assert.equal(raft.status().progress.get(b)?.matchIndex, 0);
  });

  test("answers that concern another role are ignored by every role", () => {
    const late: readonly Message[] = [
      {
        type: "RequestPreVoteResponse",
        from: b,
        to: a,
        term: Term(1),
        granted: false,
        commit: LogIndex(0),
        commitTerm: Term(0),
      },
      { type: "RequestVoteResponse", from: b, to: a, term: Term(1), granted: true },
      { type: "HeartbeatResponse", from: b, to: a, term: Term(1), round: 0 },
      { type: "ReadIndexResponse", from: b, to: a, term: Term(1), context: 1, index: LogIndex(1) },
      {
        type: "AppendEntriesResponse",
        from: b,
        to: a,
        term: Term(1),
        result: { type: "accepted", matchIndex: LogIndex(0) },
      },
    ];
    const learner = open(members([b], [a]), [entry(1, 1)], 1);
    const candidate = open(members([a, b, c]));
    candidate.campaign();
    candidate.step({
      type: "RequestPreVoteResponse",
      from: b,
      to: a,
      term: Term(1),
      granted: true,
      commit: LogIndex(0),
      commitTerm: Term(0),
    });
    write(candidate);
    const leader = leading();
    for (const message of late.filter(({ type }) => type !== "RequestVoteResponse")) {
      candidate.step(message);
    }
    for (const message of late) {
      learner.step(message);
      leader.step(message);
    }
    candidate.step({ type: "TimeoutNow", from: b, to: a, term: Term(1) });
    leader.step({ type: "TimeoutNow", from: b, to: a, term: Term(1) });
    learner.step({ type: "TimeoutNow", from: b, to: a, term: Term(1) });
    assert.deepEqual(
      [learner.role, candidate.role, leader.role],
      ["follower", "candidate", "leader"],
    );
    assert.deepEqual([learner.term, candidate.term, leader.term], [1, 1, 1]);
  });

  test("a message of a type that does not exist ends the process, in every role", () => {
    const alien: Message = JSON.parse('{"type":"Alien","from":"b","to":"a","term":1}');
    const candidate = open(members([a, b, c]));
    candidate.campaign();
    candidate.step({
      type: "RequestPreVoteResponse",
      from: b,
      to: a,
      term: Term(1),
      granted: true,
      commit: LogIndex(0),
      commitTerm: Term(0),
    });
    for (const raft of [open(members([a, b, c])), candidate, leading()]) {
      assert.throws(() => raft.step(alien), /unreachable/);
    }
  });
});

describe("a vote request of a higher term", () => {
  const request = {
    type: "RequestVote",
    from: c,
    to: a,
    term: Term(7),
    lastIndex: LogIndex(9),
    lastTerm: Term(6),
    isTransfer: false,
  } as const;

  test("is ignored, term and all, by a leader and by whoever hears one", () => {
    const leader = leading();
    leader.step(request);
    const follower = open(members([a, b, c]));
    follower.step(append([entry(1, 1)]));
    follower.step(request);
    assert.deepEqual([leader.term, follower.term], [1, 1]);
    assert(write(follower).every(({ type }) => type !== "RequestVoteResponse"));
  });

  test("is answered by whoever hears one when the leader itself asked for the election", () => {
    const follower = open(members([a, b, c]));
    follower.step(append([entry(1, 1)]));
    follower.step({ ...request, isTransfer: true });
    assert.equal(follower.term, 7);
    assert(
      write(follower).some((answer) => answer.type === "RequestVoteResponse" && answer.granted),
    );
  });

  test("is ignored by a quarantined replica, which has no vote to give", () => {
    const raft = new Raft(options, {
      hardState: { term: Term(3), vote: null, commit: LogIndex(5) },
      compactedIndex: LogIndex(2),
      compactedTerm: Term(1),
      entries: [],
      appliedIndex: LogIndex(2),
      configuration: members([a, b, c]),
      isQuarantined: true,
    });
    for (let ticks = 0; ticks < 30; ticks++) {
      raft.tick(1);
    }
    raft.step({ ...request, isTransfer: true });
    assert.equal(raft.term, 3);
    assert.equal(raft.hasReady, false);
    assert.equal(raft.isQuarantined, true);
  });
});

test("two leaders in one term end the process: nothing that follows could be right", () => {
  assert.throws(() => leading().step(append([])), /R2/);
});

test("an append that contradicts a committed entry changes nothing", () => {
  const raft = open(members([a, b, c]));
  raft.step({ ...append([entry(1, 1), entry(2, 1)]), commit: LogIndex(1) });
  raft.step(append([entry(1, 2)], { index: 0, term: 0 }, 2));
  // The answer says how far this replica is; only a leader that is wrong could send such a thing.
  assert.equal(raft.commitIndex, 1);
  assert.equal(raft.termAt(LogIndex(1)), 1);
});

test("a restarted log with a hole, or without what was committed, is refused", () => {
  assert.throws(() => open(members([a]), [entry(1, 1), entry(3, 1)]), /R3/);
  assert.throws(
    () =>
      new Raft(options, {
        hardState: { term: Term(1), vote: null, commit: LogIndex(5) },
        compactedIndex: LogIndex(0),
        compactedTerm: Term(0),
        entries: [entry(1, 1)],
        appliedIndex: LogIndex(0),
        configuration: members([a]),
        isQuarantined: false,
      }),
    /R7/,
  );
});

test("a long log is applied in portions, and a config entry ends a portion", () => {
  const configuration = members([a, b]);
  const change: Entry = {
    ...entry(1500, 1),
    type: "config",
    payload: encodeConfiguration(configuration),
  };
  const entries = Array.from({ length: 1600 }, (_, position) => entry(position + 1, 1));
  entries[1499] = change;
  const raft = new Raft(options, {
    hardState: { term: Term(1), vote: null, commit: LogIndex(1600) },
    compactedIndex: LogIndex(0),
    compactedTerm: Term(0),
    entries,
    appliedIndex: LogIndex(0),
    configuration: members([a]),
    isQuarantined: false,
  });
  const portions: number[] = [];
  while (raft.hasReady) {
    const before = raft.configuration.voters.length;
    portions.push(raft.ready().committed.length);
    assert.equal(raft.configuration.voters.length, raft.appliedIndex >= 1500 ? 2 : before);
  }
  assert.deepEqual(portions, [1024, 476, 100]);
});

test("what was applied was committed, even if the hard state does not say so", () => {
  const raft = new Raft(options, {
    hardState: { term: Term(1), vote: null, commit: LogIndex(1) },
    compactedIndex: LogIndex(0),
    compactedTerm: Term(0),
    entries: [entry(1, 1), entry(2, 1)],
    appliedIndex: LogIndex(2),
    configuration: members([a]),
    isQuarantined: false,
  });
  assert.equal(raft.commitIndex, 2);
  assert.equal(raft.hasReady, false);
});

test("a host whose disk is busy gets everything but the write, and the write complete later", () => {
  const raft = leading();
  raft.propose([nothing]);
  assert.equal(raft.ready(false).write, null);
  assert.equal(raft.ready(true).write?.entries.length, 1);
});

test("the cheap getters say what the status says", () => {
  const raft = leading();
  const status = raft.status();
  assert.deepEqual(
    [raft.id, raft.term, raft.role, raft.leader, raft.commitIndex, raft.appliedIndex],
    [status.id, status.term, status.role, status.leader, status.commitIndex, status.appliedIndex],
  );
  assert.deepEqual(
    [raft.lastIndex, raft.persistedIndex, raft.compactedIndex, raft.isQuiesced, raft.isQuarantined],
    [1, 1, 0, false, false],
  );
  assert.equal(raft.configuration, status.configuration);
  assert.equal(raft.entriesBetween(LogIndex(1), LogIndex(5)).length, 1);
});

test("compacting what is compacted already is no error; compacting what is not applied is", () => {
  const raft = leading();
  raft.compact(LogIndex(0));
  assert.throws(() => raft.compact(LogIndex(1)), /R8/);
});

test("advance() without a write, a tick of no time, and a proposal of nothing are the host's mistakes", () => {
  const raft = leading();
  assert.throws(() => raft.advance(), /advance/);
  assert.throws(() => raft.tick(0), /tick/);
  assert.throws(() => raft.propose([]), /payload/);
});

describe("the payload of a config entry", () => {
  const joint: Configuration = {
    voters: [a, b],
    votersOutgoing: [a, c],
    learners: [NodeId("d")],
    learnersNext: [c],
    autoLeave: true,
  };
  const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

  test("says everything about a configuration", () => {
    assert.deepEqual(decodeConfiguration(encodeConfiguration(joint)), joint);
  });

  const broken: readonly (readonly [string, Uint8Array])[] = [
    ["no JSON", nothing],
    ["no UTF-8", new Uint8Array([0xff, 0xfe])],
    ["no object", encode(7)],
    ["null", encode(null)],
    ["without voters", encode({ ...joint, voters: [] })],
    ["with a field missing", encode({ ...joint, learners: undefined })],
    ["with ids that are no strings", encode({ ...joint, learners: [7] })],
    ["with malformed ids", encode({ ...joint, learners: ["a b"] })],
    ["not sorted", encode({ ...joint, voters: ["b", "a"] })],
    ["with repeats", encode({ ...joint, voters: ["a", "a"] })],
    ["with a flag that is none", encode({ ...joint, autoLeave: 1 })],
  ];
  for (const [what, payload] of broken) {
    test(`is refused when it is ${what}`, () => {
      assert.equal(decodeConfiguration(payload), null);
    });
  }
});

test("a snapshot is incoming from its acceptance until the write that installs it begins", () => {
  const raft = open(members([a, b, c]), [], 2);
  assert.equal(raft.incomingSnapshotIndex, null);
  const offer = (index: number, term: number): void => {
    const snapshot = { index: LogIndex(index), term: Term(1), configuration: members([a, b, c]) };
    raft.step({ type: "InstallSnapshot", from: b, to: a, term: Term(term), snapshot });
  };
  offer(450, 2);
  assert.equal(raft.incomingSnapshotIndex, 450);
  offer(440, 2);
  assert.equal(raft.incomingSnapshotIndex, 450);
  offer(472, 1);
  assert.equal(raft.incomingSnapshotIndex, 450);
  offer(460, 2);
  assert.equal(raft.incomingSnapshotIndex, 460);
  write(raft);
  assert.equal(raft.incomingSnapshotIndex, null);
  assert.equal(raft.commitIndex, 460);
});
