import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { checkLocks } from "../checkers/locks.ts";
import type { LocalCluster } from "../../scripts/lib/local-cluster.ts";
import { contend, monotonicMs, type ContenderOptions, type LockEvent } from "./lock-contender.ts";
import { startCluster } from "./support.ts";
import { ResumingWatcher } from "./watchers.ts";

/** How long contenders fight: `LOCK_SECONDS=60` for a long run. */
const chaosMs = Number(process.env["LOCK_SECONDS"] ?? 20) * 1000;
const ttlMs = 1000;
/** Generous: what is measured is printed. */
const livenessMs = 10_000;

const lock = "{chaos}lock";
const key = "{chaos}guarded";
const holderFile = fileURLToPath(new URL("lock-holder-process.ts", import.meta.url));

test("no write under an older token is accepted while holders are paused and leaders killed", async (context) => {
  const { cluster, urls, lines } = await startCluster(context);
  const watcher = new ResumingWatcher(key, () => urls);
  await watcher.begun;
  const fight = new Fight(context, urls);
  const killsMs = await killLeaders(cluster, urls[0] ?? "");
  await fight.stop();
  await settled(watcher, fight);
  await watcher.stop();

  assert.deepEqual(fight.wrong, []);
  const history = { grants: fight.grants, writes: fight.writes };
  assert.deepEqual(checkLocks(history.grants, history.writes), []);
  checkHistory(watcher, fight);
  const quiet: number[] = [];
  const disturbed: number[] = [];
  for (const { atMs, waitedMs } of waits(fight)) {
    const isDisturbed = killsMs.some((kill) => kill > atMs - ttlMs && kill < atMs + waitedMs);
    (isDisturbed ? disturbed : quiet).push(waitedMs);
  }
  context.diagnostic(
    `${fight.grants.length} grants, ${fight.writes.length} fenced writes accepted, ${fight.refused} refused, ` +
      `${fight.pauses} holders paused, ${killsMs.length} leaders killed, time to live ${ttlMs} ms; the next ` +
      `holder after the last one went silent: ${summary(quiet)}; with a leader killed meanwhile: ${summary(disturbed)}`,
  );
  assert.ok(fight.pauses > 0, "no holder was paused");
  assert.ok(fight.refusedAfterPause > 0, "no paused holder tried to write too late");
  assert.ok(killsMs.length > 0, "no leader was killed");
  const longest = Math.max(...quiet, ...disturbed);
  assert.ok(longest < livenessMs, `waited ${longest} ms\n${lines.slice(-40).join("\n")}`);
});

/** Ten contenders for one lock, two of them in processes that are stopped now and then while they hold it. */
class Fight {
  readonly grants: (LockEvent & { type: "granted"; lock: string; call: number; return: number })[] =
    [];
  readonly writes: { lock: string; token: number; revision: number }[] = [];
  readonly wrong: string[] = [];
  /** Since when nobody renews the lock that is held under this token. */
  readonly silences: { token: number; atMs: number }[] = [];
  refused = 0;
  refusedAfterPause = 0;
  pauses = 0;
  readonly #paused = new Set<number>();
  readonly #over = new AbortController();
  readonly #children: ChildProcess[] = [];
  readonly #running: Promise<void>[] = [];

  constructor(context: TestContext, urls: readonly string[]) {
    const common = { urls, lock, key, ttlMs };
    for (let at = 0; at < 8; at += 1) {
      const options = { ...common, name: `c${at}`, holdMsMax: 200, abandons: 0.3 };
      this.#running.push(contend(options, this.#over.signal, (event) => this.#take(event)));
    }
    for (let at = 0; at < 2; at += 1) {
      this.#fork({ ...common, name: `p${at}`, holdMsMax: 3 * ttlMs, abandons: 0 });
    }
    context.after(() => this.#children.forEach((child) => child.kill("SIGKILL")));
  }

  async stop(): Promise<void> {
    this.#over.abort();
    const exits = this.#children.map(async (child) => {
      const exited = once(child, "exit");
      child.send("stop");
      await exited;
    });
    await Promise.all([...this.#running, ...exits]);
  }

  #fork(options: ContenderOptions): void {
    const child = fork(holderFile, [JSON.stringify(options)]);
    this.#children.push(child);
    child.on("message", (message) => {
      const event = message as LockEvent;
      this.#take(event);
      if (event.type === "granted") {
        this.#running.push(this.#pause(child, event.token));
      }
    });
  }

  /** Stops a holder for longer than the lock lives. */
  async #pause(child: ChildProcess, token: number): Promise<void> {
    await delay(100 + Math.random() * 200);
    if (this.#over.signal.aborted) {
      return;
    }
    child.kill("SIGSTOP");
    this.silences.push({ token, atMs: monotonicMs() });
    this.#paused.add(token);
    this.pauses += 1;
    await delay(ttlMs * (1.5 + Math.random()));
    child.kill("SIGCONT");
  }

  #take(event: LockEvent): void {
    switch (event.type) {
      case "granted":
        this.grants.push({ ...event, lock, call: event.callMs, return: event.returnMs });
        break;
      case "wrote":
        this.writes.push({ lock, token: event.token, revision: event.revision });
        break;
      case "refused":
        this.refused += 1;
        this.refusedAfterPause += this.#paused.has(event.token) ? 1 : 0;
        break;
      case "abandoned":
        this.silences.push({ token: event.token, atMs: event.atMs });
        break;
      case "wrong":
        this.wrong.push(event.what);
        break;
    }
  }
}

/** Kills the node that leads the lock's shard, and restarts it, again and again; when each was killed. */
async function killLeaders(cluster: LocalCluster, url: string): Promise<readonly number[]> {
  const kills: number[] = [];
  const endMs = performance.now() + chaosMs;
  await delay(2 * ttlMs);
  while (performance.now() < endMs) {
    const response = await fetch(`${url}/v1/cluster/ring/${encodeURIComponent(lock)}`);
    const { leader } = (await response.json()) as { leader: string | null };
    if (leader !== null) {
      kills.push(monotonicMs());
      await cluster.kill(leader);
      await delay(1000);
      await cluster.restart(leader);
      await cluster.ready(30_000);
    }
    await delay(4 * ttlMs);
  }
  return kills;
}

/** Everything that was ever written to the key, also by requests without an answer: tokens never go back. */
function checkHistory(watcher: ResumingWatcher, fight: Fight): void {
  assert.equal(watcher.resets, 0);
  const told = new Map<number, number>();
  let last = 0;
  for (const { revision, data } of watcher.seen) {
    const token = Number((JSON.parse(data) as { value: string }).value);
    assert.ok(token >= last, `written under ${token} after ${last}, at ${revision}`);
    last = token;
    told.set(revision, token);
  }
  for (const { token, revision } of fight.writes) {
    assert.equal(told.get(revision), token, `the accepted write at ${revision}`);
  }
}

/** Resolves when the watcher was told of every accepted write. */
async function settled(watcher: ResumingWatcher, fight: Fight): Promise<void> {
  const last = Math.max(...fight.writes.map(({ revision }) => revision));
  const deadline = performance.now() + livenessMs;
  while (!watcher.seen.some(({ revision }) => revision >= last)) {
    assert.ok(performance.now() < deadline, "the watcher was not told of the last write");
    await delay(20);
  }
}

/** For each holder that went silent, how long it took until somebody else held the lock. The last of all may have no successor. */
function waits(fight: Fight): readonly { atMs: number; waitedMs: number }[] {
  const grants = fight.grants.toSorted((a, b) => a.token - b.token);
  return fight.silences.flatMap(({ token, atMs }) => {
    const next = grants.find((grant) => grant.token > token);
    return next === undefined ? [] : [{ atMs, waitedMs: Math.max(0, next.returnMs - atMs) }];
  });
}

function summary(times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? NaN;
  return `median ${Math.round(median)} ms, longest ${Math.round(sorted.at(-1) ?? NaN)} ms (${times.length})`;
}
