import { LogIndex, type NodeId, type ShardId } from "../types.ts";
import type { MultiRaftOptions } from "./options.ts";
import type { Replica } from "./replica.ts";
import type { Conclusion, StateClaim } from "./state-comparison.ts";
import { bestSuccessor } from "./supervisor.ts";
import type { ShardDigest } from "./transport.ts";

/** The node around the comparisons. */
export interface DigestCheckHost {
  readonly options: MultiRaftOptions;
  replica(shard: ShardId): Replica | null;
  replicas(): IterableIterator<Replica>;
  tell(to: NodeId, digest: ShardDigest): void;
  wake(replica: Replica): void;
  /** Deletes what the replica holds; it begins anew without a log, in quarantine. */
  quarantine(replica: Replica): void;
}

/**
 * Compares the states of replicas, and takes this node's own out of service when it is the odd one: it serves and leads no more at once, hands
 * its leadership over if it has any, and begins anew. What is compared, and who is odd, is told in state-comparison.ts.
 */
export class DigestCheck {
  readonly #host: DigestCheckHost;
  /** Odd replicas on their way out, and for how many ticks. */
  readonly #leaving = new Map<Replica, number>();
  #compareIn: number;

  constructor(host: DigestCheckHost) {
    this.#host = host;
    this.#compareIn = host.options.limits.compareTicks;
  }

  /** Time has passed: leaders ask, odd replicas leave. Called between turns. */
  tick(elapsedTicks: number): void {
    this.#leave(elapsedTicks);
    this.#compareIn -= elapsedTicks;
    if (this.#compareIn > 0) {
      return;
    }
    this.#compareIn = this.#host.options.limits.compareTicks;
    for (const replica of this.#host.replicas()) {
      this.#ask(replica);
    }
  }

  /** What a peer's replica holds. To be called before the messages that came with it, which may lead beyond that index. */
  heard(from: NodeId, { shard, isQuestion, ...claim }: ShardDigest): void {
    const replica = this.#host.replica(shard);
    if (replica === null || !replica.takesPart || !replica.otherMembers().includes(from)) {
      return;
    }
    const { raft, machine, comparison } = replica;
    if (claim.index === 0) {
      // Who leads it must hear of the quarantine; who is led by it needs another leader. Both may be asleep.
      if (raft.isLeader || raft.leader === from) {
        raft.wake();
        this.#host.wake(replica);
      }
      return;
    }
    const { appliedIndex } = machine;
    if (claim.index === appliedIndex) {
      this.reached(replica);
    }
    const { voters } = raft.configuration;
    this.#follow(replica, comparison.heard({ from, claim, isQuestion }, appliedIndex, voters));
  }

  /** The replica's state is at an index that others have told their digest of. */
  reached(replica: Replica): void {
    const { voters } = replica.raft.configuration;
    this.#follow(replica, replica.comparison.reached(claimOf(replica), voters));
  }

  /** The peer may have begun anew: what its replicas hold is to be asked again. */
  forget(peer: NodeId): void {
    for (const { comparison } of this.#host.replicas()) {
      comparison.forget(peer);
    }
  }

  #ask(replica: Replica): void {
    const { raft, machine, comparison } = replica;
    if (raft.isQuarantined) {
      // Its leader may be asleep, and would not hear of the quarantine before it has something to send.
      if (raft.leader === null) {
        this.#tell(replica, { tell: holdsNothing, to: null });
      }
      return;
    }
    const members = replica.otherMembers();
    if (raft.isLeader && replica.takesPart && comparison.isDue(machine.appliedIndex, members)) {
      const { voters } = raft.configuration;
      this.#follow(replica, comparison.ask(claimOf(replica), voters), true);
    }
  }

  #follow(replica: Replica, conclusion: Conclusion, isQuestion = false): void {
    const { nodeId, events } = this.#host.options;
    this.#tell(replica, conclusion, isQuestion);
    const { findings } = conclusion;
    for (const finding of findings) {
      if (finding.odd.includes(nodeId) && !this.#leaving.has(replica)) {
        this.#leaving.set(replica, 0);
        replica.leaveService();
      }
      events.onStatesDiffer(replica.shard, finding);
    }
  }

  #tell(replica: Replica, word: Pick<Conclusion, "tell" | "to">, isQuestion = false): void {
    const { tell, to } = word;
    if (tell !== null) {
      for (const member of to === null ? replica.otherMembers() : [to]) {
        this.#host.tell(member, { shard: replica.shard, ...tell, isQuestion });
      }
    }
  }

  #leave(elapsedTicks: number): void {
    const { electionTicks } = this.#host.options.raft;
    for (const [replica, ticks] of this.#leaving) {
      const isHere = this.#host.replica(replica.shard) === replica;
      if (isHere && replica.raft.isLeader && ticks <= electionTicks) {
        this.#leaving.set(replica, ticks + elapsedTicks);
        this.#handOver(replica);
        continue;
      }
      this.#leaving.delete(replica);
      if (isHere) {
        this.#host.quarantine(replica);
      }
    }
  }

  #handOver(replica: Replica): void {
    const { raft } = replica;
    // A leader that sleeps does not know who is there: the answers to its heartbeats will tell.
    raft.wake();
    this.#host.wake(replica);
    const successor = bestSuccessor(raft.status());
    if (successor !== null && raft.transferLeader(successor)) {
      this.#host.options.events.onHandOver?.(replica.shard, "odd");
    }
  }
}

const holdsNothing: StateClaim = { index: LogIndex(0), digest: "" };

function claimOf({ machine }: Replica): StateClaim {
  return { index: machine.appliedIndex, digest: machine.digest };
}
