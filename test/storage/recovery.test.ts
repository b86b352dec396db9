import assert from "node:assert/strict";
import { test } from "node:test";
import type { RecoveredShard } from "../../cluster/multiraft/store.ts";
import type { Entry } from "../../cluster/types.ts";
import { LogIndex, NodeId, ShardId, Term } from "../../cluster/types.ts";
import type { Database, KeyRange } from "../../storage/database.ts";
import { findGenerations } from "../../storage/generations.ts";
import {
  appliedKey,
  entryKey,
  Generation,
  headKey,
  prefixRange,
  recordKind,
} from "../../storage/keys.ts";
import type { Witness } from "../../storage/log-store.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { decodeShardHead, encodeShardHead } from "../../storage/shard-head.ts";
import { dump, readApplied } from "./actor.ts";
import { LossyDatabase } from "./lossy-database.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";
import { SimulatedDisk } from "./simulated-disk.ts";
import { configuration, generateTurns } from "./workload.ts";

const one = ShardId(1);
const two = ShardId(2);

test("a new store is empty", async () => {
  assert.deepEqual(await recover(new MemoryDatabase()), []);
});

test("an intact replica comes back with its log, its state's index and its membership", async () => {
  const database = await twoReplicas();
  const [first, second] = await recover(database);
  assert.deepEqual(first?.verdict, { type: "ok" });
  assert.deepEqual(first.hardState, { term: 3, vote: "n2", commit: 4 });
  assert.deepEqual(
    first.entries.map(({ index, term }) => [index, term]),
    [
      [1, 1],
      [2, 1],
      [3, 2],
      [4, 3],
      [5, 3],
    ],
  );
  assert.deepEqual(first.configuration, configuration);
  assert.equal(first.appliedIndex, 2);
  assert.equal(second?.shard, two);
});

for (const [what, damage, verdict] of [
  ["a missing entry", remove(() => entryKey(one, logOf(one), 3)), { type: "hole", index: 3 }],
  ["a missing first entry", remove(() => entryKey(one, logOf(one), 1)), { type: "hole", index: 1 }],
  ["a missing last entry", remove(() => entryKey(one, logOf(one), 5)), { type: "hole", index: 5 }],
  [
    "a flipped bit in an entry",
    flip(() => entryKey(one, logOf(one), 4), 15),
    { type: "corrupt", index: 4 },
  ],
  [
    "a truncated entry",
    truncate(() => entryKey(one, logOf(one), 4)),
    { type: "corrupt", index: 4 },
  ],
  ["an entry in another's place", swap, { type: "corrupt", index: 2 }],
  ["a missing head", remove(() => headKey(one)), { type: "corrupt", index: 1 }],
  ["a flipped bit in the head", flip(() => headKey(one), 7), { type: "corrupt", index: 1 }],
  ["a missing applied record", remove(() => appliedKey(one)), { type: "corrupt", index: 1 }],
  [
    "a flipped bit in the applied record",
    flip(() => appliedKey(one), 9),
    { type: "corrupt", index: 1 },
  ],
  ["a hard state older than its entries", oldHardState, { type: "corrupt", index: 4 }],
  ["a state ahead of its log", aheadOfLog, { type: "corrupt", index: 9 }],
  ["a state behind its log's beginning", behindLog, { type: "corrupt", index: 2 }],
] as const) {
  test(`${what} is found, costs this replica its vote and no other replica anything`, async () => {
    const database = await twoReplicas();
    await damage(database);
    const [first, second] = await recover(database);
    assert.deepEqual(first?.verdict, verdict);
    assert.equal(first.isQuarantined, true);
    assert.deepEqual(first.entries, []);
    assert.equal(first.appliedIndex, 0);
    assert.deepEqual(second?.verdict, { type: "ok" });
    assert.equal(second.isQuarantined, false);
    assert.equal(second.entries.length, 1);

    const [again] = await recover(database);
    assert.equal(again?.isQuarantined, true, "it stays quarantined when it is opened again");
  });
}

test("a quarantined replica keeps its term and vote as far as they are known", async () => {
  const database = await twoReplicas();
  await remove(() => entryKey(one, logOf(one), 3))(database);
  const [first] = await recover(database);
  assert.deepEqual(first?.hardState, { term: 3, vote: "n2", commit: 0 });
});

test("the remains of a quarantined replica stay until it has recovered by snapshot", async () => {
  const database = await twoReplicas();
  const entries: KeyRange = prefixRange(Uint8Array.of(recordKind.entry, 0, 0, 0, 1));
  await remove(() => entryKey(one, logOf(one), 3))(database);
  await recover(database);
  await recover(database);
  assert.equal((await listKeys(database, entries)).length, 4);

  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const batch = store.batch();
  batch.resetLog(one, { index: LogIndex(9), term: Term(3), configuration });
  batch.setApplied(one, { ...readApplied(database, one), index: LogIndex(9), term: Term(3) });
  await batch.write();
  await store.collectGarbage();
  assert.deepEqual(await listKeys(database, entries), []);
  const [first] = await recover(database);
  assert.deepEqual(
    [first?.isQuarantined, first?.compactedIndex, first?.verdict.type],
    [false, 9, "ok"],
  );
});

test(`a turn that is lost in the middle is always noticed, whatever it changed (seed ${seed})`, async () => {
  const random = new Random(seed);
  for (let run = 0; run < 150; run++) {
    const turns = generateTurns(random.between(0, 2 ** 31), 25);
    const lostFrom = random.between(0, 23);
    const lostTo = random.between(lostFrom + 1, 25);
    const database = new LossyDatabase((write) => write >= lostFrom + 1 && write < lostTo + 1);
    const disk = await database.run(turns);
    const recovered = await recover(disk);
    assert.ok(
      recovered.every(({ isQuarantined }) => isQuarantined),
      `run ${run}: lost turns ${lostFrom} to ${lostTo} of 25 unnoticed`,
    );
  }
});

test(`a lost end is noticed with a witness, and without one it is a shorter life (seed ${seed})`, async () => {
  const random = new Random(seed);
  for (let run = 0; run < 50; run++) {
    const turns = generateTurns(random.between(0, 2 ** 31), 20);
    const lostFrom = random.between(4, 20);
    const lossy = new LossyDatabase((write) => write >= lostFrom + 1);
    const unwitnessed = await lossy.run(turns);
    const unaware = await recover(unwitnessed);
    assert.equal(await dump(unwitnessed, unaware), turns[lostFrom - 1]?.expected);
    const witness = new NotedWitness(turns.length + 1);
    const aware = await new DatabaseLogStore(await lossy.run(turns), witness).recover();
    assert.ok(
      aware.every(({ isQuarantined, verdict }) => isQuarantined && verdict.type === "hole"),
    );
  }
});

test("a store that lost turns makes no new replica that could vote, also when it is opened again", async () => {
  const database = await twoReplicas();
  await database.clear(prefixRange(Uint8Array.of(recordKind.rung)));
  for (let opening = 0; opening < 3; opening++) {
    const store = new DatabaseLogStore(database, null);
    await store.recover();
    assert.equal(store.hasLostTurns, true);
    assert.throws(() => store.batch().createShard(ShardId(7), configuration, false), {
      code: "corrupt",
    });
  }
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const batch = store.batch();
  batch.createShard(ShardId(7), configuration, true);
  await batch.write();
});

test("a store whose ladder is gone does not trust its replicas", async () => {
  const database = await twoReplicas();
  await database.clear(prefixRange(Uint8Array.of(recordKind.rung)));
  assert.ok((await recover(database)).every(({ isQuarantined }) => isQuarantined));
});

test("what crashes left behind is found and deleted when the store is opened", async () => {
  const database = await twoReplicas();
  const batch = database.batch();
  batch.put(entryKey(ShardId(9), Generation(40), 1), Buffer.of(1));
  batch.put(entryKey(one, Generation(41), 1), Buffer.of(1));
  await batch.write(true);
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  assert.ok(store.nextGeneration() > 41, "a number that is in use is not given out again");
  await store.collectGarbage();
  const found = await findGenerations(database);
  assert.deepEqual(
    found.map(({ shard }) => shard),
    [1, 2],
  );
});

test("two turns in flight together, and filling a shard that is not there, are refused", async () => {
  const database = await new SimulatedDisk().open();
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  assert.throws(() => store.batch().removeShard(one), /has no replica here/);
  const [a, b] = [store.batch(), store.batch()];
  a.createShard(one, configuration, false);
  b.createShard(two, configuration, false);
  const writing = a.write();
  await assert.rejects(b.write(), /never in flight together/);
  await writing;
});

test("appending beyond the end, below the snapshot, or with a gap is refused", async () => {
  const store = new DatabaseLogStore(await twoReplicas(), null);
  await store.recover();
  const batch = store.batch();
  batch.compact(one, LogIndex(2), Term(1));
  assert.throws(() => batch.append(one, [entry(7, 3)]), /beyond its log's end/);
  assert.throws(() => batch.append(one, [entry(2, 3)]), /below its snapshot/);
  assert.throws(() => batch.append(one, [entry(3, 3), entry(5, 3)]), /with a gap/);
  assert.throws(() => batch.compact(one, LogIndex(99), Term(3)), /beyond its log's end/);
});

class NotedWitness implements Witness {
  sequence: number;

  constructor(sequence: number) {
    this.sequence = sequence;
  }

  note(sequence: number): void {
    this.sequence = sequence;
  }
}

/** Shard 1 with five entries, two of them applied; shard 2 with one. */
async function twoReplicas(): Promise<MemoryDatabase> {
  const database = new MemoryDatabase();
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const batch = store.batch();
  for (const shard of [one, two]) {
    batch.createShard(shard, configuration, false);
    batch.setHardState(shard, { term: Term(3), vote: NodeId("n2"), commit: LogIndex(4) });
  }
  await batch.write();
  const next = store.batch();
  next.append(one, [entry(1, 1), entry(2, 1), entry(3, 2), entry(4, 3), entry(5, 3)]);
  next.append(two, [entry(1, 3)]);
  next.setApplied(one, { ...readApplied(database, one), index: LogIndex(2), term: Term(1) });
  await next.write();
  return database;
}

function entry(index: number, term: number): Entry {
  return {
    index: LogIndex(index),
    term: Term(term),
    type: "command",
    payload: Buffer.from(`payload ${index}`),
  };
}

/** Generations are given out in order: of each shard first the log's, then the state's. */
function logOf(shard: ShardId): Generation {
  return Generation(shard === one ? 1 : 3);
}

type Damage = (database: Database) => Promise<void>;

function change(key: () => Uint8Array, make: (value: Buffer) => Buffer | null): Damage {
  return async (database) => {
    const value = database.getSync(key());
    assert.ok(value !== undefined, "the record to damage is there");
    const changed = make(Buffer.from(value));
    const batch = database.batch();
    if (changed === null) {
      batch.del(key());
    } else {
      batch.put(key(), changed);
    }
    await batch.write(true);
  };
}

function remove(key: () => Uint8Array): Damage {
  return change(key, () => null);
}

function truncate(key: () => Uint8Array): Damage {
  return change(key, (value) => value.subarray(0, -1));
}

function flip(key: () => Uint8Array, at: number): Damage {
  return change(key, (value) => {
    value[at] = (value[at] ?? 0) ^ 0x10;
    return value;
  });
}

async function swap(database: Database): Promise<void> {
  const other = database.getSync(entryKey(one, logOf(one), 1));
  await change(
    () => entryKey(one, logOf(one), 2),
    () => Buffer.from(other ?? []),
  )(database);
}

async function oldHardState(database: Database): Promise<void> {
  await change(
    () => headKey(one),
    (value) => {
      const head = decodeShardHead(one, value);
      const old = { ...head, hardState: { ...head.hardState, term: Term(2) } };
      return Buffer.from(encodeShardHead(one, old));
    },
  )(database);
}

async function aheadOfLog(database: Database): Promise<void> {
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const batch = store.batch();
  batch.setApplied(one, { ...readApplied(database, one), index: LogIndex(9), term: Term(3) });
  await batch.write();
}

async function behindLog(database: Database): Promise<void> {
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const batch = store.batch();
  batch.compact(one, LogIndex(3), Term(2));
  await batch.write();
}

async function recover(database: Database): Promise<readonly RecoveredShard[]> {
  return new DatabaseLogStore(database, null).recover();
}

async function listKeys(database: Database, range: KeyRange): Promise<readonly Uint8Array[]> {
  const iterator = database.iterate(range, { keysOnly: true });
  const pairs = await iterator.next(1_000);
  await iterator.close();
  return pairs.map(([key]) => key);
}
