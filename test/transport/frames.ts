import type { Frame, ShardMessage } from "../../cluster/multiraft/transport.ts";
import type { Message } from "../../cluster/raft/message.ts";
import {
  LogIndex,
  NodeId,
  Revision,
  ShardId,
  Term,
  type SnapshotMetadata,
} from "../../cluster/types.ts";

const largest = Number.MAX_SAFE_INTEGER;

/** The node-level heartbeat. */
export const emptyFrame: Frame = {
  messages: [],
  requests: [],
  responses: [],
  digests: [],
  floor: Revision(0),
  epoch: 0,
  sentMs: 0,
  echoMs: 0,
};

/** A frame that is told from others by its epoch. */
export function numberedFrame(epoch: number): Frame {
  return { ...emptyFrame, epoch };
}

/** A frame whose encoding is a little longer than `bytes`. */
export function largeFrame(epoch: number, bytes: number): Frame {
  const response = {
    id: 1,
    status: "ok",
    payload: new Uint8Array(bytes),
    leader: null,
    revision: Revision(1),
  } as const;
  return { ...emptyFrame, epoch, responses: [response] };
}

export const snapshotMetadata: SnapshotMetadata = {
  index: LogIndex(4711),
  term: Term(12),
  configuration: {
    voters: [NodeId("n1"), NodeId("n2"), NodeId("n3")],
    votersOutgoing: [NodeId("n1"), NodeId("n4")],
    learners: [NodeId("n5")],
    learnersNext: [NodeId("n4")],
    autoLeave: true,
  },
};

/** A frame with every kind of message, at common and at extreme values. */
export function fullFrame(from: NodeId, to: NodeId): Frame {
  return {
    messages: allMessages(from, to).map((message, position): ShardMessage => ({
      shard: ShardId(position * 97),
      message,
    })),
    requests: [
      {
        id: 1,
        shard: ShardId(0),
        kind: "write",
        epoch: 0,
        timeoutMs: 1234.5,
        payload: bytes(300),
        trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      },
      {
        id: largest,
        shard: ShardId(2 ** 31 - 1),
        kind: "read",
        epoch: largest,
        timeoutMs: 0,
        payload: bytes(0),
        trace: "",
      },
      {
        id: 2,
        shard: ShardId(1),
        kind: "watch",
        epoch: 1,
        timeoutMs: 10_000,
        payload: bytes(10),
        trace: "",
      },
    ],
    responses: (
      ["ok", "not_leader", "overloaded", "wrong_epoch", "not_ready", "unknown"] as const
    ).map((status, position) => ({
      id: position,
      status,
      payload: bytes(position),
      leader: position % 2 === 0 ? null : NodeId("n2"),
      revision: Revision(position),
    })),
    digests: [
      {
        shard: ShardId(7),
        index: LogIndex(largest),
        digest: "00ff00ff9e3779b1",
        isQuestion: true,
      },
      { shard: ShardId(0), index: LogIndex(0), digest: "", isQuestion: false },
    ],
    floor: Revision(largest),
    epoch: 3,
    sentMs: 0.25,
    echoMs: 1e9,
  };
}

function allMessages(from: NodeId, to: NodeId): readonly Message[] {
  return [
    ...electionMessages(from, to),
    ...replicationMessages(from, to),
    ...quietMessages(from, to),
  ];
}

function electionMessages(from: NodeId, to: NodeId): readonly Message[] {
  const term = Term(7);
  const last = { lastIndex: LogIndex(largest), lastTerm: Term(6) };
  return [
    { type: "RequestPreVote", from, to, term, ...last },
    {
      type: "RequestPreVoteResponse",
      from,
      to,
      term,
      granted: true,
      commit: LogIndex(0),
      commitTerm: Term(0),
    },
    {
      type: "RequestPreVoteResponse",
      from,
      to,
      term: Term(0),
      granted: false,
      commit: LogIndex(17),
      commitTerm: Term(3),
    },
    { type: "RequestVote", from, to, term, ...last, isTransfer: true },
    { type: "RequestVote", from, to, term, ...last, isTransfer: false },
    { type: "RequestVoteResponse", from, to, term, granted: true },
  ];
}

function replicationMessages(from: NodeId, to: NodeId): readonly Message[] {
  const term = Term(7);
  const entry = (index: number, type: "command" | "noop" | "config", size: number) => ({
    index: LogIndex(index),
    term: Term(index === 1001 ? 5 : 7),
    type,
    payload: bytes(size),
  });
  return [
    {
      type: "AppendEntries",
      from,
      to,
      term,
      prevIndex: LogIndex(1000),
      prevTerm: Term(5),
      entries: [entry(1001, "noop", 0), entry(1002, "command", 2000), entry(1003, "config", 1)],
      commit: LogIndex(999),
    },
    {
      type: "AppendEntries",
      from,
      to,
      term,
      prevIndex: LogIndex(0),
      prevTerm: Term(0),
      entries: [],
      commit: LogIndex(0),
    },
    {
      type: "AppendEntriesResponse",
      from,
      to,
      term,
      result: { type: "accepted", matchIndex: LogIndex(2 ** 40) },
    },
    {
      type: "AppendEntriesResponse",
      from,
      to,
      term,
      result: {
        type: "rejected",
        rejectedIndex: LogIndex(1000),
        hintIndex: LogIndex(0),
        hintTerm: Term(3),
      },
    },
    { type: "AppendEntriesResponse", from, to, term, result: { type: "quarantined" } },
  ];
}

function quietMessages(from: NodeId, to: NodeId): readonly Message[] {
  const term = Term(7);
  return [
    { type: "Heartbeat", from, to, term, commit: LogIndex(128), round: 0, quiesce: true },
    { type: "Heartbeat", from, to, term, commit: LogIndex(0), round: 2 ** 31, quiesce: false },
    { type: "HeartbeatResponse", from, to, term, round: 2 ** 32 },
    { type: "CommitNotice", from, to, term, commit: LogIndex(2 ** 40) },
    { type: "InstallSnapshot", from, to, term, snapshot: snapshotMetadata },
    { type: "TimeoutNow", from, to, term: Term(largest) },
    { type: "ReadIndex", from, to, term, context: 16384 },
    { type: "ReadIndexResponse", from, to, term, context: 1, index: null },
    { type: "ReadIndexResponse", from, to, term, context: 1, index: LogIndex(0) },
  ];
}

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, position) => (position * 31) % 256);
}
