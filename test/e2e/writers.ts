import { setTimeout as delay } from "node:timers/promises";

/** One acknowledged write. */
interface Acknowledged {
  readonly key: string;
  readonly value: string;
}

export interface WriterReport {
  readonly acknowledged: number;
  readonly unknown: number;
  readonly refused: number;
  /** Longest time between two acknowledged writes of all writers together, in milliseconds. */
  readonly longestGapMs: number;
}

/**
 * Clients that write as fast as they are answered, each key once, through whichever node answers. They remember what was
 * acknowledged, and when.
 */
export class Writers {
  readonly #urls: () => readonly string[];
  readonly #acknowledged: Acknowledged[] = [];
  readonly #times: number[] = [];
  readonly #running: Promise<void>[] = [];
  #unknown = 0;
  #refused = 0;
  #isStopped = false;

  /** @param urls nodes to write to, asked anew for each write */
  constructor(count: number, urls: () => readonly string[]) {
    this.#urls = urls;
    for (let writer = 0; writer < count; writer += 1) {
      this.#running.push(this.#run(writer));
    }
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.length;
  }

  async stop(): Promise<WriterReport> {
    this.#isStopped = true;
    await Promise.all(this.#running);
    let longestGapMs = 0;
    const times = [...this.#times].sort((a, b) => a - b);
    for (let at = 1; at < times.length; at += 1) {
      longestGapMs = Math.max(longestGapMs, (times[at] ?? 0) - (times[at - 1] ?? 0));
    }
    return {
      acknowledged: this.#acknowledged.length,
      unknown: this.#unknown,
      refused: this.#refused,
      longestGapMs,
    };
  }

  /** Acknowledged writes that cannot be read back through `url`. */
  async missing(url: string): Promise<string[]> {
    const missing: string[] = [];
    const queue = [...this.#acknowledged];
    const check = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        const response = await fetch(`${url}/v1/kv/${next.key}`);
        const text = await response.text();
        if (response.status !== 200 || text !== next.value) {
          missing.push(`${next.key}: ${response.status} ${text}`);
        }
      }
    };
    await Promise.all(Array.from({ length: 16 }, check));
    return missing;
  }

  async #run(writer: number): Promise<void> {
    for (let count = 0; !this.#isStopped; count += 1) {
      const urls = this.#urls();
      const url = urls[(writer + count) % urls.length] ?? "";
      const key = `writer-${writer}-${count}`;
      const value = `value-${writer}-${count}`;
      try {
        const response = await fetch(`${url}/v1/kv/${key}`, { method: "PUT", body: value });
        await response.arrayBuffer();
        if (response.ok) {
          this.#acknowledged.push({ key, value });
          this.#times.push(performance.now());
        } else if (response.status === 504) {
          this.#unknown += 1;
        } else {
          this.#refused += 1;
        }
      } catch {
        // The node was killed under the request: nobody can tell.
        this.#unknown += 1;
        await delay(5);
      }
    }
  }
}
