import { readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { MultiRaft } from "../cluster/multiraft/multi-raft.ts";
import type { Replica } from "../cluster/multiraft/replica.ts";
import type { Transport } from "../cluster/multiraft/transport.ts";
import type { ClusterMap } from "../cluster/sharding/cluster-map.ts";
import type { NodeId, ShardId } from "../cluster/types.ts";
import type { FailureDetector } from "./failure-detector.ts";
import type { HealthSnapshot, HealthSource } from "./health.ts";
import type { ClusterView, NodeView, ShardView } from "./http/service.ts";
import type { LeaderWatch } from "./leader-watch.ts";
import type {
  DiskSnapshot,
  MetricsSource,
  NodeSnapshot,
  PeerSnapshot,
  ShardSnapshot,
} from "./metrics-source.ts";
import type { WatchCounts } from "./watch-stream.ts";

/** The parts of a running node that are looked at. */
export interface ObservationOptions {
  readonly nodeId: NodeId;
  readonly dataDirectory: string;
  readonly multiRaft: MultiRaft;
  readonly transport: Transport;
  readonly detector: FailureDetector;
  readonly leaders: LeaderWatch;
  readonly map: () => ClusterMap | null;
  readonly watcherCount: () => number;
  readonly watchCounts: () => Readonly<WatchCounts>;
  readonly clock: () => number;
}

/** Looks at the parts of a running node and says what it sees, for metrics, probes and GET /v1/cluster. Changes nothing. */
export class Observation implements MetricsSource, HealthSource {
  readonly #options: ObservationOptions;
  readonly #roundTripMs = new Map<NodeId, number>();
  readonly #lastHeardMs = new Map<NodeId, number>();
  #disk: DiskSnapshot | null = null;
  #lastTickMs: number | null = null;
  #storeFailure: string | null = null;
  isStopping = false;

  constructor(options: ObservationOptions) {
    this.#options = options;
  }

  ticked(nowMs: number): void {
    this.#lastTickMs = nowMs;
  }

  failed(error: Error): void {
    this.#storeFailure ??= error.message;
  }

  heard(peer: NodeId, roundTripMs: number | null): void {
    this.#lastHeardMs.set(peer, this.#options.clock());
    if (roundTripMs !== null) {
      this.#roundTripMs.set(peer, roundTripMs);
    }
  }

  /** Measures the disk; the scrape itself must not wait for it. */
  async measureDisk(): Promise<void> {
    const { dataDirectory } = this.#options;
    const { bsize, blocks, bavail } = await statfs(dataDirectory);
    const usedBytes = await sizeOfFiles(dataDirectory);
    this.#disk = { sizeBytes: blocks * bsize, freeBytes: bavail * bsize, usedBytes };
  }

  /** Milliseconds since anything was heard from the node; 0 for this node, and for one that was never heard. */
  silenceMs(node: NodeId): number {
    const heard = this.#lastHeardMs.get(node);
    return heard === undefined ? 0 : this.#options.clock() - heard;
  }

  /** How old this replica's state may be: since it last heard from its leader's node. 0 on the leader. */
  stalenessMs(replica: Replica): number {
    const { leader } = replica.raft;
    const { nodeId, clock } = this.#options;
    if (leader === nodeId) {
      return 0;
    }
    const heard = leader === null ? undefined : this.#lastHeardMs.get(leader);
    return heard === undefined ? Number.MAX_SAFE_INTEGER : Math.round(clock() - heard);
  }

  snapshot(): NodeSnapshot {
    const { multiRaft, map, watcherCount, watchCounts } = this.#options;
    const { sending, receiving } = multiRaft.snapshotCounts;
    return {
      epoch: map()?.epoch ?? 0,
      ownership: this.#ownership(),
      watchers: watcherCount(),
      watchCounts: watchCounts(),
      snapshotsSending: sending,
      snapshotsReceiving: receiving,
      shards: [...multiRaft.replicas()].map((replica) => this.#shard(replica)),
      peers: this.#peers(),
      disk: this.#disk,
    };
  }

  health(): HealthSnapshot {
    const { nodeId, clock, map, multiRaft } = this.#options;
    return {
      nodeId,
      storeFailure: this.#storeFailure,
      tickSilenceMs: this.#lastTickMs === null ? null : clock() - this.#lastTickMs,
      isStopping: this.isStopping,
      epoch: map()?.epoch ?? null,
      replicas: [...multiRaft.replicas()].map((replica) => ({
        shard: replica.shard,
        leader: replica.raft.leader,
        isLearner: replica.raft.configuration.learners.includes(nodeId),
        isQuarantined: replica.raft.isQuarantined || replica.isOutOfService,
        isReceivingSnapshot: multiRaft.isReceivingSnapshot(replica.shard),
        commitIndex: replica.raft.commitIndex,
        appliedIndex: replica.machine.appliedIndex,
      })),
    };
  }

  cluster(): ClusterView {
    const { nodeId, map } = this.#options;
    const current = map();
    return {
      clusterId: current?.clusterId ?? "",
      nodeId,
      epoch: current?.epoch ?? 0,
      nodes: (current?.nodes ?? []).map((node) => this.#node(node)),
      shards: (current?.shards ?? []).map(({ id, voters, learners }) =>
        this.#shardView(id, voters, learners),
      ),
    };
  }

  #node(node: ClusterMap["nodes"][number]): NodeView {
    const { nodeId, detector, multiRaft, clock } = this.#options;
    const isSelf = node.id === nodeId;
    return {
      id: node.id,
      httpAddress: node.httpAddress,
      peerAddress: node.peerAddress,
      isConnected: isSelf || multiRaft.isConnected(node.id),
      suspicion: isSelf ? 0 : detector.suspicion(node.id, clock()),
      roundTripMs: isSelf ? 0 : (this.#roundTripMs.get(node.id) ?? null),
    };
  }

  #shardView(id: ShardId, voters: readonly NodeId[], learners: readonly NodeId[]): ShardView {
    const replica = this.#options.multiRaft.replica(id);
    const leader = this.#options.leaders.leader(id);
    if (replica === null) {
      return { id, leader, voters, learners, local: null };
    }
    const { raft, machine } = replica;
    const status = raft.status();
    const lags = [...status.progress].map(
      ([member, { matchIndex }]) => [member, Math.max(0, status.lastIndex - matchIndex)] as const,
    );
    return {
      id,
      leader: raft.leader,
      voters: status.configuration.voters,
      learners: status.configuration.learners,
      local: {
        role: status.role,
        term: status.term,
        commitIndex: status.commitIndex,
        appliedIndex: machine.appliedIndex,
        revision: machine.revision,
        digest: machine.digest,
        lagEntries: Object.fromEntries(lags),
      },
    };
  }

  /** Share of the shards that each node leads, as far as this one knows. */
  #ownership(): ReadonlyMap<NodeId, number> {
    const shards = (this.#options.map()?.shards ?? []).filter((shard) => shard.tokens.length > 0);
    const led = new Map<NodeId, number>();
    for (const { id } of shards) {
      const leader = this.#options.leaders.leader(id);
      if (leader !== null) {
        led.set(leader, (led.get(leader) ?? 0) + 1 / shards.length);
      }
    }
    return led;
  }

  #shard(replica: Replica): ShardSnapshot {
    const { raft, machine, proposals } = replica;
    const status = raft.status();
    const { nodeId } = this.#options;
    const isLearner = status.configuration.learners.includes(nodeId);
    const { leader } = status;
    const isFollowing = status.role === "follower" && !status.isQuiesced && leader !== null;
    return {
      shard: replica.shard,
      role: isLearner ? "learner" : status.role,
      leader: status.leader,
      isQuarantined: status.isQuarantined || replica.isOutOfService,
      term: status.term,
      commitIndex: status.commitIndex,
      appliedIndex: machine.appliedIndex,
      lastIndex: status.lastIndex,
      logEntries: status.lastIndex - status.compactedIndex,
      pendingProposals: proposals.queuedCount + proposals.waitingCount,
      leaderSilenceMs: isFollowing ? this.silenceMs(leader) : null,
      matchIndexes: new Map(
        [...status.progress].map(([member, { matchIndex }]) => [member, matchIndex]),
      ),
    };
  }

  #peers(): PeerSnapshot[] {
    const { detector, transport, clock } = this.#options;
    return [...transport.status()].map(([id, status]) => ({
      ...status,
      id,
      suspicion: detector.suspicion(id, clock()),
    }));
  }
}

/** Bytes of all files below a directory. The store deletes files as it goes: one that is gone counts nothing. */
async function sizeOfFiles(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) {
      const found = await stat(join(entry.parentPath, entry.name)).catch(() => null);
      bytes += found?.size ?? 0;
    }
  }
  return bytes;
}
