import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { seed } from "../storage/seed.ts";
import { checkMutations, checkRoundTrip } from "./fuzz.ts";
import { peerDecoders } from "./peer-decoders.ts";
import { storageDecoders } from "./storage-decoders.ts";
import { textDecoders } from "./text-decoders.ts";

const runs = Number(process.env["FUZZ_RUNS"] ?? 3000);

describe(`Everything that comes from a disk or a network (SEED=${seed})`, () => {
  for (const decoder of [...storageDecoders, ...peerDecoders, ...textDecoders]) {
    test(`${decoder.name} is read as it was written`, () => {
      checkRoundTrip(decoder, runs / 10, seed);
    });

    test(`${decoder.name} with changed bytes is a value or a refusal`, () => {
      const refusals = checkMutations(decoder, runs, seed);
      assert.ok(refusals > runs / 50, `only ${refusals} of ${runs} were refused`);
    });
  }
});
