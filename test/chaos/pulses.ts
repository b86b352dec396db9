import { setTimeout as delay } from "node:timers/promises";
import { Client } from "../e2e/client.ts";
import type { History } from "../workload/history.ts";
import type { HttpDoors } from "./http-doors.ts";

export interface PulsesOptions {
  readonly urls: readonly string[];
  /** Ways in of one client each. */
  readonly doors: () => HttpDoors;
  readonly history: History;
  /** A new name for a key whose history has become long. */
  readonly nameOf: (place: string) => string;
}

/** Between two writes, to whichever shard, when all is well: the same load however many shards there are. */
const beatMs = 5;

/**
 * Writes to every shard through every node, each to a key of its own: so that it shows for how long a shard took no write at all. What
 * they write is part of the history.
 */
export class Pulses {
  readonly #options: PulsesOptions;
  /** When each shard took its last write. */
  readonly #lastMs = new Map<number, number>();
  readonly #longestMs = new Map<number, number>();
  #running: readonly Promise<void>[] = [];
  #isStopped = false;

  constructor(options: PulsesOptions) {
    this.#options = options;
  }

  /** @param tags a tag of each shard, see `findTags` */
  start(tags: ReadonlyMap<number, string>): void {
    const { urls } = this.#options;
    const startMs = performance.now();
    tags.forEach((_, shard) => this.#lastMs.set(shard, startMs));
    this.#running = [...tags].flatMap(([shard, tag]) =>
      urls.map((_, node) => this.#beat(shard, node, `{${tag}}pulse${node + 1}`)),
    );
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#running);
  }

  /** Longest time until now in which some shard took no write. */
  get longestOutageMs(): number {
    const nowMs = performance.now();
    return Math.max(
      ...this.#longestMs.values(),
      ...[...this.#lastMs.values()].map((lastMs) => nowMs - lastMs),
    );
  }

  /** Resolves when every shard has taken a write that was answered from now on; the shards that have not within the time. */
  async allBeat(timeoutMs: number): Promise<readonly number[]> {
    const startMs = performance.now();
    const late = (): readonly number[] =>
      [...this.#lastMs].filter(([, lastMs]) => lastMs < startMs).map(([shard]) => shard);
    while (late().length > 0 && performance.now() < startMs + timeoutMs) {
      await delay(5);
    }
    return late();
  }

  async #beat(shard: number, node: number, place: string): Promise<void> {
    const { history, nameOf, urls } = this.#options;
    const doors = this.#options.doors();
    const pauseMs = beatMs * urls.length * this.#lastMs.size;
    await delay(Math.random() * pauseMs);
    for (let count = 1; !this.#isStopped; count += 1) {
      const key = nameOf(place);
      const input = { type: "put", value: `${place}.${count}`, condition: null } as const;
      const call = history.tick();
      const ending = await doors.askAt(node, true, (door) => door.write(key, input, null));
      history.ended(key, call, input, ending);
      if (ending.type === "done") {
        this.#took(shard);
      }
      await delay(pauseMs);
    }
  }

  #took(shard: number): void {
    const nowMs = performance.now();
    const gapMs = nowMs - (this.#lastMs.get(shard) ?? nowMs);
    this.#longestMs.set(shard, Math.max(gapMs, this.#longestMs.get(shard) ?? 0));
    this.#lastMs.set(shard, nowMs);
  }
}

/** For each shard a tag that puts keys on it: `{tag}anything`. */
export async function findTags(
  urls: readonly string[],
  shards: number,
): Promise<ReadonlyMap<number, string>> {
  const client = new Client(urls);
  const tags = new Map<number, string>();
  for (let at = 0; tags.size < shards; at += 1) {
    const tag = `s${at}`;
    const { text } = await client.send(0, `/v1/cluster/ring/${encodeURIComponent(`{${tag}}`)}`);
    const { shard } = JSON.parse(text) as { shard: number };
    tags.set(shard, tags.get(shard) ?? tag);
  }
  return tags;
}
