import type { ShardId } from "../../cluster/types.ts";
import type { WatchItem, WatchPositions, WatchRequest } from "../../server/http/service.ts";
import type { Place, WatchSpan } from "../checkers/watches.ts";
import type { Prng } from "../sim/prng.ts";
import type { Machine, Process } from "./machine.ts";
import { bytes } from "./simulated-door.ts";
import { describeChange } from "./oracle.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface WatcherOptions {
  readonly name: string;
  /** Watches all keys that begin so; with `isExact` this key alone. */
  readonly prefix: string;
  readonly isExact: boolean;
  readonly time: VirtualTime;
  readonly random: Prng;
  readonly machines: readonly Machine[];
  readonly note: (what: string) => void;
}

interface OpenSpan {
  readonly after: Place;
  upTo: Place;
  readonly seen: string[];
}

/** How long a watcher waits for a sign of life before it goes elsewhere. */
const patienceMs = 2500;

/**
 * Watches through some node, goes on through another when that one is gone or silent, and writes down every stretch in which it should not
 * have missed anything.
 */
export class Watcher {
  readonly #options: WatcherOptions;
  readonly #closed: WatchSpan[] = [];
  #open = new Map<ShardId, OpenSpan>();
  /** Where it is; null before it is anywhere. */
  #positions: WatchPositions | null = null;
  #heardMs = 0;
  /** The connection that counts: one that was left may still have something to say. */
  #current: WatchRequest | null = null;
  #isStopped = false;

  constructor(options: WatcherOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#work();
  }

  stop(): void {
    this.#isStopped = true;
    this.#closeSpans();
  }

  /** What was seen until now. */
  get spans(): readonly WatchSpan[] {
    return this.#closed;
  }

  async #work(): Promise<void> {
    const { time, random, machines } = this.#options;
    while (!this.#isStopped) {
      await time.pause(5 + random.next() * 50);
      const { process } = random.pick(machines);
      if (process !== null && process.node.router.hasTable) {
        await this.#connect(process);
      }
    }
  }

  /** Resolves when the connection has ended. */
  #connect(process: Process): Promise<void> {
    const { prefix, isExact, time, random } = this.#options;
    const abort = new AbortController();
    const request: WatchRequest = {
      prefix: bytes(prefix),
      key: isExact ? bytes(prefix) : null,
      after: this.#positions,
      initial: random.chance(0.3),
      wantPrevious: random.chance(0.3),
      signal: abort.signal,
    };
    this.#current = request;
    const leaveAtMs = time.now + random.next() * 4000;
    this.#heardMs = time.now;
    return new Promise((resolve) => {
      const leave = (): void => {
        resolve();
        if (this.#current === request) {
          this.#current = null;
        }
        process.loop.enter("io", () => abort.abort());
      };
      const check = (): void => {
        const isSilent = time.now - this.#heardMs > patienceMs;
        if (process.loop.isDead || isSilent || time.now > leaveAtMs || this.#isStopped) {
          leave();
        } else if (!abort.signal.aborted) {
          time.after(50, check);
        }
      };
      check();
      process.loop.enter("io", () => {
        void this.#read(process, request).finally(leave);
      });
    });
  }

  async #read(process: Process, request: WatchRequest): Promise<void> {
    const { time, random } = this.#options;
    for await (const item of process.node.watches.watch(request)) {
      if (this.#current !== request || process.loop.isDead || this.#isStopped) {
        return;
      }
      this.#heardMs = time.now;
      this.#take(process, item);
      if (item.type === "lagged") {
        return;
      }
      if (random.chance(0.05)) {
        await time.pause(random.next() * 200);
      }
    }
  }

  #take(process: Process, item: WatchItem): void {
    const { note, name } = this.#options;
    switch (item.type) {
      case "reset":
        note(`${name} begins anew`);
        this.#closeSpans();
        break;
      case "change": {
        const shard = process.node.router.shardOf(item.event.key);
        this.#open.get(shard)?.seen.push(describeChange(item.event));
        this.#moveTo(item.positions);
        break;
      }
      case "synced":
      case "progress":
      case "lagged":
        this.#moveTo(item.positions);
        break;
    }
  }

  /** No positions: the state is being told, and what comes is not a stretch of changes. */
  #moveTo(positions: WatchPositions): void {
    if (positions.size === 0) {
      this.#closeSpans();
      return;
    }
    this.#positions = positions;
    for (const [shard, at] of positions) {
      const span = this.#open.get(shard);
      if (span === undefined) {
        this.#open.set(shard, { after: at, upTo: at, seen: [] });
      } else {
        span.upTo = at;
      }
    }
  }

  #closeSpans(): void {
    const { prefix, isExact } = this.#options;
    const wants = (key: string): boolean => (isExact ? key === prefix : key.startsWith(prefix));
    for (const [shard, span] of this.#open) {
      this.#closed.push({ shard, ...span, wants });
    }
    this.#open = new Map();
    this.#positions = null;
  }
}

/** What most watchers watch: keys of all kinds, or of one. */
export const watchedPrefixes = ["", "", "register", "{", "register1", "counter1"];
