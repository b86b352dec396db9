import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogPart } from "../../cluster/multiraft/store.ts";
import type { Entry } from "../../cluster/types.ts";
import { LogIndex, ShardId, Term } from "../../cluster/types.ts";
import type { Database } from "../../storage/database.ts";
import type { LogChange } from "../../storage/journal.ts";
import { JournalIndex } from "../../storage/journal-index.ts";
import { journalRange } from "../../storage/keys.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import type { StorageBatch } from "../../storage/turn-batch.ts";
import { readApplied } from "./actor.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";
import { configuration } from "./workload.ts";

const journalBytesMax = 8 * 1024;
const busy = ShardId(1);
/** Of one of these, now and then, something is written. */
const quiet = [2, 3, 4].map(ShardId);
/** Written once. */
const silent = ShardId(5);
const turns = 3_000;
/** Entries that a shard keeps: few enough for the journal to be let go, if it were not for the quiet ones. */
const keptEntries = 20;

/** What the store must hold of one shard. */
interface Model {
  compacted: number;
  entries: Entry[];
}

/** Lives with a store as a host does: appends, cuts, compacts, replaces logs, and repeats what the store asks for, unless told otherwise. */
class Life {
  readonly #database: Database;
  readonly #random: Random;
  readonly #repeats: boolean;
  #store: DatabaseLogStore;
  #models = new Map<ShardId, Model>();
  repeatedEntries = 0;

  private constructor(database: Database, store: DatabaseLogStore, repeats: boolean) {
    this.#database = database;
    this.#store = store;
    this.#repeats = repeats;
    this.#random = new Random(seed);
  }

  static async begin(repeats: boolean): Promise<Life> {
    const database = new MemoryDatabase();
    const store = new DatabaseLogStore(database, null, journalBytesMax);
    await store.recover();
    const life = new Life(database, store, repeats);
    const batch = store.batch();
    for (const shard of [busy, ...quiet, silent]) {
      batch.createShard(shard, configuration, false);
      batch.setHardState(shard, { term: Term(1), vote: null, commit: LogIndex(0) });
      life.#models.set(shard, { compacted: 0, entries: [] });
    }
    life.#append(batch, silent);
    await batch.write();
    return life;
  }

  async turn(): Promise<void> {
    const batch = this.#store.batch();
    this.#append(batch, busy);
    const shard = quiet[this.#random.between(0, 20 * quiet.length)];
    if (shard !== undefined) {
      this.#disturb(batch, shard);
    }
    const outdated = this.#store.outdated();
    if (outdated !== null && outdated.shard !== shard && this.#repeats) {
      this.#repeat(batch, outdated);
    }
    await batch.write();
  }

  /** Opens the store anew and compares. */
  async reopen(): Promise<void> {
    this.#store = new DatabaseLogStore(this.#database, null, journalBytesMax);
    const recovered = await this.#store.recover();
    const found = recovered.map(({ shard, verdict, compactedIndex, entries }) => [
      shard,
      verdict.type,
      compactedIndex,
      entries.map(textOf),
    ]);
    const expected = [...this.#models]
      .sort(([a], [b]) => a - b)
      .map(([shard, { compacted, entries }]) => [shard, "ok", compacted, entries.map(textOf)]);
    assert.deepEqual(found, expected);
  }

  async journal(): Promise<{ readonly turns: number; readonly bytes: number }> {
    const iterator = this.#database.iterate(journalRange);
    const pairs = await iterator.next(1_000_000);
    await iterator.close();
    return { turns: pairs.length, bytes: pairs.reduce((sum, [, { length }]) => sum + length, 0) };
  }

  #disturb(batch: StorageBatch, shard: ShardId): void {
    switch (this.#random.between(0, 8)) {
      case 0:
        return this.#overwrite(batch, shard);
      case 1:
        return this.#reset(batch, shard);
      case 2:
        return this.#beginAnew(batch, shard);
      default:
        return this.#append(batch, shard);
    }
  }

  #append(batch: StorageBatch, shard: ShardId): void {
    const model = this.#model(shard);
    const entries = this.#entries(model.compacted + model.entries.length + 1);
    batch.append(shard, entries);
    model.entries.push(...entries);
    if (model.entries.length > 2 * keptEntries) {
      const gone = model.entries.splice(0, keptEntries);
      model.compacted += gone.length;
      batch.compact(shard, LogIndex(model.compacted), Term(1));
      this.#apply(batch, shard, model.compacted);
    }
  }

  #overwrite(batch: StorageBatch, shard: ShardId): void {
    const model = this.#model(shard);
    const kept = this.#random.between(0, model.entries.length + 1);
    const entries = this.#entries(model.compacted + kept + 1);
    batch.append(shard, entries);
    model.entries = [...model.entries.slice(0, kept), ...entries];
  }

  #reset(batch: StorageBatch, shard: ShardId): void {
    const model = this.#model(shard);
    model.compacted += model.entries.length + this.#random.between(1, 100);
    model.entries = [];
    const snapshot = { index: LogIndex(model.compacted), term: Term(1), configuration };
    batch.resetLog(shard, snapshot);
    this.#apply(batch, shard, model.compacted);
  }

  #beginAnew(batch: StorageBatch, shard: ShardId): void {
    batch.removeShard(shard);
    batch.createShard(shard, configuration, false);
    batch.setHardState(shard, { term: Term(1), vote: null, commit: LogIndex(0) });
    this.#models.set(shard, { compacted: 0, entries: [] });
  }

  #repeat(batch: StorageBatch, { shard, first, last }: LogPart): void {
    const { compacted, entries } = this.#model(shard);
    const isInLog = first > compacted && last <= compacted + entries.length;
    if (isInLog || last < first) {
      const part = last < first ? [] : entries.slice(first - compacted - 1, last - compacted);
      batch.repeat(shard, part);
      this.repeatedEntries += part.length;
    }
  }

  #apply(batch: StorageBatch, shard: ShardId, index: number): void {
    const applied = readApplied(this.#database, shard);
    batch.setApplied(shard, { ...applied, index: LogIndex(index), term: Term(1) });
  }

  #entries(from: number): Entry[] {
    return Array.from({ length: this.#random.between(1, 4) }, (_, at) => ({
      index: LogIndex(from + at),
      term: Term(1),
      type: "command" as const,
      payload: this.#random.bytes(this.#random.between(1, 100)),
    }));
  }

  #model(shard: ShardId): Model {
    const model = this.#models.get(shard);
    assert.ok(model !== undefined, "a shard of this life");
    return model;
  }
}

function textOf({ index, payload }: Entry): string {
  return `${index}:${Buffer.from(payload).toString("hex")}`;
}

test(`a journal whose old turns are let go tells every log as it is, and stays small though some shards are quiet (seed ${seed})`, async (context) => {
  const life = await Life.begin(true);
  for (let turn = 1; turn <= turns; turn++) {
    await life.turn();
    if (turn % 150 === 0) {
      await life.reopen();
      const { bytes } = await life.journal();
      assert.ok(bytes < 8 * journalBytesMax, `the journal has ${bytes} bytes after ${turn} turns`);
    }
  }
  context.diagnostic(`${life.repeatedEntries} entries were repeated`);
  assert.ok(life.repeatedEntries > 0, "quiet shards kept nothing from being let go");
});

test(`a host that does not repeat what the store asks for loses nothing but space (seed ${seed})`, async () => {
  const life = await Life.begin(false);
  for (let turn = 1; turn <= turns; turn++) {
    await life.turn();
  }
  await life.reopen();
  const { bytes } = await life.journal();
  assert.ok(bytes > 20 * journalBytesMax, `the journal has only ${bytes} bytes`);
});

const head = {
  hardState: { term: Term(1), vote: null, commit: LogIndex(0) },
  compactedIndex: LogIndex(0),
  compactedTerm: Term(0),
  isQuarantined: false,
};

function appending(first: number, last: number, compacted = 0): LogChange {
  const appended = Array.from({ length: last - first + 1 }, (_, at) => entry(first + at));
  return {
    head: { ...head, compactedIndex: LogIndex(compacted), lastIndex: LogIndex(last) },
    isReset: false,
    appended,
    repeated: [],
  };
}

function entry(index: number): Entry {
  return { index: LogIndex(index), term: Term(1), type: "command", payload: new Uint8Array(100) };
}

/** Turns `from` to `to`, in each of which the busy shard writes one entry and forgets all before it. */
function pass(index: JournalIndex, from: number, to: number): void {
  for (let turn = from; turn <= to; turn++) {
    index.add(turn, 150, new Map([[busy, appending(turn, turn, turn - 1)]]));
  }
}

test("turns of whole segments are let go, the oldest first, as soon as nobody needs them", () => {
  const index = new JournalIndex(1_000_000);
  pass(index, 1, 63);
  assert.deepEqual(index.takeDeletable(4), [], "the segment of the present turn stays");
  pass(index, 64, 64);
  assert.deepEqual(index.takeDeletable(4), [1, 2, 3, 4]);
  assert.deepEqual(index.takeDeletable(2), [5, 6]);
  assert.equal(index.takeDeletable(1_000).at(-1), 63);
  assert.deepEqual(index.takeDeletable(4), []);
});

test("a turn with the newest head of a shard stays until that is written again", () => {
  const [shard = busy] = quiet;
  const index = new JournalIndex(10_000);
  index.add(1, 50, new Map([[shard, appending(3, 2, 2)]]));
  pass(index, 2, 300);
  assert.deepEqual(index.takeDeletable(4), []);
  assert.deepEqual(index.outdated(), { shard, first: 1, last: 0 });
  index.add(301, 50, new Map([[shard, { ...appending(3, 2, 2), appended: [] }]]));
  assert.equal(index.outdated(), null);
  assert.equal(index.takeDeletable(1_000).at(-1), 255);
});

test("entries are asked for again piece by piece, and only what is still in the log", () => {
  const [shard = busy] = quiet;
  const index = new JournalIndex(10_000);
  index.add(1, 300, new Map([[shard, appending(1, 3)]]));
  pass(index, 2, 70);
  index.add(71, 300, new Map([[shard, appending(4, 6)]]));
  pass(index, 72, 200);
  index.add(201, 100, new Map([[shard, appending(3, 4, 1)]]));
  pass(index, 202, 300);
  assert.deepEqual(index.outdated(), { shard, first: 2, last: 2 });
  const again = { ...appending(5, 4, 1), appended: [], repeated: [entry(2)] };
  index.add(301, 100, new Map([[shard, again]]));
  assert.equal(index.takeDeletable(1_000).at(-1), 191, "entries 3 and 4 lie in turn 201");
  assert.deepEqual(index.outdated(), { shard, first: 3, last: 4 });
});

test("a large log that is in use is not asked for again", () => {
  const index = new JournalIndex(1_000);
  for (let turn = 1; turn <= 500; turn++) {
    index.add(turn, 150, new Map([[busy, appending(turn, turn)]]));
    assert.equal(index.outdated(), null);
  }
});
