import type { Core } from "./core.ts";
import { send } from "./core.ts";
import { membersOf } from "./membership.ts";
import type { RequestPreVoteResponse } from "./message.ts";
import { majorityVote, quorumVote } from "./quorum.ts";
import type { NodeId } from "../types.ts";

/** How a replica that is no member any more finds out that the others do without it. */

/**
 * R9: whoever has not heard that the change is over counts by the old members and may need this one's vote, or its word. So it stays
 * until a quorum of those who decide now has said that they know, durably. `successors` are voters of later configurations, which this
 * replica does not learn of by itself; that they got there says the same.
 */
export function isMissed(core: Core, successors: readonly NodeId[]): boolean {
  const knows = (id: NodeId): boolean | undefined => core.informed.has(id) || undefined;
  const isKnown =
    quorumVote(core.configuration, knows) === "won" ||
    (successors.length > 0 && majorityVote(successors, knows) === "won");
  return membersOf(core.configuration).includes(core.id) || !isKnown;
}

/** Asks everybody who has not said that it knows. An answer to a pre-vote tells what the voter knows to be committed. */
export function askWhoKnows(core: Core, successors: readonly NodeId[]): void {
  const { id: from, term } = core;
  const { lastIndex, lastTerm } = core.log;
  for (const to of new Set([...membersOf(core.configuration), ...successors])) {
    if (to !== from && !core.informed.has(to)) {
      send(core, { type: "RequestPreVote", from, to, term, lastIndex, lastTerm });
    }
  }
}

/** Notes who knows as much as this replica has applied. */
export function noteInformed(core: Core, { from, commit }: RequestPreVoteResponse): void {
  if (commit >= core.log.appliedIndex) {
    core.informed.add(from);
  }
}
