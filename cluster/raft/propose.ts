import { assert } from "../assert.ts";
import { LogIndex } from "../types.ts";
import type { NodeId } from "../types.ts";
import type { Core } from "./core.ts";
import { beginChange, encodeConfiguration, findChangeFault, isJoint } from "./membership.ts";
import type { ConfChange, ConfChangeResult, ProposeResult } from "./ready.ts";
import { wakeUp } from "./quiesce.ts";
import { appendEntry } from "./replicate.ts";
import type { Leader } from "./role.ts";

/** How far a learner may be behind, in entries, when it becomes a voter: what a quorum that needs it would wait for. */
const promotionLagMax = 1024;

/** Appends commands to the leader's log, within the limit of uncommitted bytes. */
export function proposePayloads(core: Core, payloads: readonly Uint8Array[]): ProposeResult {
  const { role, log, term, options } = core;
  assert(payloads.length > 0, "a proposal has at least one payload");
  if (role.type !== "leader") {
    return { type: "refused", reason: "not_leader" };
  }
  if (role.transfer !== null) {
    return { type: "refused", reason: "transferring" };
  }
  let bytes = 0;
  for (const payload of payloads) {
    bytes += payload.length;
  }
  if (role.uncommittedBytes > 0 && role.uncommittedBytes + bytes > options.uncommittedBytesMax) {
    return { type: "refused", reason: "uncommitted_full" };
  }
  wakeUp(core);
  const first = LogIndex(log.lastIndex + 1);
  for (const payload of payloads) {
    appendEntry(core, role, "command", payload);
  }
  return { type: "accepted", term, index: first };
}

/** Appends the first step of a change of members: R9, one at a time, computed from applied members, after a commit of this term. */
export function proposeChange(core: Core, change: ConfChange): ConfChangeResult {
  const { role, configuration, log, term } = core;
  if (role.type !== "leader") {
    return refuse("not_leader", `${core.id} does not lead`);
  }
  if (role.transfer !== null) {
    return refuse("transferring", `leadership is moving to ${role.transfer.target}`);
  }
  if (isJoint(configuration) || role.pendingConfigIndex > log.appliedIndex) {
    return refuse("pending", `entry ${role.pendingConfigIndex} is not applied yet`);
  }
  const fault = findChangeFault(configuration, change);
  if (fault !== null) {
    return refuse("invalid", fault);
  }
  for (const voter of change.voters) {
    const reason = configuration.voters.includes(voter) ? null : findLag(core, role, voter);
    if (reason !== null) {
      return refuse("pending", reason);
    }
  }
  wakeUp(core);
  const payload = encodeConfiguration(beginChange(configuration, change));
  role.pendingConfigIndex = appendEntry(core, role, "config", payload);
  return { type: "accepted", term, index: role.pendingConfigIndex };
}

/** Why a newcomer may not vote yet, or null: quorums must not come to depend on an empty log, nor on somebody absent. */
function findLag(core: Core, leader: Leader, newcomer: NodeId): string | null {
  const progress = leader.progress.get(newcomer);
  if (progress === undefined) {
    return `${newcomer} must catch up as a learner first`;
  }
  const isNear = core.log.lastIndex - progress.matchIndex <= promotionLagMax;
  if (!progress.isRecentlyActive) {
    return `${newcomer} does not answer`;
  }
  if (progress.state === "replicate" && isNear) {
    return null;
  }
  return `${newcomer} has not caught up: ${progress.matchIndex} of ${core.log.lastIndex}`;
}

function refuse(
  reason: "not_leader" | "transferring" | "pending" | "invalid",
  detail: string,
): ConfChangeResult {
  return { type: "refused", reason, detail };
}
