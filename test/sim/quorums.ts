import type { Configuration, NodeId } from "../../cluster/types.ts";

/*
 * Quorums, written again and differently from cluster/raft/quorum.ts: a checker that shares its arithmetic with what it checks
 * agrees with every mistake in it.
 */

/** Whether the nodes for which `holds` is true are a quorum: more than half of the voters, and while joint of the outgoing ones too. */
export function isQuorum(configuration: Configuration, holds: (id: NodeId) => boolean): boolean {
  return (
    isMoreThanHalf(configuration.voters, holds) &&
    (configuration.votersOutgoing.length === 0 ||
      isMoreThanHalf(configuration.votersOutgoing, holds))
  );
}

/** Whether every quorum of one configuration shares a node with every quorum of the other: tried out on all sets of nodes. */
export function haveOverlappingQuorums(one: Configuration, other: Configuration): boolean {
  const nodes = [
    ...new Set([...one.voters, ...one.votersOutgoing, ...other.voters, ...other.votersOutgoing]),
  ];
  for (let set = 0; set < 2 ** nodes.length; set++) {
    const isIn = (id: NodeId): boolean => (set & (1 << nodes.indexOf(id))) !== 0;
    if (isQuorum(one, isIn) && isQuorum(other, (id) => !isIn(id))) {
      return false;
    }
  }
  return true;
}

function isMoreThanHalf(voters: readonly NodeId[], holds: (id: NodeId) => boolean): boolean {
  let count = 0;
  for (const voter of voters) {
    if (holds(voter)) {
      count += 1;
    }
  }
  return count * 2 > voters.length;
}
