import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { EventSource } from "eventsource";
import { checkWatchStreams } from "../checkers/watch-streams.ts";
import { startCluster } from "./support.ts";
import { ChangeWriters, ResumingWatcher } from "./watchers.ts";

/** How long nodes are killed and restarted: `WATCH_SECONDS=60` for the long run. */
const chaosMs = Number(process.env["WATCH_SECONDS"] ?? 20) * 1000;
/** More than the pause between two `progress` events: so that every position is younger than the last but one restart. */
const betweenKillsMs = 6000;
const livenessMs = 60_000;

const letters = [..."abcd"];
const keys = letters.flatMap((a) => letters.flatMap((b) => letters.map((c) => `${a}${b}${c}`)));

test("50 watchers are told every change once, in order, while nodes are killed and restarted", async (context) => {
  const { cluster, lines } = await startCluster(context);
  let down = "";
  const urls = (): readonly string[] =>
    cluster.nodes.filter(({ id }) => id !== down).map(({ url }) => url);
  const watchers = Array.from({ length: 50 }, (_, at) => {
    const key = keys[Math.floor(Math.random() * keys.length)] ?? "";
    return new ResumingWatcher(at === 0 ? "" : key.slice(0, 1 + (at % 3)), urls);
  });
  await Promise.all(watchers.map((watcher) => watcher.begun));
  const writers = new ChangeWriters(4, keys, urls);
  const cutting = setInterval(() => {
    watchers[Math.floor(Math.random() * watchers.length)]?.disconnect();
  }, 200);
  const endMs = performance.now() + chaosMs;
  for (let at = 0; performance.now() < endMs; at += 1) {
    const { id } = cluster.nodes[at % cluster.nodes.length] ?? { id: "" };
    await delay(500);
    down = id;
    await cluster.kill(id);
    await delay(1000);
    await cluster.restart(id);
    await cluster.ready(30_000, [id]);
    down = "";
    await delay(Math.max(0, Math.min(betweenKillsMs, endMs - performance.now())));
  }
  clearInterval(cutting);
  await writers.stop();

  const writtenMs = performance.now();
  await settled(watchers, writers);
  const settledMs = Math.round(performance.now() - writtenMs);
  await Promise.all(watchers.map((watcher) => watcher.stop()));
  assert.deepEqual(checkWatchStreams(watchers, writers.acknowledged), []);
  assert.deepEqual(
    watchers.flatMap(({ errors }) => errors),
    [],
  );
  const connections = watchers.reduce((sum, watcher) => sum + watcher.connections, 0);
  const resets = watchers.reduce((sum, watcher) => sum + watcher.resets, 0);
  context.diagnostic(
    `${watchers[0]?.seen.length} changes, ${writers.acknowledged.length} acknowledged, ${writers.unknown} unknown, ${connections} connections, ${resets} resets, the last change told after ${settledMs} ms`,
  );
  assert.equal(resets, 0, `history was gone\n${lines.slice(-40).join("\n")}`);
  assert.ok(connections > watchers.length, "nobody was ever disconnected");
});

test("an EventSource goes on by itself after its node was killed and has restarted", async (context) => {
  const { cluster, urls } = await startCluster(context);
  const source = new EventSource(`${urls[0]}/v1/watch?prefix=es-&initial=true`);
  context.after(() => source.close());
  const told: string[] = [];
  let synced = (): void => {};
  const isSynced = new Promise<void>((resolve) => (synced = resolve));
  for (const name of ["put", "delete"]) {
    source.addEventListener(name, (event) => told.push(`${name} ${String(event.data)}`));
  }
  source.addEventListener("synced", () => synced());
  await put(`${urls[1]}/v1/kv/es-0`, "0");
  await isSynced;
  const written = ["0"];
  for (let at = 1; at <= 60; at += 1) {
    if (at === 20) {
      await cluster.kill("n1");
    }
    if (at === 40) {
      await cluster.restart("n1");
      await cluster.ready(30_000, ["n1"]);
    }
    await put(`${urls[1 + (at % 2)]}/v1/kv/es-${at % 5}`, String(at));
    written.push(String(at));
  }
  const deadline = performance.now() + livenessMs;
  while (told.length < written.length && performance.now() < deadline) {
    await delay(20);
  }
  const values = told.map((line) => /"value":"(\d+)"/.exec(line)?.[1] ?? line);
  const byNumber = (a: string, b: string): number => Number(a) - Number(b);
  // Keys live on several shards: only each key's own order is promised.
  assert.deepEqual([...values].sort(byNumber), written);
  for (let key = 0; key < 5; key += 1) {
    const ofKey = values.filter((value) => Number(value) % 5 === key);
    assert.deepEqual(ofKey, [...ofKey].sort(byNumber));
  }
});

test("a node tells the changes of shards that it does not hold, whoever of their members dies", async (context) => {
  const { cluster } = await startCluster(context, { nodes: 5, replicationFactor: 3 });
  let down = "";
  const alive = (): readonly string[] =>
    cluster.nodes.filter(({ id }) => id !== down).map(({ url }) => url);
  const watchers = cluster.nodes
    .filter(({ id }) => id !== "n5")
    .map(({ url }) => new ResumingWatcher("", () => [url]));
  await Promise.all(watchers.map((watcher) => watcher.begun));
  const writers = new ChangeWriters(2, keys, alive);
  await acknowledged(writers, 40);
  down = "n5";
  await cluster.kill("n5");
  await acknowledged(writers, writers.acknowledged.length + 40);
  await writers.stop();
  await settled(watchers, writers);
  await Promise.all(watchers.map((watcher) => watcher.stop()));
  context.diagnostic(`${writers.acknowledged.length} changes acknowledged`);
  assert.deepEqual(checkWatchStreams(watchers, writers.acknowledged), []);
  for (const watcher of watchers) {
    assert.deepEqual([watcher.connections, watcher.resets], [1, 0]);
  }
});

/** Resolves when `count` writes are acknowledged, or after a time in which they should have been. */
async function acknowledged(writers: ChangeWriters, count: number): Promise<void> {
  const deadline = performance.now() + livenessMs;
  while (writers.acknowledged.length < count) {
    assert.ok(performance.now() < deadline, "writes do not go on");
    await delay(20);
  }
}

/** Resolves when nobody has anything left to be told, or after a time in which they should have been. */
async function settled(
  watchers: readonly ResumingWatcher[],
  writers: ChangeWriters,
): Promise<void> {
  const deadline = performance.now() + livenessMs;
  while (
    performance.now() < deadline &&
    checkWatchStreams(watchers, writers.acknowledged).length > 0
  ) {
    await delay(200);
  }
}

async function put(url: string, body: string): Promise<void> {
  const headers = { "content-type": "text/plain" };
  const response = await fetch(url, { method: "PUT", body, headers });
  const text = await response.text();
  assert.ok(response.ok, text);
}
