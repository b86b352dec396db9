import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Revision } from "../../cluster/types.ts";
import { numberDigitsMax, type Command, type Compare } from "../../storage/commands.ts";
import { bytes, make, plain, ShardHarness } from "./shard-harness.ts";

function text(harness: ShardHarness, key: string): string | null {
  const record = harness.machine.get(bytes(key));
  return record === null ? null : Buffer.from(record.value).toString();
}

function revisions(...values: readonly number[]): readonly Revision[] {
  return values.map(Revision);
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
    assert.equal(text(harness, "a"), "3");
    harness.run(make.delete("a"), make.put("a", "4"));
    assert.equal(harness.machine.get(bytes("a"))?.createRevision, 5);
    assert.equal(harness.machine.get(bytes("a"))?.version, 1);
  });

  it("answer with the previous record only when asked", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("a", "1"));
    const put = harness.run(make.put("a", "2", { wantPrevious: true }));
    assert.equal(put.type === "put" && Buffer.from(put.previous?.value ?? []).toString(), "1");
    const removed = harness.run(make.delete("a", { wantPrevious: true }));
    assert.ok(removed.type === "delete");
    assert.equal(removed.deleted, true);
    assert.equal(Buffer.from(removed.previous?.value ?? []).toString(), "2");
    assert.equal(removed.previous?.version, 2);
  });

  it("of nothing takes no revision", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("a", "1"));
    const result = harness.run(make.delete("missing"));
    assert.deepEqual(result, { type: "delete", deleted: false, revision: 1, previous: null });
    assert.equal(harness.machine.revision, 1);
  });

  it("store empty values, and keys and values of any bytes", async () => {
    const harness = await ShardHarness.create();
    const key = Buffer.from([0, 255, 47, 0]);
    const value = Buffer.from([0xc3, 0x28, 0]);
    harness.run({ ...make.put("", ""), key, value }, make.put("empty", ""));
    await harness.persist();
    await harness.restart();
    assert.deepEqual(Buffer.from(harness.machine.get(key)?.value ?? []), value);
    assert.equal(text(harness, "empty"), "");
  });

  it("keep content types, common and odd ones", async () => {
    const harness = await ShardHarness.create();
    for (const contentType of ["", "application/json", "x/y; z=ü", "a".repeat(300)]) {
      harness.run(make.put("a", "1", { contentType }));
      assert.equal(harness.machine.get(bytes("a"))?.contentType, contentType);
    }
  });
});

describe("revisions", () => {
  it("jump over the floor that the entry carries, and never go back", async () => {
    const harness = await ShardHarness.create();
    const revisionOf = (value: string, floor: number) =>
      harness.apply([plain(make.put("a", value))], floor)[0]?.revision;
    assert.equal(revisionOf("1", 0), 1);
    assert.equal(revisionOf("2", 41), 42);
    assert.equal(revisionOf("3", 5), 43);
  });

  it("are one per changing command, also within one entry", async () => {
    const harness = await ShardHarness.create();
    const outcomes = harness.apply(
      [make.put("a", "1"), make.delete("b"), make.put("b", "2"), make.delete("b")].map(plain),
      10,
    );
    assert.deepEqual(
      outcomes.map((outcome) => outcome.revision),
      [11, 11, 12, 13],
    );
  });
});

describe("conditions", () => {
  const cases = [
    { condition: { type: "absent" }, onAbsent: true, onPresent: false },
    { condition: { type: "present" }, onAbsent: false, onPresent: true },
    {
      condition: { type: "revision_in", revisions: revisions(1, 7) },
      onAbsent: false,
      onPresent: true,
    },
    {
      condition: { type: "revision_in", revisions: revisions(7) },
      onAbsent: false,
      onPresent: false,
    },
    {
      condition: { type: "revision_not_in", revisions: revisions(7) },
      onAbsent: true,
      onPresent: true,
    },
    {
      condition: { type: "revision_not_in", revisions: revisions(1) },
      onAbsent: true,
      onPresent: false,
    },
  ] as const;

  for (const { condition, onAbsent, onPresent } of cases) {
    it(`${JSON.stringify(condition)} holds as it should, for every command that has one`, async () => {
      const commands: readonly Command[] = [
        make.put("k", "5", { condition }),
        make.delete("k", { condition }),
        make.increment("k", 1n, { condition }),
        make.append("k", "1", { condition }),
        make.touch("k", 5000, { condition }),
      ];
      for (const command of commands) {
        for (const isPresent of [false, true]) {
          const harness = await ShardHarness.create();
          if (isPresent) {
            harness.run(make.put("k", "1"));
          }
          const before = harness.machine.revision;
          const result = harness.run(command);
          const expected = isPresent ? onPresent : onAbsent;
          assert.equal(result.type !== "condition_failed", expected, command.type);
          if (result.type === "condition_failed") {
            assert.equal(result.current?.modRevision ?? null, isPresent ? 1 : null);
            assert.equal(harness.machine.revision, before);
          }
        }
      }
    });
  }
});

describe("increment", () => {
  it("is exact beyond 2^53, creates plain text, and keeps the type of what is there", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.increment("n", 9_007_199_254_740_993n), make.increment("n", 2n ** 70n));
    assert.equal(text(harness, "n"), String(9_007_199_254_740_993n + 2n ** 70n));
    harness.run(make.increment("n", -(2n ** 70n)));
    assert.equal(text(harness, "n"), "9007199254740993");
    assert.equal(harness.machine.get(bytes("n"))?.contentType, "text/plain");
    harness.run(make.put("json", "41", { contentType: "application/json" }));
    const result = harness.run(make.increment("json", 1n));
    assert.ok(result.type === "update");
    assert.equal(Buffer.from(result.value).toString(), "42");
    assert.equal(result.version, 2);
    assert.equal(harness.machine.get(bytes("json"))?.contentType, "application/json");
  });

  it("refuses what is not a decimal integer, and leaves it alone", async () => {
    const harness = await ShardHarness.create();
    for (const value of ["", "1.5", "0x10", " 1", "1\n", "--1", "1e3", "ten"]) {
      harness.run(make.put("n", value));
      assert.deepEqual(harness.run(make.increment("n", 1n)), { type: "not_a_number" }, value);
      assert.equal(text(harness, "n"), value);
    }
  });

  it(`works up to ${numberDigitsMax} digits and not on one more`, async () => {
    const harness = await ShardHarness.create();
    const largest = "9".repeat(numberDigitsMax);
    harness.run(make.put("n", `-${largest}`));
    assert.equal(harness.run(make.increment("n", 1n)).type, "update");
    harness.run(make.put("n", largest));
    assert.deepEqual(harness.run(make.increment("n", 1n)), {
      type: "value_too_large",
      bytesMax: numberDigitsMax,
    });
    harness.run(make.put("n", `1${largest}`));
    assert.deepEqual(harness.run(make.increment("n", 1n)), { type: "not_a_number" });
  });
});

describe("append", () => {
  it("adds bytes up to the limit, answers with the length, and gives a new key its type", async () => {
    const harness = await ShardHarness.create();
    const first = harness.run(make.append("log", "abc"));
    assert.ok(first.type === "update");
    assert.equal(first.created, true);
    assert.equal(Buffer.from(first.value).toString(), "3");
    const second = harness.run(make.append("log", "de", { contentType: "other/type" }));
    assert.equal(second.type === "update" && Buffer.from(second.value).toString(), "5");
    assert.equal(text(harness, "log"), "abcde");
    assert.equal(harness.machine.get(bytes("log"))?.contentType, "text/x-log");
    const full = { type: "value_too_large", bytesMax: 5 } as const;
    assert.deepEqual(harness.run(make.append("log", "f", { valueBytesMax: 5 })), full);
    assert.equal(harness.run(make.append("log", "f", { valueBytesMax: 6 })).type, "update");
  });
});

describe("a transaction", () => {
  function transaction(
    compares: readonly Compare[],
    success: Extract<Command, { type: "transaction" }>["success"],
    failure: Extract<Command, { type: "transaction" }>["failure"] = [],
  ): Command {
    return { type: "transaction", compares, success, failure };
  }

  it("runs one branch or the other, in order, under one revision", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("a", "1"));
    const exists: Compare = {
      key: bytes("a"),
      target: "exists",
      operator: "equal",
      operand: 1,
    };
    const command = transaction(
      [exists],
      [
        make.put("b", "2", { wantPrevious: true }),
        { type: "get", key: bytes("b") },
        make.delete("a", { wantPrevious: true }),
        make.put("a", "3"),
      ],
      [{ type: "get", key: bytes("b") }],
    );
    const result = harness.run(command);
    assert.ok(result.type === "transaction");
    assert.equal(result.succeeded, true);
    assert.equal(result.revision, 2);
    assert.equal(harness.machine.revision, 2);
    const [put, get, removed, again] = result.results;
    assert.equal(put?.type === "put" && put.created, true);
    assert.equal(get?.type === "get" && get.record?.modRevision, 2);
    assert.equal(removed?.type === "delete" && removed.deleted, true);
    assert.equal(again?.type === "put" && again.version, 1);
    harness.run(make.delete("a"));
    const other = harness.run(command);
    assert.ok(other.type === "transaction");
    assert.equal(other.succeeded, false);
    assert.equal(other.results.length, 1);
    assert.equal(other.revision, 3);
    assert.equal(harness.machine.revision, 3);
  });

  it("changes nothing when a condition of its branch fails", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("a", "1"));
    const digest = harness.machine.digest;
    const result = harness.run(
      transaction(
        [],
        [make.put("b", "2"), make.put("a", "3", { condition: { type: "absent" } })],
        [make.put("a", "4", { condition: { type: "absent" } })],
      ),
    );
    assert.equal(result.type, "condition_failed");
    assert.equal(text(harness, "b"), null);
    assert.equal(harness.machine.digest, digest);
  });

  it("compares values bytewise and numbers by size; an absent key is version 0 and no value", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("k", "m"), make.put("k", "m"));
    const holds = (key: string, more: Omit<Compare, "key">): boolean => {
      const result = harness.run(transaction([{ key: bytes(key), ...more }], []));
      return result.type === "transaction" && result.succeeded;
    };
    const value = (operand: string) => ({ target: "value" as const, operand: bytes(operand) });
    assert.equal(holds("k", { ...value("m"), operator: "equal" }), true);
    assert.equal(holds("k", { ...value("m"), operator: "not_equal" }), false);
    assert.equal(holds("k", { ...value("n"), operator: "less" }), true);
    assert.equal(holds("k", { ...value("lzz"), operator: "greater" }), true);
    assert.equal(holds("k", { target: "version", operator: "equal", operand: 2 }), true);
    assert.equal(holds("k", { target: "create_revision", operator: "equal", operand: 1 }), true);
    assert.equal(holds("k", { target: "mod_revision", operator: "greater", operand: 1 }), true);
    assert.equal(holds("k", { target: "mod_revision", operator: "less", operand: 2 }), false);
    assert.equal(holds("no", { ...value(""), operator: "equal" }), false);
    assert.equal(holds("no", { ...value(""), operator: "not_equal" }), true);
    assert.equal(holds("no", { ...value(""), operator: "less" }), false);
    assert.equal(holds("no", { target: "version", operator: "equal", operand: 0 }), true);
    assert.equal(holds("no", { target: "exists", operator: "equal", operand: 0 }), true);
    assert.equal(holds("no", { target: "mod_revision", operator: "less", operand: 1 }), true);
  });
});

describe("changes", () => {
  it("are told with the entry that made them, in order, with what was there before", async () => {
    const harness = await ShardHarness.create();
    harness.apply([make.put("a", "1"), make.put("a", "2"), make.delete("a")].map(plain));
    harness.run(make.delete("a"));
    harness.run(make.put("b", "3", { condition: { type: "present" } }));
    assert.equal(harness.changes.length, 1);
    const [change] = harness.changes;
    assert.equal(change?.index, 1);
    const told = change?.events.map(({ kind, record, previous, revision }) => ({
      kind,
      value: record === null ? null : Buffer.from(record.value).toString(),
      previous: previous === null ? null : Buffer.from(previous.value).toString(),
      revision,
    }));
    assert.deepEqual(told, [
      { kind: "put", value: "1", previous: null, revision: 1 },
      { kind: "put", value: "2", previous: "1", revision: 2 },
      { kind: "delete", value: null, previous: "2", revision: 3 },
    ]);
  });

  it("are not told of a touch", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("a", "1"), make.touch("a", 1000));
    assert.equal(harness.changes.length, 1);
  });
});
