import type {
  HandOverReason,
  MultiRaftEvents,
  SnapshotTransfer,
} from "../cluster/multiraft/options.ts";
import type { NodeId, ShardId } from "../cluster/types.ts";
import { StoreFailure } from "../storage/failure.ts";
import type { Instruments, Metrics } from "./metrics.ts";

type SnapshotOperation = Parameters<MultiRaftEvents["onSnapshot"]>[1];

/** Puts what a node's groups tell of themselves into metrics. */
export class GroupMetrics {
  readonly #into: Instruments;
  readonly #nodeId: NodeId;

  constructor(metrics: Metrics, nodeId: NodeId) {
    this.#into = metrics.instruments;
    this.#nodeId = nodeId;
  }

  /** The groups have stopped for good; only what the store did counts as an error of storage. */
  onFatal(error: Error): void {
    if (error instanceof StoreFailure) {
      this.#into.storageErrors.inc({ code: error.code }, 1);
    }
  }

  /** A shard's replica here has heard of a leader, or of one in a new term. */
  onLeaderChange(leader: NodeId | null): void {
    if (leader === this.#nodeId) {
      this.#into.electionsWon.inc(1);
    }
  }

  onHandOver(reason: HandOverReason): void {
    this.#into.handOvers.inc({ reason }, 1);
  }

  onWrite(durationMs: number, entries: number): void {
    this.#into.syncSeconds.observe(durationMs / 1000);
    if (entries > 0) {
      this.#into.batchEntries.observe(entries);
    }
  }

  /** Bytes count whether the snapshot arrived or not: they have travelled. */
  onSnapshot(op: SnapshotOperation, error: Error | null, transfer: SnapshotTransfer | null): void {
    (error === null ? this.#into.snapshots : this.#into.snapshotFailures).inc({ op }, 1);
    if (transfer !== null) {
      this.#into.snapshotBytes.inc({ op }, transfer.bytes);
      if (error === null) {
        this.#into.snapshotSeconds.observe({ op }, transfer.durationMs / 1000);
      }
    }
  }

  onStatesDiffer(shard: ShardId): void {
    this.#into.digestMismatches.inc({ shard: String(shard) }, 1);
  }

  onExpired(): void {
    this.#into.expiredKeys.inc(1);
  }
}
