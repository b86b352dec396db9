import { assert, InvariantViolation } from "./assert.ts";

/** A nominal type: the same bytes at run time, another type for the compiler. */
export type Brand<T, Name extends string> = T & { readonly __brand: Name };

/** One server process, `n1`. Letters, digits, `.`, `_`, `-`; at most 64 characters. */
export type NodeId = Brand<string, "NodeId">;
/** One slice of the key space = one Raft group. Shard 0 is the meta shard. */
export type ShardId = Brand<number, "ShardId">;
/** Raft's logical time. 0 means "before any election". */
export type Term = Brand<number, "Term">;
/** A position in a shard's log. The first entry is 1; 0 means "before the log". */
export type LogIndex = Brand<number, "LogIndex">;
/**
 * Lamport clock of changes: an applied change gets `max(shard's own, floor in the entry) + 1`. ETag, watch position and
 * fencing token. 0 means "never changed".
 */
export type Revision = Brand<number, "Revision">;

const nodeIdPattern = /^[A-Za-z0-9._-]{1,64}$/;

/** Whether a string from outside may serve as a node id; check this before `NodeId(...)`, which asserts it. */
export function isNodeId(value: string): boolean {
  return nodeIdPattern.test(value);
}

export function NodeId(value: string): NodeId {
  assert(isNodeId(value), `node id is malformed: ${JSON.stringify(value)}`);
  return value as NodeId;
}

export function ShardId(value: number): ShardId {
  assert(
    Number.isInteger(value) && value >= 0 && value < 2 ** 31,
    `shard id out of range: ${value}`,
  );
  return value as ShardId;
}

export function Term(value: number): Term {
  assertCount("term", value);
  return value as Term;
}

export function LogIndex(value: number): LogIndex {
  assertCount("log index", value);
  return value as LogIndex;
}

export function Revision(value: number): Revision {
  assertCount("revision", value);
  return value as Revision;
}

/** Like `assert`, but spells out its message only when it fails: these constructors run several times per request. */
function assertCount(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new InvariantViolation(`${what} out of range: ${value}`);
  }
}

/** The shard that replicates the cluster map. */
export const metaShard: ShardId = ShardId(0);

/**
 * What an entry is for. `command`: opaque to Raft, for the state machine. `noop`: the first entry of a leader's term.
 * `config`: a membership change (payload written by cluster/raft/membership.ts).
 */
export type EntryType = "command" | "noop" | "config";

/** One slot of a replicated log. Immutable; whoever receives the payload must not write to it. */
export interface Entry {
  readonly index: LogIndex;
  readonly term: Term;
  readonly type: EntryType;
  readonly payload: Uint8Array;
}

/** What a replica must never forget (Raft figure 2): written before any message that depends on it. */
export interface HardState {
  readonly term: Term;
  readonly vote: NodeId | null;
  /** Not needed for safety; saves a restarted replica from waiting for the leader. */
  readonly commit: LogIndex;
}

/**
 * Who takes part in a shard's consensus. While `votersOutgoing` is not empty the group is in joint consensus (Raft section 6):
 * decisions need a majority of `voters` and a majority of `votersOutgoing`. All lists are sorted and without repeats.
 */
export interface Configuration {
  readonly voters: readonly NodeId[];
  readonly votersOutgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: readonly NodeId[];
  /** Whether the leader leaves the joint configuration by itself as soon as it is committed. */
  readonly autoLeave: boolean;
}

/** What a snapshot stands for: the state after `index`, whose entry had `term`, under `configuration`. */
export interface SnapshotMetadata {
  readonly index: LogIndex;
  readonly term: Term;
  readonly configuration: Configuration;
}
