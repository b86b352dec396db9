import type { NodeId, Revision, ShardId } from "../types.ts";
import { LogIndex, Term } from "../types.ts";
import { DigestCheck } from "./digest-check.ts";
import { Housekeeping } from "./housekeeping.ts";
import type { DesiredReplicas, MultiRaftOptions, NewReplica } from "./options.ts";
import { Peers } from "./peers.ts";
import type { ProposalDone, ProposalLogged } from "./proposals.ts";
import type { ReadDone } from "./reads.ts";
import { Replica } from "./replica.ts";
import { Snapshots } from "./snapshots.ts";
import type { RecoveredShard } from "./store.ts";
import type { ForwardRequest, ForwardResponse, Frame, SnapshotHeader } from "./transport.ts";
import { TurnLoop } from "./turn-loop.ts";

/** Why a command or read was not taken; certainly nothing was done. */
export type Refusal = "no_replica" | "not_leader" | "overloaded" | "stopped";

/**
 * All Raft groups of one node. Input comes in through methods and marks the groups it concerns; the turn loop does the work.
 * Everything that waits in here is bounded; everything that is refused says so at once.
 */
export class MultiRaft {
  readonly #options: MultiRaftOptions;
  readonly #replicas = new Map<ShardId, Replica>();
  readonly #creating = new Set<ShardId>();
  readonly #peers = new Peers();
  readonly #turn: TurnLoop;
  readonly #housekeeping: Housekeeping;
  readonly #digests: DigestCheck;
  readonly #snapshots: Snapshots;
  readonly #desired = new Map<ShardId, DesiredReplicas>();
  readonly #leaders = new Map<ShardId, { leader: NodeId | null; term: number }>();
  #epoch = 0;
  #heartbeatIn = 0;
  #isStopped = false;

  constructor(options: MultiRaftOptions) {
    this.#options = options;
    const self = this;
    this.#turn = new TurnLoop({
      options,
      replica: (shard) => this.replica(shard),
      created: (replicas) => this.#created(replicas),
      sendSnapshot: (replica, to) => this.#snapshots.send(replica, to),
      undeliverable: (to, request) => this.#undeliverable(to, request),
      pumped: (replica) => this.#pumped(replica),
      get epoch() {
        return self.#epoch;
      },
    });
    this.#housekeeping = new Housekeeping({
      options,
      peers: this.#peers,
      replicas: () => this.#replicas.values(),
      desired: (replica) => this.#desired.get(replica.shard) ?? null,
      mark: (replica) => this.#turn.mark(replica),
      remove: (replica) => this.#remove(replica),
      writeAgeMs: (nowMs) => this.#turn.writeAgeMs(nowMs),
    });
    this.#digests = new DigestCheck({
      options,
      replica: (shard) => this.replica(shard),
      replicas: () => this.#replicas.values(),
      tell: (to, digest) => {
        this.#turn.outbox.addDigest(to, digest);
        this.#turn.schedule();
      },
      wake: (replica) => this.#wake(replica),
      quarantine: (replica) => this.#quarantine(replica),
    });
    this.#snapshots = new Snapshots({
      nodeId: options.nodeId,
      transport: options.transport,
      limits: options.limits,
      events: options.events,
      clock: options.clock,
      wake: (shard) => this.#wakeShard(shard),
      replica: (shard) => this.replica(shard),
    });
  }

  /** Opens every shard that the store holds; returns what was found, sound or not. Call once, before anything else. */
  async start(): Promise<readonly RecoveredShard[]> {
    const recovered = await this.#options.store.recover();
    for (const shard of recovered) {
      this.#open(shard);
    }
    return recovered;
  }

  /** Answers everybody who waits, ends transfers, and resolves when the write in flight has ended. Idempotent. */
  async stop(): Promise<void> {
    if (this.#isStopped) {
      return;
    }
    this.#isStopped = true;
    this.#snapshots.stop();
    await this.#turn.stop();
    for (const replica of this.#replicas.values()) {
      replica.stop();
    }
  }

  /** The replica of a shard on this node, or null. */
  replica(shard: ShardId): Replica | null {
    return this.#replicas.get(shard) ?? null;
  }

  replicas(): IterableIterator<Replica> {
    return this.#replicas.values();
  }

  get replicaCount(): number {
    return this.#replicas.size;
  }

  /** The largest revision that this node has heard of. */
  get floor(): Revision {
    return this.#turn.floor;
  }

  get snapshotCounts(): { readonly sending: number; readonly receiving: number } {
    return { sending: this.#snapshots.sendingCount, receiving: this.#snapshots.receivingCount };
  }

  isReceivingSnapshot(shard: ShardId): boolean {
    return this.#snapshots.isReceiving(shard);
  }

  /** Brings a replica into being, durably; it lives when the next batch is written. Does nothing when it exists. */
  create(replica: NewReplica): void {
    if (this.#replicas.has(replica.shard) || this.#creating.has(replica.shard)) {
      return;
    }
    this.#creating.add(replica.shard);
    this.#turn.create(replica);
  }

  /**
   * What the cluster map wants. Leaders work towards it; the first voter is the preferred leader. A replica that is not wanted here is
   * deleted once its group does without it.
   */
  setDesired(desired: ReadonlyMap<ShardId, DesiredReplicas>, epoch: number): void {
    this.#epoch = epoch;
    this.#desired.clear();
    for (const [shard, wanted] of desired) {
      this.#desired.set(shard, wanted);
      const replica = this.#replicas.get(shard);
      if (replica !== undefined) {
        this.#prefer(replica);
        if (replica.raft.isLeader) {
          // It may sleep, and there may be something to arrange now.
          replica.raft.wake();
        }
        this.#wake(replica);
      }
    }
  }

  setPeers(peers: readonly NodeId[]): void {
    this.#peers.set(peers.filter((id) => id !== this.#options.nodeId));
  }

  /**
   * Queues a command on the shard's leader. `done` is called once, unless the answer is a refusal, which is returned at once. `logged` is
   * called before it, when the command has got its place in the log.
   */
  propose(
    shard: ShardId,
    command: Uint8Array,
    done: ProposalDone,
    logged: ProposalLogged | null = null,
  ): Refusal | null {
    const replica = this.#replicas.get(shard);
    if (replica === undefined || this.#isStopped) {
      return this.#isStopped ? "stopped" : "no_replica";
    }
    if (!replica.raft.isLeader || replica.isOutOfService) {
      return "not_leader";
    }
    if (!replica.propose(command, done, logged)) {
      return "overloaded";
    }
    this.#wake(replica);
    return null;
  }

  /** Calls `done` when the local state may be read linearizably; never synchronously. Refusals are returned at once. */
  read(shard: ShardId, done: ReadDone): Refusal | null {
    const replica = this.#replicas.get(shard);
    if (replica === undefined || replica.isOutOfService || this.#isStopped) {
      return this.#isStopped ? "stopped" : "no_replica";
    }
    if (!replica.read(done)) {
      return "overloaded";
    }
    this.#wake(replica);
    return null;
  }

  /** Sends a request with the next frame to `to`. */
  request(to: NodeId, request: ForwardRequest): void {
    this.#turn.outbox.addRequest(to, request);
    this.#turn.schedule();
  }

  respond(to: NodeId, response: ForwardResponse): void {
    this.#turn.outbox.addResponse(to, response);
    this.#turn.schedule();
  }

  /** One frame of a peer. */
  onFrame(from: NodeId, frame: Frame): void {
    const nowMs = this.#options.clock();
    this.#turn.raiseFloor(frame.floor);
    this.#peers.heard(from, this.#housekeeping.now);
    if (frame.sentMs > 0) {
      this.#turn.outbox.echo(from, frame.sentMs);
    }
    this.#options.events.onPeerFrame(from, frame.echoMs > 0 ? nowMs - frame.echoMs : null);
    for (const digest of frame.digests) {
      this.#digests.heard(from, digest);
    }
    for (const { shard, message } of frame.messages) {
      const replica = this.#replicas.get(shard);
      if (replica === undefined) {
        continue;
      }
      replica.raft.step(message);
      if (message.type === "AppendEntries") {
        replica.idleTicks = 0;
      }
      if (replica.raft.isQuiesced) {
        this.#turn.mark(replica);
      } else {
        this.#wake(replica);
      }
    }
    for (const request of frame.requests) {
      this.#options.events.onRequest(from, request);
    }
    for (const response of frame.responses) {
      this.#options.events.onResponse(from, response);
    }
  }

  async onSnapshot(
    from: NodeId,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    await this.#snapshots.receive(from, header, chunks);
  }

  onPeerConnected(peer: NodeId): void {
    this.#peers.connected(peer);
    this.#peers.heard(peer, this.#housekeeping.now);
    this.#turn.outbox.heartbeat(peer);
    this.#digests.forget(peer);
    for (const replica of this.#replicas.values()) {
      replica.raft.reportReachable(peer);
      this.#campaignWhenPreferred(replica);
    }
    this.#turn.schedule();
    this.#options.events.onPeerConnected(peer);
  }

  /** A broken connection: leaders probe again; followers of a leader whose process is gone elect another at once. */
  onPeerDisconnected(peer: NodeId, evidence: "gone" | "lost"): void {
    this.#peers.disconnected(peer);
    for (const replica of this.#replicas.values()) {
      const { raft } = replica;
      if (raft.leader === peer || (raft.isLeader && replica.otherMembers().includes(peer))) {
        raft.reportUnreachable(peer, evidence);
        this.#wake(replica);
      }
    }
    this.#options.events.onPeerDisconnected(peer, evidence);
  }

  /** @param elapsedTicks tick intervals that really passed since the last call; more than 2 means that the process was paused */
  tick(elapsedTicks: number): void {
    if (this.#isStopped) {
      return;
    }
    const { failure } = this.#options.store;
    if (failure !== null) {
      // Not every write is a turn's: receiving a snapshot fails alone, and nothing else may ever be written here.
      this.#turn.fail(failure);
      return;
    }
    this.#digests.tick(elapsedTicks);
    this.#housekeeping.tick(elapsedTicks);
    this.#turn.flushState();
    this.#heartbeatIn -= elapsedTicks;
    if (this.#heartbeatIn <= 0) {
      this.#heartbeatIn = this.#options.raft.heartbeatTicks;
      for (const peer of this.#peers.ids) {
        this.#turn.outbox.heartbeat(peer);
      }
      this.#turn.schedule();
    }
  }

  isConnected(peer: NodeId): boolean {
    return this.#peers.isConnected(peer);
  }

  /** Asks a healthy follower of every led group to take over; returns how many groups are still led here. */
  handOverAll(): number {
    return this.#housekeeping.handOverAll();
  }

  #wake(replica: Replica): void {
    this.#housekeeping.wake(replica);
    this.#turn.mark(replica);
  }

  #wakeShard(shard: ShardId): void {
    const replica = this.#replicas.get(shard);
    if (replica !== undefined) {
      this.#wake(replica);
    }
  }

  /** Ends a replica and deletes all it stored. Who waits for it is answered. */
  #remove(replica: Replica): void {
    this.#replicas.delete(replica.shard);
    this.#leaders.delete(replica.shard);
    this.#housekeeping.forget(replica);
    replica.stop();
    this.#turn.remove(replica);
  }

  /** Deletes what the replica holds, in one batch with a new beginning: in quarantine, its leader makes it whole by snapshot. */
  #quarantine(replica: Replica): void {
    const { configuration, term } = replica.raft;
    this.#remove(replica);
    this.create({ shard: replica.shard, configuration, isQuarantined: true, term });
  }

  #created(replicas: readonly NewReplica[]): void {
    for (const replica of replicas) {
      this.#creating.delete(replica.shard);
      this.#open(emptyShard(replica));
    }
  }

  #open(recovered: RecoveredShard): void {
    const { raft, nodeId, random, limits, openStateMachine, encodePayload } = this.#options;
    const machine = openStateMachine(recovered.shard);
    const replica = new Replica({
      shard: recovered.shard,
      raft: { ...raft, id: nodeId, random },
      limits,
      machine,
      recovered,
      encodePayload,
      retainedBytes: () => limits.retainedBytes / Math.max(1, this.#replicas.size),
      onComparable: (comparable) => this.#digests.reached(comparable),
      onInstalled: () => this.#options.events.onSnapshot(recovered.shard, "install", null, null),
    });
    this.#turn.raiseFloor(machine.revision);
    this.#replicas.set(recovered.shard, replica);
    this.#prefer(replica);
    this.#wake(replica);
    this.#campaignWhenPreferred(replica);
  }

  /** Ranks this replica among the candidates of its shard: the map's order is the order in which they should campaign. */
  #prefer(replica: Replica): void {
    const rank = this.#desired.get(replica.shard)?.voters.indexOf(this.#options.nodeId) ?? -1;
    replica.raft.setElectionPriority(Math.max(0, rank) * ticksPerRank);
  }

  /** A group without a leader need not wait for its timeout when its preferred leader can already reach a majority. */
  #campaignWhenPreferred(replica: Replica): void {
    const { raft } = replica;
    const { voters } = raft.configuration;
    const desired = this.#desired.get(replica.shard)?.voters ?? voters;
    if (raft.leader !== null || desired[0] !== raft.id || !voters.includes(raft.id)) {
      return;
    }
    const reachable = voters.filter((id) => id === raft.id || this.#peers.isConnected(id));
    if (reachable.length * 2 > voters.length) {
      raft.campaign();
      this.#wake(replica);
    }
  }

  #pumped(replica: Replica): void {
    if (!replica.raft.isQuiesced) {
      // Also when the group woke by itself, because something fell due: whoever is awake needs ticks.
      this.#housekeeping.wake(replica);
    }
    this.#options.events.onProgress?.(replica.shard);
    const { leader, term } = replica.raft;
    const known = this.#leaders.get(replica.shard);
    if (known !== undefined && known.leader === leader && known.term === term) {
      return;
    }
    this.#leaders.set(replica.shard, { leader, term });
    replica.reads.release();
    const isNewTermOfLeader = leader !== null && known?.term !== term;
    if ((known?.leader ?? null) !== leader || isNewTermOfLeader) {
      this.#options.events.onLeaderChange(replica.shard, leader, term);
    }
  }

  /** A request that no stream could take is answered here, as what it is: certainly not done. */
  #undeliverable(to: NodeId, request: ForwardRequest): void {
    this.#options.events.onResponse(to, {
      id: request.id,
      status: "not_ready",
      payload: nothing,
      leader: null,
      revision: this.floor,
    });
  }
}

/** Rank distance between candidates: long enough for the first to win before the second starts. */
const ticksPerRank = 2;

const nothing = new Uint8Array(0);

function emptyShard(replica: NewReplica): RecoveredShard {
  const { shard, configuration, isQuarantined, term = Term(0) } = replica;
  return {
    shard,
    hardState: { term, vote: null, commit: LogIndex(0) },
    compactedIndex: LogIndex(0),
    compactedTerm: Term(0),
    entries: [],
    appliedIndex: LogIndex(0),
    configuration,
    isQuarantined,
    verdict: { type: "ok" },
  };
}
