import type { Message } from "../raft/message.ts";
import type { LogIndex, NodeId, Revision, ShardId, SnapshotMetadata } from "../types.ts";

/**
 * Moves frames between nodes. A frame may be lost or overtake another, and one without requests may come twice (who asks again does so under
 * a request id, so a request that came twice could be refused and done); it is never changed and never delivered to another cluster,
 * node or incarnation than it was meant for. Two implementations pass one contract suite: gRPC, and memory.
 */
export interface Transport {
  /** Listens and connects. Handlers are called on the event loop, one at a time. */
  start(handlers: TransportHandlers): Promise<void>;
  /** Closes every stream and the listener. Idempotent. Nothing is delivered after it resolves. */
  stop(): Promise<void>;
  /** Says who the peers are; addresses may change. A peer that is no longer listed is disconnected. */
  setPeers(peers: readonly Peer[]): void;
  /**
   * Queues a frame. False when all of it was dropped at once, so that nothing it asks for is done: not connected, or the peer's queue is
   * full (bounded in bytes). Of a frame that leaves in parts, later parts may be dropped like a message that gets lost on the way.
   */
  send(to: NodeId, frame: Frame): boolean;
  /** Streams a snapshot; resolves when the receiver has staged all of it, rejects otherwise. Honours back-pressure and `signal`. */
  sendSnapshot(
    to: NodeId,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void>;
  /** Asks a peer who it is; works before the cluster has an id. Rejects when it cannot be reached before `timeoutMs`. */
  hello(address: string, own: Hello, timeoutMs: number): Promise<Hello>;
  /** Connection facts for health and metrics. */
  status(): ReadonlyMap<NodeId, PeerStatus>;
}

/** What a transport tells its host. Called on the event loop, one at a time; must not throw. */
export interface TransportHandlers {
  onFrame(from: NodeId, frame: Frame): void;
  /** Resolves when the snapshot is staged; a rejection is told to the sender. */
  onSnapshot(
    from: NodeId,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void>;
  onPeerConnected(peer: NodeId): void;
  /**
   * `gone`: the peer's process closed or refused the connection. `lost`: silence, resets by others, unknown. Called once per outage,
   * or twice: `gone` may follow `lost` when better evidence comes in.
   */
  onPeerDisconnected(peer: NodeId, evidence: "gone" | "lost"): void;
  /** Answers another node's question; `theirs` is what the asker says of itself. */
  onHello(theirs: Hello): Hello;
}

/** Another node and where it listens. */
export interface Peer {
  readonly id: NodeId;
  /** `host:port` of the peer's gRPC listener. Names are resolved anew at each connection attempt. */
  readonly address: string;
}

/** What a node says of itself before any stream is accepted. */
export interface Hello {
  readonly nodeId: NodeId;
  /** Random, made when the data directory was made: a wiped node comes back with another one. */
  readonly instanceId: string;
  /** Null before the cluster exists. */
  readonly clusterId: string | null;
  /** Instance of every initial node that the cluster was founded with; empty before. */
  readonly founders: ReadonlyMap<NodeId, string>;
  /** Counts starts of this data directory. Frames of an older start are refused. */
  readonly incarnation: number;
  readonly peerAddress: string;
  readonly httpAddress: string;
}

/** What one flush sends to one peer: messages of all shards together. An empty frame is the node-level heartbeat. */
export interface Frame {
  readonly messages: readonly ShardMessage[];
  readonly requests: readonly ForwardRequest[];
  readonly responses: readonly ForwardResponse[];
  /** What the sender's replicas hold: rare. Heard before `messages`, which may bring what comes after it. */
  readonly digests: readonly ShardDigest[];
  /** The sender's Lamport floor: revisions travel on every frame. */
  readonly floor: Revision;
  /** The epoch of the sender's cluster map: tells a peer that its map is old. */
  readonly epoch: number;
  /** Sender's monotonic milliseconds, returned as `echoMs` in the peer's next frame: the round trip, without a message of its own. 0: none. */
  readonly sentMs: number;
  readonly echoMs: number;
}

/** A Raft message and the group that it belongs to. */
export interface ShardMessage {
  readonly shard: ShardId;
  readonly message: Message;
}

/** What the sender's replica of a shard holds at one applied index; see state-comparison.ts. */
export interface ShardDigest {
  readonly shard: ShardId;
  /** 0: it holds nothing, and waits for its leader. */
  readonly index: LogIndex;
  /** As `StateMachine.digest`; empty at index 0. */
  readonly digest: string;
  /** The sender, which leads, wants to hear the receiver's own. */
  readonly isQuestion: boolean;
}

/** A client's operation on its way to a replica that can serve it. */
export interface ForwardRequest {
  /** Unique per sender's incarnation. */
  readonly id: number;
  readonly shard: ShardId;
  /**
   * `write`: payload is an encoded command for the leader. `read`: an encoded query, run by the receiver after ReadIndex. `watch`: which
   * changes to tell; the receiver answers when there are some. `trace`: the entry whose index is the payload, in decimal, belongs to the
   * trace; not answered.
   */
  readonly kind: "write" | "read" | "watch" | "trace";
  readonly epoch: number;
  /** Time left, in milliseconds; the receiver gives up after it. */
  readonly timeoutMs: number;
  readonly payload: Uint8Array;
  /** W3C traceparent, or empty. */
  readonly trace: string;
}

/** What came of a request, in the answering node's words. */
export interface ForwardResponse {
  readonly id: number;
  /**
   * `ok`: payload is the encoded result. `not_leader`, `overloaded`, `wrong_epoch`, `not_ready`: certainly not done, try elsewhere or later.
   * `unknown`: it was proposed and its fate is not known here; only a retry under the same request id is safe.
   */
  readonly status: "ok" | "not_leader" | "overloaded" | "wrong_epoch" | "not_ready" | "unknown";
  readonly payload: Uint8Array;
  /** Who leads the shard, as far as the answering node knows. */
  readonly leader: NodeId | null;
  /** Lamport floor for the asking client's session. */
  readonly revision: Revision;
}

/** Says whose snapshot follows and what it stands for. */
export interface SnapshotHeader {
  readonly shard: ShardId;
  /** The leader's term: a receiver that knows a newer one refuses. */
  readonly term: number;
  readonly snapshot: SnapshotMetadata;
}

/** One connection in numbers that only grow while the process lives, and its present state. */
export interface PeerStatus {
  readonly address: string;
  readonly isConnected: boolean;
  readonly queuedBytes: number;
  readonly sentFrames: number;
  readonly sentBytes: number;
  readonly receivedFrames: number;
  readonly receivedBytes: number;
  readonly droppedFrames: number;
  readonly reconnects: number;
  /** Why there is no connection, as a sentence for operators; null while there is one. */
  readonly problem: string | null;
}
