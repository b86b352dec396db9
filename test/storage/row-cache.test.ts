import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "../../storage/checksum.ts";
import { RowCache } from "../../storage/row-cache.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";

function textOf(record: Uint8Array | null | undefined): string | null | undefined {
  return record === null || record === undefined ? record : Buffer.from(record).toString("latin1");
}

test(`whatever the cache says of a row is what was said last of it, and it forgets the oldest first (seed ${seed})`, () => {
  const random = new Random(seed);
  const runs = 30;
  let known = 0;
  for (let run = 0; run < runs; run++) {
    const size = random.between(1, 9) * 1024;
    const cache = new RowCache(size);
    const said = new Map<string, string | null>();
    for (let step = 0; step < 5_000; step++) {
      const key = `key ${random.between(0, 200)}${"x".repeat(random.between(0, 3) * 10)}`;
      if (random.chance(0.5)) {
        const found = cache.get(Buffer.from(key));
        if (found !== undefined) {
          assert.equal(textOf(found), said.get(key));
          known += 1;
        }
        continue;
      }
      const record = random.chance(0.1) ? null : "r".repeat(random.between(0, size / 6));
      const bytes = record === null ? null : Buffer.from(record);
      cache.set(Buffer.from(key), bytes);
      said.set(key, record);
      const total = 24 + key.length + (record?.length ?? 0);
      const isKept = Math.ceil(total / 8) * 8 <= size / 8;
      assert.equal(textOf(cache.get(Buffer.from(key))), isKept ? record : undefined);
    }
  }
  // The smallest caches know so little that a single run says nothing.
  assert.ok(known > 10 * runs, `only ${known} looks found something`);
});

test("as many rows are kept as fit, the newest", () => {
  const cache = new RowCache(64 * 1024);
  const record = Buffer.alloc(100);
  for (let row = 0; row < 10_000; row++) {
    cache.set(Buffer.from(`row ${row}`), record);
  }
  const kept = Array.from({ length: 10_000 }, (_, row) => row).filter(
    (row) => cache.get(Buffer.from(`row ${row}`)) !== undefined,
  );
  const [oldest = 0] = kept;
  assert.equal(kept.length, 10_000 - oldest, "there is no hole among the newest rows");
  assert.ok(kept.length > 450 && kept.length < 512, `${kept.length} rows of about 128 bytes`);
});

test("a record that was handed out stays as it is", () => {
  const cache = new RowCache(1024);
  const key = Buffer.from("a");
  cache.set(key, Buffer.from("first"));
  const first = cache.get(key);
  for (let i = 0; i < 100; i++) {
    cache.set(key, Buffer.alloc(100, i));
  }
  assert.equal(textOf(first), "first");
});

test("a cache without memory knows nothing", () => {
  const cache = new RowCache(0);
  cache.set(Buffer.from("a"), Buffer.from("1"));
  assert.equal(cache.get(Buffer.from("a")), undefined);
});

test("keys that all fall into one bucket are found or not, but never looked for long", () => {
  const cache = new RowCache(1024 * 1024);
  const bucket = crc32c(Buffer.from("a")) & 0xfff;
  const keys = Array.from({ length: 2_000_000 }, (_, at) => `key ${at}`).filter(
    (key) => (crc32c(Buffer.from(key)) & 0xfff) === bucket,
  );
  assert.ok(keys.length > 300, "enough keys of one bucket");
  for (const key of keys) {
    cache.set(Buffer.from(key), Buffer.from(key));
  }
  const found = keys.filter((key) => textOf(cache.get(Buffer.from(key))) === key);
  assert.deepEqual(found, keys.slice(-16));
});
