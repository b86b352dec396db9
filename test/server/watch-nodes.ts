import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import type { Configuration, Entry } from "../../cluster/types.ts";
import { LogIndex, NodeId, Revision, ShardId, Term } from "../../cluster/types.ts";
import type { WatchRequest } from "../../server/http/service.ts";
import { systemTimers, type Timers } from "../../server/timers.ts";
import type { ScanPage, WatchAccess } from "../../server/watch-access.ts";
import type { ChangeSource } from "../../server/watch-changes.ts";
import { WatchHub } from "../../server/watch-hub.ts";
import { WatchService } from "../../server/watch-service.ts";
import { encodeCommandEnvelope } from "../../storage/command-codec.ts";
import type { ChangeEvent, Command } from "../../storage/commands.ts";
import { encodeEntryPayload } from "../../storage/entry-payload.ts";
import { KvStateMachine } from "../../storage/kv-state-machine.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import type { ScanQuery } from "../../storage/queries.ts";
import { stateLimits } from "../../storage/state-limits.ts";

const usualWaitMsMax = 50;
const term = Term(1);
const configuration: Configuration = {
  voters: [NodeId("n1")],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

/** One entry's changes, as every replica must tell them. */
export interface Told {
  readonly index: number;
  readonly events: readonly ChangeEvent[];
}

export interface WatchNodesOptions {
  readonly nodes: number;
  readonly shards: number;
  /** Which nodes hold a shard, counted from 0. */
  readonly holders: (shard: ShardId) => readonly number[];
  readonly historyEventsMax?: number;
  readonly bufferBytes?: number;
  readonly progressMs?: number;
  /** What is longer than this takes this long. */
  readonly waitMsMax?: number;
}

/** Some nodes with the real watch service and real state machines, and a log per shard instead of Raft: what is in it is committed. */
export class WatchNodes {
  readonly nodes: readonly WatchNode[];
  readonly options: WatchNodesOptions;
  readonly logs = new Map<ShardId, Entry[]>();
  /** What each shard's log changes. */
  readonly truth = new Map<ShardId, Told[]>();
  shardIds: readonly ShardId[];
  readonly #reference = new Map<ShardId, KvStateMachine>();

  private constructor(options: WatchNodesOptions) {
    this.options = options;
    this.shardIds = Array.from({ length: options.shards }, (_, at) => ShardId(at + 1));
    this.nodes = Array.from({ length: options.nodes }, (_, at) => new WatchNode(this, at));
  }

  static async create(options: WatchNodesOptions): Promise<WatchNodes> {
    const all = new WatchNodes(options);
    for (const shard of all.shardIds) {
      const truth: Told[] = [];
      all.logs.set(shard, []);
      all.truth.set(shard, truth);
      const reference = await openMachine(new MemoryDatabase(), shard, 1e6, {
        onChanges: (index, events) => truth.push({ index, events }),
        onReplaced: () => {},
      });
      all.#reference.set(shard, reference);
      for (const at of options.holders(shard)) {
        await all.node(at).host(shard);
      }
    }
    return all;
  }

  node(at: number): WatchNode {
    const node = this.nodes[at];
    assert.ok(node !== undefined);
    return node;
  }

  /** By the key's last byte. */
  shardOf(key: Uint8Array): ShardId {
    const shard = this.shardIds[(key.at(-1) ?? 0) % this.shardIds.length];
    assert.ok(shard !== undefined);
    return shard;
  }

  log(shard: ShardId): Entry[] {
    return this.logs.get(shard) ?? [];
  }

  /** Commits one entry. Nobody applies it before it is asked to. */
  commit(shard: ShardId, commands: readonly Command[]): void {
    const log = this.log(shard);
    const bytes = commands.map((command) =>
      encodeCommandEnvelope({ request: null, idempotency: null, command }),
    );
    const entry: Entry = {
      index: LogIndex(log.length + 1),
      term,
      type: "command",
      payload: encodeEntryPayload(Revision(0), bytes),
    };
    log.push(entry);
    this.#reference.get(shard)?.apply(entry, configuration);
  }

  /** Commits one entry for the commands' shard, and everybody applies everything. */
  write(...commands: readonly (Command & { readonly key: Uint8Array })[]): void {
    const [first] = commands;
    assert.ok(first !== undefined);
    this.commit(this.shardOf(first.key), commands);
    this.applyAll();
  }

  applyAll(): void {
    this.nodes.forEach((node) => node.apply());
  }

  stop(): void {
    this.nodes.forEach((node) => node.service.stop());
  }
}

interface Replica {
  readonly database: MemoryDatabase;
  machine: KvStateMachine;
}

/** One node: replicas of some shards, and a watch service. */
export class WatchNode implements WatchAccess {
  readonly id: NodeId;
  readonly hub = new WatchHub();
  service: WatchService;
  isReady = true;
  /** Nobody confirms anything to it, and nobody hears it. */
  isIsolated = false;
  readonly #all: WatchNodes;
  readonly #replicas = new Map<ShardId, Replica>();

  constructor(all: WatchNodes, at: number) {
    this.#all = all;
    this.id = NodeId(`n${at + 1}`);
    this.service = this.#newService();
  }

  get replicas(): readonly ShardId[] {
    return [...this.#replicas.keys()];
  }

  async host(shard: ShardId): Promise<void> {
    const database = new MemoryDatabase();
    this.#replicas.set(shard, { database, machine: await this.#open(database, shard) });
  }

  unhost(shard: ShardId): void {
    this.#replicas.delete(shard);
    this.service.refresh();
  }

  machine(shard: ShardId): KvStateMachine {
    const replica = this.#replicas.get(shard);
    assert.ok(replica !== undefined);
    return replica.machine;
  }

  /** Applies the next `count` entries of every replica, or of one. */
  apply(count = Infinity, only: ShardId | null = null): void {
    for (const [shard, { machine }] of this.#replicas) {
      const log = this.#all.log(shard);
      for (let i = 0; i < count && (only === null || only === shard); i++) {
        const entry = log[machine.appliedIndex];
        if (entry === undefined) {
          break;
        }
        machine.apply(entry, configuration);
      }
    }
  }

  /** Ends the process and starts it anew: streams break, histories are gone. */
  async restart(): Promise<void> {
    this.service.stop();
    for (const [shard, replica] of this.#replicas) {
      await persist(replica);
      replica.machine = await this.#open(replica.database, shard);
    }
    this.service = this.#newService();
  }

  /** The replica goes on from the state of another one. */
  async installSnapshotOf(from: WatchNode, shard: ShardId): Promise<void> {
    const theirs = from.#replicas.get(shard);
    const own = this.#replicas.get(shard);
    assert.ok(theirs !== undefined && own !== undefined);
    await persist(theirs);
    const reader = theirs.machine.snapshot();
    const writer = own.machine.receiveSnapshot();
    for await (const chunk of reader.chunks(64 * 1024)) {
      await writer.write(chunk);
    }
    await reader.close();
    const metadata = await writer.finish();
    if (metadata.index <= own.machine.appliedIndex) {
      await writer.abort();
      return;
    }
    const batch = storeOf(own.database).batch();
    own.machine.install(batch, writer);
    batch.resetLog(shard, metadata);
    await batch.write();
    own.machine.staged();
  }

  shards(): readonly ShardId[] {
    return this.#all.shardIds;
  }

  shardOf(key: Uint8Array): ShardId {
    return this.#all.shardOf(key);
  }

  source(shard: ShardId): ChangeSource | null {
    return this.#replicas.get(shard)?.machine ?? null;
  }

  async confirm(shard: ShardId): Promise<boolean> {
    const committed = this.#all.log(shard).length;
    for (let i = 0; i < 1000; i++) {
      if (this.isIsolated) {
        return false;
      }
      const source = this.source(shard);
      if (source === null || source.appliedIndex >= committed) {
        return source !== null;
      }
      await turn();
    }
    return false;
  }

  async scan(shard: ShardId, query: ScanQuery): Promise<ScanPage | null> {
    const holder = this.source(shard) === null ? this.#holders(shard)[0] : this;
    if (holder === undefined || this.isIsolated || !(await holder.confirm(shard))) {
      return null;
    }
    const page = await holder.machine(shard).query(query);
    return page.type === "scan" ? page : null;
  }

  members(shard: ShardId): readonly NodeId[] {
    return this.#holders(shard).map(({ id }) => id);
  }

  isConnected(node: NodeId): boolean {
    const other = this.#all.nodes.find(({ id }) => id === node);
    return !this.isIsolated && other?.isIsolated === false;
  }

  async ask(to: NodeId, shard: ShardId, poll: Uint8Array): Promise<Uint8Array | null> {
    const other = this.#all.nodes.find(({ id }) => id === to);
    const answer = await (other?.service.answer(shard, poll) ?? null);
    await turn();
    return this.isConnected(to) ? answer : null;
  }

  async pause(): Promise<void> {
    await turn();
  }

  watch(request: Partial<WatchRequest> & { readonly signal: AbortSignal }) {
    return this.service.watch({
      prefix: new Uint8Array(0),
      key: null,
      after: null,
      initial: false,
      wantPrevious: false,
      ...request,
    });
  }

  #holders(shard: ShardId): readonly WatchNode[] {
    return this.#all.nodes.filter((node) => node !== this && node.source(shard) !== null);
  }

  #newService(): WatchService {
    const {
      bufferBytes = 1024 * 1024,
      progressMs = 10_000,
      waitMsMax = usualWaitMsMax,
    } = this.#all.options;
    const { hub } = this;
    // A node that waits for another's answer learns how far that one is only when the wait is over.
    const timers: Timers = {
      after: (delayMs, run) => systemTimers.after(Math.min(delayMs, waitMsMax), run),
    };
    return new WatchService({ access: this, hub, timers, bufferBytes, progressMs, pollsMax: 1000 });
  }

  #open(database: MemoryDatabase, shard: ShardId): Promise<KvStateMachine> {
    return openMachine(database, shard, this.#all.options.historyEventsMax ?? 10_000, {
      onChanges: (index, events) => this.hub.publish({ shard, index, events }),
      onReplaced: (index) => this.hub.replaced(shard, index),
    });
  }
}

const stores = new WeakMap<MemoryDatabase, DatabaseLogStore>();

function storeOf(database: MemoryDatabase): DatabaseLogStore {
  const store = stores.get(database);
  assert.ok(store !== undefined);
  return store;
}

async function openMachine(
  database: MemoryDatabase,
  shard: ShardId,
  eventsMax: number,
  told: {
    readonly onChanges: (index: LogIndex, events: readonly ChangeEvent[]) => void;
    readonly onReplaced: (index: LogIndex) => void;
  },
): Promise<KvStateMachine> {
  let store = stores.get(database);
  if (store === undefined) {
    store = new DatabaseLogStore(database, null);
    stores.set(database, store);
    await store.recover();
    const batch = store.batch();
    batch.createShard(shard, configuration, false);
    batch.setHardState(shard, { term, vote: null, commit: LogIndex(0) });
    await batch.write();
  }
  return new KvStateMachine({
    database,
    store,
    rowCache: null,
    shard,
    limits: stateLimits,
    deadlines: {
      clock: () => 0,
      checkpointIntervalMs: 1e9,
      checkpointRecordsMax: 1,
      reofferMs: 1e9,
      graceMs: 0,
    },
    history: { eventsMax, bytesMax: () => 100_000_000 },
    ...told,
  });
}

async function persist({ database, machine }: Replica): Promise<void> {
  if (machine.isDirty) {
    const batch = storeOf(database).batch();
    machine.stage(batch);
    await batch.write();
    machine.staged();
  }
}
