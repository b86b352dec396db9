import type { ConfChange } from "../raft/ready.ts";
import type { ProgressStatus, Status } from "../raft/status.ts";
import type { NodeId } from "../types.ts";
import type { DesiredReplicas } from "./options.ts";

/** A learner this close to the leader's log is caught up: promoting it will not make the group wait. */
const caughtUpEntries = 256;

/**
 * What a leader should propose next so that its group becomes what the cluster map wants, or null when nothing is to be done now.
 *
 * - a voter that lost its log is made a learner, so that it can be given a snapshot and vote again later;
 * - a wanted node that is missing becomes a learner first;
 * - a wanted voter that has caught up is promoted;
 * - who is not wanted leaves, once every wanted voter is in place.
 *
 * Several changes go into one joint configuration.
 */
export function nextConfiguration(status: Status, desired: DesiredReplicas): ConfChange | null {
  const { configuration } = status;
  const isJoint = configuration.votersOutgoing.length > 0;
  if (status.role !== "leader" || isJoint) {
    return null;
  }
  const voters = new Set(configuration.voters);
  const learners = new Set(configuration.learners);
  demoteQuarantined(status, voters, learners);
  for (const id of desired.voters) {
    if (voters.has(id)) {
      continue;
    }
    if (learners.has(id) && isCaughtUp(status, status.progress.get(id))) {
      learners.delete(id);
      voters.add(id);
    } else {
      learners.add(id);
    }
  }
  for (const id of desired.learners) {
    if (!voters.has(id)) {
      learners.add(id);
    }
  }
  dropUnwanted(desired, voters, learners);
  const change = { voters: [...voters].sort(), learners: [...learners].sort() };
  const isSame =
    sameMembers(change.voters, configuration.voters) &&
    sameMembers(change.learners, configuration.learners);
  return isSame || change.voters.length === 0 ? null : change;
}

function demoteQuarantined(status: Status, voters: Set<NodeId>, learners: Set<NodeId>): void {
  for (const [id, progress] of status.progress) {
    if (progress.isQuarantined && voters.has(id) && voters.size > 1) {
      voters.delete(id);
      learners.add(id);
    }
  }
}

function dropUnwanted(desired: DesiredReplicas, voters: Set<NodeId>, learners: Set<NodeId>): void {
  const wanted = new Set([...desired.voters, ...desired.learners]);
  for (const id of learners) {
    if (!wanted.has(id)) {
      learners.delete(id);
    }
  }
  const areAllIn = desired.voters.every((id) => voters.has(id));
  if (!areAllIn) {
    return;
  }
  for (const id of voters) {
    if (!desired.voters.includes(id)) {
      voters.delete(id);
      if (desired.learners.includes(id)) {
        learners.add(id);
      }
    }
  }
}

function isCaughtUp(status: Status, progress: ProgressStatus | undefined): boolean {
  return (
    progress !== undefined &&
    !progress.isQuarantined &&
    progress.isRecentlyActive &&
    progress.state === "replicate" &&
    progress.matchIndex + caughtUpEntries >= status.commitIndex
  );
}

function sameMembers(left: readonly NodeId[], right: readonly NodeId[]): boolean {
  return left.length === right.length && left.every((id) => right.includes(id));
}

/** The voter that should lead instead of this leader: the map's preferred one, when it is healthy and has the whole log. */
export function betterLeader(status: Status, desired: DesiredReplicas): NodeId | null {
  const preferred = desired.voters[0];
  if (status.role !== "leader" || preferred === undefined || preferred === status.id) {
    return null;
  }
  const progress = status.progress.get(preferred);
  const isFit =
    status.configuration.voters.includes(preferred) &&
    progress !== undefined &&
    !progress.isQuarantined &&
    progress.isRecentlyActive &&
    progress.state === "replicate" &&
    progress.matchIndex >= status.commitIndex;
  return isFit ? preferred : null;
}

/** The most advanced healthy voter other than the leader; where to hand over when this node stops or its disk hangs. */
export function bestSuccessor(status: Status): NodeId | null {
  let best: NodeId | null = null;
  let bestMatch = -1;
  for (const [id, progress] of status.progress) {
    const isFit =
      status.configuration.voters.includes(id) &&
      progress.isRecentlyActive &&
      !progress.isQuarantined;
    if (isFit && progress.matchIndex > bestMatch) {
      best = id;
      bestMatch = progress.matchIndex;
    }
  }
  return best;
}
