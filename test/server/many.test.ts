import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ServiceError } from "../../server/errors.ts";
import { startServer, type TestServer } from "./support.ts";

type Result = Readonly<Record<string, unknown>>;

describe("several keys in one request", () => {
  let server: TestServer;
  before(async () => (server = await startServer()));
  after(() => server.close());

  async function post(url: string, body: object, headers: Record<string, string> = {}) {
    return server.request({
      method: "POST",
      url,
      headers: { "content-type": "application/json", ...headers },
      payload: JSON.stringify(body),
    });
  }
  const batch = async (operations: readonly object[], headers = {}): Promise<readonly Result[]> =>
    (await post("/v1/batch", { operations }, headers)).json<{ results: readonly Result[] }>()
      .results;

  test("each operation of a batch has a result of its own, in their order", async () => {
    const results = await batch([
      { op: "put", key: "a", value: "1" },
      {
        op: "put",
        key: "b",
        value: "AP8=",
        encoding: "base64",
        content_type: "image/png",
        ttl: "1m",
      },
      { op: "delete", key: "none", prev: true },
      { op: "get", key: "missing" },
      { op: "put", key: "c", value: "x", if_match: "7" },
    ]);
    assert.deepEqual(
      results.map(({ status, key }) => [status, key]),
      [
        [201, "a"],
        [201, "b"],
        [200, "none"],
        [404, "missing"],
        [412, "c"],
      ],
    );
    assert.equal(results[2]?.["previous"], null);
    assert.equal(results[4]?.["code"], "precondition_failed");
    const read = await batch([
      { op: "get", key: "b" },
      { op: "get", key64: "YQ" },
    ]);
    assert.deepEqual(
      read.map(({ value, encoding, content_type, ttl_ms }) => [
        value,
        encoding,
        content_type,
        ttl_ms,
      ]),
      [
        ["AP8=", "base64", "image/png", 60_000],
        ["1", "utf8", "text/plain; charset=utf-8", null],
      ],
    );
  });

  test("a batch with an Idempotency-Key applies each of its writes once", async () => {
    const headers = { "idempotency-key": "b-1" };
    const operations = [
      { op: "put", key: "i1", value: "x" },
      { op: "put", key: "i2", value: "x" },
    ];
    const first = await batch(operations, headers);
    assert.deepEqual(await batch(operations, headers), first);
    const other = await batch([{ op: "put", key: "i1", value: "y" }], headers);
    assert.equal(other[0]?.["code"], "idempotency_mismatch");
  });

  test("an operation that fails does not touch the others", async () => {
    const failing = server.service.shardOf(Buffer.from("a"));
    const query = server.service.queryShard.bind(server.service);
    server.service.queryShard = (shard, ...rest) =>
      shard === failing ? Promise.reject(new Error("lost")) : query(shard, ...rest);
    const results = await batch("abcdefgh".split("").map((key) => ({ op: "get", key })));
    server.service.queryShard = query;
    assert.equal(results[0]?.["status"], 500);
    assert.ok(results.some(({ status }) => status === 200 || status === 404));
  });

  test("a batch that is refused as a whole has written nothing", async () => {
    const operations = [
      { op: "put", key: "whole", value: "1" },
      { op: "get", key: "whole" },
    ];
    const session = { "flotilla-session": "!" };
    const malformed = await post("/v1/batch?consistency=session", { operations }, session);
    assert.equal(malformed.statusCode, 400);
    const shardOf = server.service.shardOf.bind(server.service);
    server.service.shardOf = () => {
      throw new ServiceError("starting", "there is no map yet");
    };
    const refused = await post("/v1/batch", { operations });
    server.service.shardOf = shardOf;
    assert.equal(refused.statusCode, 503);
    assert.equal(refused.json<Result>()["applied"], "no");
    assert.equal((await server.request({ url: "/v1/kv/whole" })).statusCode, 404);
  });

  test("batches and transactions wait for a node that has just been started", async () => {
    const { shardOf, started } = server.service;
    let hasMap = false;
    let mapComes = (): void => {};
    const map = new Promise<void>((resolve) => (mapComes = resolve));
    server.service.shardOf = (key) => {
      if (!hasMap) {
        throw new ServiceError("starting", "there is no map yet");
      }
      return shardOf.call(server.service, key);
    };
    let waiting = 0;
    server.service.started = () => {
      waiting += 1;
      return map;
    };
    const operations = [
      { op: "put", key: "late", value: "1" },
      { op: "get", key: "a" },
    ];
    const batched = post("/v1/batch", { operations });
    const asked = txn({ success: [{ op: "put", key: "{x}late", value: "1" }] });
    while (waiting < 2) {
      await new Promise(setImmediate);
    }
    hasMap = true;
    mapComes();
    assert.equal((await batched).statusCode, 200);
    assert.equal((await asked)["succeeded"], true);
    server.service.shardOf = shardOf;
    server.service.started = started;
  });

  test("a value too large for a key is too large for a batch", async () => {
    const value = "x".repeat(1024 * 1024 + 1);
    const response = await post("/v1/batch", { operations: [{ op: "put", key: "a", value }] });
    assert.equal(response.statusCode, 413);
    assert.equal(response.json<Result>()["code"], "value_too_large");
  });

  const txn = async (body: object, headers = {}) =>
    (await post("/v1/txn", body, headers)).json<Result & { results: readonly Result[] }>();

  test("a transaction runs the branch that its compares choose, with one revision", async () => {
    const body = {
      compare: [{ key: "{t}lock", target: "exists", value: false }],
      success: [
        { op: "put", key: "{t}lock", value: "me" },
        { op: "put", key: "{t}count", value: "1" },
        { op: "get", key: "{t}lock" },
      ],
      failure: [{ op: "get", key: "{t}lock" }],
    };
    const first = await txn(body);
    assert.equal(first["succeeded"], true);
    assert.deepEqual(
      first.results.map(({ op }) => op),
      ["put", "put", "get"],
    );
    const record = first.results[2]?.["record"];
    assert.ok(typeof record === "object" && record !== null && "revision" in record);
    assert.equal(record.revision, first["revision"]);
    const second = await txn(body);
    assert.equal(second["succeeded"], false);
    assert.equal(second.results.length, 1);
  });

  test("compares know values, versions and revisions", async () => {
    const { revision } = (
      await server.request({ method: "PUT", url: "/v1/kv/%7Bu%7Dk", payload: "b" })
    ).json<{ revision: string }>();
    const holds = async (compare: object): Promise<unknown> =>
      (await txn({ compare: [{ key: "{u}k", ...compare }], success: [] }))["succeeded"];
    assert.equal(await holds({ target: "value", value: "b" }), true);
    assert.equal(await holds({ target: "value", op: ">", value: "a" }), true);
    assert.equal(await holds({ target: "value", value: "Yg==", encoding: "base64" }), true);
    assert.equal(await holds({ target: "version", value: 1 }), true);
    assert.equal(await holds({ target: "version", op: "<", value: "1" }), false);
    assert.equal(await holds({ target: "mod_revision", value: revision }), true);
    assert.equal(await holds({ target: "create_revision", op: "!=", value: revision }), false);
    assert.equal(await holds({ target: "exists" }), true);
  });

  test("a precondition inside the branch that runs fails the whole transaction", async () => {
    const response = await post("/v1/txn", {
      success: [
        { op: "put", key: "{v}a", value: "1" },
        { op: "put", key: "{v}b", value: "1", if_match: "*" },
      ],
    });
    assert.equal(response.statusCode, 412);
    assert.equal((await server.request({ url: "/v1/kv/%7Bv%7Da" })).statusCode, 404);
  });

  test("keys on several shards are refused with the shards", async () => {
    const keys = Array.from({ length: 20 }, (_, at) => `k${at}`);
    const response = await post("/v1/txn", { success: keys.map((key) => ({ op: "get", key })) });
    assert.equal(response.statusCode, 422);
    const { code, shards } = response.json<{ code: string; shards: number[] }>();
    assert.equal(code, "cross_shard");
    const real = new Set(keys.map((key) => server.service.shardOf(Buffer.from(key))));
    assert.deepEqual(
      shards,
      [...real].sort((a, b) => a - b),
    );
  });

  test("a transaction with an Idempotency-Key runs once", async () => {
    const headers = { "idempotency-key": "t-1" };
    const body = { success: [{ op: "put", key: "{w}a", value: "1" }] };
    const first = await post("/v1/txn", body, headers);
    const again = await post("/v1/txn", body, headers);
    assert.equal(first.payload, again.payload);
    assert.equal(again.headers["idempotency-replayed"], "true");
  });
});
