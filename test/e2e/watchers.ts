import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import {
  type AcknowledgedChange,
  changesOf,
  type ToldChange,
  type WatchStream,
} from "../checkers/watch-streams.ts";
import { readEvents, type SseEvent } from "./sse.ts";

interface ChangeData {
  readonly key: string;
  readonly revision: string;
}

/** A client that watches a prefix through one node after the other, and resumes after the last event it got. */
export class ResumingWatcher implements WatchStream {
  readonly prefix: string;
  /** One more after each reset. */
  readonly stretches: { state: ToldChange[]; changes: ToldChange[] }[] = [
    { state: [], changes: [] },
  ];
  connections = 0;
  resets = 0;
  lags = 0;
  /** Why streams ended, where the node said so. */
  readonly errors: string[] = [];
  readonly #urls: () => readonly string[];
  readonly #running: Promise<void>;
  #lastId = "";
  /** Between `reset` and `synced`: what is told is what there is, not what happens. */
  #isTellingState = false;
  #connection = new AbortController();
  #isStopped = false;
  #begun: () => void = () => {};
  /** Resolves when changes from now on are sure to be told. */
  readonly begun = new Promise<void>((resolve) => (this.#begun = resolve));

  /** @param urls nodes to watch through, asked anew for each connection */
  constructor(prefix: string, urls: () => readonly string[]) {
    this.prefix = prefix;
    this.#urls = urls;
    this.#running = this.#run();
  }

  get seen(): readonly ToldChange[] {
    return changesOf(this);
  }

  /** Cuts the connection; the watcher goes on through another. */
  disconnect(): void {
    this.#connection.abort();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#connection.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const urls = this.#urls();
      const url = urls[Math.floor(Math.random() * urls.length)] ?? "";
      this.#connection = new AbortController();
      this.connections += 1;
      const headers = this.#lastId === "" ? {} : { "Last-Event-ID": this.#lastId };
      try {
        const path = `${url}/v1/watch?prefix=${encodeURIComponent(this.prefix)}`;
        for await (const event of readEvents(path, headers, this.#connection.signal)) {
          this.#take(event);
        }
      } catch (error) {
        if (error instanceof assert.AssertionError) {
          throw error;
        }
        // The node was killed, or the connection cut.
        await delay(20);
      }
    }
  }

  #take({ event, id, data }: SseEvent): void {
    const stretch = this.stretches.at(-1);
    if (event === "error") {
      // Has no id: the watcher resumes after what came before it.
      this.errors.push(data);
      return;
    }
    if (event === "put" || event === "delete" || event === "expire") {
      const { key, revision } = JSON.parse(data) as ChangeData;
      const change = { key, revision: Number(revision), data };
      (this.#isTellingState ? stretch?.state : stretch?.changes)?.push(change);
    } else if (event === "reset") {
      this.resets += 1;
      this.#isTellingState = true;
      this.stretches.push({ state: [], changes: [] });
    } else if (event === "synced") {
      this.#isTellingState = false;
    } else if (event === "lagged") {
      this.lags += 1;
    } else {
      assert.ok(event === "progress", `${event}: ${data}`);
    }
    this.#lastId = id;
    this.#begun();
  }
}

/** Clients that put and delete keys of a small space, and remember the revisions that they were told. */
export class ChangeWriters {
  readonly acknowledged: AcknowledgedChange[] = [];
  unknown = 0;
  readonly #running: readonly Promise<void>[];
  #isStopped = false;

  /** @param keys the keys to change, in no particular order */
  constructor(count: number, keys: readonly string[], urls: () => readonly string[]) {
    this.#running = Array.from({ length: count }, (_, writer) => this.#run(writer, keys, urls));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#running);
  }

  async #run(
    writer: number,
    keys: readonly string[],
    urls: () => readonly string[],
  ): Promise<void> {
    for (let count = 0; !this.#isStopped; count += 1) {
      const nodes = urls();
      const url = nodes[Math.floor(Math.random() * nodes.length)] ?? "";
      const key = keys[Math.floor(Math.random() * keys.length)] ?? "";
      const isDelete = Math.random() < 0.3;
      try {
        const response = await fetch(`${url}/v1/kv/${encodeURIComponent(key)}`, {
          method: isDelete ? "DELETE" : "PUT",
          body: isDelete ? null : `${writer}-${count}`,
          headers: isDelete ? {} : { "content-type": "text/plain" },
        });
        const answer = (await response.json()) as { revision?: string; deleted?: boolean };
        if (!response.ok) {
          this.unknown += 1;
        } else if (!isDelete || answer.deleted === true) {
          this.acknowledged.push({ key, revision: Number(answer.revision) });
        }
      } catch {
        // The node was killed under the request: it may or may not have been done.
        this.unknown += 1;
      }
      await delay(2);
    }
  }
}
