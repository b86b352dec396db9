import { assert } from "../assert.ts";
import { isNodeId, NodeId } from "../types.ts";
import type { Configuration } from "../types.ts";
import type { ConfChange } from "./ready.ts";

/** Whether the id takes part in elections and commits, in either half. */
export function isVoter(configuration: Configuration, id: NodeId): boolean {
  return configuration.voters.includes(id) || configuration.votersOutgoing.includes(id);
}

/** Whether the id only listens. A voter that is on its way to become a learner is not one yet. */
export function isLearner(configuration: Configuration, id: NodeId): boolean {
  return configuration.learners.includes(id);
}

/** Whether decisions need two majorities (Raft section 6). */
export function isJoint(configuration: Configuration): boolean {
  return configuration.votersOutgoing.length > 0;
}

/** Everybody that the leader replicates to, itself included: sorted, without repeats. */
export function membersOf(configuration: Configuration): readonly NodeId[] {
  const { voters, votersOutgoing, learners } = configuration;
  return sortedUnique([...voters, ...votersOutgoing, ...learners]);
}

/**
 * Why `change` cannot follow `configuration`, or null when it can. Which members have caught up is the leader's knowledge and is
 * checked there.
 */
export function findChangeFault(configuration: Configuration, change: ConfChange): string | null {
  if (change.voters.length === 0) {
    return "a group needs at least one voter";
  }
  const members = [...change.voters, ...change.learners];
  if (sortedUnique(members).length !== members.length) {
    return "a member is named twice";
  }
  const isSame =
    sameIds(sortedUnique(change.voters), configuration.voters) &&
    sameIds(sortedUnique(change.learners), configuration.learners);
  return isSame ? "these are the members already" : null;
}

/**
 * The configuration that starts a change. Changes that leave the voters alone take effect directly; all others go through joint
 * consensus, however few voters they touch: one path, one proof.
 */
export function beginChange(configuration: Configuration, change: ConfChange): Configuration {
  assert(!isJoint(configuration), "R9: a change of members began before the previous one was over");
  const voters = sortedUnique(change.voters);
  const learners = sortedUnique(change.learners);
  if (sameIds(voters, configuration.voters)) {
    return { voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false };
  }
  const wasVoter = (id: NodeId): boolean => configuration.voters.includes(id);
  return {
    voters,
    votersOutgoing: configuration.voters,
    learners: learners.filter((id) => !wasVoter(id)),
    learnersNext: learners.filter(wasVoter),
    autoLeave: true,
  };
}

/** The configuration that ends a joint one: the outgoing half is gone, demoted voters are learners. */
export function leaveJoint(configuration: Configuration): Configuration {
  assert(isJoint(configuration), "R9: only a joint configuration can be left");
  return {
    voters: configuration.voters,
    votersOutgoing: [],
    learners: sortedUnique([...configuration.learners, ...configuration.learnersNext]),
    learnersNext: [],
    autoLeave: false,
  };
}

/** Payload of a config entry: the configuration that holds from this entry on, complete, so that applying it needs no arithmetic. */
export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = configuration;
  return new TextEncoder().encode(
    JSON.stringify({ voters, votersOutgoing, learners, learnersNext, autoLeave }),
  );
}

/** Null when the payload is not a configuration: peers are checked, not trusted. */
export function decodeConfiguration(payload: Uint8Array): Configuration | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) {
    return null;
  }
  const fields = new Map<string, unknown>(Object.entries(value));
  const voters = parseIds(fields.get("voters"));
  const votersOutgoing = parseIds(fields.get("votersOutgoing"));
  const learners = parseIds(fields.get("learners"));
  const learnersNext = parseIds(fields.get("learnersNext"));
  const autoLeave = fields.get("autoLeave");
  if (voters === null || votersOutgoing === null || learners === null || learnersNext === null) {
    return null;
  }
  if (voters.length === 0 || typeof autoLeave !== "boolean") {
    return null;
  }
  return { voters, votersOutgoing, learners, learnersNext, autoLeave };
}

function parseIds(value: unknown): readonly NodeId[] | null {
  if (!Array.isArray(value)) {
    return null;
  }
  const ids: NodeId[] = [];
  for (const id of value) {
    if (typeof id !== "string" || !isNodeId(id)) {
      return null;
    }
    ids.push(NodeId(id));
  }
  return sameIds(sortedUnique(ids), ids) ? ids : null;
}

function sortedUnique(ids: readonly NodeId[]): readonly NodeId[] {
  return [...new Set(ids)].sort();
}

function sameIds(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((id, position) => id === b[position]);
}
