import { NodeId, ShardId } from "../../../cluster/types.ts";
import type { NodeSnapshot, PeerSnapshot, ShardSnapshot } from "../../../server/metrics-source.ts";

/** A replica that follows n1 and is up to date, but for what `changes` says. */
export function replicaSnapshot(changes: Partial<ShardSnapshot>): ShardSnapshot {
  return {
    shard: ShardId(1),
    role: "follower",
    leader: NodeId("n1"),
    isQuarantined: false,
    term: 3,
    commitIndex: 1000,
    appliedIndex: 1000,
    lastIndex: 1000,
    logEntries: 100,
    pendingProposals: 0,
    leaderSilenceMs: 20,
    matchIndexes: new Map(),
    ...changes,
  };
}

/** A connected peer that has exchanged some frames. */
export function peerSnapshot(changes: Partial<PeerSnapshot>): PeerSnapshot {
  return {
    id: NodeId("n2"),
    isConnected: true,
    suspicion: 0.1,
    queuedBytes: 0,
    sentFrames: 10,
    receivedFrames: 11,
    sentBytes: 1000,
    receivedBytes: 1100,
    droppedFrames: 0,
    reconnects: 1,
    ...changes,
  };
}

/** A node of a three-node cluster which leads every third of its `shards` replicas. */
export function nodeSnapshot(shards: number): NodeSnapshot {
  const n2 = NodeId("n2");
  const n3 = NodeId("n3");
  return {
    epoch: 4,
    ownership: new Map([
      [NodeId("n1"), 0.34],
      [n2, 0.33],
      [n3, 0.33],
    ]),
    watchers: 2,
    watchCounts: { events: 0, lagged: 0, reset: 0 },
    snapshotsSending: 0,
    snapshotsReceiving: 0,
    shards: Array.from({ length: shards }, (_, id) =>
      id % 3 === 0
        ? replicaSnapshot({
            shard: ShardId(id),
            role: "leader",
            leaderSilenceMs: null,
            matchIndexes: new Map([
              [n2, 1000],
              [n3, 990],
            ]),
          })
        : replicaSnapshot({ shard: ShardId(id), leader: n2 }),
    ),
    peers: [peerSnapshot({ id: n2 }), peerSnapshot({ id: n3 })],
    disk: { sizeBytes: 1e12, freeBytes: 5e11, usedBytes: 1e9 },
  };
}
