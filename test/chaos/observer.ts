import { setTimeout as delay } from "node:timers/promises";
import { Client } from "../e2e/client.ts";
import type { Sighting } from "./record.ts";

interface JsonCluster {
  readonly node_id: string;
  readonly shards: readonly {
    readonly id: number;
    readonly leader: string | null;
    readonly voters: readonly string[];
    readonly local: {
      readonly role: string;
      readonly term: number;
      readonly applied_index: number;
      readonly digest: string;
    } | null;
  }[];
}

const lookEveryMs = 500;
const patienceMs = 1000;

/** Looks at every node again and again: who leads, and what the replicas' states digest to. */
export class Observer {
  readonly sightings: Sighting[] = [];
  readonly #client: Client;
  readonly #latest = new Map<number, JsonCluster>();
  #isStopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(urls: readonly string[]) {
    this.#client = new Client(urls);
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  /** The node that leads most shards, as far as anybody said lately; null when nobody knows one. */
  busiestLeader(): string | null {
    const led = new Map<string, number>();
    for (const { node_id, shards } of this.#latest.values()) {
      const own = shards.filter(({ local }) => local?.role === "leader").length;
      led.set(node_id, own);
    }
    const [[id, count] = [null, 0]] = [...led].sort((a, b) => b[1] - a[1]);
    return count === 0 ? null : id;
  }

  /** Asks all nodes until all voters of every shard say the same index; the shards that do not come together within the time. */
  async converged(timeoutMs: number): Promise<readonly number[]> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const views = await this.#look();
      const apart = apartIn(views, this.#client.urls.length);
      if (apart.length === 0 || performance.now() > deadline) {
        return apart;
      }
      await delay(100);
    }
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#look();
      await delay(lookEveryMs);
    }
  }

  async #look(): Promise<readonly JsonCluster[]> {
    const views = await Promise.all(this.#client.urls.map((_, node) => this.#view(node)));
    return views.flatMap((view, node) => {
      if (view === null) {
        this.#latest.delete(node);
        return [];
      }
      this.#latest.set(node, view);
      this.sightings.push(...sightingsIn(view));
      return [view];
    });
  }

  async #view(node: number): Promise<JsonCluster | null> {
    try {
      const signal = AbortSignal.timeout(patienceMs);
      const { status, text } = await this.#client.send(node, "/v1/cluster", { signal });
      return status === 200 ? (JSON.parse(text) as JsonCluster) : null;
    } catch {
      // Down, paused or starting.
      return null;
    }
  }
}

function sightingsIn({ node_id: node, shards }: JsonCluster): readonly Sighting[] {
  return shards.flatMap(({ id, local }) => {
    if (local === null) {
      return [];
    }
    const { term, role, applied_index: appliedIndex, digest } = local;
    return [{ node, shard: id, term, isLeader: role === "leader", appliedIndex, digest }];
  });
}

/** Shards whose voters are not all at the same index, or do not answer. */
function apartIn(views: readonly JsonCluster[], nodes: number): readonly number[] {
  const [first] = views;
  if (first === undefined || views.length < nodes) {
    return (first?.shards ?? [{ id: 0 }]).map(({ id }) => id);
  }
  return first.shards
    .filter(({ id, voters }) => {
      const holders = views.filter(({ node_id }) => voters.includes(node_id));
      const indexes = holders.map(
        ({ shards }) => shards.find((shard) => shard.id === id)?.local?.applied_index,
      );
      return new Set(indexes).size !== 1 || indexes.includes(undefined);
    })
    .map(({ id }) => id);
}
