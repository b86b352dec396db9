import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LogIndex, Revision } from "../../cluster/types.ts";
import { ChangeHistory, type EntryChanges } from "../../storage/change-history.ts";
import type { ChangeEvent, KeyRecord } from "../../storage/commands.ts";
import { comparable } from "./comparable.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";
import { bytes, make, ShardHarness } from "./shard-harness.ts";

function event(key: string): ChangeEvent {
  return { kind: "delete", key: bytes(key), record: null, previous: null, revision: Revision(1) };
}

function anyEvent(random: Random): ChangeEvent {
  const isPut = random.chance(0.6);
  return {
    kind: isPut ? "put" : random.chance(0.5) ? "delete" : "expire",
    key: random.bytes(random.between(1, 40)),
    record: isPut ? anyRecord(random) : null,
    previous: random.chance(0.5) ? anyRecord(random) : null,
    revision: Revision(random.between(1, 2 ** 40)),
  };
}

function anyRecord(random: Random): KeyRecord {
  return {
    value: random.bytes(random.chance(0.02) ? 5_000 : random.between(0, 300)),
    contentType: random.chance(0.9) ? "text/plain" : "application/x-own",
    createRevision: Revision(random.between(1, 1000)),
    modRevision: Revision(random.between(1000, 2 ** 40)),
    version: random.between(1, 50),
    ttlMs: random.chance(0.8) ? null : random.between(1, 1e9),
  };
}

function indexes(history: ChangeHistory, after: number): readonly number[] | null {
  const changes = history.since(LogIndex(after));
  return changes === null ? null : [...changes].map(({ index }) => index);
}

describe("the history of changes", () => {
  it("gives what happened after a position, and null for what it never knew", () => {
    const history = new ChangeHistory({ eventsMax: 100, bytesMax: () => 100_000 }, LogIndex(10));
    assert.equal(indexes(history, 9), null);
    assert.deepEqual(indexes(history, 10), []);
    history.add(LogIndex(12), [event("a")]);
    history.add(LogIndex(15), [event("b"), event("c")]);
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
      history.add(LogIndex(index), [event("a"), event("b")]);
      assert.ok(history.eventCount <= 5);
    }
    assert.equal(history.goneIndex, 48);
    assert.equal(indexes(history, 47), null);
    assert.deepEqual(indexes(history, 48), [49, 50]);
  });

  it("forgets when there are too many bytes, all but the newest entry", () => {
    const history = new ChangeHistory({ eventsMax: 100, bytesMax: () => 1000 }, LogIndex(0));
    history.add(LogIndex(1), [event("a")]);
    history.add(LogIndex(2), [event("x".repeat(2000))]);
    assert.equal(indexes(history, 0), null);
    assert.deepEqual(indexes(history, 1), [2]);
    history.add(LogIndex(3), [event("a")]);
    assert.equal(indexes(history, 1), null);
    assert.deepEqual(indexes(history, 2), [3]);
  });

  it(`tells every change as it was made, whatever it was and however long ago (seed ${seed})`, () => {
    const random = new Random(seed);
    const history = new ChangeHistory({ eventsMax: 300, bytesMax: () => 100_000 }, LogIndex(0));
    const made: EntryChanges[] = [];
    for (let index = 1; index <= 800; index += random.between(1, 3)) {
      const events = Array.from({ length: random.between(1, 5) }, () => anyEvent(random));
      history.add(LogIndex(index), events);
      made.push({ index: LogIndex(index), events });
      const after = random.between(history.goneIndex, index + 1);
      const told = history.since(LogIndex(after));
      assert.ok(told !== null);
      const wanted = made.filter((changes) => changes.index > after);
      assert.deepEqual(comparable([...told]), comparable(wanted));
    }
    assert.ok(history.goneIndex > 400, "most of it is forgotten");
  });

  it("does not change what it has told when it forgets it", () => {
    const history = new ChangeHistory({ eventsMax: 2000, bytesMax: () => 100_000 }, LogIndex(0));
    const key = (index: number): string => `${index}`.padStart(100);
    const add = (index: number): void => history.add(LogIndex(index), [event(key(index))]);
    for (let index = 1; index <= 500; index++) {
      add(index);
    }
    const told = [...(history.since(LogIndex(0)) ?? [])];
    for (let index = 501; index <= 3000; index++) {
      add(index);
    }
    assert.ok(history.goneIndex > 1500);
    told.forEach(({ events }, at) => assert.deepEqual(events[0]?.key, bytes(key(at + 1))));
  });

  it("tells everybody the newest changes in the same objects", () => {
    const history = new ChangeHistory({ eventsMax: 100, bytesMax: () => 100_000 }, LogIndex(0));
    const events = [event("a")];
    history.add(LogIndex(1), events);
    assert.equal([...(history.since(LogIndex(0)) ?? [])][0]?.events, events);
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
