import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { startCluster } from "./support.ts";

/** Keys as people really choose them, and as attackers do. */
const keys = [
  "plain",
  "a/b/c",
  "with space",
  "100%",
  "%2F",
  "sm\u00f6rg\u00e5s/\u6f22\u5b57/\u{1f6a2}",
  "__proto__",
  "constructor",
  "trailing/",
  "//double",
  "q?x=1&y#z",
  "k".repeat(1024),
];

function urlOf(base: string, key: string): string {
  return `${base}/v1/kv/${encodeURIComponent(key)}`;
}

test("a new cluster takes every key and value through every node and gives back the same bytes", async (context) => {
  const { urls } = await startCluster(context);
  const at = (index: number): string => urls[index % urls.length] ?? "";

  await context.test("keys of every kind", async () => {
    for (const [index, key] of keys.entries()) {
      const put = await fetch(urlOf(at(index), key), { method: "PUT", body: `value of ${key}` });
      assert.equal(put.status, 201, `${key}: ${await put.text()}`);
      for (const url of urls) {
        const got = await fetch(urlOf(url, key));
        assert.equal(got.status, 200, key);
        assert.equal(await got.text(), `value of ${key}`);
      }
    }
  });

  await context.test("values of every size with their content type", async () => {
    for (const [index, size] of [0, 1, 255, 65_536, 1024 * 1024].entries()) {
      const value = randomBytes(size);
      const contentType = `application/x-test-${size}`;
      const headers = { "content-type": contentType };
      const put = await fetch(urlOf(at(index), `size-${size}`), {
        method: "PUT",
        body: value,
        headers,
      });
      assert.ok(put.ok, await put.text());
      const got = await fetch(urlOf(at(index + 1), `size-${size}`));
      assert.equal(got.headers.get("content-type"), contentType);
      assert.deepEqual(Buffer.from(await got.arrayBuffer()), value);
    }
  });

  await context.test("conditions are judged where the key lives", async () => {
    const url = urlOf(at(0), "conditional");
    const created = await fetch(url, {
      method: "PUT",
      body: "1",
      headers: { "if-none-match": "*" },
    });
    assert.equal(created.status, 201);
    const etag = created.headers.get("etag") ?? "";
    const again = await fetch(urlOf(at(1), "conditional"), {
      method: "PUT",
      body: "2",
      headers: { "if-none-match": "*" },
    });
    assert.equal(again.status, 412);
    const replaced = await fetch(urlOf(at(2), "conditional"), {
      method: "PUT",
      body: "3",
      headers: { "if-match": etag },
    });
    assert.equal(replaced.status, 200);
    const stale = await fetch(url, { method: "DELETE", headers: { "if-match": etag } });
    assert.equal(stale.status, 412);
    const removed = await fetch(url, { method: "DELETE" });
    assert.equal(removed.status, 200);
    assert.equal((await fetch(urlOf(at(1), "conditional"))).status, 404);
  });

  await context.test("a listing is in key order over all shards, page by page", async () => {
    const expected = Array.from({ length: 250 }, (_, i) => `list/${String(i).padStart(4, "0")}`);
    await Promise.all(
      expected.map(async (key, i) => {
        const response = await fetch(urlOf(at(i), key), { method: "PUT", body: key });
        await response.arrayBuffer();
      }),
    );
    const seen: string[] = [];
    let next: string | null = `${at(1)}/v1/kv?prefix=list/&limit=100`;
    while (next !== null) {
      const response: Response = await fetch(next);
      const page = (await response.json()) as {
        items: { key: string }[];
        next_cursor?: string | null;
      };
      seen.push(...page.items.map((item) => item.key));
      const cursor: string | null | undefined = page.next_cursor;
      next = cursor
        ? `${at(2)}/v1/kv?prefix=list/&limit=100&cursor=${encodeURIComponent(cursor)}`
        : null;
    }
    assert.deepEqual(seen, expected);
  });
});
