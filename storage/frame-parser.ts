import { StoreFailure } from "./failure.ts";
import { readU32 } from "./keys.ts";
import type { FrameType } from "./snapshot-format.ts";
import {
  checkPreamble,
  frameBytesMax,
  frameCrc,
  frameHeaderBytes,
  frameType,
  preambleBytes,
} from "./snapshot-format.ts";

/** One verified part of a snapshot. `body` is a view of the received bytes. */
export interface Frame {
  readonly type: FrameType;
  readonly body: Uint8Array;
}

/** Cuts a stream of chunks into verified frames. Holds at most one frame that is not complete. */
export class FrameParser {
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #hasPreamble = false;
  #crc = 0;

  /** Whether everything that was pushed has been given out as frames. */
  get isAtBoundary(): boolean {
    return this.#hasPreamble && this.#pendingBytes === 0;
  }

  /** The frames that this chunk completes. The chunk must not change afterwards. */
  *push(chunk: Uint8Array): Generator<Frame> {
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    if (!this.#hasPreamble) {
      const preamble = this.#take(preambleBytes);
      if (preamble === null) {
        return;
      }
      checkPreamble(preamble);
      this.#hasPreamble = true;
    }
    for (let frame = this.#nextFrame(); frame !== null; frame = this.#nextFrame()) {
      yield frame;
    }
  }

  #nextFrame(): Frame | null {
    if (this.#pendingBytes < frameHeaderBytes) {
      return null;
    }
    const bodyBytes = readU32(this.#join(frameHeaderBytes), 1);
    if (bodyBytes > frameBytesMax) {
      throw damaged(`a frame claims ${bodyBytes} bytes`);
    }
    const frame = this.#take(frameHeaderBytes + bodyBytes);
    if (frame === null) {
      return null;
    }
    this.#crc = frameCrc(frame, this.#crc);
    if (this.#crc !== readU32(frame, 5)) {
      throw damaged("a checksum is wrong");
    }
    return { type: frameTypeOf(frame), body: frame.subarray(frameHeaderBytes) };
  }

  /** Removes and returns the next `count` bytes; null when they have not all arrived. */
  #take(count: number): Uint8Array | null {
    if (this.#pendingBytes < count) {
      return null;
    }
    const first = this.#join(count);
    this.#pendingBytes -= count;
    this.#pending.shift();
    if (first.length > count) {
      this.#pending.unshift(first.subarray(count));
    }
    return first.subarray(0, count);
  }

  /** The first pending piece, made at least `count` bytes long, which have arrived. Each byte is copied once at most per frame. */
  #join(count: number): Uint8Array {
    const [first = new Uint8Array(0)] = this.#pending;
    if (first.length >= count) {
      return first;
    }
    let pieces = 0;
    for (let bytes = 0; bytes < count; pieces++) {
      bytes += this.#pending[pieces]?.length ?? 0;
    }
    const joined = Buffer.concat(this.#pending.splice(0, pieces));
    this.#pending.unshift(joined);
    return joined;
  }
}

function frameTypeOf(frame: Uint8Array): FrameType {
  for (const type of Object.values(frameType)) {
    if (frame[0] === type) {
      return type;
    }
  }
  throw damaged(`a frame has the unknown type ${frame[0]}`);
}

function damaged(why: string): StoreFailure {
  return new StoreFailure(
    "bad_snapshot",
    `the snapshot's bytes were damaged on their way: ${why}; send it again`,
  );
}
