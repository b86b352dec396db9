import assert from "node:assert/strict";
import { test } from "node:test";
import { LogRetention } from "../../cluster/multiraft/retention.ts";
import { LogIndex, Term } from "../../cluster/types.ts";

function apply(retention: LogRetention, index: number, bytes: number): void {
  const payload = new Uint8Array(bytes);
  retention.applied({ index: LogIndex(index), term: Term(1), type: "command", payload });
}

test("between one and two segments of applied log are kept, counted in entries", () => {
  const retention = new LogRetention({ retainedBytes: () => 1e9, retainedEntries: 10 });
  for (let index = 1; index <= 100; index += 1) {
    apply(retention, index, 1);
    const kept = index - retention.compactableIndex;
    assert.ok(kept <= 20, `keeps ${kept} at ${index}`);
    assert.ok(index < 20 || kept >= 10, `keeps ${kept} at ${index}`);
  }
});

test("large entries are counted in bytes", () => {
  const retention = new LogRetention({ retainedBytes: () => 100, retainedEntries: 1e9 });
  for (let index = 1; index <= 9; index += 1) {
    apply(retention, index, 50);
  }
  assert.equal(retention.compactableIndex, 6);
  retention.reset();
  assert.equal(retention.compactableIndex, 0);
});
