import type { RecoveredShard } from "../../cluster/multiraft/store.ts";
import type { ShardId } from "../../cluster/types.ts";
import { Revision } from "../../cluster/types.ts";
import type { AppliedRecord } from "../../storage/applied-record.ts";
import { decodeAppliedRecord } from "../../storage/applied-record.ts";
import { openRecord, sealRecord } from "../../storage/checksum.ts";
import type { Database } from "../../storage/database.ts";
import {
  appliedKey,
  prefixRange,
  stateKey,
  stateKeyTail,
  statePrefix,
} from "../../storage/keys.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { SnapshotReceiver } from "../../storage/snapshot-receiver.ts";
import { createSnapshotReader } from "../../storage/snapshot-reader.ts";
import type { StorageBatch } from "../../storage/turn-batch.ts";
import type { Action, ReplicaView, Turn } from "./workload.ts";
import { canonical, configuration, effectOf, recordDigest } from "./workload.ts";

const table = 1;

/** Does what a workload says on a real store, as a host and its state machines would. */
export class Actor {
  readonly #database: Database;
  readonly store: DatabaseLogStore;
  /** Called when the phase of a turn changes: a crash point is a phase. */
  readonly #enter: (phase: string) => void;

  constructor(
    database: Database,
    store: DatabaseLogStore,
    enter: (phase: string) => void = () => undefined,
  ) {
    this.#database = database;
    this.store = store;
    this.#enter = enter;
  }

  /** The turn is durable when this resolves. */
  async run(turn: Turn): Promise<void> {
    const received = new Map<ShardId, SnapshotReceiver>();
    for (const action of turn.actions) {
      if (action.type === "install") {
        received.set(action.shard, await this.#stage(action.shard));
      }
    }
    const batch = this.store.batch();
    for (const action of turn.actions) {
      this.#fill(batch, action, received);
    }
    this.#enter(turn.label);
    await batch.write();
    this.#enter("background");
  }

  async #stage(shard: ShardId): Promise<SnapshotReceiver> {
    this.#enter("staging");
    const reader = createSnapshotReader(this.#database, shard);
    const receiver = new SnapshotReceiver(this.#database, this.store, shard);
    for await (const chunk of reader.chunks(1_000)) {
      await receiver.write(chunk);
    }
    await receiver.finish();
    await reader.close();
    return receiver;
  }

  #fill(
    batch: StorageBatch,
    action: Action,
    received: ReadonlyMap<ShardId, SnapshotReceiver>,
  ): void {
    const { shard } = action;
    switch (action.type) {
      case "create":
        return batch.createShard(shard, configuration, false);
      case "hard_state":
        return batch.setHardState(shard, action.hardState);
      case "append":
        return batch.append(shard, action.entries);
      case "apply":
        return this.#apply(batch, action);
      case "compact":
        return batch.compact(shard, action.index, action.term);
      case "install": {
        const applied = received.get(shard)?.install(batch);
        if (applied === undefined) {
          throw new Error(`no snapshot was staged for shard ${shard}`);
        }
        return batch.resetLog(shard, applied);
      }
      case "remove":
        return batch.removeShard(shard);
    }
  }

  #apply(batch: StorageBatch, { shard, entries }: Extract<Action, { type: "apply" }>): void {
    let applied = readApplied(this.#database, shard);
    const prefix = statePrefix(shard, applied.generation);
    const overlay = new Map<string, string>();
    for (const entry of entries) {
      const [name, value] = effectOf(entry);
      const key = stateKey(prefix, table, Buffer.from(name));
      const stored = this.#database.getSync(key);
      const before =
        overlay.get(name) ??
        (stored === undefined ? undefined : text(openRecord(stateKeyTail(key), stored)));
      const digest =
        digestOf(applied) ^
        recordDigest(name, value) ^
        (before === undefined ? 0 : recordDigest(name, before));
      batch.put(key, sealRecord(stateKeyTail(key), Buffer.from(value)));
      overlay.set(name, value);
      applied = {
        ...applied,
        index: entry.index,
        term: entry.term,
        revision: Revision(entry.index),
        extra: digestBytes(digest >>> 0),
      };
    }
    batch.setApplied(shard, applied);
  }
}

/** What is on disk, in the words of the workload. Throws where records are damaged or state and digest disagree. */
export async function dump(
  database: Database,
  recovered: readonly RecoveredShard[],
): Promise<string> {
  const replicas = new Map<ShardId, ReplicaView>();
  for (const replica of recovered) {
    const applied = readApplied(database, replica.shard);
    const records = await readState(database, replica.shard, applied);
    let digest = 0;
    for (const [key, value] of records) {
      digest ^= recordDigest(key, value);
    }
    if (digest >>> 0 !== digestOf(applied)) {
      throw new Error(`the state of shard ${replica.shard} does not match its digest`);
    }
    replicas.set(replica.shard, {
      hardState: replica.hardState,
      compactedIndex: replica.compactedIndex,
      compactedTerm: replica.compactedTerm,
      entries: replica.entries,
      appliedIndex: replica.appliedIndex,
      appliedTerm: applied.term,
      digest: digestOf(applied),
      records,
    });
  }
  return canonical(replicas);
}

/** Opens the store again on the same database and tells what it holds. */
export async function reopenAndDump(database: Database): Promise<string> {
  return dump(database, await new DatabaseLogStore(database, null).recover());
}

export function readApplied(database: Database, shard: ShardId): AppliedRecord {
  const bytes = database.getSync(appliedKey(shard));
  if (bytes === undefined) {
    throw new Error(`shard ${shard} has no applied record`);
  }
  return decodeAppliedRecord(shard, bytes);
}

async function readState(
  database: Database,
  shard: ShardId,
  applied: AppliedRecord,
): Promise<Map<string, string>> {
  const records = new Map<string, string>();
  const iterator = database.iterate(prefixRange(statePrefix(shard, applied.generation)));
  for (let pairs = await iterator.next(100); pairs.length > 0; pairs = await iterator.next(100)) {
    for (const [key, value] of pairs) {
      const tail = stateKeyTail(key);
      records.set(text(tail.subarray(1)), text(openRecord(tail, value)));
    }
  }
  await iterator.close();
  return records;
}

function digestOf(applied: AppliedRecord): number {
  return applied.extra.length === 4 ? Buffer.from(applied.extra).readUInt32BE(0) : 0;
}

function digestBytes(digest: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(digest, 0);
  return bytes;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
