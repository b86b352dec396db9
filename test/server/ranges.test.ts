import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { MergedScan } from "../../server/http/merged-scan.ts";
import { startServer, type TestServer } from "./support.ts";

interface Page {
  readonly items: readonly { readonly key: string; readonly value?: string }[];
  readonly prefixes?: readonly { readonly key: string }[];
  readonly more: boolean;
  readonly next_cursor?: string;
}

describe("ranges of keys", () => {
  let server: TestServer;
  const names = Array.from({ length: 300 }, (_, at) => `k/${String(at).padStart(3, "0")}`);

  before(async () => {
    server = await startServer();
    for (const name of [...names, "dir/a/1", "dir/a/2", "dir/b", "dir/c/1", "dir/c/2/3", "z"]) {
      await server.request({ method: "PUT", url: `/v1/kv/${name}`, payload: `v:${name}` });
    }
  });
  after(() => server.close());

  const page = async (url: string): Promise<Page> => {
    const response = await server.request({ url });
    assert.equal(response.statusCode, 200, response.payload);
    return response.json<Page>();
  };

  test("keys of all shards come in byte order", async () => {
    const { items, more } = await page("/v1/kv?prefix=k/&limit=1000");
    assert.deepEqual(
      items.map(({ key }) => key),
      names,
    );
    assert.equal(items[7]?.value, "v:k/007");
    assert.equal(more, false);
    const shards = new Set(names.map((name) => server.service.shardOf(Buffer.from(name))));
    assert.ok(shards.size > 1, "the test means something only over several shards");
  });

  for (const limit of [1, 2, 7, 100, 299, 300, 301]) {
    test(`pages of ${limit} follow each other without gap or repeat`, async () => {
      const seen: string[] = [];
      let url: string | undefined = `/v1/kv?prefix=k/&keys_only=1&limit=${limit}`;
      while (url !== undefined) {
        const response = await server.request({ url });
        const { items, more } = response.json<Page>();
        assert.ok(items.length <= limit);
        seen.push(...items.map(({ key }) => key));
        url = /<(.*)>; rel="next"/.exec(String(response.headers.link ?? ""))?.[1];
        assert.equal(url !== undefined, more);
      }
      assert.deepEqual(seen, names);
    });
  }

  test("start is included, end is not", async () => {
    const { items } = await page("/v1/kv?start=k/010&end=k/013");
    assert.deepEqual(
      items.map(({ key }) => key),
      ["k/010", "k/011", "k/012"],
    );
    assert.equal((await page("/v1/kv?prefix=k/&start=z")).items.length, 0);
  });

  test("a page ends when its bytes are used up, but has one key", async () => {
    const { items, more } = await page("/v1/kv?prefix=k/&max_bytes=1");
    assert.equal(items.length, 1);
    assert.equal(more, true);
  });

  test("a delimiter folds keys like folders, also across pages", async () => {
    const whole = await page("/v1/kv?prefix=dir/&delimiter=/");
    assert.deepEqual(
      whole.prefixes?.map(({ key }) => key),
      ["dir/a/", "dir/c/"],
    );
    assert.deepEqual(
      whole.items.map(({ key }) => key),
      ["dir/b"],
    );
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const next: Page = await page(
        `/v1/kv?prefix=dir/&delimiter=/&limit=1${cursor === undefined ? "" : `&cursor=${cursor}`}`,
      );
      seen.push(...next.items.map(({ key }) => key));
      seen.push(...(next.prefixes ?? []).map(({ key }) => key));
      cursor = next.next_cursor;
    } while (cursor !== undefined);
    assert.deepEqual(seen, ["dir/a/", "dir/b", "dir/c/"]);
  });

  test("a folder at the root hides hundreds of keys in one prefix", async () => {
    const { items, prefixes } = await page("/v1/kv?delimiter=/&limit=3");
    assert.deepEqual(
      prefixes?.map(({ key }) => key),
      ["dir/", "k/"],
    );
    assert.deepEqual(
      items.map(({ key }) => key),
      ["z"],
    );
  });

  test("lines of JSON bring everything, or as much as was asked", async () => {
    const headers = { accept: "application/x-ndjson" };
    const all = await server.request({ url: "/v1/kv?prefix=k/", headers });
    assert.equal(all.headers["content-type"], "application/x-ndjson");
    const lines = all.payload.trimEnd().split("\n");
    assert.equal(lines.length, names.length);
    assert.equal(JSON.parse(lines[299] ?? "").key, "k/299");
    const some = await server.request({ url: "/v1/kv?prefix=k/&limit=5&keys_only", headers });
    assert.equal(some.payload.trimEnd().split("\n").length, 5);
    assert.ok(!some.payload.includes('"value"'));
  });

  test("lines that break off say so in the last one", async () => {
    const small = await startServer({ pageItemsDefault: 1, pageItemsMax: 1 });
    for (const name of names) {
      await small.request({ method: "PUT", url: `/v1/kv/${name}`, payload: "" });
    }
    let calls = 0;
    small.service.intercept = () => {
      calls += 1;
      if (calls > 20) {
        throw new Error("lost");
      }
    };
    const headers = { accept: "application/x-ndjson" };
    const response = await small.request({ url: "/v1/kv", headers });
    const lines = response.payload.trimEnd().split("\n");
    assert.equal(response.statusCode, 200);
    assert.ok(lines.length > 1);
    assert.ok(lines.length < names.length);
    assert.equal(JSON.parse(lines.at(-1) ?? "").error.code, "internal");
    await small.close();
  });

  test("keys that are not UTF-8 are listed by key64", async () => {
    const key64 = Buffer.from([0xff, 0x00, 0x01]).toString("base64url");
    await server.request({
      method: "PUT",
      url: `/v1/kv?key64=${key64}`,
      payload: Buffer.from([0x80]),
    });
    const { items } = await page("/v1/kv?prefix=%FF");
    assert.deepEqual(
      items.map(({ value }) => value),
      ["gA=="],
    );
    assert.ok(JSON.stringify(items).includes(`"key64":"${key64}"`));
    const folded = await page("/v1/kv?prefix=%FF&delimiter=%00&keys_only");
    assert.equal(folded.prefixes?.length, 1);
  });

  test("the merge skips to a key that no shard has read yet", async () => {
    const scan = new MergedScan({
      service: server.service,
      start: Buffer.from("k/"),
      end: Buffer.from("k0"),
      keysOnly: true,
      limit: 1,
      bytesMax: 1,
      consistency: { type: "linearizable" },
      context: () => ({
        requestId: "t",
        deadlineMs: Infinity,
        signal: null,
        trace: "",
        timings: new Map(),
      }),
    });
    assert.equal(Buffer.from((await scan.peek())?.key ?? []).toString(), "k/000");
    await scan.skipTo(Buffer.from("k/250"));
    assert.equal(Buffer.from((await scan.peek())?.key ?? []).toString(), "k/250");
    await scan.skipTo(Buffer.from("k/zzz"));
    assert.equal(await scan.peek(), null);
  });
});
