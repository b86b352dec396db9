import { assert } from "../assert.ts";
import type {
  ForwardRequest,
  ForwardResponse,
  Frame,
  ShardDigest,
  ShardMessage,
} from "../multiraft/transport.ts";
import type { Message } from "../raft/message.ts";
import { LogIndex, Revision, ShardId, Term, type NodeId } from "../types.ts";
import { readMessage, readNodeId, readShard, writeMessage, type Route } from "./message-codec.ts";
import { WireError, WireReader, WireWriter } from "./wire.ts";

/** The last word on a stream. */
export interface Close {
  readonly reason: CloseReason;
  /** A sentence for the log. */
  readonly detail: string;
}

/** Why a side ends a stream; part of the wire format. */
export type CloseReason = (typeof closeReasons)[number];

/** What a stream carries: frames, and at its end perhaps a goodbye. */
export type Received =
  | { readonly type: "frame"; readonly frame: Frame }
  | { readonly type: "close"; readonly close: Close };

// Position = number in proto/peer.proto. A reason that is not known yet is read as the first.
const closeReasons = ["unspecified", "stopping", "replaced", "not_a_peer", "bad_frame"] as const;
const requestKinds = [
  "write",
  "read",
  "watch",
  "trace",
] as const satisfies readonly ForwardRequest["kind"][];
const responseStatuses = [
  "ok",
  "not_leader",
  "overloaded",
  "wrong_epoch",
  "not_ready",
  "unknown",
] as const satisfies readonly ForwardResponse["status"][];

/** Bytes of one item beside its payloads, roughly: saves the writer from growing. */
const itemBytes = 64;
const frameBytes = 64;

/** A frame as it goes over the wire. Its Raft messages must be from and to the two ends of `route`. */
export function encodeFrame(frame: Frame, route: Route): Buffer {
  const writer = new WireWriter(estimateBytes(frame));
  for (const message of frame.messages) {
    assert(message.message.from === route.from, "a message leaves the node that it is from");
    assert(message.message.to === route.to, "a message goes to the node that it is for");
    writer.message(1, message, writeShardMessage);
  }
  for (const request of frame.requests) {
    writer.message(2, request, writeRequest);
  }
  for (const response of frame.responses) {
    writer.message(3, response, writeResponse);
  }
  writer.uint(4, frame.floor);
  writer.uint(5, frame.epoch);
  writer.double(6, frame.sentMs);
  writer.double(7, frame.echoMs);
  for (const digest of frame.digests) {
    writer.message(9, digest, writeDigest);
  }
  return writer.finish();
}

/** A goodbye as it goes over the wire. */
export function encodeClose(close: Close): Buffer {
  const writer = new WireWriter(frameBytes + 3 * close.detail.length);
  writer.message(8, close, (inner, { reason, detail }) => {
    inner.uint(1, closeReasons.indexOf(reason));
    inner.string(2, detail);
  });
  return writer.finish();
}

/**
 * Reads what `encodeFrame` or `encodeClose` wrote, here or in another release. Payloads are views on `bytes`.
 *
 * @throws WireError when `bytes` are anything else; every field is checked
 */
export function decodeFrame(bytes: Buffer, route: Route): Received {
  const reader = new WireReader(bytes);
  const messages: ShardMessage[] = [];
  const requests: ForwardRequest[] = [];
  const responses: ForwardResponse[] = [];
  const digests: ShardDigest[] = [];
  let floor = Revision(0);
  let epoch = 0;
  let sentMs = 0;
  let echoMs = 0;
  let close: Close | null = null;
  while (reader.next()) {
    switch (reader.field) {
      case 1: {
        const message = reader.message((inner) => readShardMessage(inner, route));
        if (message !== null) {
          messages.push(message);
        }
        break;
      }
      case 2:
        requests.push(reader.message(readRequest));
        break;
      case 3:
        responses.push(reader.message(readResponse));
        break;
      case 4:
        floor = Revision(reader.uint());
        break;
      case 5:
        epoch = reader.uint();
        break;
      case 6:
        sentMs = reader.milliseconds();
        break;
      case 7:
        echoMs = reader.milliseconds();
        break;
      case 8:
        close = reader.message(readClose);
        break;
      case 9:
        digests.push(reader.message(readDigest));
        break;
      default:
        reader.skip();
    }
  }
  if (close !== null) {
    return { type: "close", close };
  }
  return {
    type: "frame",
    frame: { messages, requests, responses, digests, floor, epoch, sentMs, echoMs },
  };
}

function estimateBytes(frame: Frame): number {
  let bytes = frameBytes;
  for (const { message } of frame.messages) {
    bytes += itemBytes;
    if (message.type === "AppendEntries") {
      for (const entry of message.entries) {
        bytes += itemBytes + entry.payload.length;
      }
    }
  }
  for (const request of frame.requests) {
    bytes += itemBytes + request.payload.length + request.trace.length;
  }
  for (const response of frame.responses) {
    bytes += itemBytes + response.payload.length;
  }
  bytes += itemBytes * frame.digests.length;
  return bytes;
}

function writeShardMessage(writer: WireWriter, { shard, message }: ShardMessage): void {
  writer.uint(1, shard);
  writer.uint(2, message.term);
  writeMessage(writer, message);
}

/** Null for a kind of message that this release does not know: to Raft that is a lost message. */
function readShardMessage(reader: WireReader, route: Route): ShardMessage | null {
  let shard = ShardId(0);
  let term = Term(0);
  let message: Message | null = null;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        shard = readShard(reader);
        break;
      case 2:
        term = Term(reader.uint());
        break;
      default: {
        const body = readMessage(reader, route, term);
        if (body === null) {
          reader.skip();
        } else {
          message = body;
        }
      }
    }
  }
  return message === null ? null : { shard, message };
}

function writeRequest(writer: WireWriter, request: ForwardRequest): void {
  writer.uint(1, request.id);
  writer.uint(2, request.shard);
  writer.uint(3, requestKinds.indexOf(request.kind));
  writer.uint(4, request.epoch);
  writer.double(5, request.timeoutMs);
  writer.bytes(6, request.payload);
  writer.string(7, request.trace);
}

const noBytes: Uint8Array = new Uint8Array(0);

function readRequest(reader: WireReader): ForwardRequest {
  let id = 0;
  let shard = ShardId(0);
  let kind: ForwardRequest["kind"] | undefined = "write";
  let epoch = 0;
  let timeoutMs = 0;
  let payload: Uint8Array = noBytes;
  let trace = "";
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        id = reader.uint();
        break;
      case 2:
        shard = readShard(reader);
        break;
      case 3:
        kind = requestKinds[reader.uint()];
        break;
      case 4:
        epoch = reader.uint();
        break;
      case 5:
        timeoutMs = reader.milliseconds();
        break;
      case 6:
        payload = reader.bytes();
        break;
      case 7:
        trace = reader.string();
        break;
      default:
        reader.skip();
    }
  }
  if (kind === undefined) {
    throw new WireError(`request ${id} is of an unknown kind`);
  }
  return { id, shard, kind, epoch, timeoutMs, payload, trace };
}

function writeResponse(writer: WireWriter, response: ForwardResponse): void {
  writer.uint(1, response.id);
  writer.uint(2, responseStatuses.indexOf(response.status));
  writer.bytes(3, response.payload);
  if (response.leader !== null) {
    writer.stringAlways(4, response.leader);
  }
  writer.uint(5, response.revision);
}

function readResponse(reader: WireReader): ForwardResponse {
  let id = 0;
  let status: ForwardResponse["status"] | undefined = "ok";
  let payload: Uint8Array = noBytes;
  let leader: NodeId | null = null;
  let revision = Revision(0);
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        id = reader.uint();
        break;
      case 2:
        status = responseStatuses[reader.uint()];
        break;
      case 3:
        payload = reader.bytes();
        break;
      case 4:
        leader = readNodeId(reader);
        break;
      case 5:
        revision = Revision(reader.uint());
        break;
      default:
        reader.skip();
    }
  }
  if (status === undefined) {
    throw new WireError(`response ${id} has an unknown status`);
  }
  return { id, status, payload, leader, revision };
}

function writeDigest(writer: WireWriter, word: ShardDigest): void {
  writer.uint(1, word.shard);
  writer.uint(2, word.index);
  writer.string(3, word.digest);
  writer.bool(4, word.isQuestion);
}

function readDigest(reader: WireReader): ShardDigest {
  let shard = ShardId(0);
  let index = LogIndex(0);
  let digest = "";
  let isQuestion = false;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        shard = readShard(reader);
        break;
      case 2:
        index = LogIndex(reader.uint());
        break;
      case 3:
        digest = reader.string();
        break;
      case 4:
        isQuestion = reader.bool();
        break;
      default:
        reader.skip();
    }
  }
  return { shard, index, digest, isQuestion };
}

function readClose(reader: WireReader): Close {
  let reason: CloseReason = "unspecified";
  let detail = "";
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        reason = closeReasons[reader.uint()] ?? "unspecified";
        break;
      case 2:
        detail = reader.string();
        break;
      default:
        reader.skip();
    }
  }
  return { reason, detail };
}
