import { setTimeout as delay } from "node:timers/promises";
import { Client } from "../e2e/client.ts";
import type { Prng } from "../sim/prng.ts";
import type { Clock, Door, Doors } from "../workload/door.ts";
import type { Ending } from "../workload/history.ts";
import { HttpDoor, Refusal } from "./http-door.ts";

/** Real time, monotonic. */
export const realTime: Clock = {
  get now() {
    return performance.now();
  },
  pause: (ms) => delay(ms),
};

export interface HttpDoorsOptions {
  readonly urls: readonly string[];
  readonly timeoutMs: number;
  readonly random: Prng;
  /** Something that no client should ever see. */
  readonly onSurprise: (what: string) => void;
}

/** How long a client waits beyond the deadline that it gave. */
const graceMs = 300;
/** A node that did not answer is asked less for a while, as behind a load balancer. */
const avoidMs = 1500;
const avoidChance = 0.9;

/** Refusals that the table of errors allows for what these clients ask. */
const expectedStatuses = new Set([404, 408, 412, 423, 503, 504]);

/** The ways of one client into a real cluster. */
export class HttpDoors implements Doors {
  readonly #options: HttpDoorsOptions;
  readonly #client: Client;
  readonly #avoidUntilMs: number[];

  constructor(options: HttpDoorsOptions) {
    this.#options = options;
    this.#client = new Client(options.urls);
    this.#avoidUntilMs = options.urls.map(() => 0);
  }

  ask<T>(writes: boolean, run: (door: Door) => Promise<T>): Promise<Ending<T>> {
    return this.askAt(this.#pick(), writes, run);
  }

  /** Asks this node, counted from 0; never rejects. */
  async askAt<T>(
    node: number,
    writes: boolean,
    run: (door: Door) => Promise<T>,
  ): Promise<Ending<T>> {
    const { timeoutMs } = this.#options;
    const signal = AbortSignal.timeout(timeoutMs + graceMs);
    try {
      const value = await run(new HttpDoor(this.#client, node, timeoutMs, signal));
      return { type: "done", value };
    } catch (error) {
      if (!(error instanceof Refusal)) {
        this.#avoidUntilMs[node] = performance.now() + avoidMs;
      }
      return this.#refusal(writes, error);
    }
  }

  #pick(): number {
    const { random, urls } = this.#options;
    const nodes = urls.map((_, node) => node);
    const node = random.pick(nodes);
    const isAvoided = (this.#avoidUntilMs[node] ?? 0) > performance.now();
    return isAvoided && random.chance(avoidChance) ? random.pick(nodes) : node;
  }

  #refusal(writes: boolean, error: unknown): Ending<never> {
    if (error instanceof Refusal) {
      if (!expectedStatuses.has(error.status)) {
        this.#options.onSurprise(error.message);
      }
      const isUnknown = writes && !error.isHarmless;
      return { type: isUnknown ? "unknown" : "failed", reason: error.code };
    }
    const reason = reasonOf(error);
    if (reason === null) {
      this.#options.onSurprise(error instanceof Error ? (error.stack ?? "") : String(error));
    }
    const isUnknown = writes && reason !== "ECONNREFUSED";
    return { type: isUnknown ? "unknown" : "failed", reason: reason ?? "surprise" };
  }
}

/** Why there is no answer; null when that is not the network's doing. */
function reasonOf(error: unknown): string | null {
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return "no answer";
  }
  // What fetch throws when a connection cannot be made or breaks, also in the middle of an answer.
  if (error instanceof TypeError && error.cause instanceof Error) {
    return "code" in error.cause ? String(error.cause.code) : error.cause.message;
  }
  return null;
}
