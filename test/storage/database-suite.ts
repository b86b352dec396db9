import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { describe, test } from "node:test";
import type { Database, DatabasePair, IterateOptions } from "../../storage/database.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";

/** What every Database keeps, whatever is below it. */
export function databaseSuite(
  name: string,
  open: (context: TestContext) => Promise<Database>,
): void {
  describe(`a database on ${name}`, () => {
    test("returns what was put, and nothing for what was deleted or never was", async (context) => {
      const database = await open(context);
      await write(database, { a: "1", b: "2", empty: "" });
      await write(database, { a: null, c: "3" });
      assert.equal(get(database, "a"), undefined);
      assert.equal(get(database, "b"), "2");
      assert.equal(get(database, "c"), "3");
      assert.equal(get(database, "empty"), "");
      assert.equal(get(database, "d"), undefined);
    });

    test("applies the operations of a batch in the order given", async (context) => {
      const database = await open(context);
      const batch = database.batch();
      batch.put(bytes("k"), bytes("1"));
      batch.del(bytes("k"));
      batch.put(bytes("k"), bytes("2"));
      batch.put(bytes("gone"), bytes("1"));
      batch.del(bytes("gone"));
      assert.equal(batch.size, 5);
      await batch.write(true);
      assert.equal(get(database, "k"), "2");
      assert.equal(get(database, "gone"), undefined);
    });

    test("copies what a batch is given", async (context) => {
      const database = await open(context);
      const key = bytes("key");
      const value = bytes("value");
      const batch = database.batch();
      batch.put(key, value);
      key.fill(0);
      value.fill(0);
      await batch.write(false);
      assert.equal(get(database, "key"), "value");
    });

    test("gives bytes that belong to the caller", async (context) => {
      const database = await open(context);
      await write(database, { k: "value" });
      database.getSync(bytes("k"))?.fill(0);
      const [pair] = await list(database, "a", "z");
      pair?.[1].fill(0);
      assert.equal(get(database, "k"), "value");
    });

    test("iterates in byte order from the first bound up to, not including, the second", async (context) => {
      const database = await open(context);
      const keys = ["00", "0000", "01", "7f", "80", "ff", "ff00"].map((hex) =>
        Buffer.from(hex, "hex"),
      );
      const batch = database.batch();
      keys.toReversed().forEach((key) => batch.put(key, key));
      await batch.write(false);
      const found = await listBytes(database, keys[1] ?? bytes(""), keys[6] ?? bytes(""));
      assert.deepEqual(
        found.map(([key]) => hex(key)),
        ["0000", "01", "7f", "80", "ff"],
      );
      assert.deepEqual(
        found.map(([, value]) => hex(value)),
        ["0000", "01", "7f", "80", "ff"],
      );
    });

    test("iterates backwards with the same bounds, and without values on request", async (context) => {
      const database = await open(context);
      await write(database, { a: "1", b: "2", c: "3", d: "4" });
      const found = await list(database, "b", "d", { reverse: true, keysOnly: true });
      assert.deepEqual(
        found.map(([key, value]) => [text(key), value.length]),
        [
          ["c", 0],
          ["b", 0],
        ],
      );
    });

    test("iterates over the state at the time the iterator was made", async (context) => {
      const database = await open(context);
      await write(database, { a: "1", b: "2" });
      const iterator = database.iterate({ gte: bytes("a"), lt: bytes("z") });
      await write(database, { a: null, b: "3", c: "4" });
      const pairs = await iterator.next(10);
      await iterator.close();
      assert.deepEqual(
        pairs.map(([key, value]) => text(key) + text(value)),
        ["a1", "b2"],
      );
    });

    test("shows a snapshot's readers what was there, whatever is written or cleared later", async (context) => {
      const database = await open(context);
      await write(database, { a: "1", b: "2" });
      const snapshot = database.snapshot();
      await write(database, { a: "9", c: "3" });
      await database.clear({ gte: bytes("b"), lt: bytes("c") });
      assert.equal(text(database.getSync(bytes("a"), snapshot) ?? bytes("")), "1");
      assert.equal(database.getSync(bytes("c"), snapshot), undefined);
      const pairs = await list(database, "a", "z", { snapshot });
      assert.deepEqual(
        pairs.map(([key]) => text(key)),
        ["a", "b"],
      );
      await snapshot.close();
      assert.deepEqual(
        (await list(database, "a", "z")).map(([key]) => text(key)),
        ["a", "c"],
      );
    });

    test("clears exactly the range", async (context) => {
      const database = await open(context);
      await write(database, { a: "1", b: "2", c: "3", d: "4" });
      await database.clear({ gte: bytes("b"), lt: bytes("d") });
      assert.deepEqual(
        (await list(database, "a", "z")).map(([key]) => text(key)),
        ["a", "d"],
      );
    });

    test("refuses everything with the code closed after close", async (context) => {
      const database = await open(context);
      await database.close();
      const isClosed = (error: unknown): boolean =>
        error instanceof StoreFailure && error.code === "closed";
      assert.throws(() => database.getSync(bytes("a")), isClosed);
      await assert.rejects(async () => write(database, { a: "1" }), isClosed);
      await assert.rejects(async () => list(database, "a", "b"), isClosed);
    });

    test(`agrees with a sorted map through random operations (seed ${seed})`, async (context) => {
      const database = await open(context);
      const random = new Random(seed);
      const model = new Map<string, string>();
      for (let round = 0; round < 200; round++) {
        const changes = randomChanges(random);
        await write(database, changes);
        for (const [key, value] of Object.entries(changes)) {
          if (value === null) {
            model.delete(key);
          } else {
            model.set(key, value);
          }
        }
        const [from, to] = [randomKey(random), randomKey(random)].sort();
        if (from === undefined || to === undefined) {
          continue;
        }
        if (round % 20 === 19) {
          await database.clear({ gte: bytes(from), lt: bytes(to) });
          [...model.keys()]
            .filter((key) => key >= from && key < to)
            .forEach((key) => model.delete(key));
        }
        const reverse = random.chance(0.5);
        const found = await list(database, from, to, { reverse });
        const expected = [...model].filter(([key]) => key >= from && key < to).sort();
        assert.deepEqual(
          found.map(([key, value]) => [text(key), text(value)]),
          reverse ? expected.toReversed() : expected,
        );
        const probe = randomKey(random);
        assert.equal(get(database, probe), model.get(probe));
      }
    });
  });
}

function randomKey(random: Random): string {
  return random.between(0, 3_000).toString(7);
}

function randomChanges(random: Random): Record<string, string | null> {
  const changes: Record<string, string | null> = {};
  for (let left = random.between(1, 60); left > 0; left--) {
    changes[`${randomKey(random)}`] = random.chance(0.3) ? null : String(random.next());
  }
  return changes;
}

async function write(database: Database, changes: Record<string, string | null>): Promise<void> {
  const batch = database.batch();
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) {
      batch.del(bytes(key));
    } else {
      batch.put(bytes(key), bytes(value));
    }
  }
  await batch.write(false);
}

function get(database: Database, key: string): string | undefined {
  const value = database.getSync(bytes(key));
  return value === undefined ? undefined : text(value);
}

async function list(
  database: Database,
  gte: string,
  lt: string,
  options?: IterateOptions,
): Promise<readonly DatabasePair[]> {
  return listBytes(database, bytes(gte), bytes(lt), options);
}

async function listBytes(
  database: Database,
  gte: Uint8Array,
  lt: Uint8Array,
  options?: IterateOptions,
): Promise<readonly DatabasePair[]> {
  const iterator = database.iterate({ gte, lt }, options);
  const all: DatabasePair[] = [];
  try {
    for (let pairs = await iterator.next(7); pairs.length > 0; pairs = await iterator.next(7)) {
      all.push(...pairs);
    }
  } finally {
    await iterator.close();
  }
  return all;
}

function bytes(value: string): Buffer {
  return Buffer.from(value);
}

function text(value: Uint8Array): string {
  return Buffer.from(value).toString();
}

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString("hex");
}
