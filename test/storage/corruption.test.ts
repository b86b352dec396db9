import assert from "node:assert/strict";
import { cp, open, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { NodeId } from "../../cluster/types.ts";
import type { DataDirectoryOptions } from "../../storage/data-directory.ts";
import { DataDirectory } from "../../storage/data-directory.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { Actor, dump } from "./actor.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";
import { temporaryDirectory } from "./temporary.ts";
import type { Turn } from "./workload.ts";
import { generateTurns } from "./workload.ts";

/** Cases per kind of damage and of file. A longer sweep: `CORRUPTION_RUNS=50`. */
const runs = Number(process.env["CORRUPTION_RUNS"] ?? 6);

const fileKinds = {
  log: /^\d+\.log$/,
  table: /^\d+\.ldb$/,
  MANIFEST: /^MANIFEST-/,
  CURRENT: /^CURRENT$/,
  LOG: /^LOG$/,
  LOCK: /^LOCK$/,
} as const;

const damages = {
  "flipped bit": async (path: string, random: Random): Promise<void> => {
    const bytes = await readFile(path);
    const at = random.between(0, bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.between(0, 8));
    await writeFile(path, bytes);
  },
  "zeroed page": async (path: string, random: Random): Promise<void> => {
    const bytes = await readFile(path);
    const page = 4096 * random.between(0, Math.ceil(bytes.length / 4096));
    bytes.subarray(page, page + 4096).fill(0);
    await writeFile(path, bytes);
  },
  "garbage page": async (path: string, random: Random): Promise<void> => {
    const file = await open(path, "r+");
    const page = 4096 * random.between(0, Math.ceil((await file.stat()).size / 4096));
    await file.write(random.bytes(64), 0, 64, page);
    await file.close();
  },
  truncated: async (path: string, random: Random): Promise<void> => {
    await truncate(path, random.between(0, (await stat(path)).size));
  },
  emptied: async (path: string): Promise<void> => truncate(path, 0),
  deleted: async (path: string): Promise<void> => rm(path),
} as const;

/** What may come of damage; anything else is wrong data. */
type Outcome = "harmless" | "refused" | "quarantined";

test(`damage to any file of LevelDB is noticed or harmless, never served (seed ${seed})`, async (context) => {
  const random = new Random(seed);
  const parent = await temporaryDirectory(context);
  const origin = join(parent, "origin");
  const turns = generateTurns(random.between(0, 2 ** 31), 250);
  await live(optionsFor(origin), turns);
  const expected = turns.at(-1)?.expected ?? "";
  // On a copy: opening moves what the log holds into a table, and log files with turns in them are what this is about.
  const whole = join(parent, "whole");
  await cp(origin, whole, { recursive: true });
  assert.equal(await outcome(optionsFor(whole), expected), "harmless", "undamaged it is whole");

  const rows: string[] = [];
  for (const [kind, pattern] of Object.entries(fileKinds)) {
    for (const [name, damage] of Object.entries(damages)) {
      const counts: Record<Outcome, number> = { harmless: 0, refused: 0, quarantined: 0 };
      for (let run = 0; run < runs; run++) {
        const path = join(parent, "copy");
        await cp(origin, path, { recursive: true });
        const files = (await readdir(join(path, "store"))).filter((file) => pattern.test(file));
        const victim = files[random.between(0, files.length)];
        assert.ok(victim !== undefined, `there is a file of kind ${kind}`);
        if ((await stat(join(path, "store", victim))).size > 0 || name === "deleted") {
          await damage(join(path, "store", victim), random);
        }
        counts[await outcome(optionsFor(path), expected)]++;
        await rm(path, { recursive: true });
      }
      rows.push(
        `${kind.padEnd(9)}${name.padEnd(14)}${String(counts.refused).padStart(8)}` +
          `${String(counts.quarantined).padStart(12)}${String(counts.harmless).padStart(10)}`,
      );
    }
  }
  context.diagnostic("file     damage         refused quarantined  harmless");
  rows.forEach((row) => context.diagnostic(row));
});

function optionsFor(path: string): DataDirectoryOptions {
  return {
    path,
    nodeId: NodeId("n1"),
    clusterId: null,
    verifiesTables: true,
    // Small, so that there are several tables and a log that is not empty.
    writeBufferBytes: 64 * 1024,
  };
}

async function live(options: DataDirectoryOptions, turns: readonly Turn[]): Promise<void> {
  const directory = await DataDirectory.open(options);
  const store = new DatabaseLogStore(directory.database, directory.witness);
  await store.recover();
  const actor = new Actor(directory.database, store);
  for (const turn of turns) {
    await actor.run(turn);
  }
  await store.collectGarbage();
  await directory.close();
}

async function outcome(options: DataDirectoryOptions, expected: string): Promise<Outcome> {
  let directory: DataDirectory;
  try {
    directory = await DataDirectory.open(options);
  } catch (error) {
    assert.ok(error instanceof StoreFailure, String(error));
    assert.ok(["corrupt", "io_error"].includes(error.code), error.message);
    return "refused";
  }
  try {
    const store = new DatabaseLogStore(directory.database, directory.witness);
    const recovered = await store.recover();
    const sound = recovered.filter(({ isQuarantined }) => !isQuarantined);
    const found: { shard: number }[] = JSON.parse(await dump(directory.database, sound));
    const whole: { shard: number }[] = JSON.parse(expected);
    const quarantined = new Set<number>(
      recovered.filter(({ isQuarantined }) => isQuarantined).map(({ shard }) => shard),
    );
    // A replica whose every trace is gone cannot be listed; the store knows that there may have been one.
    const listed = new Set<number>(recovered.map(({ shard }) => shard));
    const wanted = whole.filter(
      ({ shard }) => !quarantined.has(shard) && !(store.hasLostTurns && !listed.has(shard)),
    );
    assert.deepEqual(found, wanted, "wrong data was served");
    return quarantined.size > 0 || store.hasLostTurns ? "quarantined" : "harmless";
  } catch (error) {
    assert.ok(error instanceof StoreFailure, String(error));
    assert.equal(error.code, "corrupt");
    return "refused";
  } finally {
    await directory.close();
  }
}
