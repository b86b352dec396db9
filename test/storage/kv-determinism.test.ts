import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { Revision } from "../../cluster/types.ts";
import { encodeCommandEnvelope } from "../../storage/command-codec.ts";
import { encodeEntryPayload } from "../../storage/entry-payload.ts";
import { envelope } from "./random-commands.ts";
import { fuzzParameters } from "./seed.ts";
import { hex, ShardHarness, type HarnessOptions } from "./shard-harness.ts";

/** Small enough that eviction happens all the time. */
const options: HarnessOptions = {
  limits: {
    sessionsMax: 3,
    sessionAnswersMax: 5,
    sessionBytesMax: 300,
    answerBytesMax: 60,
    idempotencyKeysMax: 3,
    idempotencyEntriesMax: 12,
  },
};

const entry = fc.record({
  floor: fc.constantFrom(0, 0, 0, 7, 30),
  envelopes: fc.array(envelope, { maxLength: 4 }),
});

/** What one replica does between two entries. */
const event = fc.constantFrom(
  "nothing" as const,
  "nothing" as const,
  "nothing" as const,
  "persist" as const,
  "persist log" as const,
  "restart" as const,
  "snapshot" as const,
  "look at digest" as const,
  "time passes" as const,
);

const numRuns = Number(process.env["RUNS"] ?? 150);

it("The same entries give the same bytes, results and digests, whatever the batches, restarts and snapshots in between", async () => {
  const steps = fc.array(fc.tuple(entry, event, event), {
    maxLength: 60,
    size: "max",
  });
  await fc.assert(
    fc.asyncProperty(steps, async (plan) => {
      let left = await ShardHarness.create(options);
      let right = await ShardHarness.create(options);
      for (const [{ floor, envelopes }, leftEvent, rightEvent] of plan) {
        const payload = encodeEntryPayload(Revision(floor), envelopes.map(encodeCommandEnvelope));
        const leftResults = left.applyEntry(payload).map(hex);
        const rightResults = right.applyEntry(payload).map(hex);
        assert.deepEqual(rightResults, leftResults);
        left = await happen(left, leftEvent);
        right = await happen(right, rightEvent);
        assert.equal(right.machine.revision, left.machine.revision);
      }
      await left.persist();
      await right.persist();
      assert.deepEqual(await right.rows(), await left.rows());
      assert.equal(right.machine.digest, left.machine.digest);
      assert.equal(await left.machine.recomputeDigest(), left.machine.digest);
    }),
    fuzzParameters(numRuns),
  );
});

async function happen(
  harness: ShardHarness,
  what: typeof event extends fc.Arbitrary<infer T> ? T : never,
): Promise<ShardHarness> {
  switch (what) {
    case "nothing":
      return harness;
    case "persist":
      await harness.persist();
      return harness;
    case "persist log":
      await harness.persist({ logOnly: true });
      return harness;
    case "restart":
      await harness.persist({ logOnly: true });
      await harness.restart();
      return harness;
    case "snapshot": {
      await harness.persist();
      const successor = await ShardHarness.create(options);
      await harness.sendSnapshot(successor);
      return successor;
    }
    case "look at digest":
      assert.equal(await harness.machine.recomputeDigest(), harness.machine.digest);
      return harness;
    case "time passes":
      harness.nowMs += 1700;
      harness.machine.dueCommands(100);
      return harness;
    default:
      throw new Error(`unknown event ${String(what)}`);
  }
}
