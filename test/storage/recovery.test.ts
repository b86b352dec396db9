import assert from "node:assert/strict";
import { test } from "node:test";
import type { RecoveredShard } from "../../cluster/multiraft/store.ts";
import type { Entry } from "../../cluster/types.ts";
import { LogIndex, NodeId, ShardId, Term } from "../../cluster/types.ts";
import type { Database, KeyRange } from "../../storage/database.ts";
import { findGenerations } from "../../storage/generations.ts";
import { encodeJournalRecord, type LogChange } from "../../storage/journal.ts";
import {
  appliedKey,
  Generation,
  journalKey,
  journalRange,
  prefixRange,
  recordKind,
  stateKey,
  statePrefix,
} from "../../storage/keys.ts";
import type { Witness } from "../../storage/log-store.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import type { ShardHead } from "../../storage/shard-head.ts";
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
  ["a flipped bit in an entry", flip(() => journalKey(4), 15), { type: "corrupt", index: 4 }],
  ["a flipped bit in the first head", flip(() => journalKey(2), 1), { type: "corrupt", index: 1 }],
  ["an entry that was never written", change(head({ lastIndex: 6 })), { type: "hole", index: 6 }],
  ["a gap between two entries", change(head({ lastIndex: 7 }), 7), { type: "hole", index: 6 }],
  [
    "a term above the hard state's",
    change(head({ lastIndex: 6 }), 6, 4),
    { type: "corrupt", index: 6 },
  ],
  ["a term that falls", change(head({ lastIndex: 6 }), 6, 2), { type: "corrupt", index: 6 }],
  [
    "a log that begins after its end",
    change(head({ lastIndex: 0 })),
    { type: "corrupt", index: 1 },
  ],
  ["a missing applied record", remove(() => appliedKey(one)), { type: "corrupt", index: 1 }],
  [
    "a flipped bit in the applied record",
    flip(() => appliedKey(one), 9),
    { type: "corrupt", index: 1 },
  ],
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

for (const [what, damage] of [
  ["a missing turn", remove(() => journalKey(3))],
  ["a missing last turn", remove(() => journalKey(4))],
  ["a turn whose contents have a flipped bit", flip(() => journalKey(3), -14)],
  ["a turn whose seal has a flipped bit", flip(() => journalKey(3), -1)],
  ["a truncated turn", truncate(() => journalKey(3))],
  ["a turn in another's place", swap],
] as const) {
  test(`${what} is found, and costs every replica its vote, because nobody knows whose it was`, async () => {
    const database = await twoReplicas();
    await damage(database);
    for (const replica of await recover(database)) {
      assert.equal(replica.verdict.type, "hole");
      assert.equal(replica.isQuarantined, true);
      assert.deepEqual(replica.entries, []);
    }
    for (const again of await recover(database)) {
      assert.deepEqual([again.verdict.type, again.isQuarantined], ["ok", true]);
    }
  });
}

test("a quarantined replica keeps its term and vote as far as they are known", async () => {
  const database = await twoReplicas();
  await flip(() => journalKey(4), 15)(database);
  const [first] = await recover(database);
  assert.deepEqual(first?.hardState, { term: 3, vote: "n2", commit: 0 });
});

test("the state of a quarantined replica stays until it has recovered by snapshot", async () => {
  const database = await twoReplicas();
  const states: KeyRange = prefixRange(Uint8Array.of(recordKind.state, 0, 0, 0, 1));
  const row = database.batch();
  row.put(stateKey(statePrefix(one, Generation(1)), 1, Buffer.from("a")), Buffer.of(1));
  await row.write(true);
  await flip(() => journalKey(4), 15)(database);
  await recover(database);
  await recover(database);
  assert.equal((await listKeys(database, states)).length, 1);

  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const batch = store.batch();
  batch.resetLog(one, { index: LogIndex(9), term: Term(3), configuration });
  batch.setApplied(one, { ...readApplied(database, one), index: LogIndex(9), term: Term(3) });
  await batch.write();
  await store.collectGarbage();
  assert.deepEqual(await listKeys(database, states), []);
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
  batch.put(stateKey(statePrefix(ShardId(9), Generation(40)), 1, Buffer.of(1)), Buffer.of(1));
  batch.put(stateKey(statePrefix(one, Generation(41)), 1, Buffer.of(1)), Buffer.of(1));
  await batch.write(true);
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  assert.ok(store.nextGeneration() > 41, "a number that is in use is not given out again");
  await store.collectGarbage();
  assert.deepEqual(await findGenerations(database), []);
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
  assert.throws(() => batch.repeat(one, [entry(2, 1)]), /not in its log/);
  assert.throws(() => batch.repeat(one, [entry(6, 3)]), /not in its log/);
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

/** Shard 1 with five entries, two of them applied; shard 2 with one. The turns: recovery, both made, three and one entries, two more. */
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
  next.append(one, [entry(1, 1), entry(2, 1), entry(3, 2)]);
  next.append(two, [entry(1, 3)]);
  next.setApplied(one, { ...readApplied(database, one), index: LogIndex(2), term: Term(1) });
  await next.write();
  const last = store.batch();
  last.append(one, [entry(4, 3), entry(5, 3)]);
  await last.write();
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

type Damage = (database: Database) => Promise<void>;

function rewrite(key: () => Uint8Array, make: (value: Buffer) => Buffer | null): Damage {
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
  return rewrite(key, () => null);
}

function truncate(key: () => Uint8Array): Damage {
  return rewrite(key, (value) => value.subarray(0, -1));
}

/** `at` counts from the end when it is negative. */
function flip(key: () => Uint8Array, at: number): Damage {
  return rewrite(key, (value) => {
    const place = at < 0 ? value.length + at : at;
    value[place] = (value[place] ?? 0) ^ 0x10;
    return value;
  });
}

async function swap(database: Database): Promise<void> {
  const other = database.getSync(journalKey(2));
  await rewrite(
    () => journalKey(3),
    () => Buffer.from(other ?? []),
  )(database);
}

/** The head of shard 1, but for `changes`. */
function head(changes: { readonly lastIndex: number }): ShardHead {
  return {
    hardState: { term: Term(3), vote: NodeId("n2"), commit: LogIndex(4) },
    compactedIndex: LogIndex(changes.lastIndex === 0 ? 1 : 0),
    compactedTerm: Term(changes.lastIndex === 0 ? 1 : 0),
    isQuarantined: false,
    lastIndex: LogIndex(changes.lastIndex),
  };
}

/** A turn, as sound as any, that says of shard 1 what cannot be: this head, and perhaps this entry. */
function change(to: ShardHead, index: number | null = null, term = 3): Damage {
  return async (database) => {
    const store = new DatabaseLogStore(database, null);
    await store.recover();
    const batch = store.batch();
    batch.setHardState(two, { term: Term(3), vote: null, commit: LogIndex(0) });
    await batch.write();
    const [turn] = (await listKeys(database, journalRange)).slice(-1);
    assert.ok(turn !== undefined, "that turn is there");
    const appended = index === null ? [] : [entry(index, term)];
    const wrong: LogChange = { head: to, isReset: false, appended, repeated: [] };
    const record = database.batch();
    record.put(turn, Buffer.from(encodeJournalRecord(turn, new Map([[one, wrong]]))));
    await record.write(true);
  };
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
