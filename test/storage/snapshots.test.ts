import assert from "node:assert/strict";
import { test } from "node:test";
import type { Configuration } from "../../cluster/types.ts";
import { LogIndex, NodeId, Revision, ShardId, Term } from "../../cluster/types.ts";
import { sealRecord } from "../../storage/checksum.ts";
import type { Database } from "../../storage/database.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { findGenerations } from "../../storage/generations.ts";
import {
  prefixRange,
  stagingRungKey,
  stateKey,
  stateKeyTail,
  statePrefix,
} from "../../storage/keys.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { SnapshotReceiver } from "../../storage/snapshot-receiver.ts";
import { createSnapshotReader } from "../../storage/snapshot-reader.ts";
import { readApplied } from "./actor.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";
import { temporaryLevel } from "./temporary.ts";

const shard = ShardId(5);
const members: Configuration = {
  voters: [NodeId("n1"), NodeId("n2")],
  votersOutgoing: [NodeId("n1")],
  learners: [NodeId("n3")],
  learnersNext: [NodeId("n4")],
  autoLeave: true,
};

test(`a snapshot makes another node's state equal, however its bytes are cut (seed ${seed})`, async (context) => {
  const random = new Random(seed);
  for (const [count, size] of [
    [0, 0],
    [1, 10],
    [3_000, 256],
    [5, 400_000],
  ] as const) {
    const source = await node(await temporaryLevel(context));
    await fill(source, count, size, random);
    const target = await node(new MemoryDatabase());
    const receiver = new SnapshotReceiver(target.database, target.store, shard);
    const reader = createSnapshotReader(source.database, shard);
    for await (const chunk of reader.chunks(random.between(1_000, 100_000))) {
      const cut = random.between(0, chunk.length + 1);
      await receiver.write(chunk.subarray(0, cut));
      await receiver.write(chunk.subarray(cut));
    }
    assert.deepEqual(await receiver.finish(), reader.metadata);
    await reader.close();
    await install(target, receiver);
    assert.deepEqual(await records(target.database), await records(source.database));
    const [applied, origin] = [target, source].map(({ database }) => readApplied(database, shard));
    assert.deepEqual({ ...applied, generation: 0 }, { ...origin, generation: 0 });
    assert.deepEqual(applied?.configuration, members);
  }
});

test("a snapshot shows one applied index while writes go on, also after the state was replaced", async (context) => {
  const random = new Random(seed);
  const source = await node(await temporaryLevel(context));
  await fill(source, 2_000, 300, random);
  const before = await records(source.database);
  const reader = createSnapshotReader(source.database, shard);
  const chunks = reader.chunks(64 * 1024)[Symbol.asyncIterator]();
  const received: Uint8Array[] = [(await chunks.next()).value];
  await fill(source, 2_500, 200, random);
  const own = new SnapshotReceiver(source.database, source.store, shard);
  for (const chunk of await snapshotOf(source.database)) {
    await own.write(chunk);
  }
  await own.finish();
  await install(source, own);
  await source.store.collectGarbage();
  for (let step = await chunks.next(); step.done !== true; step = await chunks.next()) {
    received.push(step.value);
  }
  await reader.close();
  const target = await node(new MemoryDatabase());
  const receiver = new SnapshotReceiver(target.database, target.store, shard);
  for (const chunk of received) {
    await receiver.write(chunk);
  }
  await receiver.finish();
  await install(target, receiver);
  assert.deepEqual(await records(target.database), before);
});

test("a snapshot with any byte changed is refused, and so is one that ends anywhere before its end", async () => {
  const source = await node(new MemoryDatabase());
  await fill(source, 3, 20, new Random(1));
  const bytes = Buffer.concat(await snapshotOf(source.database));
  const target = await node(new MemoryDatabase());
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0x04;
    await assert.rejects(receive(target, changed), isRefused, `byte ${at} of ${bytes.length}`);
    await assert.rejects(receive(target, bytes.subarray(0, at)), isRefused, `cut at ${at}`);
  }
  await assert.rejects(receive(target, Buffer.concat([bytes, Buffer.of(1)])), isRefused);
  await assert.rejects(receive(target, Buffer.concat([bytes, bytes])), isRefused);
  await target.store.collectGarbage();
  const kinds = (await findGenerations(target.database)).map(({ kind }) => kind);
  assert.deepEqual(kinds, [], "nothing of what was refused stays");
});

test("a snapshot of another shard or of a newer format is refused with a sentence that says so", async () => {
  const source = await node(new MemoryDatabase());
  const bytes = Buffer.concat(await snapshotOf(source.database));
  const target = await node(new MemoryDatabase());
  const receiver = new SnapshotReceiver(target.database, target.store, ShardId(6));
  await assert.rejects(receiver.write(bytes), /a snapshot of shard 5, not of 6/);
  bytes.writeUInt32BE(2, 8);
  await assert.rejects(receive(target, bytes), /format 2, this version of Flotilla reads 1/);
});

test("a damaged record ends the snapshot that would have carried it away", async () => {
  const source = await node(new MemoryDatabase());
  await fill(source, 10, 20, new Random(1));
  const prefix = statePrefix(shard, readApplied(source.database, shard).generation);
  const key = stateKey(prefix, 1, Buffer.from("key 00000004"));
  const value = Buffer.from(source.database.getSync(key) ?? []);
  value[3] = (value[3] ?? 0) ^ 1;
  const batch = source.database.batch();
  batch.put(key, value);
  await batch.write(true);
  await assert.rejects(
    snapshotOf(source.database),
    (error) => error instanceof StoreFailure && error.code === "corrupt",
  );
});

test("giving up while blocks are being written leaves nothing, and later chunks are refused", async (context) => {
  const source = await node(new MemoryDatabase());
  await fill(source, 4_000, 300, new Random(1));
  const target = await node(await temporaryLevel(context));
  const receiver = new SnapshotReceiver(target.database, target.store, shard);
  const writing = receiver.write(Buffer.concat(await snapshotOf(source.database)));
  await Promise.all([receiver.abort(), assert.rejects(writing, /given up/)]);
  await receiver.abort();
  await target.store.collectGarbage();
  assert.deepEqual(await findGenerations(target.database), []);
});

test("an installed state that lost any of its blocks is noticed when the store is opened", async () => {
  const source = await node(new MemoryDatabase());
  await fill(source, 4_000, 300, new Random(1));
  const chunks = await snapshotOf(source.database);
  for (const lost of [2, 3, 4, 5]) {
    const target = await node(new MemoryDatabase());
    const receiver = new SnapshotReceiver(target.database, target.store, shard);
    for (const chunk of chunks) {
      await receiver.write(chunk);
    }
    await receiver.finish();
    await install(target, receiver);
    await undoRung(target.database, lost);
    const [replica] = await new DatabaseLogStore(target.database, null).recover();
    assert.deepEqual([replica?.verdict.type, replica?.isQuarantined], ["corrupt", true]);
  }
});

test("a snapshot that was never installed is garbage for the next opening", async () => {
  const target = await node(new MemoryDatabase());
  const source = await node(new MemoryDatabase());
  await fill(source, 100, 20, new Random(1));
  await receive(target, Buffer.concat(await snapshotOf(source.database)));
  assert.equal((await findGenerations(target.database)).length, 2);
  const store = new DatabaseLogStore(target.database, null);
  const [replica] = await store.recover();
  assert.equal(replica?.verdict.type, "ok");
  await store.collectGarbage();
  assert.deepEqual(await findGenerations(target.database), []);
});

interface Node {
  readonly database: Database;
  readonly store: DatabaseLogStore;
}

async function node(database: Database): Promise<Node> {
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const batch = store.batch();
  batch.createShard(shard, members, false);
  await batch.write();
  return { database, store };
}

async function fill(
  { database, store }: Node,
  count: number,
  size: number,
  random: Random,
): Promise<void> {
  const applied = readApplied(database, shard);
  const prefix = statePrefix(shard, applied.generation);
  const batch = store.batch();
  for (let i = 0; i < count; i++) {
    const key = stateKey(prefix, 1 + (i % 3), Buffer.from(`key ${String(i).padStart(8, "0")}`));
    batch.put(key, sealRecord(stateKeyTail(key), random.bytes(size)));
  }
  batch.setApplied(shard, {
    ...applied,
    index: LogIndex(applied.index + 1),
    term: Term(1),
    revision: Revision(count + 1),
    extra: Buffer.from("some digest"),
  });
  await batch.write();
}

async function install({ store }: Node, receiver: SnapshotReceiver): Promise<void> {
  const batch = store.batch();
  batch.resetLog(shard, receiver.install(batch));
  batch.setHardState(shard, { term: Term(9), vote: null, commit: LogIndex(0) });
  await batch.write();
}

async function snapshotOf(database: Database): Promise<Uint8Array[]> {
  const reader = createSnapshotReader(database, shard);
  const chunks: Uint8Array[] = [];
  for await (const chunk of reader.chunks(1024 * 1024)) {
    chunks.push(chunk);
  }
  await reader.close();
  return chunks;
}

/** Receives and gives up when it is refused, as a host does. */
async function receive({ database, store }: Node, bytes: Uint8Array): Promise<void> {
  const receiver = new SnapshotReceiver(database, store, shard);
  try {
    await receiver.write(bytes);
    await receiver.finish();
  } catch (error) {
    await receiver.abort();
    throw error;
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof StoreFailure && error.code === "bad_snapshot";
}

/** As if the batch with this rung had been lost: it did not put its rung, nor remove the one before. */
async function undoRung(database: Database, rung: number): Promise<void> {
  const { generation } = readApplied(database, shard);
  const batch = database.batch();
  batch.put(stagingRungKey(shard, generation, rung - 1), new Uint8Array(0));
  batch.del(stagingRungKey(shard, generation, rung));
  await batch.write(true);
}

/** Records of the shard's present state by table and key, which do not depend on the generation. */
async function records(database: Database): Promise<Map<string, Uint8Array>> {
  const { generation } = readApplied(database, shard);
  const found = await pairsOf(database, prefixRange(statePrefix(shard, generation)));
  return new Map([...found].map(([key, value]) => [key.slice(18), value]));
}

async function pairsOf(
  database: Database,
  range: { readonly gte: Uint8Array; readonly lt: Uint8Array },
): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  const iterator = database.iterate(range);
  for (let pairs = await iterator.next(500); pairs.length > 0; pairs = await iterator.next(500)) {
    pairs.forEach(([key, value]) =>
      found.set(Buffer.from(key).toString("hex"), Buffer.from(value)),
    );
  }
  await iterator.close();
  return found;
}
