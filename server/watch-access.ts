import type { NodeId, ShardId } from "../cluster/types.ts";
import type { KvStateMachine } from "../storage/kv-state-machine.ts";
import type { QueryResult, ScanQuery } from "../storage/queries.ts";
import { ServiceError } from "./errors.ts";
import type { Forwarder } from "./forwarder.ts";
import type { LeaderWatch } from "./leader-watch.ts";
import type { LocalReads } from "./local-reads.ts";
import type { Router } from "./router.ts";
import type { ChangeSource } from "./watch-changes.ts";

/** A page of keys and the index as of which it is true. */
export type ScanPage = Extract<QueryResult, { type: "scan" }>;

/** What watches need of the node that they run on. */
export interface WatchAccess {
  /** Whether this node knows the shards yet. */
  readonly isReady: boolean;
  /** All data shards, ascending. Throws `starting` while they are not known; so does `shardOf`. */
  shards(): readonly ShardId[];
  shardOf(key: Uint8Array): ShardId;
  /** This node's replica of the shard, the same object each time; null when there is none, or none that can be read. */
  source(shard: ShardId): ChangeSource | null;
  /** True when this node's replica has applied everything that was committed before the call; false when nobody confirmed that. */
  confirm(shard: ShardId): Promise<boolean>;
  /** A linearizable page of the shard; null when nobody served it for now. */
  scan(shard: ShardId, query: ScanQuery, signal: AbortSignal): Promise<ScanPage | null>;
  /** The other nodes that hold the shard. */
  members(shard: ShardId): readonly NodeId[];
  isConnected(node: NodeId): boolean;
  /** Asks another node; null when it did not answer or could not serve it. */
  ask(to: NodeId, shard: ShardId, poll: Uint8Array, timeoutMs: number): Promise<Uint8Array | null>;
  /** Resolves a little later, or when there is news of the shard's leader. */
  pause(shard: ShardId): Promise<void>;
}

/** The node's parts that a watch reads from. */
export interface NodeWatchAccessOptions {
  readonly nodeId: NodeId;
  readonly router: Router;
  readonly localReads: LocalReads;
  readonly forwarder: Forwarder;
  readonly leaders: LeaderWatch;
  readonly machine: (shard: ShardId) => KvStateMachine | null;
  readonly isConnected: (peer: NodeId) => boolean;
  readonly clock: () => number;
}

/** For the answer to a question that can be asked again. */
const patienceMs = 5000;
const pauseMs = 100;

/** The node itself, as its watches see it. */
export class NodeWatchAccess implements WatchAccess {
  readonly #options: NodeWatchAccessOptions;

  constructor(options: NodeWatchAccessOptions) {
    this.#options = options;
  }

  get isReady(): boolean {
    return this.#options.router.hasTable;
  }

  shards(): readonly ShardId[] {
    return this.#options.router.table.shards;
  }

  shardOf(key: Uint8Array): ShardId {
    return this.#options.router.shardOf(key);
  }

  source(shard: ShardId): ChangeSource | null {
    const { localReads, machine } = this.#options;
    return localReads.hosts(shard) ? machine(shard) : null;
  }

  async confirm(shard: ShardId): Promise<boolean> {
    const { localReads, clock } = this.#options;
    const confirmed = localReads.confirm(shard, clock() + patienceMs).then(() => true);
    return (await unlessRefused(confirmed)) ?? false;
  }

  async scan(shard: ShardId, query: ScanQuery, signal: AbortSignal): Promise<ScanPage | null> {
    const { router, clock } = this.#options;
    const served = await unlessRefused(
      router.queryShard(
        shard,
        query,
        { type: "linearizable" },
        {
          requestId: "",
          deadlineMs: clock() + patienceMs,
          signal,
          trace: "",
          timings: new Map(),
        },
      ),
    );
    return served?.value.type === "scan" ? served.value : null;
  }

  members(shard: ShardId): readonly NodeId[] {
    const { router, nodeId } = this.#options;
    return (router.table.members.get(shard) ?? []).filter((member) => member !== nodeId);
  }

  isConnected(node: NodeId): boolean {
    return this.#options.isConnected(node);
  }

  async ask(
    to: NodeId,
    shard: ShardId,
    poll: Uint8Array,
    timeoutMs: number,
  ): Promise<Uint8Array | null> {
    const { forwarder, router } = this.#options;
    const outcome = await forwarder.call(to, {
      shard,
      kind: "watch",
      epoch: router.table.epoch,
      payload: poll,
      timeoutMs,
      trace: "",
    });
    const isOk = outcome.type === "answered" && outcome.response.status === "ok";
    return isOk ? outcome.response.payload : null;
  }

  pause(shard: ShardId): Promise<void> {
    return this.#options.leaders.changed(shard, pauseMs);
  }
}

/** Null instead of a refusal with a meaning for clients: a watch waits and asks again. */
async function unlessRefused<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ServiceError) {
      return null;
    }
    throw error;
  }
}
