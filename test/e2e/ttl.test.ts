import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { checkMortals, type Look } from "../checkers/ttl.ts";
import type { LocalCluster } from "../../scripts/lib/local-cluster.ts";
import { startCluster } from "./support.ts";

/** `FLOTILLA_TTL_KEYS=10000` for the long run. */
const keyCount = Number(process.env["FLOTILLA_TTL_KEYS"] ?? 2000);
/** Keys are written all the while: so that some are young and some about to die whenever a leader is killed. */
const writingMs = 8000;
const ttlMsMin = 1000;
const ttlMsMax = 5000;
/** Generous: what is measured is printed. */
const lateMsMax = 10_000;
const batchMax = 128;

test("keys with a time to live die in time and never early, through two killed leaders", async (context) => {
  const { cluster, lines } = await startCluster(context);
  let down = "";
  const alive = (): readonly string[] =>
    cluster.nodes.filter(({ id }) => id !== down).map(({ url }) => url);
  const startMs = performance.now();
  const keys = Array.from({ length: keyCount }, (_, at) => new MortalKey(at, startMs));
  const reader = new Reader(keys, alive);
  const writing = write(keys, alive);

  const outages: Outage[] = [];
  for (const atMs of [2000, 5000]) {
    await delay(Math.max(0, startMs + atMs - performance.now()));
    const { id, led } = await busiestLeader(alive()[0] ?? "");
    down = id;
    const killedMs = performance.now();
    await cluster.kill(id);
    await allShardsLed(alive);
    const ledMs = performance.now();
    outages.push({ killedMs, ledMs });
    context.diagnostic(
      `${id} killed, leader of ${led} shards: all have a leader after ${ms(ledMs - killedMs)}`,
    );
    await restart(cluster, id);
    down = "";
  }
  const retries = await writing;
  await reader.untilAllDied(lines);

  assert.deepEqual(checkMortals(keys, 0).slice(0, 10), []);
  const late = keys.map((key) => lateness(key, outages));
  const sorted = late.map(({ atMostMs }) => atMostMs).sort((a, b) => a - b);
  context.diagnostic(
    `${keys.length} keys, ${retries} writes sent again, ${reader.looks} looks, none early; late by at most: ` +
      `median ${ms(sorted[sorted.length >> 1])}, 99 % ${ms(sorted[Math.floor(sorted.length * 0.99)])}, ` +
      `longest ${ms(sorted.at(-1))}; found alive at most ${ms(Math.max(...late.map(({ atLeastMs }) => atLeastMs)))} ` +
      `late; longest between two looks ${ms(reader.longestSweepMs)}`,
  );
  assert.ok((sorted.at(-1) ?? Infinity) < lateMsMax, lines.slice(-40).join("\n"));
});

interface Outage {
  readonly killedMs: number;
  /** When every shard was known to have a leader again. */
  readonly ledMs: number;
}

/** A key that is written once. */
class MortalKey {
  readonly key: string;
  readonly ttlMs: number;
  readonly dueMs: number;
  writtenAfterMs = NaN;
  answeredAtMs = NaN;
  /** The looks that matter: the last that found it, and those that did not. */
  looks: readonly Look[] = [];

  constructor(at: number, startMs: number) {
    this.key = `mortal/${at}`;
    this.ttlMs = Math.round(ttlMsMin + Math.random() * (ttlMsMax - ttlMsMin));
    this.dueMs = startMs + (at / keyCount) * writingMs;
  }

  get isDead(): boolean {
    return this.looks.some(({ isThere }) => !isThere);
  }

  take(look: Look): void {
    this.looks = look.isThere && !this.isDead ? [look] : [...this.looks, look];
  }
}

/** Writes all keys, each when it is due; how many requests had to be sent again. */
async function write(keys: readonly MortalKey[], alive: () => readonly string[]): Promise<number> {
  const queue = [...keys].reverse();
  let retries = 0;
  const work = async (): Promise<void> => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      await delay(Math.max(0, next.dueMs - performance.now()));
      next.writtenAfterMs = performance.now();
      for (let attempt = 0; !(await put(next, alive(), attempt)); attempt += 1) {
        retries += 1;
        await delay(10);
      }
      next.answeredAtMs = performance.now();
    }
  };
  await Promise.all(Array.from({ length: 32 }, work));
  return retries;
}

/** False when nobody can tell or it was not done. Sent again it counts once, from when it was applied first. */
async function put(
  { key, ttlMs }: MortalKey,
  urls: readonly string[],
  attempt: number,
): Promise<boolean> {
  const url = urls[(Math.floor(Math.random() * urls.length) + attempt) % urls.length];
  try {
    const response = await fetch(`${url}/v1/kv/${encodeURIComponent(key)}?ttl=${ttlMs}ms`, {
      method: "PUT",
      body: key,
      headers: { "idempotency-key": key },
    });
    const text = await response.text();
    assert.ok(response.status === 201 || response.status >= 500, `${response.status} ${text}`);
    return response.ok;
  } catch (error) {
    if (error instanceof assert.AssertionError) {
      throw error;
    }
    return false;
  }
}

/** Looks at all living keys, again and again, by linearizable reads; at the end at all of them once more. */
class Reader {
  looks = 0;
  /** Of one round through all keys: what is measured is not more precise. */
  longestSweepMs = 0;
  readonly #keys: readonly MortalKey[];
  readonly #alive: () => readonly string[];
  readonly #running: Promise<void>;
  #isOver = false;

  constructor(keys: readonly MortalKey[], alive: () => readonly string[]) {
    this.#keys = keys;
    this.#alive = alive;
    this.#running = this.#run();
  }

  async untilAllDied(lines: readonly string[]): Promise<void> {
    const deadline = performance.now() + ttlMsMax + 2 * lateMsMax;
    while (!this.#keys.every((key) => key.isDead)) {
      const left = this.#keys.filter((key) => !key.isDead).map(({ key }) => key);
      const evidence = `${left.join(" ")}\n${lines.slice(-40).join("\n")}`;
      assert.ok(performance.now() < deadline, `${left.length} keys do not die: ${evidence}`);
      await delay(50);
    }
    this.#isOver = true;
    await this.#running;
    await this.#sweep(this.#keys);
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const startMs = performance.now();
      await this.#sweep(this.#keys.filter((key) => key.answeredAtMs > 0 && !key.isDead));
      this.longestSweepMs = Math.max(this.longestSweepMs, performance.now() - startMs);
      await delay(50);
    }
  }

  async #sweep(keys: readonly MortalKey[]): Promise<void> {
    const batches = Array.from({ length: Math.ceil(keys.length / batchMax) }, (_, at) =>
      keys.slice(at * batchMax, (at + 1) * batchMax),
    );
    const work = async (): Promise<void> => {
      for (let batch = batches.pop(); batch !== undefined; batch = batches.pop()) {
        await this.#look(batch);
      }
    };
    await Promise.all(Array.from({ length: 4 }, work));
  }

  async #look(keys: readonly MortalKey[]): Promise<void> {
    const callMs = performance.now();
    const statuses = await getMany(
      this.#alive(),
      keys.map(({ key }) => key),
    );
    const returnMs = performance.now();
    for (const [at, key] of keys.entries()) {
      const status = statuses[at];
      if (status === 200 || status === 404) {
        this.looks += 1;
        key.take({ callMs, returnMs, isThere: status === 200 });
      }
    }
  }
}

/** The status of each key as a linearizable read through any node; none when the node was killed under the request. */
async function getMany(
  urls: readonly string[],
  keys: readonly string[],
): Promise<readonly number[]> {
  const url = urls[Math.floor(Math.random() * urls.length)];
  try {
    const response = await fetch(`${url}/v1/batch`, {
      method: "POST",
      body: JSON.stringify({ operations: keys.map((key) => ({ op: "get", key })) }),
      headers: { "content-type": "application/json" },
    });
    const { results } = (await response.json()) as { results?: readonly { status: number }[] };
    return (results ?? []).map(({ status }) => status);
  } catch {
    return [];
  }
}

/** The node that leads most shards. */
async function busiestLeader(url: string): Promise<{ id: string; led: number }> {
  const response = await fetch(`${url}/v1/cluster`);
  const { shards } = (await response.json()) as { shards: readonly { leader: string | null }[] };
  const counts = new Map<string, number>();
  for (const { leader } of shards) {
    if (leader !== null) {
      counts.set(leader, (counts.get(leader) ?? 0) + 1);
    }
  }
  const [id, led] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? ["n1", 0];
  return { id, led };
}

/** Resolves when a linearizable read of each shard was answered: so each has a leader. */
async function allShardsLed(alive: () => readonly string[]): Promise<void> {
  // So many that no shard is without one of them.
  const probes = Array.from({ length: batchMax }, (_, at) => `mortal/probe-${at}`);
  const deadline = performance.now() + 30_000;
  for (;;) {
    const statuses = await getMany(alive(), probes);
    if (statuses.length > 0 && statuses.every((status) => status === 404)) {
      return;
    }
    assert.ok(performance.now() < deadline, `no leader: ${statuses.join(" ")}`);
    await delay(10);
  }
}

async function restart(cluster: LocalCluster, id: string): Promise<void> {
  await cluster.restart(id);
  await cluster.ready(30_000, [id]);
}

/** By how much a key outlived its time, between the last look that found it and the first that did not. */
interface Lateness {
  readonly atLeastMs: number;
  readonly atMostMs: number;
}

/** While there was no leader, nothing could die: who was due then is due when there is one. */
function lateness(key: MortalKey, outages: readonly Outage[]): Lateness {
  const diesMs = key.answeredAtMs + key.ttlMs;
  const outage = outages.find(({ killedMs, ledMs }) => diesMs > killedMs && diesMs < ledMs);
  const dueMs = outage?.ledMs ?? diesMs;
  const seenMs = key.looks.filter((look) => look.isThere).map((look) => look.callMs);
  const goneMs = key.looks.filter((look) => !look.isThere).map((look) => look.returnMs);
  return {
    atLeastMs: Math.max(0, ...seenMs) - dueMs,
    atMostMs: Math.min(...goneMs) - dueMs,
  };
}

function ms(time: number | undefined): string {
  return `${Math.round(time ?? NaN)} ms`;
}
