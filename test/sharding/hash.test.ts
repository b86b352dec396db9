import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hash32 } from "../../cluster/sharding/hash.ts";
import { fuzzParameters } from "../storage/seed.ts";
import { bytes } from "./maps.ts";

const prime = 0x9e3779b1;

/** The buffer that xxHash's own sanity check hashes. */
function sanityBuffer(length: number): Uint8Array {
  const buffer = new Uint8Array(length);
  let generator = BigInt(prime);
  for (let i = 0; i < length; i++) {
    buffer[i] = Number(generator >> 56n);
    generator = BigInt.asUintN(64, generator * 0x9e3779b185ebca8dn);
  }
  return buffer;
}

test("hash32 gives the values that xxHash publishes for its sanity buffer", () => {
  const published = [
    { length: 0, plain: 0x02cc5d05, seeded: 0x36b78ae7 },
    { length: 1, plain: 0xcf65b03e, seeded: 0xb4545aa4 },
    { length: 14, plain: 0x1208e7e2, seeded: 0x6af1d1fe },
    { length: 17, plain: 0x89fdc23e, seeded: 0xc9910739 },
    { length: 32, plain: 0xd89829ec, seeded: 0xa5c44467 },
    { length: 222, plain: 0x5bd11dbd, seeded: 0x58803c5f },
    { length: 2367, plain: 0x4c8a9773, seeded: 0x6d5366f6 },
  ];
  for (const { length, plain, seeded } of published) {
    assert.equal(hash32(sanityBuffer(length)), plain, `${length} bytes`);
    assert.equal(hash32(sanityBuffer(length), prime), seeded, `${length} bytes, seeded`);
  }
});

test("hash32 gives the published values of well-known texts", () => {
  assert.equal(hash32(bytes("a")), 0x550d7456);
  assert.equal(hash32(bytes("abc")), 0x32d153ff);
  assert.equal(hash32(bytes("Nobody inspects the spammish repetition")), 0xe2293b2f);
});

test("hash32 of a range equals hash32 of a copy of that range, whatever surrounds it", () => {
  const range = fc.tuple(
    fc.uint8Array({ maxLength: 300, size: "max" }),
    fc.nat(300),
    fc.nat(300),
    fc.nat(),
  );
  fc.assert(
    fc.property(range, ([outer, a, b, seed]) => {
      const start = Math.min(a, b, outer.length);
      const end = Math.min(Math.max(a, b), outer.length);
      const view = Buffer.concat([Buffer.alloc(3), outer]).subarray(3);
      assert.equal(hash32(view, seed, start, end), hash32(outer.slice(start, end), seed));
    }),
    fuzzParameters(500),
  );
});

test("hash32 with two seeds gives two independent hashes", () => {
  let equalHalves = 0;
  for (let i = 0; i < 65536; i++) {
    const key = bytes(`key-${i}`);
    equalHalves += (hash32(key, 1) & 0xffff) === (hash32(key, 2) & 0xffff) ? 1 : 0;
  }
  // One is expected by chance; 10 would happen once in ten million.
  assert.ok(equalHalves < 10, `${equalHalves} of 65536 keys agree in 16 bits`);
});
