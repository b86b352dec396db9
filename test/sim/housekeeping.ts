import { nextConfiguration } from "../../cluster/multiraft/supervisor.ts";
import type { Raft } from "../../cluster/raft/raft.ts";
import type { ConfChange } from "../../cluster/raft/ready.ts";
import type { NodeId } from "../../cluster/types.ts";
import { haveHealthyMajority } from "./members-in-play.ts";
import type { SimNode } from "./sim-node.ts";
import type { Surroundings } from "./surroundings.ts";

/** Ticks between two looks of a leader at its members. */
const superviseTicks = 5;

/** What a host does for its groups because time passes: sleep and wake-up, and membership as it is wanted. */
export class Housekeeping {
  #around: Surroundings | null = null;
  /** Ticks for which a node has not heard another one, by pair. */
  readonly #silence = new Map<string, number>();
  readonly #superviseIn = new Map<NodeId, number>();
  /** Who shall take part. Null: whoever does. */
  #desired: ConfChange | null = null;

  /** Joins the world, which is built later than this. */
  join(around: Surroundings): void {
    this.#around = around;
  }

  /** The members that supervised leaders work towards. */
  want(members: ConfChange | null): void {
    this.#desired = members;
  }

  tick(node: SimNode, raft: Raft, elapsed: number): void {
    if (this.#around === null) {
      return;
    }
    this.#watchSilence(this.#around, node, raft, elapsed);
    this.#sleep(this.#around, node, raft);
    const superviseIn = (this.#superviseIn.get(node.id) ?? 0) - elapsed;
    this.#superviseIn.set(node.id, superviseIn > 0 ? superviseIn : superviseTicks);
    if (superviseIn <= 0 && raft.isLeader) {
      this.#supervise(this.#around, node, raft);
    }
  }

  /** Nodes hear each other whether groups sleep or not; a peer that falls silent wakes the groups that slept in its care. */
  #watchSilence(around: Surroundings, node: SimNode, raft: Raft, elapsed: number): void {
    const limit = around.scenario.raft.electionTicks;
    for (const [id, peer] of around.nodes) {
      const key = `${node.id}<${id}`;
      const isHeard = peer.isRunning && !around.network.isCut(id, node.id);
      const before = this.#silence.get(key) ?? 0;
      const silence = isHeard ? 0 : before + elapsed;
      this.#silence.set(key, silence);
      if (raft.isQuiesced && silence >= limit && before < limit) {
        raft.wake();
      }
    }
  }

  #sleep(around: Surroundings, node: SimNode, raft: Raft): void {
    const { quiesceTicks } = around.scenario.host;
    if (quiesceTicks === 0 || !raft.isLeader || raft.isQuiesced || node.isHealed) {
      return;
    }
    const { voters, learners } = raft.configuration;
    const limit = around.scenario.raft.electionTicks;
    const areHeard = [...voters, ...learners].every(
      (id) => (this.#silence.get(`${node.id}<${id}`) ?? 0) < limit,
    );
    if (node.idleTicks >= quiesceTicks && areHeard && raft.quiesce()) {
      around.trace?.(`${node.id} lets the group sleep`);
      around.statistics.quiesced += 1;
    }
  }

  /** Towards the wanted members; in any case, who lost its log is made a learner. */
  #supervise(around: Surroundings, node: SimNode, raft: Raft): void {
    const status = raft.status();
    const { voters, learners } = status.configuration;
    const desired = this.#desired ?? { voters, learners };
    const change = nextConfiguration(status, desired);
    if (change !== null && haveHealthyMajority(around, change.voters)) {
      const result = raft.proposeConfChange(change);
      around.trace?.(`${node.id} changes members to ${JSON.stringify(change)}: ${result.type}`);
      around.statistics.changes += result.type === "accepted" ? 1 : 0;
    }
  }
}
