import type { SnapshotMetadata } from "../cluster/types.ts";
import type { AppliedState } from "./applied-record.ts";
import { readAppliedState, writeAppliedState } from "./applied-record.ts";
import { ByteReader, ByteWriter } from "./byte-codec.ts";
import { crc32c } from "./checksum.ts";
import { StoreFailure } from "./failure.ts";
import { readU32, stateKeyTail } from "./keys.ts";

/**
 * A snapshot is also the backup format: magic and version, then frames. Each frame's checksum continues the one before, so a frame that is
 * damaged, missing, repeated or out of place is noticed at that frame.
 *
 *     "flotsnap" [version u32]
 *     frame = [type u8][length u32][crc32c u32][body of that length]
 *     types: 1 header, 2 block of records, 3 trailer
 */
export const snapshotMagic: Uint8Array = Buffer.from("flotsnap");
/** The only version that is written and read. A change of the frames or of their bodies raises it. */
export const snapshotVersion = 1;
/** Bytes before the first frame. */
export const preambleBytes = 12;
/** Type, length and checksum. */
export const frameHeaderBytes = 9;
/** A block holds whole records and is closed when it has reached this size; a larger record has a block of its own. */
export const blockBytesTarget = 256 * 1024;
/** What a receiver accepts: the largest record that any limit allows, with room to spare. */
export const frameBytesMax = 256 * 1024 * 1024;

/** First byte of a frame. */
export const frameType = { header: 1, block: 2, trailer: 3 } as const;
/** One of the frame types. */
export type FrameType = (typeof frameType)[keyof typeof frameType];

/** First frame: what the snapshot stands for. */
export interface SnapshotHead {
  /** As claimed by whoever made it: compare it, do not trust it. */
  readonly shard: number;
  readonly state: AppliedState;
}

/** Last frame. */
export interface SnapshotTrailer {
  readonly records: number;
}

/** What Raft needs to know of a state. */
export function metadataOf(state: AppliedState): SnapshotMetadata {
  return { index: state.index, term: state.term, configuration: state.configuration };
}

/** Magic and version: the first bytes of a snapshot. */
export function encodePreamble(): Uint8Array {
  return new ByteWriter(preambleBytes).raw(snapshotMagic).u32(snapshotVersion).finish();
}

/** Refuses what is not a snapshot, or one of a newer version. */
export function checkPreamble(preamble: Uint8Array): void {
  if (Buffer.compare(preamble.subarray(0, snapshotMagic.length), snapshotMagic) !== 0) {
    throw new StoreFailure("bad_snapshot", "these bytes are not a Flotilla snapshot");
  }
  const version = readU32(preamble, snapshotMagic.length);
  if (version !== snapshotVersion) {
    throw new StoreFailure(
      "bad_snapshot",
      `the snapshot has format ${version}, this version of Flotilla reads ${snapshotVersion}: use the newer version`,
    );
  }
}

/** Body of the header frame. */
export function encodeHead(head: SnapshotHead): Uint8Array {
  const writer = new ByteWriter(256).u32(head.shard);
  writeAppliedState(writer, head.state);
  return writer.finish();
}

/** Reads the body of a header frame. Throws StoreFailure `corrupt`. */
export function decodeHead(body: Uint8Array): SnapshotHead {
  const reader = new ByteReader(body, "a snapshot's header");
  const head = { shard: reader.u32(), state: readAppliedState(reader) };
  reader.end();
  return head;
}

/** Body of the trailer frame. */
export function encodeTrailer(trailer: SnapshotTrailer): Uint8Array {
  return new ByteWriter(8).u64(trailer.records).finish();
}

/** Reads the body of a trailer frame. Throws StoreFailure `corrupt`. */
export function decodeTrailer(body: Uint8Array): SnapshotTrailer {
  const reader = new ByteReader(body, "a snapshot's trailer");
  const trailer = { records: reader.u64() };
  reader.end();
  return trailer;
}

/** Collects records into one frame: `[key length u32][value length u32][key][value]`, the key being table and key of the state. */
export class BlockBuilder {
  #buffer = Buffer.allocUnsafe(frameHeaderBytes + blockBytesTarget + 64 * 1024);
  #length = frameHeaderBytes;

  get isEmpty(): boolean {
    return this.#length === frameHeaderBytes;
  }

  get isFull(): boolean {
    return this.#length >= frameHeaderBytes + blockBytesTarget;
  }

  /** A record of the state, under its key in the database. */
  add(key: Uint8Array, value: Uint8Array): void {
    const tail = stateKeyTail(key);
    const end = this.#length + 8 + tail.length + value.length;
    if (end > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(end);
      larger.set(this.#buffer.subarray(0, this.#length), 0);
      this.#buffer = larger;
    }
    this.#buffer.writeUInt32BE(tail.length, this.#length);
    this.#buffer.writeUInt32BE(value.length, this.#length + 4);
    this.#buffer.set(tail, this.#length + 8);
    this.#buffer.set(value, this.#length + 8 + tail.length);
    this.#length = end;
  }

  /** The finished frame, which belongs to the caller, and its checksum for the next one. The builder starts anew. */
  finish(previousCrc: number): { readonly frame: Uint8Array; readonly crc: number } {
    const frame = this.#buffer.subarray(0, this.#length);
    const crc = sealFrame(frame, frameType.block, previousCrc);
    this.#buffer = Buffer.allocUnsafe(frameHeaderBytes + blockBytesTarget + 64 * 1024);
    this.#length = frameHeaderBytes;
    return { frame, crc };
  }
}

/** A frame around a small body. */
export function encodeFrame(
  type: FrameType,
  body: Uint8Array,
  previousCrc: number,
): { readonly frame: Uint8Array; readonly crc: number } {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + body.length);
  frame.set(body, frameHeaderBytes);
  return { frame, crc: sealFrame(frame, type, previousCrc) };
}

/** The records of a block: views into it. */
export function* recordsOf(
  body: Uint8Array,
): Generator<readonly [key: Uint8Array, value: Uint8Array]> {
  const reader = new ByteReader(body, "a block of a snapshot");
  while (reader.remaining > 0) {
    const keyLength = reader.u32();
    const valueLength = reader.u32();
    yield [reader.raw(keyLength), reader.raw(valueLength)];
  }
}

/** Checksum of a frame: type, length and body, continuing the previous frame's. */
export function frameCrc(frame: Uint8Array, previousCrc: number): number {
  return crc32c(frame, crc32c(frame, previousCrc, 0, 5), frameHeaderBytes);
}

function sealFrame(frame: Buffer, type: FrameType, previousCrc: number): number {
  frame[0] = type;
  frame.writeUInt32BE(frame.length - frameHeaderBytes, 1);
  const crc = frameCrc(frame, previousCrc);
  frame.writeUInt32BE(crc, 5);
  return crc;
}
