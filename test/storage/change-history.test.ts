import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LogIndex, Revision } from "../../cluster/types.ts";
import { ChangeHistory } from "../../storage/change-history.ts";
import type { ChangeEvent } from "../../storage/commands.ts";
import { bytes, make, ShardHarness } from "./shard-harness.ts";

function event(key: string): ChangeEvent {
  return { kind: "delete", key: bytes(key), record: null, previous: null, revision: Revision(1) };
}

const nothing = new Uint8Array(0);

function indexes(history: ChangeHistory, after: number): readonly number[] | null {
  return history.since(LogIndex(after))?.map((changes) => changes.index) ?? null;
}

describe("the history of changes", () => {
  it("gives what happened after a position, and null for what it never knew", () => {
    const history = new ChangeHistory({ eventsMax: 100, bytesMax: () => 100_000 }, LogIndex(10));
    assert.equal(indexes(history, 9), null);
    assert.deepEqual(indexes(history, 10), []);
    history.add(LogIndex(12), [event("a")], nothing);
    history.add(LogIndex(15), [event("b"), event("c")], nothing);
    assert.deepEqual(indexes(history, 10), [12, 15]);
    assert.deepEqual(indexes(history, 11), [12, 15]);
    assert.deepEqual(indexes(history, 12), [15]);
    assert.deepEqual(indexes(history, 14), [15]);
    assert.deepEqual(indexes(history, 15), []);
    assert.deepEqual(indexes(history, 99), []);
  });

  it("forgets whole entries, the oldest first, when there are too many events", () => {
    const history = new ChangeHistory({ eventsMax: 5, bytesMax: () => 100_000 }, LogIndex(0));
    for (let index = 1; index <= 50; index++) {
      history.add(LogIndex(index), [event("a"), event("b")], nothing);
      assert.ok(history.eventCount <= 5);
    }
    assert.equal(history.goneIndex, 48);
    assert.equal(indexes(history, 47), null);
    assert.deepEqual(indexes(history, 48), [49, 50]);
  });

  it("forgets when there are too many bytes, all but the newest entry", () => {
    const history = new ChangeHistory({ eventsMax: 100, bytesMax: () => 1000 }, LogIndex(0));
    history.add(LogIndex(1), [event("a")], nothing);
    history.add(LogIndex(2), [event("a")], bytes("x".repeat(2000)));
    assert.equal(indexes(history, 0), null);
    assert.deepEqual(indexes(history, 1), [2]);
    history.add(LogIndex(3), [event("a")], nothing);
    assert.equal(indexes(history, 1), null);
    assert.deepEqual(indexes(history, 2), [3]);
  });

  it("of a shard begins when it is opened, and anew with a snapshot", async () => {
    const source = await ShardHarness.create();
    source.run(make.put("a", "1"), make.put("b", "2"), make.put("c", "3"));
    assert.deepEqual(indexes(source.machine.history, 0), [1, 2, 3]);
    await source.persist();
    const target = await ShardHarness.create();
    target.run(make.put("a", "1"));
    await source.sendSnapshot(target);
    assert.equal(indexes(target.machine.history, 2), null);
    assert.deepEqual(indexes(target.machine.history, 3), []);
    await source.restart();
    assert.equal(indexes(source.machine.history, 2), null);
    assert.deepEqual(indexes(source.machine.history, 3), []);
  });
});
