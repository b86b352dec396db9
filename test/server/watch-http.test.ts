import assert from "node:assert/strict";
import { get, type IncomingMessage } from "node:http";
import { afterEach, beforeEach, describe, test } from "node:test";
import { EventSource } from "eventsource";
import { startServer, type TestServer } from "./support.ts";

interface Event {
  readonly name: string;
  readonly id: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Reads the events of one connection. */
class Reader {
  readonly response: IncomingMessage;
  readonly #events: Event[] = [];
  #text = "";
  #wake = (): void => {};
  isEnded = false;
  comments = 0;

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding("utf8");
    response.on("data", (text: string) => this.#read(text));
    response.on("close", () => {
      this.isEnded = true;
      this.#wake();
    });
  }

  static open(url: string, headers: Record<string, string> = {}): Promise<Reader> {
    return new Promise((resolve, reject) => {
      get(url, { headers, agent: false }, (response) => resolve(new Reader(response))).on(
        "error",
        reject,
      );
    });
  }

  /** The next event that is not only about positions. */
  async next(): Promise<Event> {
    for (;;) {
      const event = this.#events.shift();
      if (event === undefined) {
        assert.ok(!this.isEnded, "the stream ended");
        await new Promise<void>((resolve) => (this.#wake = resolve));
      } else if (event.name !== "progress") {
        return event;
      }
    }
  }

  async ended(): Promise<void> {
    while (!this.isEnded) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #read(text: string): void {
    this.#text += text;
    const blocks = this.#text.split("\n\n");
    this.#text = blocks.pop() ?? "";
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1] ?? "";
      if (block.startsWith(":")) {
        this.comments += 1;
      } else if (field("event") !== "") {
        this.#events.push({
          name: field("event"),
          id: field("id"),
          data: JSON.parse(field("data")),
        });
      }
    }
    this.#wake();
  }
}

describe("watching over HTTP", () => {
  let server: TestServer;
  let base = "";
  beforeEach(async () => {
    server = await startServer({ watchHeartbeatMs: 20, watchersMax: 3 });
    base = (await server.listen()).url;
  });
  afterEach(() => server.close());

  const put = (key: string, payload: string | Buffer) =>
    server.request({ method: "PUT", url: `/v1/kv/${key}`, payload });
  const watched = async (count: number): Promise<void> => {
    while (server.service.watcherCount !== count) {
      await new Promise(setImmediate);
    }
  };

  test("changes under a prefix come as events, with values as text or base64", async () => {
    const reader = await Reader.open(`${base}/v1/watch?prefix=w/&prev=1`);
    assert.equal(reader.response.headers["content-type"], "text/event-stream");
    assert.equal(reader.response.headers["cache-control"], "no-store");
    await put("other", "x");
    const { revision } = (await put("w/a", "line 1\nline 2")).json<{ revision: string }>();
    await put("w/a", Buffer.from([0xff]));
    await server.request({ method: "DELETE", url: "/v1/kv/w/a" });
    await put("w/t?ttl=5s", "x");
    server.service.advance(6000);
    const first = await reader.next();
    assert.equal(first.name, "put");
    assert.deepEqual(first.data, {
      kind: "put",
      key: "w/a",
      value: "line 1\nline 2",
      encoding: "utf8",
      content_type: "application/octet-stream",
      revision,
      create_revision: revision,
      version: 1,
      ttl_ms: null,
      previous: null,
    });
    const second = await reader.next();
    assert.equal(second.data["value"], "/w==");
    assert.equal(second.data["encoding"], "base64");
    const third = await reader.next();
    assert.equal(third.name, "delete");
    assert.equal((await reader.next()).name, "put");
    assert.equal((await reader.next()).name, "expire");
    reader.response.destroy();
    await watched(0);
    assert.equal(server.app.admission.load.watchers, 0);
  });

  test("initial=1 tells the state, then synced, then changes", async () => {
    await put("i/1", "a");
    await put("i/2", "b");
    const reader = await Reader.open(`${base}/v1/watch?prefix=i/&initial=1`);
    const state = [await reader.next(), await reader.next()];
    assert.deepEqual(new Set(state.map(({ data }) => data["key"])), new Set(["i/1", "i/2"]));
    assert.equal((await reader.next()).name, "synced");
    await put("i/3", "c");
    assert.equal((await reader.next()).data["key"], "i/3");
    reader.response.destroy();
  });

  test("the id of any event resumes after it", async () => {
    const reader = await Reader.open(`${base}/v1/watch`);
    await watched(1);
    for (const key of ["a", "b", "c", "d", "e"]) {
      await put(key, "x");
    }
    const events: Event[] = [];
    for (let at = 0; at < 5; at++) {
      events.push(await reader.next());
    }
    reader.response.destroy();
    const after = events[1]?.id ?? "";
    const rest = new Set(events.slice(2).map(({ data }) => data["key"]));
    for (const [url, headers] of [
      [`${base}/v1/watch?after=${after}`, {}],
      [`${base}/v1/watch`, { "last-event-id": after }],
      [`${base}/v1/watch?after=${events[4]?.id}`, { "last-event-id": after }],
    ] as const) {
      const again = await Reader.open(url, { ...headers });
      const seen = [await again.next(), await again.next(), await again.next()];
      assert.deepEqual(new Set(seen.map(({ data }) => data["key"])), rest);
      again.response.destroy();
    }
  });

  test("a position whose history is gone begins anew with reset", async () => {
    const reader = await Reader.open(`${base}/v1/watch?prefix=old`);
    await put("old", "1");
    const { id } = await reader.next();
    reader.response.destroy();
    for (let at = 0; at < 600; at++) {
      await put("old", String(at));
    }
    const again = await Reader.open(`${base}/v1/watch?prefix=old&after=${id}`);
    assert.equal((await again.next()).name, "reset");
    assert.equal((await again.next()).data["value"], "599");
    assert.equal((await again.next()).name, "synced");
    again.response.destroy();
  });

  test("an EventSource understands it, and comes back where it was", async () => {
    const source = new EventSource(`${base}/v1/watch?prefix=es/`);
    const seen: unknown[] = [];
    let wake = (): void => {};
    source.addEventListener("put", (event) => {
      seen.push(JSON.parse(event.data).value);
      wake();
    });
    const until = async (count: number): Promise<void> => {
      while (seen.length < count) {
        await new Promise<void>((resolve) => (wake = resolve));
      }
    };
    await watched(1);
    await put("es/a", "1");
    await until(1);
    server.app.fastify.server.closeAllConnections();
    await watched(0);
    await put("es/a", "2");
    await until(2);
    source.close();
    assert.deepEqual(seen, ["1", "2"]);
  });

  test("a quiet stream shows signs of life", async () => {
    const reader = await Reader.open(`${base}/v1/watch?prefix=quiet`);
    while (reader.comments < 2) {
      await new Promise((resolve) => reader.response.once("data", resolve));
    }
    reader.response.destroy();
  });

  test("a reader that does not read is not buffered for without end", async () => {
    const reader = await Reader.open(`${base}/v1/watch?prefix=slow`);
    await watched(1);
    reader.response.pause();
    const value = Buffer.alloc(64 * 1024, "x");
    for (let at = 0; at < 500; at++) {
      await put("slow", value);
    }
    reader.response.resume();
    let event = await reader.next();
    while (event.name === "put") {
      event = await reader.next();
    }
    assert.equal(event.name, "lagged");
    await reader.ended();
  });

  test("more watchers than allowed are refused", async () => {
    const readers = await Promise.all([1, 2, 3].map(() => Reader.open(`${base}/v1/watch`)));
    const refused = await server.request({ url: "/v1/watch" });
    assert.equal(refused.statusCode, 503);
    assert.equal(refused.json<{ code: string }>().code, "too_many_watchers");
    readers.forEach(({ response }) => response.destroy());
    await watched(0);
  });

  test("closing the server ends streams and long polls at once", async () => {
    const reader = await Reader.open(`${base}/v1/watch`);
    const { etag } = (await put("p", "1")).headers;
    const poll = fetch(`${base}/v1/kv/p?wait=60s`, { headers: { "if-none-match": String(etag) } });
    await watched(2);
    await server.close();
    await reader.ended();
    assert.equal((await poll).status, 304);
  });
});
