import type { NodeId } from "../types.ts";
import type { DesiredReplicas, HandOverReason, MultiRaftOptions } from "./options.ts";
import type { Peers } from "./peers.ts";
import type { Replica } from "./replica.ts";
import { bestSuccessor, betterLeader, nextConfiguration } from "./supervisor.ts";

/** Commands that one replica may propose for itself per tick: expirations, checkpoints. */
const dueCommandsMax = 256;

/** What housekeeping looks after, and how it makes itself heard. */
export interface HousekeepingHost {
  readonly options: MultiRaftOptions;
  readonly peers: Peers;
  replicas(): IterableIterator<Replica>;
  desired(replica: Replica): DesiredReplicas | null;
  mark(replica: Replica): void;
  remove(replica: Replica): void;
  writeAgeMs(nowMs: number): number;
}

/**
 * What happens because time passes: ticks of the groups that are awake, putting idle groups to sleep and waking them when a peer falls
 * silent, keeping membership and leadership as the map wants them, letting go of leadership when the disk hangs.
 */
export class Housekeeping {
  readonly #host: HousekeepingHost;
  readonly #awake = new Set<Replica>();
  #silent = new Set<NodeId>();
  #now = 0;
  #superviseIn: number;
  /** Since when each led group has had a healthier place for its leader. */
  readonly #misplacedSince = new Map<Replica, number>();

  constructor(host: HousekeepingHost) {
    this.#host = host;
    this.#superviseIn = host.options.limits.superviseTicks;
  }

  /** Ticks since the start. */
  get now(): number {
    return this.#now;
  }

  wake(replica: Replica): void {
    this.#awake.add(replica);
  }

  forget(replica: Replica): void {
    this.#awake.delete(replica);
    this.#misplacedSince.delete(replica);
  }

  /** @param elapsedTicks tick intervals that really passed since the last call; more than 2 means that the process was paused */
  tick(elapsedTicks: number): void {
    this.#now += elapsedTicks;
    if (elapsedTicks <= 2) {
      this.#watchSilence();
    }
    for (const replica of this.#awake) {
      this.#tickReplica(replica, elapsedTicks);
    }
    for (const replica of this.#host.replicas()) {
      this.#proposeDue(replica);
    }
    this.#superviseIn -= elapsedTicks;
    if (this.#superviseIn <= 0) {
      this.#superviseIn = this.#host.options.limits.superviseTicks;
      for (const replica of this.#awake) {
        this.#supervise(replica);
      }
    }
    this.#letGoWhenStuck();
  }

  #tickReplica(replica: Replica, elapsedTicks: number): void {
    const { raft, reads } = replica;
    const { limits, clock } = this.#host.options;
    raft.tick(elapsedTicks);
    reads.release();
    reads.retryLost(clock(), limits.readRetryMs);
    replica.idleTicks += elapsedTicks;
    if (raft.isLeader && replica.idleTicks > limits.quiesceTicks && this.#maySleep(replica)) {
      raft.quiesce();
    }
    if (raft.isQuiesced) {
      this.#awake.delete(replica);
    }
    this.#host.mark(replica);
  }

  /** Node-level heartbeats speak for a sleeping group only while all its members are heard and nothing is left to arrange. */
  #maySleep(replica: Replica): boolean {
    if (replica.proposals.queuedCount > 0 || replica.reads.pendingCount > 0) {
      return false;
    }
    if (replica.otherMembers().some((id) => this.#silent.has(id))) {
      return false;
    }
    const desired = this.#host.desired(replica);
    if (desired === null) {
      return true;
    }
    const status = replica.raft.status();
    return nextConfiguration(status, desired) === null && betterLeader(status, desired) === null;
  }

  /** A peer that falls silent may be dead: the groups that slept in its care must keep time again. */
  #watchSilence(): void {
    const { peers, options } = this.#host;
    const silent = new Set<NodeId>();
    for (const id of peers.ids) {
      if (peers.isSilent(id, this.#now, options.limits.silentPeerTicks)) {
        silent.add(id);
      }
    }
    const fresh = [...silent].filter((id) => !this.#silent.has(id));
    this.#silent = silent;
    if (fresh.length === 0) {
      return;
    }
    for (const replica of this.#host.replicas()) {
      const isAffected = replica.otherMembers().some((id) => fresh.includes(id));
      if (replica.raft.isQuiesced && isAffected) {
        replica.raft.wake();
        this.#awake.add(replica);
      }
    }
  }

  #proposeDue(replica: Replica): void {
    if (!replica.raft.isLeader) {
      return;
    }
    for (const command of replica.machine.dueCommands(dueCommandsMax)) {
      // Fire and forget: what is refused now is due again later.
      if (!replica.propose(command, () => {})) {
        break;
      }
      this.#host.mark(replica);
    }
  }

  #supervise(replica: Replica): void {
    const desired = this.#host.desired(replica);
    if (desired === null || !replica.raft.isLeader) {
      this.#misplacedSince.delete(replica);
      this.#letGoWhenDone(replica, desired);
      return;
    }
    const status = replica.raft.status();
    const change = nextConfiguration(status, desired);
    if (change !== null) {
      replica.raft.proposeConfChange(change);
      this.#host.mark(replica);
      return;
    }
    const better = betterLeader(status, desired);
    if (better === null) {
      this.#misplacedSince.delete(replica);
      return;
    }
    const since = this.#misplacedSince.get(replica) ?? this.#now;
    this.#misplacedSince.set(replica, since);
    if (this.#now - since >= this.#host.options.limits.rebalanceTicks) {
      this.#misplacedSince.delete(replica);
      this.#handOver(replica, better, "preferred");
      this.#host.mark(replica);
    }
  }

  /** A replica that the map does not want here and that has left its group is deleted when nobody needs its word any more. */
  #letGoWhenDone(replica: Replica, desired: DesiredReplicas | null): void {
    const { nodeId } = this.#host.options;
    const isWanted =
      desired === null || desired.voters.includes(nodeId) || desired.learners.includes(nodeId);
    if (isWanted || replica.isMember) {
      return;
    }
    if (replica.raft.mayBeDeleted(desired.voters)) {
      this.#host.remove(replica);
    } else {
      this.#host.mark(replica);
    }
  }

  /** A leader whose disk hangs cannot be relied on: somebody with a working disk should lead (etcd #13527). */
  #letGoWhenStuck(): void {
    const { clock, limits } = this.#host.options;
    if (this.#host.writeAgeMs(clock()) > limits.stuckWriteMs) {
      this.handOverAll();
    }
  }

  /** Asks a healthy follower of every led group to take over; returns how many groups are still led here. */
  handOverAll(): number {
    let led = 0;
    for (const replica of this.#host.replicas()) {
      if (!replica.raft.isLeader) {
        continue;
      }
      const status = replica.raft.status();
      const successor = bestSuccessor(status);
      if (successor === null) {
        continue;
      }
      led += 1;
      if (status.transferTarget === null) {
        this.#handOver(replica, successor, "leaving");
        this.wake(replica);
        this.#host.mark(replica);
      }
    }
    return led;
  }

  #handOver(replica: Replica, to: NodeId, reason: HandOverReason): void {
    if (replica.raft.transferLeader(to)) {
      this.#host.options.events.onHandOver?.(replica.shard, reason);
    }
  }
}
