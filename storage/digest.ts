import { sealBytes } from "./checksum.ts";
import { readU32 } from "./keys.ts";

/**
 * Fingerprint of a set of sealed records, whatever their order and history: two sums, modulo 2^32, over differently mixed seals. A seal
 * is a CRC32C over table, key and content, so each record is hashed once, when it is written, for disk and digest alike.
 *
 * Finds replicas that differ by accident (a bug, a broken disk); one wrong record is missed with a chance of 1 in 2^32. Not made against
 * forgery.
 */
export class StateDigest {
  #lane1: number;
  #lane2: number;

  /** @param bytes what `encode` returned; empty for an empty set */
  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#lane1 = bytes.length === 0 ? 0 : readU32(bytes, 0);
    this.#lane2 = bytes.length === 0 ? 0 : readU32(bytes, 4);
  }

  add(record: Uint8Array): void {
    const seal = readU32(record, record.length - sealBytes);
    this.#lane1 = (this.#lane1 + mix(seal ^ seed1)) >>> 0;
    this.#lane2 = (this.#lane2 + mix(seal ^ seed2)) >>> 0;
  }

  remove(record: Uint8Array): void {
    const seal = readU32(record, record.length - sealBytes);
    this.#lane1 = (this.#lane1 - mix(seal ^ seed1)) >>> 0;
    this.#lane2 = (this.#lane2 - mix(seal ^ seed2)) >>> 0;
  }

  /** 8 bytes. */
  encode(): Uint8Array {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeUInt32BE(this.#lane1, 0);
    bytes.writeUInt32BE(this.#lane2, 4);
    return bytes;
  }

  /** 16 hex digits. */
  toString(): string {
    return hex(this.#lane1) + hex(this.#lane2);
  }
}

const seed1 = 0x9e3779b1;
const seed2 = 0x85ebca77;

/** MurmurHash3's finalizer: every bit of the input changes every bit of the output with a chance of one half. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function hex(lane: number): string {
  return lane.toString(16).padStart(8, "0");
}
