import type { NodeId, Revision, ShardId } from "../../cluster/types.ts";
import type {
  ChangeEvent,
  Command,
  CommandOutcome,
  IdempotencyKey,
} from "../../storage/commands.ts";
import type { Query, QueryResult } from "../../storage/queries.ts";

/**
 * What HTTP needs of a node: the whole key space, whoever holds it. Implemented by the router. Failures are thrown as ServiceError
 * (server/errors.ts) and say honestly whether the operation may have been applied.
 */
export interface KeyValueService {
  /**
   * Resolves as soon as this node knows the cluster map, so that `shards` and `shardOf` can answer: at once, except right after a start. At
   * the request's deadline it resolves all the same.
   */
  started(context: RequestContext): Promise<void>;
  /** Runs one command on the shard of `routingKey`. Exactly once, whatever is retried inside. */
  execute(
    routingKey: Uint8Array,
    command: Command,
    context: RequestContext,
    idempotency: IdempotencyKey | null,
  ): Promise<Served<CommandOutcome>>;
  /** Runs one read on the shard of `routingKey`, at the asked consistency. */
  query(
    routingKey: Uint8Array,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>>;
  /** The same on a shard named by number: scans ask all of `shards()`. */
  queryShard(
    shard: ShardId,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>>;
  /** All data shards of the present cluster map, ascending. */
  shards(): readonly ShardId[];
  /** Throws `starting` while the map is not known. */
  shardOf(routingKey: Uint8Array): ShardId;
  /** Changes applied on this node's replicas, or through a peer for shards that it does not host. */
  watch(request: WatchRequest): WatchStream;
  /** Map, leaders, lags, as this node knows them; the JSON body of GET /v1/cluster. */
  cluster(): ClusterView;
  /** HTTP address of the node that leads the shard, for redirects; null when unknown. */
  leaderAddress(shard: ShardId): string | null;
}

/** What travels with a request from HTTP down to the replica that serves it. */
export interface RequestContext {
  readonly requestId: string;
  /** Monotonic milliseconds (performance.now) after which the answer is worth nothing. */
  readonly deadlineMs: number;
  /** Aborted when the client went away. */
  readonly signal: AbortSignal | null;
  /** W3C traceparent or empty. */
  readonly trace: string;
  /** Where the time went, filled in by whoever spends it; becomes Server-Timing. */
  readonly timings: Map<string, number>;
}

/** How new an answer must be; see the API reference. */
export type Consistency =
  | { readonly type: "linearizable" }
  | { readonly type: "lease" }
  | { readonly type: "stale" }
  /** At least as new as what this client has seen. */
  | { readonly type: "session"; readonly revisions: ReadonlyMap<ShardId, Revision> };

/** An answer and where it comes from. */
export interface Served<T> {
  readonly value: T;
  readonly shard: ShardId;
  readonly servedBy: NodeId;
  /** Milliseconds since this replica last heard from its leader; 0 when the answer is not stale. */
  readonly stalenessMs: number;
}

/** What somebody wants to be told of, and from where on. */
export interface WatchRequest {
  readonly prefix: Uint8Array;
  /** Exactly this key instead of a prefix. */
  readonly key: Uint8Array | null;
  /**
   * Positions to resume after; null: from now, which the first item, `progress`, tells. A shard that is missing here has an unknown past:
   * the current state is told anew, after `reset`. Takes precedence over `initial`, so that a client may reconnect with the request it
   * began with.
   */
  readonly after: WatchPositions | null;
  /** Current state first, then `synced`, then the changes since. */
  readonly initial: boolean;
  readonly wantPrevious: boolean;
  readonly signal: AbortSignal;
}

/** Pull side of a watch; bounded: a reader that falls behind is cut off with `lagged`. Ends without a word when the node stops. */
export type WatchStream = AsyncIterable<WatchItem>;

/**
 * What a watch tells, each with the positions to resume after. While the current state is being told (until `synced`) these are empty:
 * who resumes after them is told the state anew. `previous` of an event is null unless it was asked for. Changes of one key come in order.
 */
export type WatchItem =
  /** While the current state is being told: a key that exists, as a put; or a change to what was told already. */
  | { readonly type: "change"; readonly event: ChangeEvent; readonly positions: WatchPositions }
  /** Initial state is complete. */
  | { readonly type: "synced"; readonly positions: WatchPositions }
  /** Nothing happened, but positions moved. */
  | { readonly type: "progress"; readonly positions: WatchPositions }
  /** History between the asked position and now is gone; the current state follows as puts, then `synced`. */
  | { readonly type: "reset"; readonly positions: WatchPositions }
  /** The reader was too slow: reconnect with these positions. */
  | { readonly type: "lagged"; readonly positions: WatchPositions };

/** Encoded for clients by server/watch-positions.ts. */
export type WatchPositions = ReadonlyMap<ShardId, WatchPosition>;

/** A place in the changes of one shard: after all of the entry at `index`, and after the first `events` changes of the entry that follows. */
export interface WatchPosition {
  readonly index: number;
  readonly events: number;
}

/** What a node knows of its cluster. */
export interface ClusterView {
  readonly clusterId: string;
  readonly nodeId: NodeId;
  readonly epoch: number;
  readonly nodes: readonly NodeView[];
  readonly shards: readonly ShardView[];
}

/** One member of the cluster, as this node sees it. */
export interface NodeView {
  readonly id: NodeId;
  readonly httpAddress: string;
  readonly peerAddress: string;
  readonly isConnected: boolean;
  /** Phi-accrual suspicion; 0 for the node itself. */
  readonly suspicion: number;
  readonly roundTripMs: number | null;
}

/** One shard, as this node sees it. */
export interface ShardView {
  readonly id: ShardId;
  readonly leader: NodeId | null;
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
  /** What the local replica knows; null when this node hosts none. */
  readonly local: {
    readonly role: "follower" | "preCandidate" | "candidate" | "leader";
    readonly term: number;
    readonly commitIndex: number;
    readonly appliedIndex: number;
    readonly revision: Revision;
    readonly digest: string;
    /** Of a leader: entries each other member is behind. */
    readonly lagEntries: Readonly<Record<string, number>>;
  } | null;
}
