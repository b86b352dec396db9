import { Revision } from "../cluster/types.ts";
import {
  decodeWith,
  encodeWith,
  expectVersion,
  readList,
  writeList,
  type ByteReader,
  type ByteWriter,
} from "./wire-codec.ts";

/** What one Raft entry of type `command` carries. */
export interface EntryPayload {
  /** Lamport floor that the proposing leader had seen: changes of this entry get revisions above it. */
  readonly floor: Revision;
  /** Encoded envelopes, in the order in which they are applied. Views of the payload. */
  readonly commands: readonly Uint8Array[];
}

const version = 1;

/**
 * All commands that one shard's leader proposes in one turn, as one entry: version u8, floor, then the list of commands (encoded
 * envelopes), each with its length.
 */
export function encodeEntryPayload(floor: Revision, commands: readonly Uint8Array[]): Uint8Array {
  return encodeWith(writePayload, { floor, commands });
}

function writePayload(writer: ByteWriter, payload: EntryPayload): void {
  writer.u8(version);
  writer.varuint(payload.floor);
  writeList(writer, payload.commands, writeCommand);
}

function writeCommand(writer: ByteWriter, command: Uint8Array): void {
  writer.bytes(command);
}

/** Throws CodecError when `bytes` are not a payload. The commands themselves are not looked at. */
export function decodeEntryPayload(bytes: Uint8Array): EntryPayload {
  return decodeWith(readPayload, bytes);
}

function readPayload(reader: ByteReader): EntryPayload {
  expectVersion(reader, version, "an entry");
  return {
    floor: Revision(reader.varuint()),
    commands: readList(reader, 1, readCommand),
  };
}

function readCommand(reader: ByteReader): Uint8Array {
  return reader.bytes();
}
