import { setTimeout as delay } from "node:timers/promises";

/** Pause of a writer between two writes. */
const pauseMs = 5;
const writeTimeoutMs = 15_000;

/** One client per key that writes 1, 2, 3, ... one after the other, through the nodes in turn, and remembers what was acknowledged. */
export class Writers {
  readonly failures: string[] = [];
  /** Nodes that clients use; may be changed while they write. */
  urls: readonly string[];
  readonly #acknowledged = new Map<string, { value: number; atMs: number[] }>();
  readonly #running: Promise<void>[];
  #isStopping = false;

  constructor(urls: readonly string[], keys: Iterable<string>) {
    this.urls = urls;
    this.#running = [...keys].map((key) => {
      this.#acknowledged.set(key, { value: 0, atMs: [] });
      return this.#write(key);
    });
  }

  get count(): number {
    return [...this.#acknowledged.values()].reduce((sum, { atMs }) => sum + atMs.length, 0);
  }

  /** When, since `sinceMs`, a write of every key had been acknowledged; null while one has not. */
  allWrittenSince(sinceMs: number): number | null {
    let lastMs = 0;
    for (const { atMs } of this.#acknowledged.values()) {
      const first = atMs.find((ms) => ms > sinceMs);
      if (first === undefined) {
        return null;
      }
      lastMs = Math.max(lastMs, first);
    }
    return lastMs;
  }

  /** The longest time between two acknowledged writes of one key since `sinceMs`. */
  longestGapMs(sinceMs: number): number {
    let longest = 0;
    for (const { atMs } of this.#acknowledged.values()) {
      for (let at = 1; at < atMs.length; at += 1) {
        const [before = 0, after = 0] = [atMs[at - 1], atMs[at]];
        if (after > sinceMs) {
          longest = Math.max(longest, after - before);
        }
      }
    }
    return longest;
  }

  /** Last acknowledged value of every key. */
  async stop(): Promise<ReadonlyMap<string, number>> {
    this.#isStopping = true;
    await Promise.all(this.#running);
    return new Map([...this.#acknowledged].map(([key, { value }]) => [key, value]));
  }

  async #write(key: string): Promise<void> {
    for (let value = 1; !this.#isStopping; value += 1) {
      const complaint = await this.#put(key, value);
      if (complaint === null) {
        const state = this.#acknowledged.get(key);
        if (state !== undefined) {
          state.value = value;
          state.atMs.push(performance.now());
        }
      } else {
        this.failures.push(`${key} = ${value}: ${complaint}`);
      }
      await delay(pauseMs);
    }
  }

  /** Tries one node, and another one when the first cannot be reached. Null when acknowledged. */
  async #put(key: string, value: number): Promise<string | null> {
    let complaint = "";
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const url = this.urls[(value + attempt) % this.urls.length] ?? "";
      try {
        const response = await fetch(`${url}/v1/kv/${key}`, {
          method: "PUT",
          body: String(value),
          signal: AbortSignal.timeout(writeTimeoutMs),
        });
        const text = await response.text();
        return response.ok ? null : `${url} answered ${response.status} ${text}`;
      } catch (error) {
        const cause = error instanceof Error ? error.cause : undefined;
        complaint += `${url}: ${String(cause ?? error)}; `;
      }
    }
    return complaint;
  }
}
