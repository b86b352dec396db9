import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import fc from "fast-check";
import { LevelDatabase } from "../../storage/level-database.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import type { Database } from "../../storage/database.ts";
import type { ScanQuery } from "../../storage/queries.ts";
import { bytes, make, ShardHarness } from "./shard-harness.ts";
import { fuzzParameters } from "./seed.ts";

const directory = await mkdtemp(join(tmpdir(), "flotilla-scans-"));
after(() => rm(directory, { recursive: true, force: true }));

const databases: readonly { readonly name: string; readonly open: () => Promise<Database> }[] = [
  { name: "memory", open: async () => new MemoryDatabase() },
  {
    name: "LevelDB",
    open: async () =>
      LevelDatabase.open(await mkdtemp(join(directory, "db-")), { createIfMissing: true }),
  },
];

async function scan(harness: ShardHarness, query: Partial<ScanQuery> = {}) {
  const result = await harness.machine.query({
    type: "scan",
    start: bytes(""),
    end: null,
    limit: 1000,
    bytesMax: 1_000_000,
    keysOnly: false,
    ...query,
  });
  assert.ok(result.type === "scan");
  return {
    ...result,
    pairs: result.items.map(
      ({ key, record }) => `${Buffer.from(key)}=${Buffer.from(record.value)}`,
    ),
  };
}

for (const { name, open } of databases) {
  describe(`a scan over ${name}`, () => {
    it("merges what is written, what is on its way and what is new, in key order", async () => {
      const harness = await ShardHarness.create({}, await open());
      harness.run(make.put("a", "1"), make.put("c", "1"), make.put("e", "1"), make.put("g", "1"));
      await harness.persist();
      harness.run(make.put("b", "2"), make.put("c", "2"), make.delete("e"), make.delete("b"));
      const written = harness.stageOnly();
      harness.run(make.put("d", "3"), make.put("b", "3"), make.delete("g"), make.put("g", "3"));
      const expected = ["a=1", "b=3", "c=2", "d=3", "g=3"];
      const during = scan(harness);
      assert.deepEqual((await during).pairs, expected);
      await written;
      assert.deepEqual((await scan(harness)).pairs, expected);
      await harness.persist();
      assert.deepEqual((await scan(harness)).pairs, expected);
      await harness.database.close();
    });

    it("shows one moment, whatever is applied and written while it runs", async () => {
      const harness = await ShardHarness.create({}, await open());
      harness.run(make.put("a", "1"), make.put("b", "1"));
      await harness.persist();
      harness.run(make.put("c", "2"));
      const running = scan(harness);
      const asOf = harness.machine.appliedIndex;
      harness.run(make.put("a", "9"), make.delete("b"), make.delete("c"), make.put("d", "9"));
      await harness.persist();
      const { pairs, appliedIndex } = await running;
      assert.deepEqual(pairs, ["a=1", "b=1", "c=2"]);
      assert.equal(appliedIndex, asOf);
      await harness.database.close();
    });

    it("stays in its range and table, in pages of any size", async () => {
      const harness = await ShardHarness.create({}, await open());
      const keys = ["a", "a/", "a/1", "a/2", "a0", "b"];
      harness.run(...keys.map((key) => make.put(key, "x", { ttlMs: 1000 })));
      harness.run(make.acquire("a/lock", "me"));
      await harness.persist();
      const prefix = { start: bytes("a/"), end: bytes("a0") };
      assert.deepEqual((await scan(harness, prefix)).pairs, ["a/=x", "a/1=x", "a/2=x"]);
      for (const [limit, more] of [
        [2, true],
        [3, false],
        [4, false],
      ] as const) {
        const page = await scan(harness, { ...prefix, limit });
        assert.equal(page.items.length, Math.min(limit, 3));
        assert.equal(page.more, more, `limit ${limit}`);
      }
      const backward = await scan(harness, { start: bytes("b"), end: bytes("a") });
      assert.deepEqual(backward.pairs, []);
      assert.equal(backward.more, false);
      await harness.database.close();
    });

    it("stops before its bytes are exceeded, but gives one item at least", async () => {
      const harness = await ShardHarness.create({}, await open());
      harness.run(...["a", "b", "c"].map((key) => make.put(key, "x".repeat(99))));
      for (const [bytesMax, count] of [
        [1, 1],
        [199, 1],
        [200, 2],
        [299, 2],
        [300, 3],
      ] as const) {
        const page = await scan(harness, { bytesMax });
        assert.equal(page.items.length, count, `${bytesMax} bytes`);
        assert.equal(page.more, count < 3);
      }
      const keysOnly = await scan(harness, { bytesMax: 3, keysOnly: true });
      assert.deepEqual(keysOnly.pairs, ["a=", "b=", "c="]);
      assert.equal(keysOnly.items[0]?.record.version, 1);
      await harness.database.close();
    });
  });
}

it("A scan finds exactly the keys of its range, whatever they are and wherever they lie", async () => {
  const key = fc.array(fc.constantFrom(0, 1, 127, 128, 254, 255), { minLength: 1, maxLength: 3 });
  const step = fc.record({ key, deletes: fc.boolean(), persists: fc.boolean() });
  const bound = fc.array(fc.constantFrom(0, 1, 127, 128, 254, 255), { maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), bound, bound, async (steps, from, to) => {
      const harness = await ShardHarness.create();
      const model = new Map<string, Buffer>();
      for (const { key: raw, deletes, persists } of steps) {
        const name = Buffer.from(raw);
        if (deletes) {
          model.delete(name.toString("hex"));
          harness.run({ ...make.delete(""), key: name });
        } else {
          model.set(name.toString("hex"), name);
          harness.run({ ...make.put("", "v"), key: name });
        }
        if (persists) {
          await harness.persist();
        }
      }
      const [start, end] = [Buffer.from(from), Buffer.from(to)];
      const { items } = await scan(harness, { start, end });
      const expected = [...model.values()]
        .filter((name) => Buffer.compare(name, start) >= 0 && Buffer.compare(name, end) < 0)
        .sort(Buffer.compare);
      assert.deepEqual(
        items.map((item) => Buffer.from(item.key).toString("hex")),
        expected.map((name) => name.toString("hex")),
      );
    }),
    fuzzParameters(200),
  );
});

it("Point reads answer in the order of the question and say as of when", async () => {
  const harness = await ShardHarness.create();
  harness.run(make.put("a", "1"), make.put("b", "2"));
  const keys = ["b", "missing", "a"].map(bytes);
  const result = await harness.machine.query({ type: "get_many", keys, bytesMax: 2 });
  assert.ok(result.type === "get_many");
  assert.deepEqual(
    result.records.map((record) => record?.modRevision ?? null),
    [2, null, 1],
  );
  assert.equal(result.appliedIndex, 2);
  assert.equal(result.revision, 2);
});

it("Point reads of several keys end before the first value for which there is no room", async () => {
  const harness = await ShardHarness.create();
  harness.run(make.put("a", "123"), make.put("b", "4567"), make.put("c", ""));
  const read = async (names: readonly string[], bytesMax: number): Promise<number> => {
    const keys = names.map(bytes);
    const result = await harness.machine.query({ type: "get_many", keys, bytesMax });
    assert.ok(result.type === "get_many");
    return result.records.length;
  };
  assert.equal(await read(["a", "b", "missing", "c"], 7), 4);
  assert.equal(await read(["a", "b", "missing", "c"], 6), 1);
  assert.equal(await read(["c", "missing", "a"], 2), 2);
  assert.equal(await read(["a"], 2), 0);
});
