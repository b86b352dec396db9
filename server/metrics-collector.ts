import type {
  DiskSnapshot,
  MetricsSource,
  NodeSnapshot,
  PeerSnapshot,
  ShardSnapshot,
} from "./metrics-source.ts";
import type { Instruments, Metrics } from "./metrics.ts";
import type { ShardObserver } from "./shard-observer.ts";

/** Turns a snapshot of the node into gauges when somebody scrapes, and only then. */
export class MetricsCollector {
  readonly #metrics: Metrics;
  readonly #source: MetricsSource;
  readonly #observer: ShardObserver;

  constructor(metrics: Metrics, source: MetricsSource, observer: ShardObserver) {
    this.#metrics = metrics;
    this.#source = source;
    this.#observer = observer;
  }

  /** The body of /metrics at this moment; `nowMs` is monotonic. */
  async scrape(nowMs: number): Promise<string> {
    this.collect(nowMs);
    return await this.#metrics.render();
  }

  /** Sets every gauge anew; what is gone (a moved shard, a removed peer) is gone from the next scrape too. */
  collect(nowMs: number): void {
    const into = this.#metrics.instruments;
    const snapshot = this.#source.snapshot();
    into.ringEpoch.set(snapshot.epoch);
    into.watchers.set(snapshot.watchers);
    collectWatches(into, snapshot.watchCounts);
    into.snapshotsInProgress.set({ op: "send" }, snapshot.snapshotsSending);
    into.snapshotsInProgress.set({ op: "receive" }, snapshot.snapshotsReceiving);
    into.ringOwnership.reset();
    for (const [node, ratio] of snapshot.ownership) {
      into.ringOwnership.set({ node }, ratio);
    }
    collectPeers(into, snapshot.peers);
    collectDisk(into, snapshot.disk);
    this.#collectShards(snapshot.shards, nowMs);
  }

  #collectShards(shards: readonly ShardSnapshot[], nowMs: number): void {
    const into = this.#metrics.instruments;
    for (const gauge of shardInstruments(into)) {
      gauge.reset();
    }
    const roles = new Map<string, number>([
      ["leader", 0],
      ["follower", 0],
    ]);
    for (const shard of shards) {
      roles.set(shard.role, (roles.get(shard.role) ?? 0) + 1);
      collectReplica(into, shard);
      const label = { shard: String(shard.shard) };
      const facts = this.#observer.facts(shard.shard, nowMs);
      into.shardAvailability.set(label, facts.availability);
      into.shardUnavailableSeconds.inc(label, facts.unavailableSeconds);
      into.leaderChanges.inc(label, facts.leaderChanges);
      // A counter that appears with its first event has, for Prometheus, never increased.
      into.digestMismatches.inc(label, 0);
      for (const [peer, lagMs] of this.#observer.sampleLag(shard, nowMs)) {
        into.followerLagSeconds.set({ ...label, peer }, lagMs / 1000);
      }
    }
    for (const [role, count] of roles) {
      into.shards.set({ role }, count);
    }
  }
}

function shardInstruments(into: Instruments): readonly { reset(): void }[] {
  return [
    into.shards,
    into.shardAvailability,
    into.shardUnavailableSeconds,
    into.leaderChanges,
    into.hasLeader,
    into.isLeader,
    into.isQuarantined,
    into.term,
    into.commitIndex,
    into.appliedIndex,
    into.lastLogIndex,
    into.logEntries,
    into.proposalsPending,
    into.followerLagEntries,
    into.followerLagSeconds,
    into.leaderLastContactSeconds,
  ];
}

function collectReplica(into: Instruments, replica: ShardSnapshot): void {
  const shard = String(replica.shard);
  const label = { shard };
  into.hasLeader.set(label, replica.leader === null ? 0 : 1);
  into.isLeader.set(label, replica.role === "leader" ? 1 : 0);
  into.isQuarantined.set(label, replica.isQuarantined ? 1 : 0);
  into.term.set(label, replica.term);
  into.commitIndex.set(label, replica.commitIndex);
  into.appliedIndex.set(label, replica.appliedIndex);
  into.lastLogIndex.set(label, replica.lastIndex);
  into.logEntries.set(label, replica.logEntries);
  into.proposalsPending.set(label, replica.pendingProposals);
  if (replica.leaderSilenceMs !== null) {
    into.leaderLastContactSeconds.set(label, replica.leaderSilenceMs / 1000);
  }
  for (const [peer, matchIndex] of replica.matchIndexes) {
    into.followerLagEntries.set({ shard, peer }, Math.max(0, replica.lastIndex - matchIndex));
  }
}

function collectPeers(into: Instruments, peers: readonly PeerSnapshot[]): void {
  const counters = [into.peerFrames, into.peerBytes, into.peerDropped, into.peerReconnects];
  for (const instrument of [into.peerUp, into.peerSuspicion, into.peerQueueBytes, ...counters]) {
    instrument.reset();
  }
  let connected = 0;
  for (const peer of peers) {
    const label = { peer: peer.id };
    connected += peer.isConnected ? 1 : 0;
    into.peerUp.set(label, peer.isConnected ? 1 : 0);
    into.peerSuspicion.set(label, peer.suspicion);
    into.peerQueueBytes.set(label, peer.queuedBytes);
    into.peerFrames.inc({ ...label, direction: "sent" }, peer.sentFrames);
    into.peerFrames.inc({ ...label, direction: "received" }, peer.receivedFrames);
    into.peerBytes.inc({ ...label, direction: "sent" }, peer.sentBytes);
    into.peerBytes.inc({ ...label, direction: "received" }, peer.receivedBytes);
    into.peerDropped.inc(label, peer.droppedFrames);
    into.peerReconnects.inc(label, peer.reconnects);
  }
  into.clusterMembers.set({ state: "connected" }, connected + 1);
  into.clusterMembers.set({ state: "disconnected" }, peers.length - connected);
}

/** Kept by the watches themselves: one event told to thousands of watchers must not pass through here each time. */
function collectWatches(into: Instruments, counts: NodeSnapshot["watchCounts"]): void {
  into.watchEvents.reset();
  into.watchEvents.inc(counts.events);
  into.watchInterruptions.reset();
  into.watchInterruptions.inc({ reason: "lagged" }, counts.lagged);
  into.watchInterruptions.inc({ reason: "reset" }, counts.reset);
}

function collectDisk(into: Instruments, disk: DiskSnapshot | null): void {
  if (disk !== null) {
    into.diskSizeBytes.set(disk.sizeBytes);
    into.diskFreeBytes.set(disk.freeBytes);
    into.storageBytes.set(disk.usedBytes);
  }
}
