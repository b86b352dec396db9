import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import type {
  CommandResult,
  KeyRecord,
  TransactionOperationResult,
} from "../../storage/commands.ts";
import type { QueryResult } from "../../storage/queries.ts";
import { NaiveModel, type Seen } from "./naive-model.ts";
import { keyCommand } from "./random-commands.ts";
import { fuzzParameters } from "./seed.ts";
import { bytes, plain, ShardHarness } from "./shard-harness.ts";

function text(value: Uint8Array): string {
  return Buffer.from(value).toString("latin1");
}

function textOf(record: KeyRecord | null): string | null {
  return record === null ? null : text(record.value);
}

/** A result in the model's terms. */
function seen(result: CommandResult): Seen {
  switch (result.type) {
    case "put":
    case "delete":
      return { ...seenOperation(result), revision: result.revision };
    case "update":
      return { ...result, value: text(result.value) };
    case "transaction":
      return { ...result, results: result.results.map(seenOperation) };
    case "condition_failed":
      return { type: result.type, current: result.current?.modRevision ?? null };
    case "lock_lost":
      return { type: result.type };
    default:
      return { ...result };
  }
}

function seenOperation(
  result: TransactionOperationResult | Extract<CommandResult, { type: "put" | "delete" }>,
): Seen {
  switch (result.type) {
    case "get":
      return { type: "get", record: textOf(result.record) };
    case "put": {
      const { type, created, version, previous } = result;
      return { type, created, version, previous: textOf(previous) };
    }
    case "delete":
      return { type: "delete", deleted: result.deleted, previous: textOf(result.previous) };
    default:
      throw new Error("unknown operation");
  }
}

async function scanAll(harness: ShardHarness, limit: number): Promise<readonly Seen[]> {
  const found: Seen[] = [];
  let start = bytes("");
  for (;;) {
    const page: QueryResult = await harness.machine.query({
      type: "scan",
      start,
      end: null,
      limit,
      bytesMax: 1000,
      keysOnly: false,
    });
    assert.ok(page.type === "scan");
    for (const { key, record } of page.items) {
      found.push({
        key: text(key),
        text: text(record.value),
        contentType: record.contentType,
        created: record.createRevision,
        modified: record.modRevision,
        version: record.version,
        ttlMs: record.ttlMs,
      });
    }
    const last = page.items.at(-1);
    if (!page.more || last === undefined) {
      return found;
    }
    start = Buffer.concat([last.key, Buffer.from([0])]);
  }
}

it("Keys behave as in a naive model, whatever commands come", async () => {
  const step = fc.record({
    commands: fc.array(keyCommand, { minLength: 1, maxLength: 3 }),
    floor: fc.constantFrom(0, 0, 5, 25),
    persists: fc.boolean(),
  });
  const steps = fc.array(step, { maxLength: 50, size: "max" });
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 7 }), async (plan, limit) => {
      const harness = await ShardHarness.create();
      const model = new NaiveModel();
      for (const { commands, floor, persists } of plan) {
        const outcomes = harness.apply(commands.map(plain), floor);
        const expected = commands.map((command) => model.run(command, floor));
        assert.deepEqual(
          outcomes.map((outcome) => seen(outcome.result)),
          expected,
        );
        assert.equal(harness.machine.revision, model.revision);
        if (persists) {
          await harness.persist();
        }
      }
      const inOrder = [...model.keys].sort(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(
        await scanAll(harness, limit),
        inOrder.map(([key, value]) => ({ key, ...value })),
      );
      for (const [key, value] of model.keys) {
        assert.equal(textOf(harness.machine.get(bytes(key))), value.text);
      }
    }),
    fuzzParameters(Number(process.env["RUNS"] ?? 200)),
  );
});
