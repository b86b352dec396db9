import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer, type TestServer } from "./support.ts";

type Result = Readonly<Record<string, unknown>>;

const room = 10_000;

describe("what a batch answers", () => {
  let server: TestServer;
  before(async () => (server = await startServer({ batchBytesMax: room })));
  after(() => server.close());

  const put = (key: string, bytes: number) =>
    server.request({ method: "PUT", url: `/v1/kv/${key}`, payload: "x".repeat(bytes) });

  async function batch(operations: readonly object[]): Promise<readonly Result[]> {
    const response = await server.request({
      method: "POST",
      url: "/v1/batch",
      headers: { "content-type": "application/json" },
      payload: JSON.stringify({ operations }),
    });
    assert.equal(response.statusCode, 200);
    return response.json<{ results: readonly Result[] }>().results;
  }
  const statuses = (results: readonly Result[]) => results.map(({ status }) => status);
  const get = (key: string) => ({ op: "get", key });

  /** Keys that live on shards of their own. */
  function keysOfShards(count: number): readonly string[] {
    const keys = new Map<number, string>();
    for (let at = 0; keys.size < count; at++) {
      const shard = server.service.shardOf(Buffer.from(`s${at}`));
      keys.set(shard, keys.get(shard) ?? `s${at}`);
    }
    return [...keys.values()];
  }

  test("has room for values up to the limit, and not for one byte more", async () => {
    await put("half", room / 2);
    await put("byte", 1);
    assert.deepEqual(statuses(await batch([get("half"), get("half")])), [200, 200]);
    const results = await batch([get("half"), get("half"), get("byte"), get("none")]);
    assert.deepEqual(statuses(results), [200, 200, 413, 404]);
    const refused = results[2];
    assert.equal(refused?.["code"], "value_too_large");
    assert.equal(refused["applied"], "no");
    assert.equal(refused["limit_bytes"], room);
    assert.equal(refused["key"], "byte");
    assert.match(String(refused["detail"]), /10000 bytes/);
  });

  test("has one room for all shards", async () => {
    const keys = keysOfShards(4);
    for (const key of keys) {
      await put(key, room / 2);
    }
    assert.deepEqual(statuses(await batch(keys.map(get))), [200, 200, 413, 413]);
  });

  test("asks no shard for more than there is room", async () => {
    await put("{m}large", room);
    const query = server.service.queryShard.bind(server.service);
    let records = 0;
    server.service.queryShard = async (...asked) => {
      const served = await query(...asked);
      records += served.value.type === "get_many" ? served.value.records.length : 0;
      return served;
    };
    const results = await batch(Array.from({ length: 100 }, () => get("{m}large")));
    server.service.queryShard = query;
    assert.deepEqual(statuses(results), [200, ...Array.from({ length: 99 }, () => 413)]);
    assert.equal(records, 1);
  });

  test("tells of every write, if need be without what was there before", async () => {
    await put("old", room - 1);
    await put("small", 2);
    await put("tiny", 1);
    const [first, ...others] = await batch([
      { op: "put", key: "old", value: "1", prev: true },
      get("tiny"),
    ]);
    assert.equal(String((first?.["previous"] as Result)["value"]).length, room - 1);
    assert.deepEqual(statuses(others), [200]);
    await put("old", room + 1);
    const results = await batch([
      { op: "delete", key: "old", prev: true },
      { op: "put", key: "small", value: "", prev: true },
      { op: "delete", key: "never", prev: true },
      get("tiny"),
    ]);
    assert.deepEqual(statuses(results), [200, 200, 200, 200]);
    assert.equal(results[0]?.["deleted"], true);
    assert.equal(results[0]["previous_omitted"], true);
    assert.ok(!("previous" in results[0]));
    assert.equal((results[1]?.["previous"] as Result)["value"], "xx");
    assert.ok(results[1] !== undefined && !("previous_omitted" in results[1]));
    assert.equal(results[2]?.["previous"], null);
    assert.equal((await server.request({ url: "/v1/kv/old" })).statusCode, 404);
  });

  test("prefers what was there before a write, which nobody can read again, to reads", async () => {
    await put("gone", room);
    await put("stays", 1);
    const results = await batch([get("stays"), { op: "delete", key: "gone", prev: true }]);
    assert.deepEqual(statuses(results), [413, 200]);
    assert.equal(String((results[1]?.["previous"] as Result)["value"]).length, room);
  });
});

test("a transaction that would answer with more than 4 MiB of values changes nothing", async () => {
  const server = await startServer();
  const payload = Buffer.alloc(1024 * 1024, "x");
  await server.request({ method: "PUT", url: "/v1/kv/%7Bt%7Dlarge", payload });
  await server.request({ method: "PUT", url: "/v1/kv/%7Bt%7Dbyte", payload: "x" });
  const txn = (...success: readonly object[]) =>
    server.request({
      method: "POST",
      url: "/v1/txn",
      headers: { "content-type": "application/json" },
      payload: JSON.stringify({ success }),
    });
  const write = { op: "put", key: "{t}new", value: "1" };
  const reads = Array.from({ length: 4 }, () => ({ op: "get", key: "{t}large" }));
  const refused = await txn(write, ...reads, { op: "get", key: "{t}byte" });
  assert.equal(refused.statusCode, 413);
  const problem = refused.json<Result>();
  assert.equal(problem["code"], "value_too_large");
  assert.equal(problem["applied"], "no");
  assert.equal(problem["limit_bytes"], 4 * 1024 * 1024);
  assert.match(String(problem["detail"]), /the branch that would run reads more/);
  assert.equal((await server.request({ url: "/v1/kv/%7Bt%7Dnew" })).statusCode, 404);
  assert.equal((await txn(write, ...reads)).statusCode, 200);
  await server.close();
});
