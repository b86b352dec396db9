import assert from "node:assert/strict";
import { test } from "node:test";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { findGenerations } from "../../storage/generations.ts";
import { Actor, dump, reopenAndDump } from "./actor.ts";
import { seed } from "./seed.ts";
import { SimulatedDisk } from "./simulated-disk.ts";
import { Random } from "./random.ts";
import { temporaryLevel } from "./temporary.ts";
import { generateTurns } from "./workload.ts";

test(`a store that is opened again holds exactly what was written to it (seed ${seed})`, async (context) => {
  for (const database of [new MemoryDatabase(), await temporaryLevel(context)]) {
    const turns = generateTurns(seed, 400);
    let actor = new Actor(database, await openStore(database));
    for (const [number, turn] of turns.entries()) {
      await actor.run(turn);
      if (number % 37 === 0) {
        const store = new DatabaseLogStore(database, null);
        const recovered = await store.recover();
        assert.ok(recovered.every(({ verdict }) => verdict.type === "ok"));
        assert.equal(await dump(database, recovered), turn.expected, `after turn ${number}`);
        actor = new Actor(database, store);
      }
    }
    assert.equal(await reopenAndDump(database), turns.at(-1)?.expected);
  }
});

test(`nothing but what is referred to stays on disk (seed ${seed})`, async () => {
  const database = new MemoryDatabase();
  const store = await openStore(database);
  const actor = new Actor(database, store);
  for (const turn of generateTurns(seed, 300)) {
    await actor.run(turn);
  }
  await store.collectGarbage();
  const generations = await findGenerations(database);
  const shards = new Set(generations.map(({ shard }) => shard));
  for (const shard of shards) {
    const logs = generations.filter((each) => each.shard === shard);
    const kinds = logs.map(({ kind }) => kind);
    assert.equal(new Set(kinds).size, kinds.length, `shard ${shard} has one generation of a kind`);
  }
});

test(`300 power failures lose no acknowledged turn and leave no half of one (seed ${seed})`, async () => {
  const random = new Random(seed);
  for (let run = 0; run < 300; run++) {
    const disk = new SimulatedDisk();
    const turns = generateTurns(random.between(0, 2 ** 31), random.between(4, 40));
    let done = 0;
    for (let cuts = 0; cuts < 3 && done < turns.length; cuts++) {
      done = await runUntilPowerFails(disk, turns, done, random);
      const found = await reopenAndDump(await disk.open());
      const acknowledged = turns[done - 1]?.expected ?? "[]";
      const next = turns[done]?.expected;
      assert.ok(found === acknowledged || found === next, `run ${run}: turn ${done} is not there`);
      done = found === next ? done + 1 : done;
      disk.powerLoss(random);
    }
  }
});

/** Runs turns until the plug is pulled in the middle of one; returns how many were acknowledged. */
async function runUntilPowerFails(
  disk: SimulatedDisk,
  turns: readonly Parameters<Actor["run"]>[0][],
  from: number,
  random: Random,
): Promise<number> {
  const database = await disk.open();
  const actor = new Actor(database, await openStore(database));
  const last = random.between(from, turns.length);
  let acknowledged = from;
  for (const turn of turns.slice(from, last)) {
    await actor.run(turn);
    acknowledged++;
  }
  const turn = turns[last];
  if (turn !== undefined) {
    const unfinished = actor.run(turn).then(
      () => acknowledged++,
      () => undefined,
    );
    for (let step = random.between(0, 40); step > 0; step--) {
      await Promise.resolve();
    }
    disk.powerLoss(random);
    await unfinished;
  }
  return acknowledged;
}

async function openStore(database: Parameters<typeof reopenAndDump>[0]): Promise<DatabaseLogStore> {
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  return store;
}
