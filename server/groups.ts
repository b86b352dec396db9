import { MultiRaft } from "../cluster/multiraft/multi-raft.ts";
import type {
  MultiRaftEvents,
  MultiRaftLimits,
  MultiRaftOptions,
} from "../cluster/multiraft/options.ts";
import type { StateMachine } from "../cluster/multiraft/state-machine.ts";
import type { Transport } from "../cluster/multiraft/transport.ts";
import type { ClusterMap } from "../cluster/sharding/cluster-map.ts";
import { metaShard, type ShardId } from "../cluster/types.ts";
import type { Database } from "../storage/database.ts";
import { encodeEntryPayload } from "../storage/entry-payload.ts";
import { KvStateMachine } from "../storage/kv-state-machine.ts";
import { DatabaseLogStore, type Witness } from "../storage/log-store.ts";
import { MetaStateMachine } from "../storage/meta-state-machine.ts";
import { RowCache } from "../storage/row-cache.ts";
import { stateLimits } from "../storage/state-limits.ts";
import type { Config } from "./config.ts";
import type { WatchHub } from "./watch-hub.ts";

/** The disk, the network and the clock that the groups run on. */
export interface GroupsOptions {
  readonly config: Config;
  readonly database: Database;
  readonly witness: Witness | null;
  readonly transport: Transport;
  readonly hub: WatchHub;
  readonly events: MultiRaftEvents;
  readonly onMap: (map: ClusterMap) => void;
  /** A replica here has applied the end of a key's time to live. */
  readonly onExpired?: () => void;
  readonly clock: () => number;
  readonly schedule: (run: () => void) => void;
  readonly after: MultiRaftOptions["after"];
  readonly random: () => number;
}

/** The journal holds the log of all shards, up to twice `logRetainedBytes`, and what it takes to let old parts of it go. */
const journalPerRetainedLog = 6;

/** The node's groups with their state machines, joined to storage and transport. */
export class Groups {
  readonly multiRaft: MultiRaft;
  readonly store: DatabaseLogStore;
  readonly #options: GroupsOptions;
  readonly #rowCache: RowCache;
  #meta: MetaStateMachine | null = null;

  constructor(options: GroupsOptions) {
    this.#options = options;
    this.#rowCache = new RowCache(options.config.rowCacheBytes);
    this.store = new DatabaseLogStore(
      options.database,
      options.witness,
      journalPerRetainedLog * options.config.logRetainedBytes,
    );
    const { config, transport, events, clock, schedule, after, random } = options;
    this.multiRaft = new MultiRaft({
      nodeId: config.nodeId,
      raft: {
        electionTicks: config.electionTicks,
        electionJitterTicks: config.electionJitterTicks,
        heartbeatTicks: config.heartbeatTicks,
        fastElectionJitterTicks: 1,
        electionPriorityDelayTicks: 0,
        inflightMessagesMax: config.inflightMessagesMax,
        inflightBytesMax: config.inflightBytesPerFollowerMax,
        appendBytesMax: config.appendBytesMax,
        uncommittedBytesMax: config.uncommittedBytesMax,
        pendingReadsMax: 4096,
        leaseMarginTicks: Math.max(1, Math.floor(config.electionTicks / 10)),
      },
      limits: groupLimits(config),
      store: this.store,
      openStateMachine: (shard) => this.#open(shard),
      transport,
      encodePayload: encodeEntryPayload,
      clock,
      schedule,
      after,
      random,
      events,
    });
  }

  /** The state of a data shard's replica here; null when there is none. */
  machine(shard: ShardId): KvStateMachine | null {
    const machine = this.multiRaft.replica(shard)?.machine;
    return machine instanceof KvStateMachine ? machine : null;
  }

  /** The map as this node has applied it; null before the founding, or without a replica of the meta shard. */
  get map(): ClusterMap | null {
    return this.#meta?.map ?? null;
  }

  #open(shard: ShardId): StateMachine {
    const { config, database, hub, onMap, clock } = this.#options;
    if (shard === metaShard) {
      this.#meta = new MetaStateMachine({ database, store: this.store, onMap });
      return this.#meta;
    }
    return new KvStateMachine({
      database,
      store: this.store,
      rowCache: this.#rowCache,
      shard,
      limits: stateLimits,
      deadlines: {
        clock,
        checkpointIntervalMs: 10_000,
        checkpointRecordsMax: 1024,
        reofferMs: 2000,
        graceMs: 500,
      },
      history: {
        eventsMax: config.watchHistoryEvents,
        bytesMax: () => config.watchHistoryBytes / Math.max(1, this.multiRaft.replicaCount),
      },
      onChanges: (index, events) => hub.publish({ shard, index, events }),
      onReplaced: (index) => hub.replaced(shard, index),
      onExpired: () => this.#options.onExpired?.(),
    });
  }
}

function groupLimits(config: Config): MultiRaftLimits {
  const electionMs = config.electionTicks * config.tickMs;
  return {
    queuedCommandsMax: config.inflightRequestsMax,
    queuedBytesMax: config.uncommittedBytesMax,
    entryCommandsMax: 512,
    entryBytesMax: config.appendBytesMax,
    queuedReadsMax: config.inflightRequestsMax,
    readRetryMs: electionMs,
    retainedBytes: config.logRetainedBytes,
    retainedEntries: config.logRetainedEntries,
    // Under load so much is there before the state has become old for the garbage collector, which would have to find it there.
    unstagedBytesMax: 32 * 1024,
    snapshotChunkBytes: config.snapshotChunkBytes,
    snapshotSendsMax: 2,
    stuckWriteMs: electionMs,
    quiesceTicks: Math.max(1, Math.floor(config.electionTicks / 2)),
    // Two heartbeats are missing.
    silentPeerTicks: 2 * config.heartbeatTicks + 2,
    superviseTicks: Math.max(1, Math.floor(config.electionTicks / 4)),
    rebalanceTicks: 5 * config.electionTicks,
    compareTicks: 10 * config.electionTicks,
  };
}
