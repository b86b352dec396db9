import type { RaftOptions } from "../raft/options.ts";
import type { Configuration, NodeId, Revision, ShardId, Term } from "../types.ts";
import type { Finding } from "./state-comparison.ts";
import type { OpenStateMachine } from "./state-machine.ts";
import type { LogStore } from "./store.ts";
import type { ForwardRequest, ForwardResponse, Transport } from "./transport.ts";

/** Everything that a node's groups need from outside. Time, chance and I/O enter here and nowhere else. */
export interface MultiRaftOptions {
  readonly nodeId: NodeId;
  readonly raft: Omit<RaftOptions, "id" | "random">;
  readonly limits: MultiRaftLimits;
  readonly store: LogStore;
  readonly openStateMachine: OpenStateMachine;
  readonly transport: Transport;
  /** Packs the commands of one turn into one entry's payload, stamped with the Lamport floor. */
  readonly encodePayload: (floor: Revision, commands: readonly Uint8Array[]) => Uint8Array;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  /** Runs a function soon, after the input that is already queued; never synchronously. */
  readonly schedule: (run: () => void) => void;
  /** Runs a function once, so many milliseconds from now; never synchronously. */
  readonly after: (delayMs: number, run: () => void) => { cancel(): void };
  readonly random: () => number;
  readonly events: MultiRaftEvents;
}

/** Bounds of a node; each has a setting (see server/config.ts). */
export interface MultiRaftLimits {
  /** Commands of one shard that wait for the next turn; more are refused as overloaded. */
  readonly queuedCommandsMax: number;
  readonly queuedBytesMax: number;
  /** Commands and bytes packed into one entry; a larger single command still goes alone. */
  readonly entryCommandsMax: number;
  readonly entryBytesMax: number;
  /** Reads of one shard that wait for a ReadIndex round; more are refused as overloaded. */
  readonly queuedReadsMax: number;
  /** A read whose round has brought no answer for this long asks again: question or answer may be lost. */
  readonly readRetryMs: number;
  /** Applied log that is kept for followers that lag a little: bytes of the whole node, entries of one shard. */
  readonly retainedBytes: number;
  readonly retainedEntries: number;
  /** Payload of applied entries of one shard after which its state is written without waiting for its turn. */
  readonly unstagedBytesMax: number;
  readonly snapshotChunkBytes: number;
  /** Snapshots sent at the same time by this node. */
  readonly snapshotSendsMax: number;
  /** A leader whose disk has not finished a write for this long hands its leadership over. */
  readonly stuckWriteMs: number;
  /** Ticks without any work after which a leader lets its group fall silent. */
  readonly quiesceTicks: number;
  /** Ticks of silence after which a peer counts as absent, and its quiet groups are woken. */
  readonly silentPeerTicks: number;
  /** Ticks between two looks of a leader at its group's membership. */
  readonly superviseTicks: number;
  /** Ticks a leader that is not the preferred one waits before it hands over to a healthy preferred leader. */
  readonly rebalanceTicks: number;
  /** Ticks between two times that a leader has its group compare what its replicas hold. */
  readonly compareTicks: number;
}

/** What the groups tell their host. Called synchronously; must not throw. */
export interface MultiRaftEvents {
  /** The store failed or a promise to ourselves broke: nothing more will be acknowledged. The process must stop. */
  onFatal(error: Error): void;
  onLeaderChange(shard: ShardId, leader: NodeId | null, term: number): void;
  /** Another node asks us to run an operation. */
  onRequest(from: NodeId, request: ForwardRequest): void;
  onResponse(from: NodeId, response: ForwardResponse): void;
  onPeerConnected(peer: NodeId): void;
  onPeerDisconnected(peer: NodeId, evidence: "gone" | "lost"): void;
  /** A frame came in from `peer`; `roundTripMs` is null when it echoed nothing. */
  onPeerFrame(peer: NodeId, roundTripMs: number | null): void;
  /** A group did something: indexes may have moved. */
  onProgress?: (shard: ShardId) => void;
  /** One batch was written. */
  onWrite(durationMs: number, entries: number): void;
  /** Replicas of a shard differ at one index. An odd replica of this node is out of service by then. */
  onStatesDiffer(shard: ShardId, finding: Finding): void;
  /** A snapshot transfer or installation ended; `error` says why it failed, `transfer` is null for an installation. */
  onSnapshot(
    shard: ShardId,
    operation: "send" | "receive" | "install",
    error: Error | null,
    transfer: SnapshotTransfer | null,
  ): void;
  /** This node, which leads the shard, has begun to hand it over. */
  onHandOver?: (shard: ShardId, reason: HandOverReason) => void;
}

/** What a transfer took, whether it succeeded or not. */
export interface SnapshotTransfer {
  readonly durationMs: number;
  readonly bytes: number;
}

/** `preferred`: the map wants another leader. `leaving`: the node stops or its disk hangs. `odd`: its state differs from the others'. */
export type HandOverReason = "preferred" | "leaving" | "odd";

/** Who shall hold a shard, from the cluster map. The first voter is the preferred leader. */
export interface DesiredReplicas {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
}

/** How a replica comes into being on this node. */
export interface NewReplica {
  readonly shard: ShardId;
  readonly configuration: Configuration;
  readonly isQuarantined: boolean;
  /** The term of the replica whose place it takes: it follows no older leader. Left out for a first one. */
  readonly term?: Term;
}
