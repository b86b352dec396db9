import type { HandOverReason } from "../../cluster/multiraft/options.ts";
import type { Frame, Transport } from "../../cluster/multiraft/transport.ts";
import type { Message } from "../../cluster/raft/message.ts";
import {
  type Configuration,
  LogIndex,
  NodeId,
  Revision,
  type ShardId,
  Term,
} from "../../cluster/types.ts";
import { type Config, defaultConfig } from "../../server/config.ts";
import { Groups } from "../../server/groups.ts";
import { WatchHub } from "../../server/watch-hub.ts";
import type { Database } from "../../storage/database.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { emptyFrame } from "../transport/frames.ts";

export const n1 = NodeId("n1");
export const n2 = NodeId("n2");
export const n3 = NodeId("n3");

/** Members of a group without learners and without a change under way. */
export function votersOf(...voters: readonly NodeId[]): Configuration {
  return { voters, votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
}

/** A database whose writes beside the turns can fail, as receiving a snapshot does on a full disk. */
export class FragileDatabase extends MemoryDatabase {
  broken: Error | null = null;

  override get failure(): Error | null {
    return this.broken ?? super.failure;
  }
}

/** The groups of node n1, by themselves: what they send is kept, and what peers say is given to them. Turns run when they are told to. */
export class LoneGroups {
  readonly groups: Groups;
  /** The time, which passes when it is told to. */
  nowMs = 0;
  readonly sent: { readonly to: NodeId; readonly frame: Frame }[] = [];
  readonly fatal: Error[] = [];
  readonly handOvers: HandOverReason[] = [];
  readonly snapshots: { readonly operation: string; readonly bytes: number | null }[] = [];
  #turns: (() => void)[] = [];
  /** What is planned for later: a tick is late enough. */
  #planned = new Set<() => void>();

  private constructor(database: Database, changes: Partial<Config>) {
    this.groups = new Groups({
      config: defaultConfig({ nodeId: n1, ...changes }),
      database,
      witness: null,
      transport: this.#transport(),
      hub: new WatchHub(),
      events: {
        onFatal: (error) => this.fatal.push(error),
        onLeaderChange: () => {},
        onRequest: () => {},
        onResponse: () => {},
        onPeerConnected: () => {},
        onPeerDisconnected: () => {},
        onPeerFrame: () => {},
        onWrite: () => {},
        onStatesDiffer: () => {},
        onSnapshot: (_shard, operation, _error, transfer) =>
          this.snapshots.push({ operation, bytes: transfer?.bytes ?? null }),
        onHandOver: (_shard, reason) => this.handOvers.push(reason),
      },
      onMap: () => {},
      clock: () => this.nowMs,
      schedule: (run) => this.#turns.push(run),
      after: (_delayMs, run) => {
        this.#planned.add(run);
        return { cancel: () => this.#planned.delete(run) };
      },
      random: () => 0,
    });
  }

  /** A node whose store holds one replica, a member or not, that has applied nothing. */
  static async open(
    shard: ShardId,
    configuration: Configuration,
    database: Database = new MemoryDatabase(),
  ): Promise<LoneGroups> {
    const before = new DatabaseLogStore(database, null);
    await before.recover();
    const batch = before.batch();
    batch.createShard(shard, configuration, false);
    batch.setHardState(shard, { term: Term(1), vote: null, commit: LogIndex(0) });
    await batch.write();
    return LoneGroups.reopen(database);
  }

  /** A node whose store is as another has left it. */
  static async reopen(database: Database, changes: Partial<Config> = {}): Promise<LoneGroups> {
    const lone = new LoneGroups(database, changes);
    await lone.groups.multiRaft.start();
    lone.groups.multiRaft.setPeers([n1, n2, n3]);
    return lone;
  }

  /** Lets this many ticks pass, each with all turns that it brings. */
  async tick(count: number): Promise<void> {
    for (let ticks = 0; ticks < count; ticks++) {
      this.groups.multiRaft.tick(1);
      await this.wait();
    }
  }

  /** Lets so much time pass that what was planned is due, but no tick. */
  async wait(): Promise<void> {
    const due = this.#planned;
    this.#planned = new Set();
    due.forEach((run) => run());
    await this.settle();
  }

  /** Lets this many ticks pass in which these peers are heard, and answer what the replicas of this node ask of them. */
  async answer(peers: readonly NodeId[], count: number): Promise<void> {
    for (let ticks = 0; ticks < count; ticks++) {
      await this.tick(1);
      peers.forEach((peer) => this.groups.multiRaft.onFrame(peer, emptyFrame));
      for (let sent = this.sent.splice(0); sent.length > 0; sent = this.sent.splice(0)) {
        for (const { to, frame } of sent) {
          frame.messages
            .filter(() => peers.includes(to))
            .forEach(({ shard, message }) => this.#answer(shard, message));
        }
        await this.settle();
      }
    }
  }

  #answer(shard: ShardId, { type, from, to, ...message }: Message): void {
    const back = { from: to, to: from, term: message.term };
    if (type === "AppendEntries" && "entries" in message) {
      const matchIndex = LogIndex(message.prevIndex + message.entries.length);
      const result = { type: "accepted", matchIndex } as const;
      this.hear(shard, { type: "AppendEntriesResponse", ...back, result });
    } else if (type === "Heartbeat" && "round" in message) {
      this.hear(shard, { type: "HeartbeatResponse", ...back, round: message.round });
    }
  }

  /** Runs what is due: looks at what comes in, and a turn after the last of them. */
  step(): void {
    this.#turns.splice(0).forEach((run) => run());
  }

  /** Runs turns until there are none. */
  async settle(): Promise<void> {
    while (this.#turns.length > 0) {
      this.step();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** A peer says something to a shard's replica. */
  hear(shard: ShardId, message: Message): void {
    const frame = { ...emptyFrame, messages: [{ shard, message }] };
    this.groups.multiRaft.onFrame(message.from, frame);
  }

  /** A refused pre-vote of `from`, which knows no more to be committed than nothing. */
  hearRefusal(shard: ShardId, from: NodeId): void {
    this.hear(shard, {
      type: "RequestPreVoteResponse",
      from,
      to: n1,
      term: Term(1),
      granted: false,
      commit: LogIndex(0),
      commitTerm: Term(0),
    });
  }

  /** Makes this node lead a group of n1 and n2, in term 2. */
  async lead(shard: ShardId): Promise<void> {
    const { raft } = this.groups.multiRaft.replica(shard) ?? {};
    while (raft !== undefined && raft.role === "follower") {
      await this.tick(1);
    }
    const vote = { from: n2, to: n1, term: Term(2), granted: true } as const;
    const nothing = { commit: LogIndex(0), commitTerm: Term(0) };
    this.hear(shard, { type: "RequestPreVoteResponse", ...vote, ...nothing });
    await this.settle();
    this.hear(shard, { type: "RequestVoteResponse", ...vote });
    await this.settle();
  }

  #transport(): Transport {
    return {
      start: () => Promise.resolve(),
      stop: () => Promise.resolve(),
      setPeers: () => {},
      send: (to, frame) => this.sent.push({ to, frame }) > 0,
      sendSnapshot: () => Promise.reject(new Error("nobody is there")),
      hello: () => Promise.reject(new Error("nobody is there")),
      status: () => new Map(),
    };
  }
}

/** What a peer answers to a request that it could not serve. */
export const noAnswer = {
  payload: new Uint8Array(0),
  leader: null,
  revision: Revision(0),
};
