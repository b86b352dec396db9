import { decodeConfiguration } from "../../cluster/raft/membership.ts";
import type { Configuration, NodeId } from "../../cluster/types.ts";
import { isQuorum } from "./quorums.ts";
import type { Surroundings } from "./surroundings.ts";

/**
 * Every configuration by which some node may still decide something: the last committed one, those in logs after it, and those of
 * voters that do not know of it yet.
 */
export function configurationsInPlay(around: Surroundings): readonly Configuration[] {
  const { ledger, nodes } = around;
  const inPlay: Configuration[] = [ledger.configuration];
  for (const node of nodes.values()) {
    const entries =
      node.raft === null
        ? node.disk.entries
        : node.raft.entriesBetween(node.raft.compactedIndex, node.raft.lastIndex);
    for (const entry of entries) {
      const configuration = entry.type === "config" ? decodeConfiguration(entry.payload) : null;
      if (configuration !== null && entry.index > ledger.configurationIndex) {
        inPlay.push(configuration);
      }
    }
  }
  const voters = new Set(inPlay.flatMap((each) => [...each.voters, ...each.votersOutgoing]));
  for (const id of voters) {
    const node = nodes.get(id);
    if (node !== undefined && !node.disk.isQuarantined) {
      // What it goes by now, and what it will go by if it restarts and has forgotten what it knew to be committed.
      inPlay.push(node.raft?.configuration ?? node.disk.applied.configuration);
      inPlay.push(node.disk.applied.configuration);
    }
  }
  return inPlay;
}

/** Whether the nodes that `isThere` are a quorum of every configuration in play. */
export function healthyQuorumIsLeft(
  around: Surroundings,
  isThere: (id: NodeId) => boolean,
): boolean {
  return configurationsInPlay(around).every((configuration) => isQuorum(configuration, isThere));
}

/**
 * Whether more than half of `voters` have their disk. No group survives the loss of more; whoever changes members may not know yet that
 * a disk is lost, so the world sees to it.
 */
export function haveHealthyMajority(around: Surroundings, voters: readonly NodeId[]): boolean {
  return isQuorum(
    { voters, votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
    (id) => around.nodes.get(id)?.disk.isQuarantined === false,
  );
}
