import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { TransactionOperation } from "../../storage/commands.ts";
import { bytes, make, ShardHarness } from "./shard-harness.ts";

const room = 100;
const get = (key: string) => ({ type: "get", key: bytes(key) }) as const;
const of = (length: number): string => "x".repeat(length);

async function withRoom(): Promise<ShardHarness> {
  const harness = await ShardHarness.create({ limits: { transactionAnswerBytesMax: room } });
  harness.run(make.put("half", of(room / 2)), make.put("byte", "x"));
  return harness;
}

function run(harness: ShardHarness, ...success: readonly TransactionOperation[]) {
  return harness.run({ type: "transaction", compares: [], success, failure: [] });
}

const refusal = { type: "value_too_large", bytesMax: room };

describe("the values that a transaction answers with", () => {
  it("may have as many bytes as there is room for", async () => {
    const result = run(await withRoom(), get("half"), get("half"), get("none"));
    assert.equal(result.type, "transaction");
  });

  it("refuse the whole of it when they have one byte more", async () => {
    const harness = await withRoom();
    const { revision } = harness.machine;
    const eventsBefore = harness.changes.length;
    const result = run(harness, make.put("new", "1"), get("half"), get("half"), get("byte"));
    assert.deepEqual(result, refusal);
    assert.equal(harness.machine.get(bytes("new")), null);
    assert.equal(harness.machine.revision, revision);
    assert.equal(harness.changes.length, eventsBefore);
  });

  it("are those of the branch that runs", async () => {
    const harness = await withRoom();
    const large = [get("half"), get("half"), get("byte")];
    const exists = { key: bytes("byte"), target: "exists", operator: "equal" } as const;
    const branches = { success: large, failure: [get("byte")] };
    const run = (operand: number) =>
      harness.run({ type: "transaction", compares: [{ ...exists, operand }], ...branches });
    assert.equal(run(0).type, "transaction");
    assert.deepEqual(run(1), refusal);
  });

  it("are what was there before a write, where that is asked for", async () => {
    const harness = await withRoom();
    const wantPrevious = true;
    const some = [make.delete("half", { wantPrevious }), get("byte")];
    assert.deepEqual(run(harness, make.put("big", of(room))).type, "transaction");
    assert.deepEqual(run(harness, make.put("big", "", { wantPrevious }), ...some), refusal);
    assert.equal(run(harness, make.put("big", ""), ...some).type, "transaction");
  });

  it("are as the operations before have left them", async () => {
    const harness = await withRoom();
    const wantPrevious = true;
    const grown = [make.put("byte", of(room)), get("byte")];
    assert.equal(run(harness, ...grown).type, "transaction");
    assert.deepEqual(run(harness, ...grown, make.delete("half", { wantPrevious })), refusal);
    const emptied = run(harness, make.delete("byte"), get("byte"), get("half"), get("half"));
    assert.equal(emptied.type, "transaction");
    const rewritten = [make.put("byte", of(60)), make.put("byte", of(60), { wantPrevious })];
    assert.deepEqual(run(harness, ...rewritten, get("byte")), refusal);
    assert.equal(run(harness, ...rewritten).type, "transaction");
  });

  it("are judged after preconditions and fences", async () => {
    const harness = await withRoom();
    const large = [get("half"), get("half"), get("byte")];
    const failing = make.put("byte", "", { condition: { type: "absent" } });
    assert.equal(run(harness, ...large, failing).type, "condition_failed");
  });
});
