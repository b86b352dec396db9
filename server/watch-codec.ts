import { readEvent, readOptional, writeEvent, writeOptional } from "../storage/record-codec.ts";
import {
  type ByteReader,
  type ByteWriter,
  CodecError,
  decodeWith,
  encodeWith,
  expectVersion,
  readList,
  writeList,
} from "../storage/wire-codec.ts";
import type { WatchPosition } from "./http/service.ts";
import type { ChangeChunk, ShardChange, Wanted } from "./watch-changes.ts";
import type { WatchFilter } from "./watch-filter.ts";

/*
 * poll   := version u8, after? position, filter, wantPrevious bool, bytesMax, waitMs
 * answer := version u8, type u8, [position, changes]
 *
 * Both only travel between nodes, inside a ForwardRequest of kind "watch" and its response.
 */
const version = 1;
const code = {
  filter: { key: 1, prefix: 2 },
  answer: { changes: 1, gone: 2 },
} as const;

/** One node asks another for the changes of a shard that the other holds. */
export interface WatchPoll extends Wanted {
  /** Null: where is the shard now? Answered at once, with no changes. */
  readonly after: WatchPosition | null;
  readonly bytesMax: number;
  /** How long to wait for a change when there is none yet. */
  readonly waitMs: number;
}

/** `gone`: the changes after the position are not known here any more, or never were made. */
export type WatchAnswer =
  { readonly type: "changes"; readonly chunk: ChangeChunk } | { readonly type: "gone" };

/** What `decodePoll` reads. */
export function encodePoll(poll: WatchPoll): Uint8Array {
  return encodeWith((writer) => {
    writer.u8(version);
    writeOptional(writer, poll.after, writePosition);
    writer.u8(code.filter[poll.filter.type]);
    writer.bytes(poll.filter.type === "key" ? poll.filter.key : poll.filter.prefix);
    writer.bool(poll.wantPrevious);
    writer.varuint(poll.bytesMax);
    writer.varuint(poll.waitMs);
  }, undefined);
}

/** Throws CodecError when the bytes are not a poll. */
export function decodePoll(bytes: Uint8Array): WatchPoll {
  return decodeWith((reader) => {
    expectVersion(reader, version, "a watch poll");
    return {
      after: readOptional(reader, readPosition),
      filter: readFilter(reader),
      wantPrevious: reader.bool(),
      bytesMax: reader.varuint(),
      waitMs: reader.varuint(),
    };
  }, bytes);
}

/** What `decodeAnswer` reads. */
export function encodeAnswer(answer: WatchAnswer): Uint8Array {
  return encodeWith((writer) => {
    writer.u8(version);
    writer.u8(code.answer[answer.type]);
    if (answer.type === "changes") {
      writePosition(writer, answer.chunk.position);
      writeList(writer, answer.chunk.changes, writeChange);
    }
  }, undefined);
}

/** Throws CodecError when the bytes are not an answer. */
export function decodeAnswer(bytes: Uint8Array): WatchAnswer {
  return decodeWith((reader) => {
    expectVersion(reader, version, "an answer to a watch poll");
    const type = reader.u8();
    switch (type) {
      case code.answer.changes: {
        const position = readPosition(reader);
        return { type: "changes", chunk: { position, changes: readList(reader, 8, readChange) } };
      }
      case code.answer.gone:
        return { type: "gone" };
      default:
        throw new CodecError("malformed", `unknown answer ${type}`);
    }
  }, bytes);
}

function writePosition(writer: ByteWriter, { index, events }: WatchPosition): void {
  writer.varuint(index);
  writer.varuint(events);
}

function readPosition(reader: ByteReader): WatchPosition {
  return { index: reader.varuint(), events: reader.varuint() };
}

function readFilter(reader: ByteReader): WatchFilter {
  const type = reader.u8();
  switch (type) {
    case code.filter.key:
      return { type: "key", key: reader.bytes() };
    case code.filter.prefix:
      return { type: "prefix", prefix: reader.bytes() };
    default:
      throw new CodecError("malformed", `unknown filter ${type}`);
  }
}

function writeChange(writer: ByteWriter, { index, ordinal, isLast, event }: ShardChange): void {
  writer.varuint(index);
  writer.varuint(ordinal);
  writer.bool(isLast);
  writeEvent(writer, event);
}

function readChange(reader: ByteReader): ShardChange {
  return {
    index: reader.varuint(),
    ordinal: reader.varuint(),
    isLast: reader.bool(),
    event: readEvent(reader),
  };
}
