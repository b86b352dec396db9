import type { Configuration, NodeId } from "../types.ts";

/** How an election, or any question with yes and no, stands. */
export type VoteResult = "won" | "lost" | "pending";

/** The smallest number of voters that is more than half of `count`. */
export function majority(count: number): number {
  return Math.floor(count / 2) + 1;
}

/**
 * The largest number that a majority of `voters` has reached. Infinity without voters, so that the empty half of a simple
 * configuration never holds back the other one.
 */
export function majorityReached(
  voters: readonly NodeId[],
  reachedBy: (voter: NodeId) => number,
): number {
  if (voters.length === 0) {
    return Infinity;
  }
  const reached: number[] = [];
  for (const voter of voters) {
    insertSorted(reached, reachedBy(voter));
  }
  // Ascending: everything from this position to the end is a majority that reached at least this much.
  return reached[voters.length - majority(voters.length)] ?? 0;
}

/** The largest number that a quorum of both halves has reached (Raft section 6). */
export function quorumReached(
  configuration: Configuration,
  reachedBy: (voter: NodeId) => number,
): number {
  return Math.min(
    majorityReached(configuration.voters, reachedBy),
    majorityReached(configuration.votersOutgoing, reachedBy),
  );
}

/** Counts one half: `undefined` is a voter that has not answered. Won at once without voters. */
export function majorityVote(
  voters: readonly NodeId[],
  voteOf: (voter: NodeId) => boolean | undefined,
): VoteResult {
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const vote = voteOf(voter);
    if (vote === true) {
      granted += 1;
    } else if (vote === false) {
      refused += 1;
    }
  }
  if (voters.length === 0 || granted >= majority(voters.length)) {
    return "won";
  }
  return voters.length - refused < majority(voters.length) ? "lost" : "pending";
}

/** Both halves must be won; one lost half loses. */
export function quorumVote(
  configuration: Configuration,
  voteOf: (voter: NodeId) => boolean | undefined,
): VoteResult {
  const incoming = majorityVote(configuration.voters, voteOf);
  const outgoing = majorityVote(configuration.votersOutgoing, voteOf);
  if (incoming === "lost" || outgoing === "lost") {
    return "lost";
  }
  return incoming === "won" && outgoing === "won" ? "won" : "pending";
}

function insertSorted(ascending: number[], value: number): void {
  let position = ascending.length;
  while (position > 0 && (ascending[position - 1] ?? 0) > value) {
    ascending[position] = ascending[position - 1] ?? 0;
    position -= 1;
  }
  ascending[position] = value;
}
