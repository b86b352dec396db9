import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer, type TestServer } from "./support.ts";

type Body = Readonly<Record<string, unknown>>;

describe("a fence around several operations", () => {
  let server: TestServer;
  let lost: string;
  let held: string;
  before(async () => {
    server = await startServer();
    const token = Number((await acquire("{j}lock")).token);
    held = `{j}lock=${token}`;
    lost = `{j}lock=${token + 999}`;
  });
  after(() => server.close());

  async function acquire(name: string): Promise<{ token: string }> {
    const url = `/v1/locks/${encodeURIComponent(name)}`;
    return (await post(url, { owner: "me", ttl: "10s" }, {})).json();
  }

  function post(url: string, body: object, headers: Record<string, string>) {
    return server.request({
      method: "POST",
      url,
      headers: { "content-type": "application/json", ...headers },
      payload: JSON.stringify(body),
    });
  }
  const txn = (body: object, fence: string) => post("/v1/txn", body, { "flotilla-fence": fence });
  const batch = (operations: readonly object[], fence: string) =>
    post("/v1/batch", { operations }, { "flotilla-fence": fence });
  const valueOf = async (key: string) =>
    (await server.request({ url: `/v1/kv/${encodeURIComponent(key)}` })).payload;
  const isAbsent = async (key: string) =>
    (await server.request({ url: `/v1/kv/${encodeURIComponent(key)}` })).statusCode === 404;

  function assertLost(response: { statusCode: number; json: () => Body }): void {
    assert.equal(response.statusCode, 412);
    const body = response.json();
    assert.equal(body["code"], "lock_lost");
    assert.equal(body["applied"], "no");
    assert.deepEqual((body["holder"] as Body)["owner"], "me");
  }

  test("a transaction under a lost lock changes nothing, whichever branch runs", async () => {
    const write = [{ op: "put", key: "{j}a", value: "1" }];
    assertLost(await txn({ success: write }, lost));
    const compare = [{ key: "{j}a", target: "exists" }];
    assertLost(await txn({ compare, success: [], failure: write }, lost));
    assertLost(await txn({ success: [{ op: "delete", key: "{j}a" }, ...write] }, lost));
    assert.ok(await isAbsent("{j}a"));
  });

  test("a transaction that only reads is refused under a lost lock, too", async () => {
    assertLost(await txn({ success: [{ op: "get", key: "{j}a" }] }, lost));
    const compare = [{ key: "{j}none", target: "exists" }];
    assertLost(await txn({ compare, success: [] }, lost));
  });

  test("a transaction under a lock that is held runs as it would without", async () => {
    const written = await txn({ success: [{ op: "put", key: "{j}b", value: "1" }] }, held);
    assert.equal(written.statusCode, 200);
    assert.equal(await valueOf("{j}b"), "1");
    const compare = [{ key: "{j}b", target: "value", value: "1" }];
    const read = await txn({ compare, success: [{ op: "get", key: "{j}b" }] }, held);
    const { succeeded, revision, results } = read.json<Body & { results: readonly Body[] }>();
    assert.equal(succeeded, true);
    assert.equal(revision, written.json<Body>()["revision"]);
    assert.deepEqual(
      results.map(({ op, key }) => [op, key]),
      [["get", "{j}b"]],
    );
    const empty = await txn({ compare, success: [] }, held);
    assert.deepEqual(empty.json<Body>()["results"], []);
  });

  test("every write of a batch under a lost lock is refused, and nothing is written", async () => {
    await txn({ success: [{ op: "put", key: "{j}kept", value: "1" }] }, held);
    const response = await batch(
      [
        { op: "put", key: "{j}c", value: "1" },
        { op: "delete", key: "{j}kept" },
        { op: "get", key: "{j}kept" },
      ],
      lost,
    );
    const { results } = response.json<{ results: readonly Body[] }>();
    assert.deepEqual(
      results.map(({ status, code }) => [status, code]),
      [
        [412, "lock_lost"],
        [412, "lock_lost"],
        [200, undefined],
      ],
    );
    assert.ok(await isAbsent("{j}c"));
    assert.equal(await valueOf("{j}kept"), "1");
  });

  test("a batch under a lock that is held writes", async () => {
    const response = await batch([{ op: "put", key: "{j}d", value: "1" }], held);
    assert.equal(response.json<{ results: readonly Body[] }>().results[0]?.["status"], 201);
  });

  test("a lock on another shard is refused before anything is written", async () => {
    const shardOf = (key: string) => server.service.shardOf(Buffer.from(key));
    const away = Array.from({ length: 100 }, (_, at) => `away${at}`).find(
      (key) => shardOf(key) !== shardOf("{j}lock"),
    );
    assert.ok(away !== undefined);
    const near = { op: "put", key: "{j}e", value: "1" };
    const far = { op: "put", key: away, value: "1" };
    for (const response of [await batch([near, far], held), await txn({ success: [far] }, held)]) {
      assert.equal(response.statusCode, 422);
      const { code, shards } = response.json<{ code: string; shards: readonly number[] }>();
      assert.equal(code, "cross_shard");
      assert.deepEqual(new Set(shards), new Set([shardOf(away), shardOf("{j}lock")]));
    }
    assert.ok(await isAbsent("{j}e"));
    assert.ok(await isAbsent(away));
    const read = await batch([near, { op: "get", key: away }], held);
    assert.equal(read.statusCode, 200, "reads of a batch are not fenced");
  });

  test("a fence that cannot be read is refused", async () => {
    const operations = [{ op: "get", key: "{j}f" }];
    assert.equal((await batch(operations, "{j}lock")).statusCode, 400);
    assert.equal((await txn({ success: operations }, "{j}lock")).statusCode, 400);
  });

  test("If-Match and If-None-Match are refused: they would not be judged", async () => {
    const put = { op: "put", key: "{j}g", value: "1" };
    for (const name of ["if-match", "if-none-match"]) {
      for (const [url, body] of [
        ["/v1/batch", { operations: [put] }],
        ["/v1/txn", { success: [put] }],
      ] as const) {
        const response = await post(url, body, { [name]: "*" });
        assert.equal(response.statusCode, 400);
        const { code, detail } = response.json<{ code: string; detail: string }>();
        assert.equal(code, "bad_request");
        assert.match(detail, /if_match/);
      }
    }
    assert.ok(await isAbsent("{j}g"));
  });
});
