import assert from "node:assert/strict";
import { test } from "node:test";
import { ShardId } from "../../cluster/types.ts";
import { crc32c, isSealed, openRecord, sealRecord } from "../../storage/checksum.ts";
import {
  Generation,
  journalKey,
  prefixRange,
  readU64,
  stateKey,
  statePrefix,
  successor,
  turnOf,
  writeU64,
} from "../../storage/keys.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";

test("CRC32C gives the published values", () => {
  assert.equal(crc32c(Buffer.from("123456789")), 0xe3069283);
  assert.equal(crc32c(Buffer.alloc(0)), 0);
  // RFC 3720, B.4
  assert.equal(crc32c(Buffer.alloc(32, 0)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e);
});

test(`CRC32C of pieces is CRC32C of the whole (seed ${seed})`, () => {
  const random = new Random(seed);
  for (let run = 0; run < 100; run++) {
    const bytes = random.bytes(random.between(0, 60));
    const cut = random.between(0, bytes.length + 1);
    const whole = crc32c(bytes);
    assert.equal(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), whole);
    assert.equal(crc32c(bytes, crc32c(bytes, 0, 0, cut), cut), whole);
  }
});

test("a sealed record opens, and with any bit of key or record flipped it does not", () => {
  const key = Buffer.from("some key");
  const record = Buffer.from(sealRecord(key, Buffer.from("some body")));
  assert.equal(Buffer.from(openRecord(key, record)).toString(), "some body");
  for (const target of [key, record]) {
    for (let bit = 0; bit < target.length * 8; bit++) {
      target[bit >> 3] = (target[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.equal(isSealed(key, record), false);
      target[bit >> 3] = (target[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    }
  }
  assert.throws(
    () => openRecord(key, record.subarray(0, -1)),
    (error) => error instanceof StoreFailure && error.code === "corrupt",
  );
  assert.equal(isSealed(key, new Uint8Array(3)), false);
});

test(`keys of turns sort by turn (seed ${seed})`, () => {
  const random = new Random(seed);
  const big = (): number => Math.floor(random.next() * 2 ** random.between(1, 53));
  for (let run = 0; run < 2_000; run++) {
    const [a, b] = [big(), big()];
    assert.equal(Math.sign(Buffer.compare(journalKey(a), journalKey(b))), Math.sign(a - b));
    assert.equal(turnOf(journalKey(a)), a);
  }
});

test("8-byte integers keep their value up to 2^53 - 1", () => {
  const bytes = Buffer.alloc(8);
  for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]) {
    writeU64(bytes, 0, value);
    assert.equal(readU64(bytes, 0), value);
    assert.equal(bytes.readBigUInt64BE(), BigInt(value));
  }
});

test("the successor of a prefix lies above everything that begins with it, and below everything else above", () => {
  assert.deepEqual([...successor(Uint8Array.of(1, 2))], [1, 3]);
  assert.deepEqual([...successor(Uint8Array.of(1, 0xff, 0xff))], [2]);
  assert.throws(() => successor(Uint8Array.of(0xff, 0xff)), RangeError);
  const prefix = statePrefix(ShardId(0x00ffffff), Generation(0xffffffff));
  const { lt } = prefixRange(prefix);
  assert.ok(Buffer.compare(stateKey(prefix, 255, Buffer.alloc(1024, 0xff)), lt) < 0);
  assert.ok(Buffer.compare(lt, statePrefix(ShardId(0x01000000), Generation(1))) <= 0);
});
