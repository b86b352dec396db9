import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { Revision, ShardId } from "../../cluster/types.ts";
import { parseSession, sessionToken } from "../../server/http/session-token.ts";
import { startServer, type TestServer } from "./support.ts";

describe("keys over HTTP", () => {
  let server: TestServer;
  before(async () => (server = await startServer()));
  after(() => server.close());

  async function put(url: string, payload: string | Buffer, headers: Record<string, string> = {}) {
    return server.request({ method: "PUT", url: `/v1/kv/${url}`, payload, headers });
  }

  test("a value comes back with its bytes, content type and revision", async () => {
    for (const size of [0, 1, 300, 8192, 8193, 1024 * 1024]) {
      const value = randomBytes(size);
      const stored = await put("bytes", value, { "content-type": "image/png" });
      assert.ok([200, 201].includes(stored.statusCode));
      const read = await server.request({ url: "/v1/kv/bytes" });
      assert.equal(read.statusCode, 200);
      assert.ok(read.rawPayload.equals(value), `${size} bytes`);
      assert.equal(read.headers["content-type"], "image/png");
      assert.equal(read.headers["content-length"], String(size));
      assert.equal(read.headers.etag, stored.headers.etag);
      assert.equal(read.headers["cache-control"], "no-store");
    }
  });

  test("every byte value survives, in small values too", async () => {
    const value = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
    await put("all-bytes", value);
    const read = await server.request({ url: "/v1/kv/all-bytes" });
    assert.ok(read.rawPayload.equals(value));
    assert.equal(read.headers["content-type"], "application/octet-stream");
  });

  test("PUT creates with 201 and replaces with 200", async () => {
    const first = await put("created", "a");
    assert.equal(first.statusCode, 201);
    const { revision, ...rest } = first.json<{ revision: string }>();
    assert.match(revision, /^\d+$/);
    assert.deepEqual(rest, { created: true, version: 1 });
    const second = await put("created", "b");
    assert.equal(second.statusCode, 200);
    assert.equal(second.json<{ version: number }>().version, 2);
  });

  test("JSON, text and forms are stored as they are", async () => {
    for (const type of ["application/json", "text/plain", "application/x-www-form-urlencoded"]) {
      await put("raw", "{not json & a=1", { "content-type": type });
      const read = await server.request({ url: "/v1/kv/raw" });
      assert.equal(read.payload, "{not json & a=1");
      assert.equal(read.headers["content-type"], type);
    }
  });

  const keys: readonly [path: string, key: string][] = [
    ["a/b/c", "a/b/c"],
    ["a%2Fb", "a/b"],
    ["a//b", "a//b"],
    ["/lead", "/lead"],
    ["trail/", "trail/"],
    ["with%20space", "with space"],
    ["plus+plus", "plus+plus"],
    ["100%25", "100%"],
    ["%00", "\0"],
    ["gr%C3%BC%C3%9Fe", "grüße"],
    ["%F0%9F%9A%A2", "🚢"],
    ["__proto__", "__proto__"],
    ["constructor", "constructor"],
    ["semi;colon", "semi;colon"],
    ["a.b/..c/.d", "a.b/..c/.d"],
    ["x".repeat(1024), "x".repeat(1024)],
  ];
  for (const [path, key] of keys) {
    test(`the path ${JSON.stringify(path.slice(0, 30))} names one key, exactly`, async () => {
      await put(path, `value of ${path.length}`);
      const by64 = Buffer.from(key).toString("base64url");
      const read = await server.request({ url: `/v1/kv?key64=${by64}` });
      assert.equal(read.payload, `value of ${path.length}`);
    });
  }

  test("key64 carries what no path can", async () => {
    for (const key of [Buffer.from("../etc"), Buffer.from([0xff, 0xfe]), Buffer.from(".")]) {
      const url = `/v1/kv?key64=${key.toString("base64url")}`;
      await server.request({ method: "PUT", url, payload: "here" });
      assert.equal((await server.request({ url })).payload, "here");
    }
  });

  test("HEAD answers like GET, without the value", async () => {
    await put("head", "12345");
    const head = await server.request({ method: "HEAD", url: "/v1/kv/head" });
    assert.equal(head.statusCode, 200);
    assert.equal(head.payload, "");
    assert.equal(head.headers["content-length"], "5");
    const missing = await server.request({ method: "HEAD", url: "/v1/kv/head-none" });
    assert.equal(missing.statusCode, 404);
    assert.equal(missing.payload, "");
  });

  test("a missing key is a 404 that names its shard", async () => {
    const response = await server.request({ url: "/v1/kv/none" });
    assert.equal(response.statusCode, 404);
    assert.equal(response.json<{ code: string }>().code, "not_found");
    assert.equal(
      response.headers["flotilla-shard"],
      String(response.json<{ shard: number }>().shard),
    );
  });

  test("a weak entity tag is the strong one to If-None-Match, and never to If-Match", async () => {
    const { etag } = (await put("weak", "a")).headers;
    const weak = `W/${String(etag)}`;
    const read = await server.request({ url: "/v1/kv/weak", headers: { "if-none-match": weak } });
    assert.equal(read.statusCode, 304);
    assert.equal((await put("weak", "b", { "if-none-match": weak })).statusCode, 412);
    assert.equal((await put("weak", "b", { "if-match": weak })).statusCode, 412);
    assert.equal((await put("weak", "b", { "if-match": String(etag) })).statusCode, 200);
  });

  test("If-None-Match: * creates once", async () => {
    assert.equal((await put("once", "a", { "if-none-match": "*" })).statusCode, 201);
    const again = await put("once", "b", { "if-none-match": "*" });
    assert.equal(again.statusCode, 412);
    const read = await server.request({ url: "/v1/kv/once" });
    assert.equal(read.payload, "a");
    assert.equal(again.headers.etag, read.headers.etag);
  });

  test("If-Match replaces only what the client has seen", async () => {
    const { etag } = (await put("cas", "a")).headers;
    assert.equal((await put("cas", "b", { "if-match": String(etag) })).statusCode, 200);
    const stale = await put("cas", "c", { "if-match": String(etag) });
    assert.equal(stale.statusCode, 412);
    assert.equal(stale.json<{ code: string }>().code, "precondition_failed");
    assert.equal(
      (await put("cas", "d", { "if-match": `"1", ${stale.headers.etag}` })).statusCode,
      200,
    );
    assert.equal((await put("cas", "e", { "if-match": '"not-ours"' })).statusCode, 412);
    assert.equal((await put("cas-none", "e", { "if-match": "*" })).statusCode, 412);
  });

  test("DELETE says what happened, also when nothing was there", async () => {
    await put("gone", "x", { "content-type": "text/plain" });
    const first = await server.request({ method: "DELETE", url: "/v1/kv/gone?prev=1" });
    assert.equal(first.statusCode, 200);
    const body = first.json<{ deleted: boolean; previous: { value: string } }>();
    assert.equal(body.deleted, true);
    assert.equal(body.previous.value, "x");
    const second = await server.request({ method: "DELETE", url: "/v1/kv/gone" });
    assert.equal(second.statusCode, 200);
    assert.equal(second.json<{ deleted: boolean }>().deleted, false);
  });

  test("a conditional GET is answered 304 while nothing has changed", async () => {
    const { etag } = (await put("cached", "x")).headers;
    const url = "/v1/kv/cached";
    const same = await server.request({ url, headers: { "if-none-match": String(etag) } });
    assert.equal(same.statusCode, 304);
    assert.equal(same.payload, "");
    assert.equal(same.headers.etag, etag);
    await put("cached", "y");
    const other = await server.request({ url, headers: { "if-none-match": String(etag) } });
    assert.equal(other.statusCode, 200);
    const unmatched = await server.request({ url, headers: { "if-match": String(etag) } });
    assert.equal(unmatched.statusCode, 412);
  });

  test("increment is exact beyond 2^53", async () => {
    const url = "/v1/kv/counter?op=increment&by=";
    const big = "9007199254740993000000001";
    assert.equal(
      (await server.request({ method: "POST", url: url + big })).json<{ value: string }>().value,
      big,
    );
    const less = await server.request({ method: "POST", url: `${url}-1` });
    assert.equal(less.json<{ value: string }>().value, "9007199254740993000000000");
    await put("counter", "abc");
    const refused = await server.request({ method: "POST", url: "/v1/kv/counter?op=increment" });
    assert.equal(refused.statusCode, 422);
    assert.equal(refused.json<{ code: string }>().code, "not_a_number");
  });

  test("append adds bytes and tells the length", async () => {
    const url = "/v1/kv/log?op=append";
    await server.request({ method: "POST", url, payload: "ab" });
    const second = await server.request({ method: "POST", url, payload: "cd" });
    assert.equal(second.json<{ length: number }>().length, 4);
    assert.equal((await server.request({ url: "/v1/kv/log" })).payload, "abcd");
  });

  test("time to live is told, kept, lifted, renewed, and ends", async () => {
    const expiresIn = async () =>
      (await server.request({ url: "/v1/kv/ttl" })).headers["flotilla-expires-in"];
    await put("ttl?ttl=30s", "x");
    assert.equal(await expiresIn(), "30000");
    server.service.advance(10_000);
    assert.equal(await expiresIn(), "20000");
    await put("ttl?ttl=keep", "y");
    assert.equal(await expiresIn(), "20000");
    const url = "/v1/kv/ttl?op=touch&ttl=1m";
    const touched = await server.request({ method: "POST", url });
    assert.equal(touched.json<{ ttl_ms: number }>().ttl_ms, 60_000);
    assert.equal(await expiresIn(), "60000");
    await put("ttl", "z");
    assert.equal(await expiresIn(), undefined);
    await put("ttl?ttl=5s", "z");
    server.service.advance(6000);
    assert.equal((await server.request({ url: "/v1/kv/ttl" })).statusCode, 404);
    const late = await server.request({ method: "POST", url });
    assert.equal(late.statusCode, 404);
  });

  test("an Idempotency-Key makes a retry do nothing, and refuses another request", async () => {
    const headers = { "idempotency-key": "k-1" };
    const url = "/v1/kv/idem?op=increment";
    const first = await server.request({ method: "POST", url, headers });
    const again = await server.request({ method: "POST", url, headers });
    assert.equal(first.payload, again.payload);
    assert.equal(first.headers["idempotency-replayed"], undefined);
    assert.equal(again.headers["idempotency-replayed"], "true");
    const other = await server.request({ method: "POST", url: `${url}&by=2`, headers });
    assert.equal(other.statusCode, 422);
    assert.equal(other.json<{ code: string }>().code, "idempotency_mismatch");
  });

  test("a fenced write is refused once the lock has moved on", async () => {
    const json = { "content-type": "application/json" };
    const acquire = async (owner: string) =>
      (
        await server.request({
          method: "POST",
          url: "/v1/locks/%7Bf%7Dlock",
          headers: json,
          payload: JSON.stringify({ owner, ttl: "10s" }),
        })
      ).json<{ token: string }>().token;
    const token = await acquire("a");
    const fence = { "flotilla-fence": `{f}lock=${token}` };
    assert.equal((await put("%7Bf%7Ddata", "1", fence)).statusCode, 201);
    server.service.advance(11_000);
    const next = await acquire("b");
    assert.ok(BigInt(next) > BigInt(token));
    const late = await put("%7Bf%7Ddata", "2", fence);
    assert.equal(late.statusCode, 412);
    assert.equal(late.json<{ code: string }>().code, "lock_lost");
  });

  test("a fence on another shard is refused as such", async () => {
    const shards = new Map<number, string>();
    for (let at = 0; shards.size < 2; at++) {
      shards.set(server.service.shardOf(Buffer.from(`k${at}`)), `k${at}`);
    }
    const [a, b] = [...shards.values()];
    const response = await put(String(a), "x", { "flotilla-fence": `${b}=1` });
    assert.equal(response.statusCode, 422);
    assert.equal(response.json<{ code: string }>().code, "cross_shard");
  });

  test("the session token grows with each shard that the client has seen", async () => {
    let session = "";
    for (const key of ["s1", "s2", "s3", "s4", "s5"]) {
      const headers = session === "" ? {} : { "flotilla-session": session };
      session = String((await put(key, "x", headers)).headers["flotilla-session"]);
    }
    const shards = new Set(
      ["s1", "s2", "s3", "s4", "s5"].map((k) => server.service.shardOf(Buffer.from(k))),
    );
    assert.equal(session.split(".").length, shards.size);
    const read = await server.request({
      url: "/v1/kv/s1?consistency=session",
      headers: { "flotilla-session": session },
    });
    assert.equal(read.statusCode, 200);
  });

  test("a malformed session is refused before anything is done", async () => {
    for (const session of ["!", "1-2, 3-4"]) {
      const response = await server.request({
        method: "POST",
        url: "/v1/kv/session-counter?op=increment",
        headers: { "flotilla-session": session },
      });
      assert.equal(response.statusCode, 400);
    }
    assert.equal((await server.request({ url: "/v1/kv/session-counter" })).statusCode, 404);
  });

  test("a session token stays a header that can be sent back, however many shards were seen", () => {
    let token: string | undefined;
    for (let shard = 0; shard < 4096; shard++) {
      token = sessionToken(token, ShardId(shard), Revision(2 ** 52 + shard));
      assert.ok(token.length <= 8192);
    }
    const seen = parseSession(token ?? "");
    assert.equal(seen.get(ShardId(4095)), 2 ** 52 + 4095);
    assert.equal(seen.get(ShardId(3900)), 2 ** 52 + 3900);
  });

  test("a stale read says how stale", async () => {
    await put("stale", "x");
    const stale = await server.request({ url: "/v1/kv/stale?consistency=stale" });
    assert.equal(stale.headers["flotilla-staleness-ms"], "7");
    const fresh = await server.request({ url: "/v1/kv/stale" });
    assert.equal(fresh.headers["flotilla-staleness-ms"], undefined);
  });

  test("redirect=1 sends the client to the leader, unless this node is it", async () => {
    server.service.leader = "10.0.0.2:8080";
    const url = "/v1/kv/a%20b?redirect=1";
    const away = await server.request({ url });
    assert.equal(away.statusCode, 307);
    assert.equal(away.headers.location, "http://10.0.0.2:8080/v1/kv/a%20b?redirect=1");
    server.service.leader = "127.0.0.1:8080";
    assert.equal((await server.request({ url })).statusCode, 404);
    server.service.leader = null;
  });

  test("request ids are taken over when they are harmless, and made otherwise", async () => {
    const ids = async (id: string) =>
      (await server.request({ url: "/v1/kv/a", headers: { "x-request-id": id } })).headers[
        "x-request-id"
      ];
    assert.equal(await ids("abc-1"), "abc-1");
    assert.match(String(await ids("a b")), /^n1-[0-9a-f]{8}-/);
    assert.match(String(await ids("x".repeat(129))), /^n1-/);
  });

  test("Server-Timing tells where the time went", async () => {
    server.service.intercept = ({ timings }) => void timings.set("raft", 1.5);
    const response = await server.request({ url: "/v1/kv/a" });
    assert.match(String(response.headers["server-timing"]), /^raft;dur=1\.500, total;dur=/);
    server.service.intercept = () => {};
  });

  test("a long poll ends with the change", async () => {
    const { etag } = (await put("poll", "1")).headers;
    const url = "/v1/kv/poll?wait=20s";
    const waiting = server.request({ url, headers: { "if-none-match": String(etag) } });
    while (server.service.watcherCount === 0) {
      await new Promise(setImmediate);
    }
    assert.equal(server.app.admission.load.watchers, 1);
    assert.equal(server.app.admission.load.requests, 0);
    await put("poll", "2");
    const changed = await waiting;
    assert.equal(changed.statusCode, 200);
    assert.equal(changed.payload, "2");
    while (server.service.watcherCount > 0) {
      await new Promise(setImmediate);
    }
    assert.equal(server.app.admission.load.watchers, 0);
  });

  test("a long poll without a change ends with 304", async () => {
    const { etag } = (await put("poll", "3")).headers;
    const headers = { "if-none-match": String(etag) };
    const unchanged = await server.request({ url: "/v1/kv/poll?wait=50ms", headers });
    assert.equal(unchanged.statusCode, 304);
  });

  test("a long poll sees the key go", async () => {
    const { etag } = (await put("poll", "4")).headers;
    const headers = { "if-none-match": String(etag) };
    const waiting = server.request({ url: "/v1/kv/poll?wait=20s", headers });
    while (server.service.watcherCount === 0) {
      await new Promise(setImmediate);
    }
    await server.request({ method: "DELETE", url: "/v1/kv/poll" });
    assert.equal((await waiting).statusCode, 404);
  });
});
