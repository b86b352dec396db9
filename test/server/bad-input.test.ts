import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { InjectOptions } from "fastify";
import type { ErrorCode } from "../../server/errors.ts";
import { startServer, type TestServer } from "./support.ts";

const json = { "content-type": "application/json" };
const b64 = (bytes: string | Buffer): string => Buffer.from(bytes).toString("base64url");
const deep = "[".repeat(200_000) + "]".repeat(200_000);
const operations = (count: number): string =>
  JSON.stringify({ operations: Array.from({ length: count }, () => ({ op: "get", key: "a" })) });

/** What is wrong, how it is sent, and what must come back. */
const table: readonly [what: string, request: InjectOptions, status: number, code: ErrorCode][] = [
  ["an empty key", { method: "PUT", url: "/v1/kv/" }, 400, "bad_key"],
  ["an empty key64", { url: "/v1/kv?key64=" }, 400, "bad_key"],
  ["no key at all", { method: "PUT", url: "/v1/kv" }, 400, "bad_key"],
  ["a key of 1025 bytes", { url: `/v1/kv/${"k".repeat(1025)}` }, 414, "key_too_long"],
  ["a key64 of 1025 bytes", { url: `/v1/kv?key64=${b64("k".repeat(1025))}` }, 414, "key_too_long"],
  ["1025 escaped bytes", { url: `/v1/kv/${"%20".repeat(1025)}` }, 414, "key_too_long"],
  ["a broken escape", { url: "/v1/kv/%ZZ" }, 400, "bad_key"],
  ["a cut escape", { url: "/v1/kv/a%2" }, 400, "bad_key"],
  ["bytes that are not UTF-8", { url: "/v1/kv/%FF" }, 400, "bad_key"],
  ["an overlong escape", { url: "/v1/kv/%C0%AF" }, 400, "bad_key"],
  ["an escaped dot segment", { url: "/v1/kv/a%2F..%2Fb" }, 400, "bad_key"],
  ["key64 that is not base64url", { url: "/v1/kv?key64=a+b" }, 400, "bad_key"],
  ["key64 of an impossible length", { url: "/v1/kv?key64=abcde" }, 400, "bad_key"],
  ["a key named twice", { url: "/v1/kv/a?key64=YQ" }, 400, "bad_request"],
  ["an escaped route", { url: "/v1/%6Bv/a" }, 404, "no_such_route"],
  ["a path that is not there", { url: "/v2/kv/a" }, 404, "no_such_route"],
  ["PATCH", { method: "PATCH", url: "/v1/kv/a", payload: "x" }, 405, "method_not_allowed"],
  ["POST of a probe", { method: "POST", url: "/livez" }, 405, "method_not_allowed"],
  ["DELETE of a range", { method: "DELETE", url: "/v1/batch" }, 405, "method_not_allowed"],
  ["an unknown parameter", { url: "/v1/kv/a?tll=3s" }, 400, "unknown_parameter"],
  ["a parameter of another route", { url: "/v1/kv/a?ttl=3s" }, 400, "unknown_parameter"],
  ["a parameter named __proto__", { url: "/v1/kv/a?__proto__=1" }, 400, "unknown_parameter"],
  ["a repeated parameter", { url: "/v1/kv/a?wait=1s&wait=2s" }, 400, "bad_request"],
  ["a broken escape in the query", { url: "/v1/kv?prefix=%G" }, 400, "bad_request"],
  ["a time to live without unit", { method: "PUT", url: "/v1/kv/a?ttl=30" }, 400, "bad_request"],
  ["a time to live of nothing", { method: "PUT", url: "/v1/kv/a?ttl=0s" }, 400, "bad_request"],
  ["a negative time to live", { method: "PUT", url: "/v1/kv/a?ttl=-5s" }, 400, "bad_request"],
  ["an endless time to live", { method: "PUT", url: "/v1/kv/a?ttl=99999d" }, 400, "bad_request"],
  ["touch without a time", { method: "POST", url: "/v1/kv/a?op=touch" }, 400, "bad_request"],
  ["touch with keep", { method: "POST", url: "/v1/kv/a?op=touch&ttl=keep" }, 400, "bad_request"],
  ["POST without op", { method: "POST", url: "/v1/kv/a" }, 400, "bad_request"],
  ["an unknown op", { method: "POST", url: "/v1/kv/a?op=toString" }, 400, "bad_request"],
  ["by half", { method: "POST", url: "/v1/kv/a?op=increment&by=0.5" }, 400, "bad_request"],
  [
    "a huge by",
    { method: "POST", url: `/v1/kv/a?op=increment&by=${"9".repeat(4097)}` },
    400,
    "bad_request",
  ],
  [
    "a body for increment",
    { method: "POST", url: "/v1/kv/a?op=increment", payload: "5" },
    400,
    "bad_request",
  ],
  ["an unknown consistency", { url: "/v1/kv/a?consistency=strong" }, 400, "bad_request"],
  ["a timeout beyond the limit", { url: "/v1/kv/a?timeout=61s" }, 400, "bad_request"],
  ["a negative limit", { url: "/v1/kv?limit=-1" }, 400, "bad_request"],
  ["a limit of zero", { url: "/v1/kv?limit=0" }, 400, "bad_request"],
  ["a limit above the largest", { url: "/v1/kv?limit=1001" }, 400, "bad_request"],
  ["a limit in hexadecimal", { url: "/v1/kv?limit=0x10" }, 400, "bad_request"],
  ["a limit of 1e2", { url: "/v1/kv?limit=1e2" }, 400, "bad_request"],
  ["max_bytes of NaN", { url: "/v1/kv?max_bytes=NaN" }, 400, "bad_request"],
  ["a cursor of nonsense", { url: "/v1/kv?cursor=%21" }, 400, "bad_cursor"],
  [
    "a cursor of another version",
    { url: `/v1/kv?cursor=${b64(Buffer.from([9, 65]))}` },
    400,
    "bad_cursor",
  ],
  [
    "a cursor out of the range",
    { url: `/v1/kv?prefix=b&cursor=${b64(Buffer.from([1, 65]))}` },
    400,
    "bad_cursor",
  ],
  [
    "a tag without quotes",
    { url: "/v1/kv/a", headers: { "if-none-match": "5" } },
    400,
    "bad_request",
  ],
  [
    "two preconditions",
    { url: "/v1/kv/a", headers: { "if-none-match": "*", "if-match": "*" } },
    400,
    "bad_request",
  ],
  [
    "a fence without a token",
    { method: "PUT", url: "/v1/kv/a", headers: { "flotilla-fence": "l" } },
    400,
    "bad_request",
  ],
  [
    "an endless idempotency key",
    { method: "PUT", url: "/v1/kv/a", headers: { "idempotency-key": "k".repeat(256) } },
    400,
    "bad_request",
  ],
  [
    "an idempotency key with spaces",
    { method: "PUT", url: "/v1/kv/a", headers: { "idempotency-key": "a b" } },
    400,
    "bad_request",
  ],
  [
    "a session of nonsense",
    { url: "/v1/kv/a?consistency=session", headers: { "flotilla-session": "!" } },
    400,
    "bad_request",
  ],
  [
    "a session beyond numbers",
    { url: "/v1/kv/a?consistency=session", headers: { "flotilla-session": `1-${"z".repeat(99)}` } },
    400,
    "bad_request",
  ],
  [
    "an endless content type",
    { method: "PUT", url: "/v1/kv/a", headers: { "content-type": `a/${"b".repeat(254)}` } },
    400,
    "bad_request",
  ],
  [
    "a value one byte too large",
    { method: "PUT", url: "/v1/kv/a", payload: Buffer.alloc(1024 * 1024 + 1) },
    413,
    "value_too_large",
  ],
  [
    "no JSON",
    { method: "POST", url: "/v1/batch", headers: json, payload: "{" },
    400,
    "bad_request",
  ],
  [
    "an empty JSON body",
    { method: "POST", url: "/v1/batch", headers: json, payload: "" },
    400,
    "bad_request",
  ],
  [
    "JSON as text",
    { method: "POST", url: "/v1/batch", headers: { "content-type": "text/plain" }, payload: "{}" },
    415,
    "unsupported_media_type",
  ],
  [
    "JSON without a type",
    { method: "POST", url: "/v1/batch", payload: Buffer.from("{}") },
    415,
    "unsupported_media_type",
  ],
  [
    "JSON 200,000 deep",
    { method: "POST", url: "/v1/batch", headers: json, payload: deep },
    400,
    "bad_request",
  ],
  [
    "an operation 200,000 deep",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: `{"operations":[{"op":"get","key":${deep}}]}`,
    },
    400,
    "bad_request",
  ],
  [
    "a poisoned prototype",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: '{"__proto__":{},"operations":[]}',
    },
    400,
    "bad_request",
  ],
  [
    "129 operations",
    { method: "POST", url: "/v1/batch", headers: json, payload: operations(129) },
    400,
    "bad_request",
  ],
  [
    "an unknown operation",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: '{"operations":[{"op":"gut","key":"a"}]}',
    },
    400,
    "bad_request",
  ],
  [
    "an unknown member",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: '{"operations":[{"op":"get","key":"a","x":1}]}',
    },
    400,
    "bad_request",
  ],
  [
    "a member of the wrong type",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: '{"operations":[{"op":"get","key":5}]}',
    },
    400,
    "bad_request",
  ],
  [
    "an operation with two keys",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: '{"operations":[{"op":"get","key":"a","key64":"YQ"}]}',
    },
    400,
    "bad_key",
  ],
  [
    "a broken base64 value",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: '{"operations":[{"op":"put","key":"a","value":"%","encoding":"base64"}]}',
    },
    400,
    "bad_request",
  ],
  [
    "a base64 value of padding, which must not take minutes",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: `{"operations":[{"op":"put","key":"a","value":"${"=".repeat(1e6)}x","encoding":"base64"}]}`,
    },
    400,
    "bad_request",
  ],
  [
    "a content type with a line end",
    {
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: '{"operations":[{"op":"put","key":"a","value":"","content_type":"a\\r\\nb: c"}]}',
    },
    400,
    "bad_request",
  ],
  [
    "a batch that is too large",
    { method: "POST", url: "/v1/batch", headers: json, payload: " ".repeat(4 * 1024 * 1024 + 1) },
    413,
    "body_too_large",
  ],
  [
    "a body that never fits",
    {
      method: "DELETE",
      url: "/v1/locks/l?owner=o",
      headers: { "content-length": "9007199254740993" },
    },
    413,
    "body_too_large",
  ],
  [
    "a transaction of nothing",
    { method: "POST", url: "/v1/txn", headers: json, payload: "{}" },
    400,
    "bad_request",
  ],
  [
    "a compare without a revision",
    {
      method: "POST",
      url: "/v1/txn",
      headers: json,
      payload: '{"compare":[{"key":"a","target":"version"}]}',
    },
    400,
    "bad_request",
  ],
  [
    "a compare of an unknown target",
    {
      method: "POST",
      url: "/v1/txn",
      headers: json,
      payload: '{"compare":[{"key":"a","target":"lease","value":1}]}',
    },
    400,
    "bad_request",
  ],
  [
    "a lock without an owner",
    { method: "POST", url: "/v1/locks/l", headers: json, payload: '{"ttl":"5s"}' },
    400,
    "bad_request",
  ],
  [
    "a lock without a time",
    { method: "POST", url: "/v1/locks/l", headers: json, payload: '{"owner":"a","ttl":"5"}' },
    400,
    "bad_request",
  ],
  [
    "a lock by an owner of 257 characters",
    {
      method: "POST",
      url: "/v1/locks/l",
      headers: json,
      payload: JSON.stringify({ owner: "o".repeat(257), ttl: "5s" }),
    },
    400,
    "bad_request",
  ],
  [
    "a release by an owner of 257 characters",
    { method: "DELETE", url: `/v1/locks/l?owner=${"o".repeat(257)}` },
    400,
    "bad_request",
  ],
  [
    "a lock with a value of 4097 bytes",
    {
      method: "POST",
      url: "/v1/locks/l",
      headers: json,
      payload: JSON.stringify({ owner: "o", ttl: "5s", value: `é${"v".repeat(4095)}` }),
    },
    413,
    "value_too_large",
  ],
  ["a place on the ring named twice", { url: "/v1/cluster/ring/a?key64=YQ" }, 400, "bad_request"],
  ["a lock named twice", { url: "/v1/locks/foo?key64=YmFy" }, 400, "bad_request"],
  ["a lock without a name", { method: "DELETE", url: "/v1/locks?owner=o" }, 400, "bad_key"],
  ["a release by nobody", { method: "DELETE", url: "/v1/locks/l" }, 400, "bad_request"],
  ["an event id of nonsense", { url: "/v1/watch?after=zzz" }, 400, "bad_cursor"],
  ["a watch of a key and a prefix", { url: "/v1/watch?key=a&prefix=a" }, 400, "bad_request"],
  ["a watch of an empty key", { url: "/v1/watch?key=" }, 400, "bad_key"],
];

describe("bad input", () => {
  let server: TestServer;
  before(async () => (server = await startServer()));
  after(() => server.close());

  for (const [what, request, status, code] of table) {
    test(`${what} is ${status} ${code}`, async () => {
      const response = await server.request(request);
      assert.equal(response.statusCode, status, response.payload.slice(0, 300));
      assert.equal(response.headers["content-type"], "application/problem+json");
      const body = response.json<Record<string, unknown>>();
      assert.equal(body["code"], code);
      assert.equal(body["status"], status);
      assert.equal(body["applied"], "no");
      assert.ok(!response.payload.includes("node_modules"), "no stack traces");
      assert.deepEqual(server.logged, []);
    });
  }

  test("405 names the methods that there are", async () => {
    const response = await server.request({ method: "PATCH", url: "/v1/kv/a" });
    assert.equal(response.headers.allow, "DELETE, GET, HEAD, POST, PUT");
  });

  test("an unknown parameter is told with those that exist", async () => {
    const response = await server.request({ url: "/v1/kv/a?tll=3s" });
    const { detail } = response.json<{ detail: string }>();
    assert.match(detail, /"tll".*timeout, consistency/);
  });

  test("what is exactly at a limit is served", async () => {
    const key = "k".repeat(1024);
    const value = Buffer.alloc(1024 * 1024);
    const stored = await server.request({ method: "PUT", url: `/v1/kv/${key}`, payload: value });
    assert.equal(stored.statusCode, 201);
    assert.equal((await server.request({ url: "/v1/kv?limit=1000" })).statusCode, 200);
    const batch = await server.request({
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: operations(128),
    });
    assert.equal(batch.statusCode, 200);
    const padded = operations(1).padEnd(4 * 1024 * 1024, " ");
    const large = await server.request({
      method: "POST",
      url: "/v1/batch",
      headers: json,
      payload: padded,
    });
    assert.equal(large.statusCode, 200);
  });

  test("an append beyond the limit changes nothing", async () => {
    const url = "/v1/kv/grow?op=append";
    const half = Buffer.alloc(512 * 1024);
    for (const expected of [200, 200, 413]) {
      const response = await server.request({ method: "POST", url, payload: half });
      assert.equal(response.statusCode, expected);
    }
    const { rawPayload } = await server.request({ url: "/v1/kv/grow" });
    assert.equal(rawPayload.length, 1024 * 1024);
  });
});
