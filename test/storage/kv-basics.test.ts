import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { bytes, make, ShardHarness } from "./shard-harness.ts";

async function valueOf(harness: ShardHarness, key: string): Promise<string | null> {
  const record = harness.machine.get(bytes(key));
  return record === null ? null : Buffer.from(record.value).toString();
}

describe("put and delete", () => {
  it("count versions and revisions of each key", async () => {
    const harness = await ShardHarness.create();
    const first = harness.run(make.put("a", "1"));
    assert.deepEqual(first, {
      type: "put",
      created: true,
      revision: 1,
      version: 1,
      previous: null,
    });
    harness.run(make.put("b", "2"), make.put("a", "3"));
    const record = harness.machine.get(bytes("a"));
    assert.equal(record?.createRevision, 1);
    assert.equal(record?.modRevision, 3);
    assert.equal(record?.version, 2);
    assert.equal(await valueOf(harness, "a"), "3");
    harness.run(make.delete("a"), make.put("a", "4"));
    assert.equal(harness.machine.get(bytes("a"))?.createRevision, 5);
    assert.equal(harness.machine.get(bytes("a"))?.version, 1);
    await harness.persist();
    await harness.restart();
    assert.equal(await valueOf(harness, "a"), "4");
    assert.equal(await harness.machine.recomputeDigest(), harness.machine.digest);
  });
});
