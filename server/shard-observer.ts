import type { NodeId, ShardId } from "../cluster/types.ts";
import type { ShardSnapshot } from "./metrics-source.ts";

/**
 * Remembers what a moment's status cannot tell: since when a shard has had no leader, what share of its time it had one, and for
 * how long a member has been behind. Pure: time comes in as monotonic milliseconds.
 */
export class ShardObserver {
  readonly #shards = new Map<ShardId, Watched>();
  readonly #onRecovered: (shard: ShardId, leaderlessMs: number) => void;

  /** `onRecovered` is told of each period without a leader when it ends. */
  constructor(onRecovered: (shard: ShardId, leaderlessMs: number) => void) {
    this.#onRecovered = onRecovered;
  }

  /** A replica is here, if that was not known: until a leader is known, its shard counts as unavailable. */
  opened(shard: ShardId, nowMs: number): void {
    this.#of(shard, nowMs);
  }

  /** The replica has left this node. */
  closed(shard: ShardId): void {
    this.#shards.delete(shard);
  }

  /**
   * The replica's opinion of who leads has changed. `silentMs`: for how long the old leader had been silent before that, so that
   * the time in which nobody could tell yet is counted too.
   */
  leaderChanged(
    shard: ShardId,
    leader: NodeId | null,
    nowMs: number,
    silentMs: (oldLeader: NodeId) => number,
  ): void {
    const watched = this.#of(shard, nowMs);
    if (watched.leader === leader) {
      return;
    }
    const silence = watched.leader === null ? 0 : silentMs(watched.leader);
    const since = watched.leaderlessSinceMs ?? Math.max(watched.openedAtMs, nowMs - silence);
    watched.leader = leader;
    if (leader === null) {
      watched.leaderlessSinceMs = since;
      return;
    }
    watched.leaderlessSinceMs = null;
    watched.leaderChanges += 1;
    watched.leaderlessMs += nowMs - since;
    // The first leader after the start of this replica ends no outage that anybody here has seen the beginning of.
    if (watched.leaderChanges > 1) {
      this.#onRecovered(shard, nowMs - since);
    }
  }

  /** Totals since the replica opened. */
  facts(shard: ShardId, nowMs: number): ShardFacts {
    const watched = this.#of(shard, nowMs);
    const open =
      watched.leaderlessSinceMs === null ? 0 : Math.max(0, nowMs - watched.leaderlessSinceMs);
    const leaderlessMs = watched.leaderlessMs + open;
    const ageMs = nowMs - watched.openedAtMs;
    return {
      availability: ageMs <= 0 ? 0 : Math.max(0, 1 - leaderlessMs / ageMs),
      unavailableSeconds: leaderlessMs / 1000,
      leaderChanges: watched.leaderChanges,
    };
  }

  /**
   * Of a leader: for how many milliseconds each member has lacked something that the leader already had at an earlier sample.
   * Call it regularly; what happens between two samples is not seen, and a member that keeps up with them is 0 behind.
   */
  sampleLag(replica: ShardSnapshot, nowMs: number): ReadonlyMap<NodeId, number> {
    const { lags } = this.#of(replica.shard, nowMs);
    const behind = new Map<NodeId, number>();
    for (const member of lags.keys()) {
      if (!replica.matchIndexes.has(member)) {
        lags.delete(member);
      }
    }
    for (const [member, matchIndex] of replica.matchIndexes) {
      const lag = lags.get(member);
      if (lag === undefined || matchIndex >= lag.targetIndex) {
        lags.set(member, { targetIndex: replica.lastIndex, sinceMs: nowMs });
        behind.set(member, 0);
      } else {
        behind.set(member, nowMs - lag.sinceMs);
      }
    }
    return behind;
  }

  #of(shard: ShardId, nowMs: number): Watched {
    let watched = this.#shards.get(shard);
    if (watched === undefined) {
      watched = {
        openedAtMs: nowMs,
        leader: null,
        leaderlessSinceMs: nowMs,
        leaderlessMs: 0,
        leaderChanges: 0,
        lags: new Map(),
      };
      this.#shards.set(shard, watched);
    }
    return watched;
  }
}

/** What the observer knows of one shard since its replica opened here. */
export interface ShardFacts {
  /** 0 to 1. */
  readonly availability: number;
  readonly unavailableSeconds: number;
  readonly leaderChanges: number;
}

interface Watched {
  readonly openedAtMs: number;
  leader: NodeId | null;
  /** Null while a leader is known. */
  leaderlessSinceMs: number | null;
  /** Of periods that have ended. */
  leaderlessMs: number;
  leaderChanges: number;
  readonly lags: Map<NodeId, Lag>;
}

/** The member has not reached `targetIndex`, which the leader had at `sinceMs`. */
interface Lag {
  readonly targetIndex: number;
  readonly sinceMs: number;
}
