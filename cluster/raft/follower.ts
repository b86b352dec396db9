import { unreachable } from "../assert.ts";
import {
  acceptAppendEntries,
  acceptCommitNotice,
  acceptHeartbeat,
  acceptInstallSnapshot,
} from "./accept.ts";
import { becomeCandidate, becomePreCandidate } from "./candidate.ts";
import { answerRead, armElectionTimer, isPromotable, send } from "./core.ts";
import type { Core } from "./core.ts";
import type { Message, ReadIndexResponse, RequestPreVote, RequestVote } from "./message.ts";
import type { Follower } from "./role.ts";

/** What a follower does with the passing of time, with evidence, and with messages of its term. */

/** Counts the silence; campaigns when it has lasted too long. Also the clock of candidates, who then try again. */
export function tickElection(core: Core, ticks: number): void {
  const { election, contact, role } = core;
  election.elapsed += ticks;
  contact.ticks += ticks;
  if (role.type === "follower") {
    expireReads(core, role);
  }
  const timeout = election.timeout + (election.isFast ? 0 : core.electionPriorityDelayTicks);
  if (election.elapsed >= timeout && core.ticksToHold === 0) {
    becomePreCandidate(core);
  }
}

/** The leader's process is gone: campaign soon, and let others. */
export function noteLeaderGone(core: Core): void {
  if (!core.contact.isGone) {
    core.contact.isGone = true;
    core.contact.fastAttempts = 0;
    armElectionTimer(core);
  }
}

/** The evidence was wrong or is outdated: back to the ordinary timeout. */
export function noteLeaderBack(core: Core): void {
  if (core.contact.isGone) {
    core.contact.isGone = false;
    armElectionTimer(core);
  }
}

/** Forwards a read to the leader under a number of its own, so that no old answer fits a new question. */
export function forwardRead(core: Core, role: Follower, context: number): void {
  const { leader, forwardedReads } = role;
  if (
    leader === null ||
    core.isQuarantined ||
    forwardedReads.size >= core.options.pendingReadsMax
  ) {
    core.reads.push({ context, index: null });
    return;
  }
  const number = core.nextReadNumber;
  core.nextReadNumber += 1;
  forwardedReads.set(number, { context, clock: core.clock });
  send(core, { type: "ReadIndex", from: core.id, to: leader, term: core.term, context: number });
}

/** Campaigns for the leader that hands over. If members have to be applied first, the next `ready()` comes back to it. */
export function campaignIfAsked(core: Core): void {
  const { role } = core;
  if (role.type === "follower" && role.isAskedToCampaign && isPromotable(core)) {
    becomeCandidate(core, true);
  }
}

/** What a follower does with a message of its term. */
export function stepFollower(
  core: Core,
  role: Follower,
  message: Exclude<Message, RequestPreVote | RequestVote>,
): void {
  switch (message.type) {
    case "AppendEntries":
      acceptAppendEntries(core, message);
      return;
    case "Heartbeat":
      acceptHeartbeat(core, message);
      return;
    case "CommitNotice":
      acceptCommitNotice(core, message);
      return;
    case "InstallSnapshot":
      acceptInstallSnapshot(core, message);
      return;
    case "TimeoutNow":
      role.isAskedToCampaign = true;
      campaignIfAsked(core);
      return;
    case "ReadIndex":
      answerRead(core, message, null);
      return;
    case "ReadIndexResponse":
      completeRead(core, role, message);
      return;
    case "RequestPreVoteResponse":
    case "RequestVoteResponse":
    case "AppendEntriesResponse":
    case "HeartbeatResponse":
      return;
    default:
      unreachable(message);
  }
}

function completeRead(core: Core, role: Follower, message: ReadIndexResponse): void {
  const read = role.forwardedReads.get(message.context);
  if (read !== undefined) {
    role.forwardedReads.delete(message.context);
    core.reads.push({ context: read.context, index: message.index });
  }
}

/** Questions or answers get lost; the host should ask again rather than wait for ever. */
function expireReads(core: Core, role: Follower): void {
  for (const [number, { context, clock }] of role.forwardedReads) {
    if (core.clock - clock < core.options.electionTicks) {
      return;
    }
    role.forwardedReads.delete(number);
    core.reads.push({ context, index: null });
  }
}
