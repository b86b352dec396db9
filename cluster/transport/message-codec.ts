import { assert, unreachable } from "../assert.ts";
import type {
  AppendEntries,
  AppendEntriesResponse,
  Message,
  MessageType,
} from "../raft/message.ts";
import { keepBytes } from "../multiraft/kept-bytes.ts";
import {
  isNodeId,
  LogIndex,
  NodeId,
  ShardId,
  Term,
  type Configuration,
  type Entry,
  type EntryType,
  type SnapshotMetadata,
} from "../types.ts";
import { WireError, type WireReader, type WireWriter } from "./wire.ts";

/** Between whom a stream runs: Raft messages on it carry these two names without spelling them out. */
export interface Route {
  readonly from: NodeId;
  readonly to: NodeId;
}

const bodyFields = {
  RequestPreVote: 3,
  RequestPreVoteResponse: 4,
  RequestVote: 5,
  RequestVoteResponse: 6,
  AppendEntries: 7,
  AppendEntriesResponse: 8,
  Heartbeat: 9,
  HeartbeatResponse: 10,
  InstallSnapshot: 11,
  TimeoutNow: 12,
  ReadIndex: 13,
  ReadIndexResponse: 14,
  CommitNotice: 15,
} as const satisfies Record<MessageType, number>;

const entryTypes = ["command", "noop", "config"] as const satisfies readonly EntryType[];

/** Writes a Raft message's body as a field of ShardMessage. */
export function writeMessage(writer: WireWriter, message: Message): void {
  writer.message(bodyFields[message.type], message, writeBody);
}

/** Reads the body that is next in `reader`; null when this release does not know it. */
export function readMessage(reader: WireReader, route: Route, term: Term): Message | null {
  const { from, to } = route;
  switch (reader.field) {
    case bodyFields.RequestPreVote:
      return { type: "RequestPreVote", from, to, term, ...reader.message(readLastEntry) };
    case bodyFields.RequestPreVoteResponse:
      return { type: "RequestPreVoteResponse", from, to, term, ...reader.message(readPreVote) };
    case bodyFields.RequestVote:
      return { type: "RequestVote", from, to, term, ...reader.message(readVoteRequest) };
    case bodyFields.RequestVoteResponse:
      return { type: "RequestVoteResponse", from, to, term, granted: readFlag(reader) };
    case bodyFields.AppendEntries:
      return reader.message((inner) => readAppendEntries(inner, route, term));
    case bodyFields.AppendEntriesResponse:
      return {
        type: "AppendEntriesResponse",
        from,
        to,
        term,
        result: reader.message(readAppendResult),
      };
    case bodyFields.Heartbeat:
      return { type: "Heartbeat", from, to, term, ...reader.message(readHeartbeat) };
    case bodyFields.HeartbeatResponse:
      return { type: "HeartbeatResponse", from, to, term, round: readNumber(reader) };
    case bodyFields.CommitNotice:
      return { type: "CommitNotice", from, to, term, commit: LogIndex(readNumber(reader)) };
    case bodyFields.InstallSnapshot: {
      const snapshot = reader.message(readSnapshotField);
      return { type: "InstallSnapshot", from, to, term, snapshot };
    }
    case bodyFields.TimeoutNow:
      reader.message(skipAll);
      return { type: "TimeoutNow", from, to, term };
    case bodyFields.ReadIndex:
      return { type: "ReadIndex", from, to, term, context: readNumber(reader) };
    case bodyFields.ReadIndexResponse:
      return { type: "ReadIndexResponse", from, to, term, ...reader.message(readReadIndexAnswer) };
    default:
      return null;
  }
}

/** A shard id from outside. */
export function readShard(reader: WireReader): ShardId {
  const value = reader.uint();
  if (value >= 2 ** 31) {
    throw new WireError(`shard ${value} is impossible`);
  }
  return ShardId(value);
}

/** A node id from outside. */
export function readNodeId(reader: WireReader): NodeId {
  const value = reader.string();
  if (!isNodeId(value)) {
    throw new WireError(`node id is malformed: ${JSON.stringify(value.slice(0, 80))}`);
  }
  return NodeId(value);
}

function writeBody(writer: WireWriter, message: Message): void {
  switch (message.type) {
    case "RequestPreVote":
      writer.uint(1, message.lastIndex);
      writer.uint(2, message.lastTerm);
      return;
    case "RequestVote":
      writer.uint(1, message.lastIndex);
      writer.uint(2, message.lastTerm);
      writer.bool(3, message.isTransfer);
      return;
    case "RequestPreVoteResponse":
      writer.bool(1, message.granted);
      writer.uint(2, message.commit);
      writer.uint(3, message.commitTerm);
      return;
    case "RequestVoteResponse":
      writer.bool(1, message.granted);
      return;
    case "AppendEntries":
      writeAppendEntries(writer, message);
      return;
    case "AppendEntriesResponse":
      writeAppendResult(writer, message.result);
      return;
    case "Heartbeat":
      writer.uint(1, message.commit);
      writer.uint(2, message.round);
      writer.bool(3, message.quiesce);
      return;
    case "HeartbeatResponse":
      writer.uint(1, message.round);
      return;
    case "CommitNotice":
      writer.uint(1, message.commit);
      return;
    case "InstallSnapshot":
      writer.message(1, message.snapshot, writeSnapshot);
      return;
    case "TimeoutNow":
      return;
    case "ReadIndex":
      writer.uint(1, message.context);
      return;
    case "ReadIndexResponse":
      writer.uint(1, message.context);
      if (message.index !== null) {
        writer.uintAlways(2, message.index);
      }
      return;
    default:
      unreachable(message);
  }
}

function writeAppendEntries(writer: WireWriter, message: AppendEntries): void {
  writer.uint(1, message.prevIndex);
  writer.uint(2, message.prevTerm);
  writer.uint(3, message.commit);
  let expected: number = message.prevIndex;
  for (const entry of message.entries) {
    expected++;
    assert(entry.index === expected, "AppendEntries carries consecutive entries after prevIndex");
    writer.message(4, entry, writeEntry);
  }
}

function writeEntry(writer: WireWriter, entry: Entry): void {
  writer.uint(1, entry.term);
  writer.uint(2, entryTypes.indexOf(entry.type));
  writer.bytes(3, entry.payload);
}

function writeAppendResult(writer: WireWriter, result: AppendEntriesResponse["result"]): void {
  switch (result.type) {
    case "accepted":
      writer.message(1, result, (inner, { matchIndex }) => {
        inner.uint(1, matchIndex);
      });
      return;
    case "rejected":
      writer.message(2, result, (inner, { rejectedIndex, hintIndex, hintTerm }) => {
        inner.uint(1, rejectedIndex);
        inner.uint(2, hintIndex);
        inner.uint(3, hintTerm);
      });
      return;
    case "quarantined":
      writer.message(3, result, () => {});
      return;
    default:
      unreachable(result);
  }
}

function writeSnapshot(writer: WireWriter, snapshot: SnapshotMetadata): void {
  writer.uint(1, snapshot.index);
  writer.uint(2, snapshot.term);
  writer.message(3, snapshot.configuration, writeConfiguration);
}

function writeConfiguration(writer: WireWriter, configuration: Configuration): void {
  const lists = [
    configuration.voters,
    configuration.votersOutgoing,
    configuration.learners,
    configuration.learnersNext,
  ];
  lists.forEach((nodes, position) => {
    for (const node of nodes) {
      writer.stringAlways(position + 1, node);
    }
  });
  writer.bool(5, configuration.autoLeave);
}

function readAppendEntries(reader: WireReader, route: Route, term: Term): AppendEntries {
  let prevIndex = LogIndex(0);
  let prevTerm = Term(0);
  let commit = LogIndex(0);
  const entries: Entry[] = [];
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        prevIndex = LogIndex(reader.uint());
        break;
      case 2:
        prevTerm = Term(reader.uint());
        break;
      case 3:
        commit = LogIndex(reader.uint());
        break;
      case 4: {
        const index = prevIndex + entries.length + 1;
        if (!Number.isSafeInteger(index)) {
          throw new WireError("an entry's index is too large");
        }
        entries.push(reader.message((inner) => readEntry(inner, LogIndex(index))));
        break;
      }
      default:
        reader.skip();
    }
  }
  const { from, to } = route;
  return { type: "AppendEntries", from, to, term, prevIndex, prevTerm, entries, commit };
}

const noBytes: Uint8Array = new Uint8Array(0);

function readEntry(reader: WireReader, index: LogIndex): Entry {
  let term = Term(0);
  let type: EntryType | undefined = "command";
  let payload: Uint8Array = noBytes;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        term = Term(reader.uint());
        break;
      case 2:
        type = entryTypes[reader.uint()];
        break;
      case 3:
        payload = keepBytes(reader.bytes());
        break;
      default:
        reader.skip();
    }
  }
  if (type === undefined) {
    throw new WireError("an entry has an unknown type");
  }
  return { index, term, type, payload };
}

function readAppendResult(reader: WireReader): AppendEntriesResponse["result"] {
  let result: AppendEntriesResponse["result"] | null = null;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        result = { type: "accepted", matchIndex: LogIndex(readNumber(reader)) };
        break;
      case 2: {
        const [rejected, hint, hintTerm] = reader.message(readThree);
        result = {
          type: "rejected",
          rejectedIndex: LogIndex(rejected),
          hintIndex: LogIndex(hint),
          hintTerm: Term(hintTerm),
        };
        break;
      }
      case 3:
        reader.message(skipAll);
        result = { type: "quarantined" };
        break;
      default:
        reader.skip();
    }
  }
  if (result === null) {
    throw new WireError("AppendEntriesResponse has no known result");
  }
  return result;
}

function readLastEntry(reader: WireReader): { lastIndex: LogIndex; lastTerm: Term } {
  const [lastIndex, lastTerm] = readThree(reader);
  return { lastIndex: LogIndex(lastIndex), lastTerm: Term(lastTerm) };
}

function readPreVote(reader: WireReader) {
  const [granted, commit, commitTerm] = readThree(reader);
  return {
    granted: toBoolean(granted),
    commit: LogIndex(commit),
    commitTerm: Term(commitTerm),
  };
}

function readVoteRequest(reader: WireReader) {
  const [lastIndex, lastTerm, isTransfer] = readThree(reader);
  return {
    lastIndex: LogIndex(lastIndex),
    lastTerm: Term(lastTerm),
    isTransfer: toBoolean(isTransfer),
  };
}

function readHeartbeat(reader: WireReader) {
  const [commit, round, quiesce] = readThree(reader);
  return { commit: LogIndex(commit), round, quiesce: toBoolean(quiesce) };
}

function readReadIndexAnswer(reader: WireReader): { context: number; index: LogIndex | null } {
  let context = 0;
  let index: LogIndex | null = null;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        context = reader.uint();
        break;
      case 2:
        index = LogIndex(reader.uint());
        break;
      default:
        reader.skip();
    }
  }
  return { context, index };
}

function readSnapshotField(reader: WireReader): SnapshotMetadata {
  let snapshot: SnapshotMetadata | null = null;
  while (reader.next()) {
    if (reader.field === 1) {
      snapshot = reader.message(readSnapshot);
    } else {
      reader.skip();
    }
  }
  if (snapshot === null) {
    throw new WireError("InstallSnapshot has no metadata");
  }
  return snapshot;
}

function readSnapshot(reader: WireReader): SnapshotMetadata {
  let index = LogIndex(0);
  let term = Term(0);
  let configuration: Configuration | null = null;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        index = LogIndex(reader.uint());
        break;
      case 2:
        term = Term(reader.uint());
        break;
      case 3:
        configuration = reader.message(readConfiguration);
        break;
      default:
        reader.skip();
    }
  }
  if (configuration === null) {
    throw new WireError("snapshot metadata has no configuration");
  }
  return { index, term, configuration };
}

function readConfiguration(reader: WireReader): Configuration {
  const voters: NodeId[] = [];
  const votersOutgoing: NodeId[] = [];
  const learners: NodeId[] = [];
  const learnersNext: NodeId[] = [];
  const lists = [voters, votersOutgoing, learners, learnersNext];
  let autoLeave = false;
  while (reader.next()) {
    const list = lists[reader.field - 1];
    if (list !== undefined) {
      const node = readNodeId(reader);
      const last = list.at(-1);
      if (last !== undefined && last >= node) {
        throw new WireError("a list of members is not sorted");
      }
      list.push(node);
    } else if (reader.field === 5) {
      autoLeave = reader.bool();
    } else {
      reader.skip();
    }
  }
  return { voters, votersOutgoing, learners, learnersNext, autoLeave };
}

/** The shape of most small messages: up to three numbers, fields 1 to 3. */
function readThree(reader: WireReader): [number, number, number] {
  const numbers: [number, number, number] = [0, 0, 0];
  while (reader.next()) {
    if (reader.field === 1 || reader.field === 2 || reader.field === 3) {
      numbers[reader.field - 1] = reader.uint();
    } else {
      reader.skip();
    }
  }
  return numbers;
}

function readNumber(reader: WireReader): number {
  return reader.message(readThree)[0];
}

function readFlag(reader: WireReader): boolean {
  return toBoolean(readNumber(reader));
}

function toBoolean(value: number): boolean {
  if (value > 1) {
    throw new WireError(`${value} is no boolean`);
  }
  return value === 1;
}

function skipAll(reader: WireReader): void {
  while (reader.next()) {
    reader.skip();
  }
}
