import type { ShardId } from "../cluster/types.ts";
import type { Command, CommandOutcome, IdempotencyKey } from "../storage/commands.ts";
import type { Query, QueryResult } from "../storage/queries.ts";
import type {
  ClusterView,
  Consistency,
  KeyValueService,
  RequestContext,
  Served,
  WatchRequest,
  WatchStream,
} from "./http/service.ts";
import type { LeaderWatch } from "./leader-watch.ts";
import type { MapFollower } from "./map-follower.ts";
import type { Observation } from "./observation.ts";
import type { Router } from "./router.ts";
import type { Timers } from "./timers.ts";

/** The parts of a node behind its one face. */
export interface ServiceParts {
  readonly router: Router;
  readonly leaders: LeaderWatch;
  readonly follower: MapFollower;
  readonly observation: Observation;
  readonly watch: (request: WatchRequest) => WatchStream;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  readonly timers: Timers;
}

/** The node as HTTP sees it: one face for router, watches and the view of the cluster. */
export class Service implements KeyValueService {
  readonly #parts: ServiceParts;

  constructor(parts: ServiceParts) {
    this.#parts = parts;
  }

  async started({ deadlineMs }: RequestContext): Promise<void> {
    const { router, follower, clock, timers } = this.#parts;
    if (router.hasTable) {
      return;
    }
    const tooLate = Promise.withResolvers<void>();
    const timer = timers.after(Math.max(1, deadlineMs - clock()), tooLate.resolve);
    await Promise.race([follower.known, tooLate.promise]);
    timer.cancel();
  }

  execute(
    routingKey: Uint8Array,
    command: Command,
    context: RequestContext,
    idempotency: IdempotencyKey | null,
  ): Promise<Served<CommandOutcome>> {
    const { router } = this.#parts;
    return this.#whenStarted(context, () =>
      router.execute(routingKey, command, context, idempotency),
    );
  }

  query(
    routingKey: Uint8Array,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>> {
    const { router } = this.#parts;
    return this.#whenStarted(context, () => router.query(routingKey, query, consistency, context));
  }

  queryShard(
    shard: ShardId,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>> {
    return this.#parts.router.queryShard(shard, query, consistency, context);
  }

  shards(): readonly ShardId[] {
    return this.#parts.router.table.shards;
  }

  shardOf(routingKey: Uint8Array): ShardId {
    return this.#parts.router.shardOf(routingKey);
  }

  watch(request: WatchRequest): WatchStream {
    return this.#parts.watch(request);
  }

  cluster(): ClusterView {
    return this.#parts.observation.cluster();
  }

  /** A node that has just been started knows the map in a moment: until then its clients wait, rather than go elsewhere with an error. */
  #whenStarted<T>(context: RequestContext, run: () => Promise<T>): Promise<T> {
    return this.#parts.router.hasTable ? run() : this.started(context).then(run);
  }

  leaderAddress(shard: ShardId): string | null {
    const leader = this.#parts.leaders.leader(shard);
    const node = this.#parts.follower.map?.nodes.find(({ id }) => id === leader);
    return node?.httpAddress ?? null;
  }
}
