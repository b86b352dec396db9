import { foundingMap, type ClusterMap } from "../../cluster/sharding/cluster-map.ts";
import { Ring } from "../../cluster/sharding/ring.ts";
import type {
  Configuration,
  Entry,
  Revision as RevisionType,
  ShardId,
} from "../../cluster/types.ts";
import { LogIndex, NodeId, Revision, Term } from "../../cluster/types.ts";
import type {
  ClusterView,
  Consistency,
  KeyValueService,
  RequestContext,
  Served,
  WatchRequest,
  WatchStream,
} from "../../server/http/service.ts";
import { encodeCommandEnvelope } from "../../storage/command-codec.ts";
import type { Command, CommandOutcome, IdempotencyKey } from "../../storage/commands.ts";
import { encodeEntryPayload } from "../../storage/entry-payload.ts";
import { KvStateMachine } from "../../storage/kv-state-machine.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { decodeOutcome } from "../../storage/outcome-codec.ts";
import type { Query, QueryResult } from "../../storage/queries.ts";
import { stateLimits } from "../../storage/state-limits.ts";
import { watchMachines, type ChangeListener } from "./memory-watch.ts";

const nodeId = NodeId("n1");
const term = Term(1);
const configuration: Configuration = {
  voters: [nodeId],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};
const shardCount = 4;
/** Applied entries after which the state goes to the database: long benches must not grow the overlay. */
const entriesPerFlush = 256;

interface Shard {
  readonly machine: KvStateMachine;
  index: number;
}

/**
 * A whole key space in one process: the real state machines and ring, no Raft, no disk. Time stands still unless `advance` moves it.
 * What happens around an operation can be changed by `intercept`.
 */
export class MemoryService implements KeyValueService {
  /** Called before each operation; may wait or throw. */
  intercept: (context: RequestContext, operation: Command | Query) => Promise<void> | void =
    () => {};
  leader: string | null = null;
  nowMs = 0;
  readonly map: ClusterMap;
  readonly #ring: Ring;
  readonly #store: DatabaseLogStore;
  readonly #shards = new Map<ShardId, Shard>();
  readonly #listeners = new Set<ChangeListener>();
  #lastRevision: RevisionType = Revision(0);
  #unflushed = 0;
  #isFlushing = false;

  private constructor(map: ClusterMap, store: DatabaseLogStore) {
    this.map = map;
    this.#store = store;
    this.#ring = new Ring(map);
  }

  static async create(): Promise<MemoryService> {
    const founding = foundingMap({
      clusterId: "c1",
      nodes: [
        {
          id: nodeId,
          peerAddress: "127.0.0.1:7080",
          httpAddress: "127.0.0.1:8080",
          zone: "default",
          instanceId: "i1",
        },
      ],
      shardCount,
      replicationFactor: 1,
      tokensPerShard: 32,
    });
    if (founding.type !== "ok") {
      throw new Error(founding.reason);
    }
    const database = new MemoryDatabase();
    const store = new DatabaseLogStore(database, null);
    await store.recover();
    const service = new MemoryService(founding.map, store);
    for (const shard of service.shards()) {
      const batch = store.batch();
      batch.createShard(shard, configuration, false);
      batch.setHardState(shard, { term, vote: null, commit: LogIndex(0) });
      await batch.write();
      service.#openShard(shard, database);
    }
    return service;
  }

  started(): Promise<void> {
    return Promise.resolve();
  }

  async execute(
    routingKey: Uint8Array,
    command: Command,
    context: RequestContext,
    idempotency: IdempotencyKey | null,
  ): Promise<Served<CommandOutcome>> {
    await this.intercept(context, command);
    const shard = this.shardOf(routingKey);
    const bytes = encodeCommandEnvelope({ request: null, idempotency, command });
    const [result] = this.#apply(shard, [bytes]);
    const value = decodeOutcome(result ?? new Uint8Array(0));
    return { value, shard, servedBy: nodeId, stalenessMs: 0 };
  }

  query(
    routingKey: Uint8Array,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>> {
    return this.queryShard(this.shardOf(routingKey), query, consistency, context);
  }

  async queryShard(
    shard: ShardId,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>> {
    await this.intercept(context, query);
    const value = await this.#shard(shard).machine.query(query);
    const stalenessMs = consistency.type === "stale" ? 7 : 0;
    return { value, shard, servedBy: nodeId, stalenessMs };
  }

  shards(): readonly ShardId[] {
    return this.map.shards.map(({ id }) => id).filter((id) => id !== 0);
  }

  shardOf(routingKey: Uint8Array): ShardId {
    return this.#ring.shardOf(routingKey);
  }

  watch(request: WatchRequest): WatchStream {
    const machines = new Map([...this.#shards].map(([id, { machine }]) => [id, machine]));
    return watchMachines(machines, this.#listeners, request);
  }

  cluster(): ClusterView {
    return {
      clusterId: this.map.clusterId,
      nodeId,
      epoch: this.map.epoch,
      nodes: [
        {
          id: nodeId,
          httpAddress: "127.0.0.1:8080",
          peerAddress: "127.0.0.1:7080",
          isConnected: true,
          suspicion: 0,
          roundTripMs: null,
        },
      ],
      shards: [...this.#shards].map(([id, { machine }]) => ({
        id,
        leader: nodeId,
        voters: [nodeId],
        learners: [],
        local: {
          role: "leader",
          term,
          commitIndex: machine.appliedIndex,
          appliedIndex: machine.appliedIndex,
          revision: machine.revision,
          digest: machine.digest,
          lagEntries: {},
        },
      })),
    };
  }

  leaderAddress(): string | null {
    return this.leader;
  }

  /** Lets time pass, and expire what is due. */
  advance(ms: number): void {
    this.nowMs += ms;
    for (const [id, { machine }] of this.#shards) {
      const due = machine.dueCommands(1000);
      if (due.length > 0) {
        this.#apply(id, due);
      }
    }
  }

  get watcherCount(): number {
    return this.#listeners.size;
  }

  #openShard(shard: ShardId, database: MemoryDatabase): void {
    const machine = new KvStateMachine({
      database,
      store: this.#store,
      rowCache: null,
      shard,
      limits: stateLimits,
      deadlines: {
        clock: () => this.nowMs,
        checkpointIntervalMs: 1e9,
        checkpointRecordsMax: 1,
        reofferMs: 1,
        graceMs: 0,
      },
      history: { eventsMax: 100, bytesMax: () => 1_000_000 },
      onChanges: (index, events) => {
        for (const listener of this.#listeners) {
          listener(shard, index, events);
        }
      },
    });
    this.#shards.set(shard, { machine, index: 0 });
  }

  #apply(id: ShardId, commands: readonly Uint8Array[]): readonly Uint8Array[] {
    const shard = this.#shard(id);
    shard.index += 1;
    const entry: Entry = {
      index: LogIndex(shard.index),
      term,
      type: "command",
      payload: encodeEntryPayload(this.#lastRevision, commands),
    };
    const results = shard.machine.apply(entry, configuration);
    this.#lastRevision = Revision(Math.max(this.#lastRevision, shard.machine.revision));
    this.#unflushed += 1;
    if (this.#unflushed >= entriesPerFlush && !this.#isFlushing) {
      void this.#flush();
    }
    return results;
  }

  async #flush(): Promise<void> {
    this.#isFlushing = true;
    this.#unflushed = 0;
    const batch = this.#store.batch();
    const dirty = [...this.#shards.values()].filter(({ machine }) => machine.isDirty);
    dirty.forEach(({ machine }) => machine.stage(batch));
    await batch.write();
    dirty.forEach(({ machine }) => machine.staged());
    this.#isFlushing = false;
  }

  #shard(id: ShardId): Shard {
    const shard = this.#shards.get(id);
    if (shard === undefined) {
      throw new Error(`there is no shard ${id}`);
    }
    return shard;
  }
}
