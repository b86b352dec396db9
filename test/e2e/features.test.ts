import assert from "node:assert/strict";
import { test } from "node:test";
import type { LocalCluster } from "../../scripts/lib/local-cluster.ts";
import { Client, documentOf, pathOf, type Answer, type Request } from "./client.ts";
import { readEvents, type SseEvent } from "./sse.ts";
import { startCluster } from "./support.ts";

/** So many keys that they live on several shards. */
const manyKeys = Array.from({ length: 40 }, (_, at) => `many/${at}`);

test("what people build on works through every one of three processes", async (context) => {
  const { cluster, urls } = await startCluster(context);
  const client = new Client(urls);
  const ids = cluster.nodes.map(({ id }) => id);
  await context.test("a transaction runs one of its branches, as a whole", () => txn(client));
  await context.test("a transaction over several shards is refused", () => crossShard(client));
  await context.test("a batch has a result for each operation", () => batch(client));
  await context.test("numbers beyond 2^53 are counted exactly", () => increment(client));
  await context.test("appending through all nodes at once loses nothing", () => append(client));
  await context.test("touch and ttl=keep leave the rest as it is", () => timeToLive(client));
  await context.test("a long poll waits for the next value", () => longPoll(client));
  await context.test("a session reads its own writes on any node", () => session(client, ids));
  await context.test("a watch tells changes and resumes on another node", () => watch(client));
  await context.test("a lock's token fences writes", () => locks(client));
  await context.test("what was done once is not done again, whoever dies", () =>
    idempotency(client, cluster),
  );
});

async function txn(client: Client): Promise<void> {
  const request = {
    method: "POST",
    json: {
      compare: [{ key: "{t}lead", target: "exists", value: false }],
      success: [
        { op: "put", key: "{t}lead", value: "me" },
        { op: "put", key: "{t}count", value: "1" },
        { op: "get", key: "{t}lead" },
      ],
      failure: [
        { op: "get", key: "{t}lead" },
        { op: "delete", key: "{t}count", prev: true },
      ],
    },
  };
  const first = await client.send(0, "/v1/txn", request);
  assert.equal(first.status, 200, first.text);
  const { succeeded, revision, results } = documentOf(first);
  assert.equal(succeeded, true);
  const [lead, , got] = results as readonly { created?: boolean; record?: { value: string } }[];
  assert.deepEqual([lead?.created, got?.record?.value], [true, "me"]);
  for (const node of [0, 1, 2]) {
    const answers = [await client.get(node, "{t}lead"), await client.get(node, "{t}count")];
    assert.deepEqual(
      answers.map(({ headers, text }) => [headers.get("flotilla-revision"), text]),
      [
        [revision, "me"],
        [revision, "1"],
      ],
    );
  }
  const second = await client.send(1, "/v1/txn", request);
  assert.equal(documentOf(second)["succeeded"], false);
  const failure = documentOf(second)["results"] as readonly {
    record?: { value: string };
    previous?: { value: string };
  }[];
  assert.deepEqual([failure[0]?.record?.value, failure[1]?.previous?.value], ["me", "1"]);
  assert.equal((await client.get(2, "{t}count")).status, 404);
}

async function crossShard(client: Client): Promise<void> {
  const success = manyKeys.map((key) => ({ op: "put", key: `x${key}`, value: "1" }));
  const answer = await client.send(2, "/v1/txn", { method: "POST", json: { success } });
  assert.equal(answer.status, 422);
  const { code, applied, shards } = documentOf(answer);
  assert.deepEqual([code, applied], ["cross_shard", "no"]);
  assert.ok(Array.isArray(shards) && shards.length > 1);
  assert.equal((await client.get(0, "xmany/0")).status, 404);
}

async function batch(client: Client): Promise<void> {
  const send = async (node: number, operations: readonly object[]) =>
    documentOf(await client.send(node, "/v1/batch", { method: "POST", json: { operations } }))[
      "results"
    ] as readonly { status: number; key: string; value?: string }[];
  const put = await send(
    0,
    manyKeys.map((key) => ({ op: "put", key, value: `of ${key}` })),
  );
  assert.deepEqual(
    put.map(({ status, key }) => [status, key]),
    manyKeys.map((key) => [201, key]),
  );
  for (const node of [1, 2]) {
    const got = await send(
      node,
      manyKeys.map((key) => ({ op: "get", key })),
    );
    assert.deepEqual(
      got.map(({ value }) => value),
      manyKeys.map((key) => `of ${key}`),
    );
  }
  const mixed = await send(1, [
    { op: "delete", key: "many/0" },
    { op: "get", key: "many/none" },
    { op: "put", key: "many/1", value: "again", if_none_match: "*" },
    { op: "put", key: "many/2", value: "again", if_match: "*" },
  ]);
  assert.deepEqual(
    mixed.map(({ status }) => status),
    [200, 404, 412, 200],
  );
}

async function increment(client: Client): Promise<void> {
  const add = (node: number, by: string): Promise<Answer> =>
    client.send(node, `${pathOf("counter")}?op=increment&by=${by}`, { method: "POST" });
  assert.equal(documentOf(await add(0, "9007199254740993"))["value"], "9007199254740993");
  const ones = await Promise.all(Array.from({ length: 30 }, (_, node) => add(node, "1")));
  const values = ones.map((answer) => BigInt(String(documentOf(answer)["value"])));
  assert.equal(new Set(values).size, 30);
  assert.equal(documentOf(await add(1, "-23"))["value"], "9007199254741000");
  const huge = "1".repeat(40);
  const sum = String(9_007_199_254_741_000n + BigInt(huge));
  assert.equal(documentOf(await add(2, huge))["value"], sum);
  assert.equal((await client.get(0, "counter")).text, sum);
  await client.put(0, "no-counter", "seven");
  const refused = await client.send(1, `${pathOf("no-counter")}?op=increment`, { method: "POST" });
  assert.deepEqual([refused.status, documentOf(refused)["code"]], [422, "not_a_number"]);
}

async function append(client: Client): Promise<void> {
  const parts = Array.from({ length: 30 }, (_, at) => `<${at}>`);
  const answers = await Promise.all(
    parts.map((body, node) =>
      client.send(node, `${pathOf("log")}?op=append`, { method: "POST", body }),
    ),
  );
  const lengths = answers.map((answer) => Number(documentOf(answer)["length"]));
  const { text } = await client.get(2, "log");
  assert.equal(Math.max(...lengths), text.length);
  assert.deepEqual((text.match(/<\d+>/g) ?? []).sort(), [...parts].sort());
}

async function timeToLive(client: Client): Promise<void> {
  const left = async (node: number): Promise<number | null> => {
    const text = (await client.get(node, "mortal")).headers.get("flotilla-expires-in");
    return text === null ? null : Number(text);
  };
  const first = await client.put(0, "mortal", "a", "?ttl=1m");
  assert.ok(((await left(1)) ?? Infinity) <= 60_000);
  const touched = await client.send(1, `${pathOf("mortal")}?op=touch&ttl=1h`, { method: "POST" });
  assert.equal(touched.headers.get("etag"), first.headers.get("etag"));
  assert.ok(((await left(2)) ?? 0) > 3_000_000);
  await client.put(2, "mortal", "b", "?ttl=keep");
  const kept = (await left(0)) ?? 0;
  assert.ok(kept > 3_000_000 && kept <= 3_600_000, `${kept} ms left`);
  await client.put(0, "mortal", "c");
  assert.equal(await left(1), null);
  const nothing = await client.send(0, `${pathOf("none")}?op=touch&ttl=1h`, { method: "POST" });
  assert.equal(nothing.status, 404);
}

async function longPoll(client: Client): Promise<void> {
  let etag = (await client.put(0, "polled", "0")).headers.get("etag") ?? "";
  const poll = (node: number, query: string): Promise<Answer> =>
    client.get(node, "polled", query, { "if-none-match": etag });
  assert.equal((await poll(1, "")).status, 304);
  const startMs = performance.now();
  assert.equal((await poll(2, "?wait=500ms")).status, 304);
  assert.ok(performance.now() - startMs >= 499, "it did not wait");
  for (let at = 1; at <= 6; at += 1) {
    const polling = poll(at, "?wait=30s");
    await client.put(at + 1, "polled", `${at}`);
    const news = await polling;
    assert.deepEqual([news.status, news.text], [200, `${at}`]);
    etag = news.headers.get("etag") ?? "";
  }
}

async function session(client: Client, ids: readonly string[]): Promise<void> {
  let token = "";
  for (let at = 0; at < 60; at += 1) {
    const key = `session-${at % 7}`;
    const put = await client.send(at, pathOf(key), {
      method: "PUT",
      body: `${at}`,
      headers: token === "" ? {} : { "flotilla-session": token },
    });
    token = put.headers.get("flotilla-session") ?? "";
    const reader = at + 1 + (at % 2);
    const got = await client.get(reader, key, "?consistency=session", {
      "flotilla-session": token,
    });
    assert.deepEqual([got.status, got.text], [200, `${at}`]);
    // Read from the replica of the node that was asked, not through the leader.
    assert.equal(got.headers.get("flotilla-served-by"), ids[reader % ids.length]);
  }
}

async function watch(client: Client): Promise<void> {
  await client.put(0, "seen/a", "1");
  const events: SseEvent[] = [];
  const over = new AbortController();
  const path = "/v1/watch?prefix=seen/&prev=true";
  for await (const event of readEvents(`${client.urls[2]}${path}&initial=true`, {}, over.signal)) {
    if (event.event === "progress") {
      continue;
    }
    events.push(event);
    if (event.event === "synced") {
      await client.put(0, "seen/a", "2");
      await client.put(1, "not-seen", "x");
      await client.send(1, pathOf("seen/a"), { method: "DELETE" });
      await client.put(0, "seen/a", "3", "?ttl=300ms");
    }
    if (event.event === "expire") {
      break;
    }
  }
  const told = events.map(({ event, data }) => {
    const { key, value, previous } = JSON.parse(data || "{}") as {
      key?: string;
      value?: string;
      previous?: { value: string } | null;
    };
    return [event, key, value, previous?.value];
  });
  assert.deepEqual(told, [
    ["put", "seen/a", "1", undefined],
    ["synced", undefined, undefined, undefined],
    ["put", "seen/a", "2", "1"],
    ["delete", "seen/a", undefined, "2"],
    ["put", "seen/a", "3", undefined],
    ["expire", "seen/a", undefined, "3"],
  ]);
  const resumed: SseEvent[] = [];
  const headers = { "last-event-id": events[2]?.id ?? "" };
  for await (const event of readEvents(`${client.urls[0]}${path}`, headers, over.signal)) {
    if (event.event !== "progress" && resumed.push(event) === 3) {
      break;
    }
  }
  const content = ({ event, data }: SseEvent): string => `${event} ${data}`;
  assert.deepEqual(resumed.map(content), events.slice(3).map(content));
}

async function locks(client: Client): Promise<void> {
  const path = `/v1/locks/${encodeURIComponent("{l}lock")}`;
  const acquire = (node: number, owner: string, query = ""): Promise<Answer> =>
    client.send(node, `${path}${query}`, { method: "POST", json: { owner, ttl: "30s" } });
  const write = (node: number, key: string, token: unknown): Promise<Answer> =>
    client.send(node, pathOf(key), {
      method: "PUT",
      body: String(token),
      headers: { "flotilla-fence": `${encodeURIComponent("{l}lock")}=${String(token)}` },
    });
  const { token } = documentOf(await acquire(0, "a"));
  const busy = await acquire(1, "b");
  assert.deepEqual([busy.status, documentOf(busy)["code"]], [423, "locked"]);
  assert.equal((await write(1, "{l}guarded", token)).status, 201);
  const keep = { method: "PUT", json: { owner: "a", token, ttl: "30s" } };
  assert.equal((await client.send(2, path, keep)).status, 200);

  const waiting = acquire(2, "b", "?wait=20s");
  const listed = documentOf(await client.send(1, "/v1/locks?prefix={l}"));
  assert.equal((listed["locks"] as readonly object[]).length, 1);
  const released = await client.send(1, `${path}?owner=a&token=${String(token)}`, {
    method: "DELETE",
  });
  assert.equal(released.status, 200);
  const next = documentOf(await waiting);
  assert.ok(Number(next["token"]) > Number(token));
  const late = await write(0, "{l}guarded", token);
  assert.deepEqual([late.status, documentOf(late)["code"]], [412, "lock_lost"]);
  assert.equal((await client.send(0, path, keep)).status, 412);
  assert.equal((await write(2, "{l}guarded", next["token"])).status, 200);
  const elsewhere = await Promise.all(manyKeys.map((key) => write(0, key, next["token"])));
  assert.ok(elsewhere.some(({ status }) => status === 422));
}

/** Requests that would do something else if they ran again. */
const once: readonly { readonly path: string; readonly request: Request }[] = [
  {
    path: `${pathOf("{i}count")}?op=increment&by=5`,
    request: { method: "POST", headers: { "idempotency-key": "i-1" } },
  },
  {
    path: `${pathOf("{i}log")}?op=append`,
    request: { method: "POST", headers: { "idempotency-key": "i-2" }, body: "once" },
  },
  {
    path: pathOf("{i}new"),
    request: { method: "PUT", headers: { "idempotency-key": "i-3" }, body: "new" },
  },
  {
    path: "/v1/txn",
    request: {
      method: "POST",
      headers: { "idempotency-key": "i-4" },
      json: {
        compare: [{ key: "{i}txn", target: "exists", value: false }],
        success: [{ op: "put", key: "{i}txn", value: "1" }],
      },
    },
  },
  {
    path: pathOf("{i}gone"),
    request: { method: "DELETE", headers: { "idempotency-key": "i-5" } },
  },
];

async function idempotency(client: Client, cluster: LocalCluster): Promise<void> {
  await client.put(0, "{i}gone", "soon");
  const first: string[] = [];
  for (const { path, request } of once) {
    const answer = await client.send(0, path, request);
    assert.ok(answer.status < 300, answer.text);
    assert.equal(answer.headers.get("idempotency-replayed"), null);
    first.push(answer.text);
  }
  const replay = async (node: number, when: string): Promise<void> => {
    for (const [at, { path, request }] of once.entries()) {
      const answer = await client.sendUntilAnswered(node, path, request);
      assert.equal(answer.text, first[at], when);
      assert.equal(answer.headers.get("idempotency-replayed"), "true", when);
    }
  };
  await replay(1, "through another node");
  const mismatch = await client.send(2, `${pathOf("{i}count")}?op=increment&by=6`, {
    method: "POST",
    headers: { "idempotency-key": "i-1" },
  });
  assert.deepEqual([mismatch.status, documentOf(mismatch)["code"]], [422, "idempotency_mismatch"]);

  const where = await client.send(0, `/v1/cluster/ring/${encodeURIComponent("{i}")}`);
  const leader = String(documentOf(where)["leader"]);
  const at = cluster.nodes.findIndex(({ id }) => id === leader);
  assert.notEqual(at, -1, where.text);
  await cluster.kill(leader);
  await replay(at + 1, "after the leader was killed");
  await replay(at + 2, "after the leader was killed");

  const ids = cluster.nodes.map(({ id }) => id);
  await Promise.all(ids.filter((id) => id !== leader).map((id) => cluster.kill(id)));
  await Promise.all(ids.map((id) => cluster.restart(id)));
  await cluster.ready(30_000);
  for (const node of [0, 1, 2]) {
    await replay(node, "after all nodes were killed");
    assert.equal((await client.get(node, "{i}count")).text, "5");
    assert.equal((await client.get(node, "{i}log")).text, "once");
  }
}
