import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { Revision, ShardId } from "../../cluster/types.ts";
import type { WatchItem, WatchPositions, WatchRequest } from "../../server/http/service.ts";
import { type WatchFilter, matches, rangeOf } from "../../server/watch-filter.ts";
import { WatchHub } from "../../server/watch-hub.ts";
import { decodePositions, encodePositions } from "../../server/watch-positions.ts";
import type { ChangeEvent } from "../../storage/commands.ts";
import { Random } from "../storage/random.ts";
import { seed } from "../storage/seed.ts";
import { bytes, make } from "../storage/shard-harness.ts";
import { type WatchNode, WatchNodes, type WatchNodesOptions } from "./watch-nodes.ts";

const shard = ShardId(1);

/** One shard on every one of the nodes, unless asked otherwise. */
async function nodes(
  context: TestContext,
  options: Partial<WatchNodesOptions> = {},
): Promise<WatchNodes> {
  const count = options.nodes ?? 1;
  const all = await WatchNodes.create({
    nodes: count,
    shards: 1,
    holders: () => Array.from({ length: count }, (_, at) => at),
    ...options,
  });
  context.after(() => all.stop());
  return all;
}

/** A watch that is read by hand. */
class Reader {
  readonly abort = new AbortController();
  readonly #items: AsyncIterator<WatchItem>;

  constructor(node: WatchNode, request: Partial<WatchRequest> = {}) {
    const stream = node.watch({ ...request, signal: this.abort.signal });
    this.#items = stream[Symbol.asyncIterator]();
  }

  /** The next item, or null at the end. */
  async next(): Promise<WatchItem | null> {
    const result = await this.#items.next();
    return result.done === true ? null : result.value;
  }

  /** The next items in short: `put a=1`, `delete a`, `synced`. */
  async take(count: number): Promise<readonly string[]> {
    const taken: string[] = [];
    for (let i = 0; i < count; i++) {
      taken.push(short(await this.next()));
    }
    return taken;
  }
}

function short(item: WatchItem | null): string {
  if (item === null || item.type !== "change") {
    return item?.type ?? "end";
  }
  const { kind, key, record } = item.event;
  const value = record === null ? "" : `=${Buffer.from(record.value).toString()}`;
  return `${kind} ${Buffer.from(key).toString()}${value}`;
}

function at(index: number, events = 0): WatchPositions {
  return new Map([[shard, { index, events }]]);
}

describe("A watch", () => {
  test("from now on begins by saying where it begins", async (t) => {
    const all = await nodes(t);
    all.write(make.put("a", "1"));
    const reader = new Reader(all.node(0));
    assert.deepEqual(await reader.next(), { type: "progress", positions: at(1) });
    all.write(make.put("a", "2"), make.delete("a"));
    assert.deepEqual(await reader.take(2), ["put a=2", "delete a"]);
  });

  test("does not begin before what was acknowledged earlier has been applied", async (t) => {
    const all = await nodes(t);
    all.commit(shard, [make.put("a", "1")]);
    const reader = new Reader(all.node(0));
    const first = reader.next();
    await turn();
    all.applyAll();
    assert.deepEqual(await first, { type: "progress", positions: at(1) });
  });

  test("tells the current state, then the changes since, with nothing between them", async (t) => {
    const all = await nodes(t);
    all.write(make.put("a", "1"), make.put("b", "1"), make.put("a", "2"));
    const reader = new Reader(all.node(0), { initial: true });
    assert.deepEqual(await reader.take(1), ["put a=2"]);
    all.write(make.put("a", "3"));
    assert.deepEqual(await reader.take(3), ["put b=1", "synced", "put a=3"]);
  });

  test(
    "tells a state of many pages from another node without waiting for something new",
    {
      timeout: 8000,
    },
    async (t) => {
      const all = await nodes(t, { nodes: 2, holders: () => [1], waitMsMax: 1e9 });
      for (let i = 0; i < 2500; i++) {
        all.commit(shard, [make.put(`k${i}`, "v")]);
      }
      all.applyAll();
      const reader = new Reader(all.node(0), { prefix: bytes("k"), initial: true });
      for (let told = 0; told < 2500; told++) {
        if (told % 500 === 0) {
          all.write(make.put("other", String(told)));
        }
        assert.match((await reader.take(1)).join(), /^put k/);
      }
      assert.deepEqual(await reader.take(1), ["synced"]);
      reader.abort.abort();
    },
  );

  test("tells a state of many pages that was true at one index, whatever changes meanwhile", async (t) => {
    const all = await nodes(t);
    const name = (at: number): string => `k${String(at).padStart(4, "0")}`;
    for (let i = 0; i < 2500; i++) {
      all.commit(shard, [make.put(name(i), "old")]);
    }
    all.applyAll();
    const reader = new Reader(all.node(0), { initial: true });
    const state = new Map<string, string>();
    for (let told = 0; ; told++) {
      const item = await reader.next();
      if (item?.type !== "change") {
        assert.equal(item?.type, "synced");
        break;
      }
      const key = Buffer.from(item.event.key).toString();
      if (item.event.record === null) {
        assert.ok(state.delete(key));
      } else {
        state.set(key, Buffer.from(item.event.record.value).toString());
      }
      if (told === 500) {
        // In the first page, in the second, and in both.
        all.write(make.put(name(1), "new"), make.delete(name(2)), make.put(name(1500), "new"));
        all.write(make.delete(name(1600)), make.put(`${name(2)}x`, "new"));
      }
    }
    const expected = new Map(Array.from({ length: 2500 }, (_, i) => [name(i), "old"]));
    [2, 1600].forEach((i) => expected.delete(name(i)));
    [name(1), name(1500), `${name(2)}x`].forEach((key) => expected.set(key, "new"));
    assert.deepEqual([...state].sort(), [...expected].sort());
  });

  test("resumes between two changes of one entry", async (t) => {
    const all = await nodes(t);
    all.write(make.put("a", "1"), make.put("b", "1"), make.put("a", "2"));
    const reader = new Reader(all.node(0), { after: at(0), prefix: bytes("a") });
    const first = await reader.next();
    assert.deepEqual([short(first), first?.positions], ["put a=1", at(0, 1)]);
    const resumed = new Reader(all.node(0), { after: at(0, 1), prefix: bytes("a") });
    const second = await resumed.next();
    assert.deepEqual([short(second), second?.positions], ["put a=2", at(1)]);
  });

  test("waits when its node is behind the position that it resumes after", async (t) => {
    const all = await nodes(t, { nodes: 2 });
    all.commit(shard, [make.put("a", "1")]);
    all.commit(shard, [make.put("a", "2")]);
    all.node(0).apply();
    const reader = new Reader(all.node(1), { after: at(1) });
    const next = reader.next();
    await turn();
    all.node(1).apply(1);
    await turn();
    all.node(1).apply(1);
    assert.equal(short(await next), "put a=2");
  });

  test("is reset when its position is ahead of everything that was ever committed", async (t) => {
    const all = await nodes(t);
    all.write(make.put("a", "1"));
    const reader = new Reader(all.node(0), { after: at(7) });
    assert.deepEqual(await reader.take(3), ["reset", "put a=1", "synced"]);
    assert.deepEqual(all.node(0).service.counts, { events: 1, lagged: 0, reset: 1 });
  });

  test("resumes through another node when its own has restarted and forgotten", async (t) => {
    const all = await nodes(t, { nodes: 2 });
    all.write(make.put("a", "1"));
    all.write(make.put("a", "2"));
    await all.node(0).restart();
    const reader = new Reader(all.node(0), { after: at(1) });
    assert.deepEqual(await reader.take(1), ["put a=2"]);
    all.write(make.put("a", "3"));
    assert.deepEqual(await reader.take(1), ["put a=3"]);
  });

  test("is reset when nobody remembers, and only then", async (t) => {
    const all = await nodes(t, { nodes: 3 });
    all.write(make.put("a", "1"));
    all.write(make.put("a", "2"));
    all.write(make.put("b", "1"));
    await Promise.all(all.nodes.map((node) => node.restart()));
    const reader = new Reader(all.node(0), { after: at(1) });
    const reset = await reader.next();
    assert.deepEqual(reset, { type: "reset", positions: new Map() });
    assert.deepEqual(await reader.take(3), ["put a=2", "put b=1", "synced"]);
    all.write(make.put("a", "3"));
    assert.deepEqual(await reader.take(1), ["put a=3"]);
  });

  test("that was cut while the state was told is told all of it again", async (t) => {
    const all = await nodes(t);
    all.write(make.put("a", "1"), make.put("b", "1"));
    const reader = new Reader(all.node(0), { initial: true });
    const first = await reader.next();
    const after = decodePositions(encodePositions(first?.positions ?? at(0)));
    const resumed = new Reader(all.node(0), { initial: true, after });
    assert.deepEqual(await resumed.take(4), ["reset", "put a=1", "put b=1", "synced"]);
  });

  test("sees through a peer the shards that its node does not hold", async (t) => {
    const all = await nodes(t, { nodes: 2, holders: () => [1] });
    all.write(make.put("a", "1"));
    const reader = new Reader(all.node(0), { initial: true });
    assert.deepEqual(await reader.take(2), ["put a=1", "synced"]);
    all.write(make.put("a", "2"));
    assert.deepEqual(await reader.take(1), ["put a=2"]);
  });

  test("goes on elsewhere when the replica leaves its node", async (t) => {
    const all = await nodes(t, { nodes: 2 });
    const reader = new Reader(all.node(0));
    assert.deepEqual(await reader.take(1), ["progress"]);
    const next = reader.next();
    await turn();
    all.node(0).unhost(shard);
    all.write(make.put("a", "1"));
    assert.equal(short(await next), "put a=1");
  });

  test("misses nothing when its node's replica goes on from a snapshot", async (t) => {
    const all = await nodes(t, { nodes: 2 });
    const reader = new Reader(all.node(0));
    assert.deepEqual(await reader.take(1), ["progress"]);
    const next = reader.next();
    await turn();
    all.commit(shard, [make.put("a", "1")]);
    all.commit(shard, [make.put("a", "2")]);
    all.node(1).apply();
    await all.node(0).installSnapshotOf(all.node(1), shard);
    assert.equal(short(await next), "put a=1");
    assert.deepEqual(await reader.take(1), ["put a=2"]);
  });

  test("is reset when keys have moved between shards", async (t) => {
    const all = await nodes(t, { shards: 2 });
    const [first] = all.shardIds;
    assert.ok(first !== undefined);
    all.shardIds = [first];
    const reader = new Reader(all.node(0));
    assert.deepEqual(await reader.take(1), ["progress"]);
    all.shardIds = [first, ShardId(2)];
    all.node(0).service.refresh();
    assert.deepEqual(await reader.take(2), ["reset", "synced"]);
  });

  test("cuts off a reader for whom too much waits, who may resume", async (t) => {
    const all = await nodes(t, { bufferBytes: 10_000 });
    const reader = new Reader(all.node(0));
    assert.deepEqual(await reader.take(1), ["progress"]);
    all.write(make.put("a", "0"));
    assert.deepEqual(await reader.take(1), ["put a=0"]);
    assert.equal(all.node(0).hub.sinkCount, 1);
    for (let i = 1; i <= 20; i++) {
      all.write(make.put("a", `${i}`.padEnd(1000)));
    }
    const lagged = await reader.next();
    assert.equal(lagged?.type, "lagged");
    assert.equal(await reader.next(), null);
    assert.deepEqual(all.node(0).service.counts, { events: 1, lagged: 1, reset: 0 });
    assert.equal(all.node(0).hub.sinkCount, 0);
    const resumed = new Reader(all.node(0), { after: lagged.positions });
    assert.equal(short(await resumed.next()).trim(), "put a=1");
  });

  test("does not cut off a reader who waits, however much comes at once", async (t) => {
    const all = await nodes(t, { bufferBytes: 10_000 });
    const reader = new Reader(all.node(0));
    assert.deepEqual(await reader.take(1), ["progress"]);
    const next = reader.next();
    await turn();
    for (let i = 0; i < 20; i++) {
      all.write(make.put("a", `${i}`.padEnd(1000)));
    }
    assert.equal(short(await next).trim(), "put a=0");
    assert.deepEqual(
      (await reader.take(19)).map((item) => item.trim()),
      Array.from({ length: 19 }, (_, i) => `put a=${i + 1}`),
    );
  });

  test("tells now and then how far it is when nothing of its own happens", async (t) => {
    const all = await nodes(t, { progressMs: 5 });
    const reader = new Reader(all.node(0), { key: bytes("a") });
    assert.deepEqual(await reader.next(), { type: "progress", positions: at(0) });
    all.write(make.put("b", "1"));
    assert.deepEqual(await reader.next(), { type: "progress", positions: at(1) });
  });

  test("tells previous records only to who wants them", async (t) => {
    const all = await nodes(t);
    all.write(make.put("a", "1"));
    all.write(make.put("a", "2"));
    for (const wantPrevious of [true, false]) {
      const item = await new Reader(all.node(0), { after: at(1), wantPrevious }).next();
      assert.ok(item?.type === "change");
      const value = item.event.previous?.value;
      assert.equal(value && Buffer.from(value).toString(), wantPrevious ? "1" : undefined);
    }
  });

  test("waits for a node that starts", async (t) => {
    const all = await nodes(t);
    all.node(0).isReady = false;
    const reader = new Reader(all.node(0));
    const first = reader.next();
    await turn();
    all.node(0).isReady = true;
    assert.deepEqual(await first, { type: "progress", positions: at(0) });
  });

  test("frees everything when it is aborted, and ends when its node stops", async (t) => {
    const all = await nodes(t);
    const node = all.node(0);
    const readers = [new Reader(node), new Reader(node, { key: bytes("a") })];
    await Promise.all(readers.map((reader) => reader.take(1)));
    assert.deepEqual([node.hub.sinkCount, node.service.streamCount], [2, 2]);
    readers[0]?.abort.abort();
    assert.deepEqual([node.hub.sinkCount, node.service.streamCount], [1, 1]);
    assert.equal(await readers[0]?.next(), null);
    const last = readers[1]?.next();
    node.service.stop();
    assert.equal(await last, null);
    assert.deepEqual([node.hub.sinkCount, node.service.streamCount], [0, 0]);
    assert.equal(await new Reader(node).next(), null);
  });
});

test("the hub tells each sink of the changes that its filter lets through", (t) => {
  t.diagnostic(`SEED=${seed}`);
  const random = new Random(seed);
  const hub = new WatchHub();
  const key = (): Uint8Array =>
    Uint8Array.from({ length: random.between(0, 4) }, () => random.between(0, 2) * 255);
  const heard = new Map<WatchFilter, ChangeEvent[]>();
  const leaving: (() => void)[] = [];
  for (let i = 0; i < 100; i++) {
    const filter: WatchFilter = random.chance(0.5)
      ? { type: "key", key: key() }
      : { type: "prefix", prefix: key() };
    const events: ChangeEvent[] = [];
    heard.set(filter, events);
    const onChange = (_shard: ShardId, _index: number, event: ChangeEvent): void =>
      void events.push(event);
    leaving.push(hub.add(filter, { onChange, onReplaced: () => {} }));
  }
  const events = Array.from({ length: 200 }, (): ChangeEvent => {
    return { kind: "delete", key: key(), record: null, previous: null, revision: Revision(1) };
  });
  hub.publish({ shard, index: 1, events });
  for (const [filter, told] of heard) {
    assert.deepEqual(
      told,
      events.filter((event) => matches(filter, event.key)),
    );
  }
  leaving.forEach((leave) => leave());
  leaving.forEach((leave) => leave());
  assert.equal(hub.sinkCount, 0);
  hub.publish({ shard, index: 2, events });
  assert.ok([...heard.values()].every((told) => told.length <= events.length));
});

test("the range of a filter holds the keys that match it", (t) => {
  t.diagnostic(`SEED=${seed}`);
  const random = new Random(seed);
  const key = (): Uint8Array =>
    Uint8Array.from(
      { length: random.between(0, 4) },
      () => [0, 1, 254, 255][random.between(0, 4)] ?? 0,
    );
  for (let i = 0; i < 5000; i++) {
    const filter: WatchFilter = random.chance(0.5)
      ? { type: "key", key: key() }
      : { type: "prefix", prefix: key() };
    const { start, end } = rangeOf(filter);
    const candidate = key();
    const isInRange =
      Buffer.compare(candidate, start) >= 0 && (end === null || Buffer.compare(candidate, end) < 0);
    assert.equal(matches(filter, candidate), isInRange);
  }
});
