import type { MultiRaft } from "../cluster/multiraft/multi-raft.ts";
import type { Replica } from "../cluster/multiraft/replica.ts";
import type { ShardId } from "../cluster/types.ts";
import type { KvStateMachine } from "../storage/kv-state-machine.ts";
import type { Query, QueryResult } from "../storage/queries.ts";
import { ServiceError } from "./errors.ts";
import type { Consistency } from "./http/service.ts";
import type { Timers } from "./timers.ts";
import type { WorkObserver } from "./work-observer.ts";

/** The groups and states of this node, and its clock. */
export interface LocalReadsOptions {
  readonly multiRaft: MultiRaft;
  readonly machine: (shard: ShardId) => KvStateMachine | null;
  readonly clock: () => number;
  readonly timers: Timers;
  /** Milliseconds since the shard's leader was last heard of by this node. */
  readonly stalenessMs: (replica: Replica) => number;
  readonly work: WorkObserver | null;
}

/** What a replica of this node answered. */
export interface LocalRead {
  readonly value: QueryResult;
  readonly stalenessMs: number;
}

/** Reads of shards that this node holds, at every level of consistency. */
export class LocalReads {
  readonly #options: LocalReadsOptions;

  constructor(options: LocalReadsOptions) {
    this.#options = options;
  }

  /** Whether this node holds a replica that can be read: one that lost its log, or has left its group, has nothing to say. */
  hosts(shard: ShardId): boolean {
    return this.#options.multiRaft.replica(shard)?.takesPart ?? false;
  }

  /**
   * Null when this replica cannot serve it and another may. Throws `overloaded`, or `no_leader` when nobody confirmed the read before
   * the deadline.
   */
  async read(
    shard: ShardId,
    query: Query,
    consistency: Consistency,
    deadlineMs: number,
  ): Promise<LocalRead | null> {
    const replica = this.#options.multiRaft.replica(shard);
    const machine = this.#options.machine(shard);
    if (replica === null || machine === null) {
      return null;
    }
    if (!this.#mayAnswerNow(replica, consistency)) {
      await this.confirm(shard, deadlineMs);
      return { value: await machine.query(query), stalenessMs: 0 };
    }
    const stalenessMs = consistency.type === "stale" ? this.#options.stalenessMs(replica) : 0;
    return { value: await machine.query(query), stalenessMs };
  }

  #mayAnswerNow(replica: Replica, consistency: Consistency): boolean {
    switch (consistency.type) {
      case "stale":
        return true;
      case "linearizable":
        return false;
      case "lease": {
        const index = replica.raft.leaseRead();
        return index !== null && replica.machine.appliedIndex >= index;
      }
      case "session":
        return replica.machine.revision >= (consistency.revisions.get(replica.shard) ?? 0);
    }
  }

  /** Resolves when a quorum has confirmed that this replica's state is at least as new as now. Rejects as `read` throws. */
  confirm(shard: ShardId, deadlineMs: number): Promise<void> {
    const { multiRaft, clock, timers, work } = this.#options;
    const startedMs = clock();
    return new Promise((resolve, reject) => {
      const timer = timers.after(Math.max(1, deadlineMs - startedMs), () => {
        work?.onReadIndex(clock() - startedMs, "timeout");
        reject(noLeader(shard));
      });
      const refusal = multiRaft.read(shard, (outcome) => {
        timer.cancel();
        work?.onReadIndex(clock() - startedMs, outcome === "ready" ? null : outcome);
        if (outcome === "ready") {
          resolve();
        } else {
          reject(noLeader(shard));
        }
      });
      if (refusal === null) {
        return;
      }
      timer.cancel();
      reject(refusal === "overloaded" ? overloaded(shard) : noLeader(shard));
    });
  }
}

function noLeader(shard: ShardId): ServiceError {
  return new ServiceError(
    "no_leader",
    `no leader of shard ${shard} confirmed the read before its deadline`,
    { shard, retryAfterMs: 1000 },
  );
}

function overloaded(shard: ShardId): ServiceError {
  return new ServiceError("overloaded", `too many reads wait on shard ${shard}`, {
    shard,
    retryAfterMs: 1000,
  });
}
