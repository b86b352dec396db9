import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Revision } from "../../cluster/types.ts";
import { CodecError, decodeWith, encodeWith, type ByteReader } from "../../storage/wire-codec.ts";
import { decodeCommandEnvelope, encodeCommandEnvelope } from "../../storage/command-codec.ts";
import { decodeEntryPayload, encodeEntryPayload } from "../../storage/entry-payload.ts";
import { asReplayed, decodeOutcome, encodeOutcome } from "../../storage/outcome-codec.ts";
import {
  decodeQuery,
  decodeQueryResult,
  encodeQuery,
  encodeQueryResult,
} from "../../storage/query-codec.ts";
import { anyEnvelope, anyOutcome, anyQuery, anyQueryResult } from "./arbitraries.ts";
import { comparable } from "./comparable.ts";
import { fuzzParameters } from "./seed.ts";

interface Codec<T> {
  readonly name: string;
  readonly any: fc.Arbitrary<T>;
  readonly encode: (value: T) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
}

function codec<T>(value: Codec<T>): Codec<unknown> {
  // Each codec is only ever given what its own arbitrary made.
  return value as Codec<unknown>;
}

const anyPayload = fc.record({
  floor: fc.maxSafeNat().map(Revision),
  commands: fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }),
});

const codecs = [
  codec({
    name: "a command envelope",
    any: anyEnvelope,
    encode: encodeCommandEnvelope,
    decode: decodeCommandEnvelope,
  }),
  codec({ name: "an outcome", any: anyOutcome, encode: encodeOutcome, decode: decodeOutcome }),
  codec({ name: "a query", any: anyQuery, encode: encodeQuery, decode: decodeQuery }),
  codec({
    name: "a query's answer",
    any: anyQueryResult,
    encode: encodeQueryResult,
    decode: decodeQueryResult,
  }),
  codec({
    name: "an entry's payload",
    any: anyPayload,
    encode: (payload) => encodeEntryPayload(payload.floor, payload.commands),
    decode: decodeEntryPayload,
  }),
];

function throwsCodecErrorOrReturns(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    assert.ok(error instanceof CodecError, `not a CodecError: ${String(error)}`);
    return null;
  }
}

for (const { name, any, encode, decode } of codecs) {
  describe(`the codec of ${name}`, () => {
    it("reads what it wrote", () => {
      fc.assert(
        fc.property(any, (value) => {
          assert.deepEqual(comparable(decode(encode(value))), comparable(value));
        }),
        fuzzParameters(1000),
      );
    });

    it("refuses every prefix and every longer input", () => {
      fc.assert(
        fc.property(any, fc.nat(), (value, cut) => {
          const bytes = encode(value);
          assert.throws(() => decode(bytes.subarray(0, cut % bytes.length)), CodecError);
          assert.throws(() => decode(Buffer.concat([bytes, Buffer.alloc(1)])), CodecError);
        }),
        fuzzParameters(300),
      );
    });

    it("answers random bytes with a CodecError", () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 64 }), (garbage) => {
          throwsCodecErrorOrReturns(() => decode(garbage));
          throwsCodecErrorOrReturns(() => decode(Buffer.concat([Buffer.from([1]), garbage])));
        }),
        fuzzParameters(3000),
      );
    });

    it("survives changed bytes, and what it still accepts it can write again", () => {
      const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
      fc.assert(
        fc.property(any, fc.array(change, { minLength: 1, maxLength: 4 }), (value, changes) => {
          const bytes = Buffer.from(encode(value));
          for (const [position, byte] of changes) {
            bytes[position % bytes.length] = byte;
          }
          const decoded = throwsCodecErrorOrReturns(() => decode(bytes));
          if (decoded !== null) {
            assert.deepEqual(comparable(decode(encode(decoded))), comparable(decoded));
          }
        }),
        fuzzParameters(2000),
      );
    });
  });
}

describe("integers", () => {
  const read = (reader: ByteReader) => reader.varuint();

  it("are written in the fewest bytes and read back, up to 2^53 - 1", () => {
    const edges = [0, 1, 127, 128, 16383, 16384, 2 ** 28, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 49];
    for (const value of [...edges, 2 ** 49 - 1, Number.MAX_SAFE_INTEGER]) {
      const bytes = encodeWith((writer, n: number) => writer.varuint(n), value);
      assert.equal(
        bytes.length,
        Math.max(1, Math.ceil(BigInt(value).toString(2).length / 7)),
        `${value}`,
      );
      assert.equal(decodeWith(read, bytes), value);
    }
  });

  it("are refused when longer than needed or above 2^53 - 1", () => {
    const tooLong = Buffer.from([0x80, 0x00]);
    const tooLarge = Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    const endless = Buffer.alloc(20, 0xff);
    for (const bytes of [tooLong, tooLarge, endless]) {
      assert.throws(() => decodeWith(read, bytes), { name: "CodecError", code: "malformed" });
    }
  });
});

it("A list that announces more elements than there are bytes is refused before anything is allocated", () => {
  const announced = Buffer.from([1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
  assert.throws(() => decodeEntryPayload(announced), { name: "CodecError", code: "truncated" });
});

it("A command of a newer format is told apart from garbage", () => {
  const put = encodeCommandEnvelope({
    request: null,
    idempotency: null,
    command: {
      type: "delete",
      key: Buffer.from("k"),
      condition: null,
      fence: null,
      wantPrevious: false,
    },
  });
  const newer = Uint8Array.from(put);
  newer[0] = 2;
  assert.throws(() => decodeCommandEnvelope(newer), { code: "unsupported_version" });
});

it("A replayed outcome differs from the first in nothing but the mark", () => {
  fc.assert(
    fc.property(anyOutcome, (outcome) => {
      const replayed = decodeOutcome(asReplayed(encodeOutcome(outcome)));
      assert.deepEqual(comparable(replayed), comparable({ ...outcome, replayed: true }));
    }),
    fuzzParameters(200),
  );
});

it("Text of any length and alphabet survives, in a few bytes more than its own", () => {
  for (const length of [0, 1, 41, 42, 43, 127, 128, 20_000]) {
    for (const letter of ["a", "é", "語", "🚢"]) {
      const text = letter.repeat(length);
      const bytes = encodeWith((writer, value: string) => writer.string(value), text);
      assert.equal(
        decodeWith((reader) => reader.string(), bytes),
        text,
      );
      assert.ok(bytes.length <= Buffer.byteLength(text) + 3);
    }
  }
});
