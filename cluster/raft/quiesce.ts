import { armElectionTimer } from "./core.ts";
import type { Core } from "./core.ts";
import type { Leader } from "./role.ts";

/** Whether nobody in the group has anything left to learn, to write or to wait for. */
export function mayQuiesce(core: Core, leader: Leader): boolean {
  const { log } = core;
  const isIdle =
    leader.reads.isEmpty &&
    leader.transfer === null &&
    core.outstanding === null &&
    log.persistedIndex === log.lastIndex &&
    log.commitIndex === log.lastIndex &&
    log.appliedIndex === log.lastIndex &&
    // Also says that no change of members is pending: its entry would not be applied, or its end not be proposed yet.
    leader.pendingConfigIndex <= log.appliedIndex &&
    core.configuration.votersOutgoing.length === 0;
  if (!isIdle) {
    return false;
  }
  for (const progress of leader.progress.values()) {
    if (progress.matchIndex !== log.lastIndex || progress.isQuarantined) {
      return false;
    }
  }
  return true;
}

/** Time counts again. A leader speaks at the next tick, a follower waits for a full timeout. */
export function wakeUp(core: Core): void {
  if (!core.isQuiesced) {
    return;
  }
  core.isQuiesced = false;
  if (core.role.type === "leader") {
    core.role.heartbeatElapsed = core.options.heartbeatTicks;
    core.role.quorumCheckElapsed = 0;
  } else {
    armElectionTimer(core);
  }
}
