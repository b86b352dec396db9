import type { NodeId } from "../../cluster/types.ts";
import { haveHealthyMajority } from "./members-in-play.ts";
import type { Prng } from "./prng.ts";
import type { SimNode } from "./sim-node.ts";
import type { Surroundings } from "./surroundings.ts";

/** Somebody who keeps changing who takes part: grows, shrinks, swaps, removes leaders, takes removed nodes back. */
export class Membership {
  readonly #around: Surroundings;
  readonly #random: Prng;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#random = around.random.fork();
  }

  /** Wants other members: tells the leader at once, or lets its supervision work towards them. */
  change(leader: SimNode, times: number): void {
    const { scenario, housekeeping, trace, statistics } = this.#around;
    for (let time = 0; time < times; time++) {
      const target = this.#draw(leader);
      if (target === null) {
        return;
      }
      this.#startNewcomers([...target.voters, ...target.learners]);
      if (scenario.host.isSupervised) {
        housekeeping.want(target);
        continue;
      }
      if (!leader.isRunning) {
        continue;
      }
      leader.serve((raft) => {
        const result = raft.proposeConfChange(target);
        trace?.(
          `${leader.id} is told to change members to ${JSON.stringify(target)}: ${result.type}`,
        );
        statistics.changes += result.type === "accepted" ? 1 : 0;
      });
    }
  }

  /** Some members, such that a quorum of the voters has its disk; without supervision only who learns already may vote. */
  #draw(leader: SimNode): { voters: NodeId[]; learners: NodeId[] } | null {
    const { nodes, scenario } = this.#around;
    const ids = [...nodes.keys()];
    const now = leader.raft?.configuration ?? this.#around.ledger.configuration;
    const mayVote = scenario.host.isSupervised ? ids : [...now.voters, ...now.learners];
    const size = this.#random.between(1, mayVote.length);
    // Small changes are the usual ones; large ones replace everybody.
    const voters = this.#random.chance(0.6)
      ? this.#swap(now.voters, mayVote)
      : this.#random.sample(mayVote, size);
    const rest = ids.filter((id) => !voters.includes(id));
    const learners = this.#random.sample(rest, this.#random.between(0, Math.min(2, rest.length)));
    return haveHealthyMajority(this.#around, voters) ? { voters, learners } : null;
  }

  /** One in, one out, or only one of them. */
  #swap(voters: readonly NodeId[], mayVote: readonly NodeId[]): NodeId[] {
    const kind = this.#random.pick(["in", "out", "both"] as const);
    const others = mayVote.filter((id) => !voters.includes(id));
    const incoming = kind === "out" ? [] : this.#random.sample(others, 1);
    const kept =
      kind === "in" ? voters : this.#random.sample(voters, Math.max(1, voters.length - 1));
    return [...kept, ...incoming];
  }

  /** A node that is named for the first time, or whose process has ended, is started; as a learner, whatever it shall become. */
  #startNewcomers(ids: readonly NodeId[]): void {
    for (const id of ids) {
      const node = this.#around.nodes.get(id);
      if (node !== undefined && node.incarnation === 0) {
        node.disk.create(this.#around.ledger.configuration);
        node.start();
      }
    }
  }
}
