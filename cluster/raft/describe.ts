import type { NodeId } from "../types.ts";
import type { Core } from "./core.ts";
import { knownLeader } from "./core.ts";
import { isLearner } from "./membership.ts";
import type { ProgressStatus, Status } from "./status.ts";

/** Copies what people and metrics want to know. */
export function describe(core: Core): Status {
  const { role, log } = core;
  const isLeading = role.type === "leader";
  return {
    id: core.id,
    role: role.type,
    term: core.term,
    vote: core.vote,
    leader: knownLeader(core),
    commitIndex: log.commitIndex,
    appliedIndex: log.appliedIndex,
    lastIndex: log.lastIndex,
    persistedIndex: log.persistedIndex,
    compactedIndex: log.compactedIndex,
    configuration: core.configuration,
    isQuiesced: core.isQuiesced,
    isQuarantined: core.isQuarantined,
    transferTarget: isLeading ? (role.transfer?.target ?? null) : null,
    uncommittedBytes: isLeading ? role.uncommittedBytes : 0,
    progress: describeProgress(core),
  };
}

function describeProgress(core: Core): ReadonlyMap<NodeId, ProgressStatus> {
  const described = new Map<NodeId, ProgressStatus>();
  if (core.role.type === "leader") {
    for (const [member, progress] of core.role.progress) {
      described.set(member, {
        state: progress.state,
        matchIndex: progress.matchIndex,
        nextIndex: progress.nextIndex,
        isLearner: isLearner(core.configuration, member),
        isRecentlyActive: progress.isRecentlyActive,
        isQuarantined: progress.isQuarantined,
      });
    }
  }
  return described;
}
