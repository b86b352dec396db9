import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { NodeId } from "../../cluster/types.ts";
import { sealBytes, sealRecord } from "../../storage/checksum.ts";
import { decodeCommandEnvelope, encodeCommandEnvelope } from "../../storage/command-codec.ts";
import type { CommandEnvelope } from "../../storage/commands.ts";
import type { DatabasePair } from "../../storage/database.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { readIdentity, writeIdentity } from "../../storage/identity-file.ts";
import { prefixRange, recordKind, statePrefixBytes } from "../../storage/keys.ts";
import type { Query } from "../../storage/queries.ts";
import { CodecError } from "../../storage/wire-codec.ts";
import { Prng } from "../sim/prng.ts";
import { anyEnvelope } from "../storage/arbitraries.ts";
import { envelope as usualEnvelope } from "../storage/random-commands.ts";
import { seed } from "../storage/seed.ts";
import { bytes, make, plain, ShardHarness } from "../storage/shard-harness.ts";
import { temporaryDirectory } from "../storage/temporary.ts";
import { mutate } from "./mutate.ts";

const runs = Number(process.env["FUZZ_RUNS"] ?? 3000);

function assertTyped(error: unknown, what: Uint8Array): void {
  const isTyped = error instanceof CodecError || error instanceof StoreFailure;
  const text = error instanceof Error ? error.stack : String(error);
  assert.ok(isTyped, `${Buffer.from(what).toString("hex")}: ${text}`);
}

function readable(encoded: Uint8Array): CommandEnvelope | null {
  try {
    return decodeCommandEnvelope(encoded);
  } catch (error) {
    assertTyped(error, encoded);
    return null;
  }
}

// A command that can be read but not applied would end every replica of its shard, one after the other, at every start.
test(`Every command that can be read can be applied and written (SEED=${seed})`, async () => {
  const random = new Prng(seed);
  const any = fc.oneof(anyEnvelope, usualEnvelope);
  const samples = fc.sample(any, { numRuns: runs / 3, seed }).map(encodeCommandEnvelope);
  const harness = await ShardHarness.create();
  let applied = 0;
  for (const sample of samples) {
    for (const encoded of [sample, mutate(sample, random.pick(samples), random)]) {
      const envelope = readable(encoded);
      if (envelope !== null) {
        applied += 1;
        applyOrTell(harness, envelope, encoded);
      }
    }
    if (random.chance(0.05)) {
      harness.nowMs += random.between(0, 10_000);
      harness.runDue();
      await harness.persist();
    }
  }
  await harness.persist();
  const { digest } = harness.machine;
  await harness.restart();
  assert.equal(harness.machine.digest, digest);
  assert.equal(await harness.machine.recomputeDigest(), digest);
  assert.ok(applied > samples.length, `${applied} were applied`);
});

function applyOrTell(harness: ShardHarness, envelope: CommandEnvelope, encoded: Uint8Array): void {
  try {
    harness.apply([envelope]);
  } catch (error) {
    const text = error instanceof Error ? error.stack : String(error);
    assert.fail(`${Buffer.from(encoded).toString("hex")} cannot be applied: ${text}`);
  }
}

/** A shard with rows in every table. */
async function fullShard(): Promise<ShardHarness> {
  const harness = await ShardHarness.create();
  for (const envelope of fc.sample(usualEnvelope, { numRuns: 60, seed })) {
    harness.apply([envelope]);
  }
  for (const key of ["a", "b"]) {
    harness.apply([plain(make.put(key, "17", { ttlMs: 5000 }))]);
  }
  await harness.persist();
  return harness;
}

const queries: readonly Query[] = [
  { type: "get", key: bytes("a") },
  { type: "get_many", keys: ["a", "b", "c"].map(bytes), bytesMax: 10_000 },
  {
    type: "scan",
    start: bytes(""),
    end: null,
    limit: 100,
    bytesMax: 10_000,
    keysOnly: false,
  },
  { type: "lock", lock: bytes("l1") },
  { type: "locks", prefix: bytes(""), limit: 10 },
];

test(`A state with a row of nonsense is opened and read, or refused (SEED=${seed})`, async () => {
  const random = new Prng(seed);
  const harness = await fullShard();
  const { database } = harness;
  const range = prefixRange(Uint8Array.of(recordKind.state));
  const rows: readonly DatabasePair[] = await database.iterate(range).next(1000);
  assert.ok(rows.length > 10);
  const put = async (key: Uint8Array, record: Uint8Array): Promise<void> => {
    const batch = database.batch();
    batch.put(key, record);
    await batch.write(true);
  };
  let refusals = 0;
  for (let run = 0; run < runs / 10; run++) {
    const [key, record] = random.pick(rows);
    const [, other] = random.pick(rows);
    const body = mutate(record.subarray(0, -sealBytes), other, random);
    await put(key, sealRecord(key, body, statePrefixBytes));
    try {
      await harness.restart();
      for (const query of queries) {
        await harness.machine.query(query);
      }
    } catch (error) {
      assertTyped(error, body);
      refusals += 1;
    }
    await put(key, record);
  }
  assert.ok(refusals > runs / 200, `${refusals} were refused`);
  await harness.restart();
});

test(`A snapshot with changed bytes is refused (SEED=${seed})`, async () => {
  const random = new Prng(seed);
  const harness = await fullShard();
  const reader = harness.machine.snapshot();
  const chunks: Uint8Array[] = [];
  for await (const chunk of reader.chunks(1000)) {
    chunks.push(chunk);
  }
  const sent = Buffer.concat(chunks);
  await reader.close();
  const target = await ShardHarness.create();
  for (let run = 0; run < runs / 10; run++) {
    const received = mutate(sent, sent, random);
    const writer = target.machine.receiveSnapshot();
    const size = random.pick([7, 100, sent.length]);
    try {
      for (let at = 0; at < received.length; at += size) {
        await writer.write(received.subarray(at, at + size));
      }
      await writer.finish();
      assert.ok(received.equals(sent), `accepted ${received.toString("hex")}`);
    } catch (error) {
      assert.ok(error instanceof StoreFailure && error.code === "bad_snapshot", String(error));
      await writer.abort();
    }
  }
});

test(`An identity file with changed bytes is refused (SEED=${seed})`, async (context) => {
  const random = new Prng(seed);
  const directory = await temporaryDirectory(context);
  const identity = {
    isComplete: true,
    nodeId: NodeId("n1"),
    instanceId: "i1",
    clusterId: "c1",
    founders: new Map([[NodeId("n1"), "i1"]]),
    incarnation: 3,
  };
  await writeIdentity(directory, identity);
  const path = join(directory, "flotilla.json");
  const written = await readFile(path);
  for (let run = 0; run < runs / 10; run++) {
    const changed = mutate(written, written, random);
    await writeFile(path, changed);
    try {
      // What is left of the white space around the fields is nobody's business.
      assert.deepEqual(await readIdentity(directory), identity, changed.toString());
    } catch (error) {
      assertTyped(error, changed);
    }
  }
});
