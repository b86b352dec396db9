import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer, type TestServer } from "./support.ts";

interface Lock {
  readonly holder: { readonly owner: string; readonly token: string } | null;
  readonly waiters: readonly { readonly owner: string }[];
}

describe("locks over HTTP", () => {
  let server: TestServer;
  before(async () => (server = await startServer()));
  after(() => server.close());

  const send = (method: "POST" | "PUT", url: string, body: object) =>
    server.request({
      method,
      url,
      headers: { "content-type": "application/json" },
      payload: JSON.stringify(body),
    });
  const acquire = (name: string, owner: string, query = "") =>
    send("POST", `/v1/locks/${name}${query}`, { owner, ttl: "10s", value: `for ${owner}` });
  const look = async (name: string) =>
    (await server.request({ url: `/v1/locks/${name}` })).json<Lock>();
  const release = (name: string, owner: string, token?: string) =>
    server.request({
      method: "DELETE",
      url: `/v1/locks/${name}?owner=${owner}${token === undefined ? "" : `&token=${token}`}`,
    });

  test("a free lock is yours, with a token; asking again changes nothing", async () => {
    const first = await acquire("free", "a");
    assert.equal(first.statusCode, 200);
    const { token, ttl_ms } = first.json<{ token: string; ttl_ms: number }>();
    assert.match(token, /^\d+$/);
    assert.equal(ttl_ms, 10_000);
    assert.equal((await acquire("free", "a")).json<{ token: string }>().token, token);
    const { holder } = await look("free");
    assert.equal(holder?.token, token);
  });

  test("a lock takes an owner of 256 characters and a value of 4096 bytes", async () => {
    const owner = "\u{1f511}".repeat(256);
    const value = "v".repeat(4096);
    const held = await send("POST", "/v1/locks/large", { owner, ttl: "10s", value });
    assert.equal(held.statusCode, 200);
    assert.equal((await look("large")).holder?.owner, owner);
    assert.equal((await release("large", encodeURIComponent(owner))).statusCode, 200);
    assert.equal((await look("large")).holder, null);
  });

  test("a lock is named by key64 where no path can, and never twice", async () => {
    const key64 = Buffer.from([0xff, 0x2f, 0x2e]).toString("base64url");
    const at = (path: string) => `/v1/locks${path}?key64=${key64}`;
    const body = { owner: "a", ttl: "10s" };
    const held = await send("POST", at(""), body);
    assert.equal(held.statusCode, 200);
    const { token, key64: named } = held.json<{ token: string; key64: string }>();
    assert.equal(named, key64);
    const kept = { ...body, token };
    for (const refused of [
      await send("POST", at("/foo"), body),
      await send("PUT", at("/foo"), kept),
      await server.request({ method: "DELETE", url: `${at("/foo")}&owner=a` }),
      await server.request({ url: at("/foo") }),
    ]) {
      assert.equal(refused.statusCode, 400);
      assert.match(refused.json<{ detail: string }>().detail, /named twice/);
    }
    assert.equal((await look("foo")).holder, null);
    assert.equal((await send("PUT", at(""), kept)).statusCode, 200);
    const seen = (await server.request({ url: at("") })).json<Lock>();
    assert.equal(seen.holder?.token, token);
    const released = await server.request({ method: "DELETE", url: `${at("")}&owner=a` });
    assert.equal(released.statusCode, 200);
    assert.equal((await server.request({ url: at("") })).json<Lock>().holder, null);
  });

  test("a lock that is held is 423 and names its holder", async () => {
    await acquire("held", "a");
    const response = await acquire("held", "b");
    assert.equal(response.statusCode, 423);
    assert.equal(response.headers["retry-after"], "1");
    const body = response.json<{ code: string; holder: { owner: string; value: string } }>();
    assert.equal(body.code, "locked");
    assert.equal(body.holder.owner, "a");
    assert.equal(body.holder.value, "for a");
    assert.deepEqual((await look("held")).waiters, []);
  });

  test("keeping a lock alive needs its token", async () => {
    const { token } = (await acquire("kept", "a")).json<{ token: string }>();
    server.service.advance(6000);
    const kept = await send("PUT", "/v1/locks/kept", { owner: "a", token, ttl: "10s" });
    assert.equal(kept.statusCode, 200);
    server.service.advance(6000);
    assert.equal((await look("kept")).holder?.owner, "a");
    server.service.advance(5000);
    const late = await send("PUT", "/v1/locks/kept", { owner: "a", token, ttl: "10s" });
    assert.equal(late.statusCode, 412);
    assert.equal(late.json<{ code: string }>().code, "lock_lost");
  });

  test("releasing hands the lock to the next in the queue, with a higher token", async () => {
    const { token } = (await acquire("queue", "a")).json<{ token: string }>();
    const waiting = acquire("queue", "b", "?wait=20s");
    while ((await look("queue")).waiters.length < 1) {
      await new Promise(setImmediate);
    }
    assert.equal((await release("queue", "a", "1")).statusCode, 412);
    assert.equal((await release("queue", "a", token)).statusCode, 200);
    const next = await waiting;
    assert.equal(next.statusCode, 200);
    assert.ok(BigInt(next.json<{ token: string }>().token) > BigInt(token));
  });

  test("who waited in vain keeps the place, until it is given up", async () => {
    await acquire("vain", "a");
    const refused = await acquire("vain", "b", "?wait=20ms");
    assert.equal(refused.statusCode, 423);
    assert.equal(refused.json<{ position: number }>().position, 1);
    assert.equal((await look("vain")).waiters[0]?.owner, "b");
    assert.equal((await release("vain", "b")).statusCode, 200);
    assert.deepEqual((await look("vain")).waiters, []);
  });

  test("a waiting client that goes away leaves the queue", async () => {
    await acquire("left", "a");
    const { url } = await server.listen();
    const abort = new AbortController();
    const waiting = fetch(`${url}/v1/locks/left?wait=20s`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ owner: "b", ttl: "60s" }),
      signal: abort.signal,
    }).catch(() => null);
    while ((await look("left")).waiters.length < 1) {
      await new Promise(setImmediate);
    }
    abort.abort();
    await waiting;
    while ((await look("left")).waiters.length > 0) {
      await new Promise(setImmediate);
    }
    assert.equal(server.app.admission.load.watchers, 0);
  });

  test("locks are listed by name over all shards", async () => {
    for (const name of ["l/c", "l/a", "l/b"]) {
      await acquire(encodeURIComponent(name), "me");
    }
    const list = async (url: string) =>
      (await server.request({ url })).json<{ locks: { key: string }[]; more: boolean }>();
    const all = await list("/v1/locks?prefix=l/");
    assert.deepEqual(
      all.locks.map(({ key }) => key),
      ["l/a", "l/b", "l/c"],
    );
    assert.equal(all.more, false);
    const some = await list("/v1/locks?prefix=l/&limit=2");
    assert.equal(some.locks.length, 2);
    assert.equal(some.more, true);
  });
});
