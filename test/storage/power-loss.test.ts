import assert from "node:assert/strict";
import { readdir, readFile, realpath, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { judge, liveAndDie } from "./crash-run.ts";
import type { CrashOrder } from "./crash-worker.ts";
import { buildDiskShim } from "./disk-shim.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";
import { temporaryDirectory } from "./temporary.ts";
import { turnLabels } from "./workload.ts";

/** Power failures of a real LevelDB. A longer sweep: `POWER_RUNS=100`. */
const runs = Number(process.env["POWER_RUNS"] ?? 12);

test(`a real store whose unsynced bytes vanish keeps every acknowledged turn (seed ${seed})`, async (context) => {
  const random = new Random(seed);
  const parent = await realpath(await temporaryDirectory(context));
  const shim = buildDiskShim(context, parent);
  if (shim === null) {
    context.skip("no compiler, or not Linux; the simulated disk covers this elsewhere");
    return;
  }
  let acknowledged = 0;
  let forgotten = 0;
  for (let run = 0; run < runs; run++) {
    const ledger = join(parent, "ledger");
    const order: CrashOrder = {
      path: join(parent, "data"),
      seed: random.between(0, 2 ** 31),
      turns: 150,
      point: `${turnLabels[random.between(1, turnLabels.length)]}:${random.chance(0.5) ? "during" : "after"}`,
      hit: random.between(3, 12),
      writeBufferBytes: 64 * 1024,
    };
    const death = await liveAndDie(order, { LD_PRELOAD: shim, SHIM_LEDGER: ledger });
    forgotten += await forgetUnsynced(join(order.path, "store"), ledger, random);
    await judge(order, death.acknowledged);
    acknowledged += death.acknowledged;
    await rm(order.path, { recursive: true });
    await rm(ledger);
  }
  context.diagnostic(
    `${acknowledged} acknowledged turns over ${runs} failures: 0 lost, ${forgotten} bytes forgotten`,
  );
  assert.ok(acknowledged >= runs * 10);
});

/** Cuts every file to what the last sync covered, or, by chance, to a little more: as a power failure would. */
async function forgetUnsynced(store: string, ledger: string, random: Random): Promise<number> {
  const synced = new Map<string, number>();
  for (const line of (await readFile(ledger, "utf8")).split("\n")) {
    const space = line.indexOf(" ");
    synced.set(line.slice(space + 1), Number(line.slice(0, space)));
  }
  let forgotten = 0;
  for (const name of await readdir(store)) {
    // Other files are written whole under a temporary name, synced and renamed.
    if (!/\.(log|ldb)$|^MANIFEST/.test(name)) {
      continue;
    }
    const path = join(store, name);
    const { size } = await stat(path);
    const durable = synced.get(path) ?? 0;
    const kept = random.chance(0.5) ? durable : random.between(durable, size + 1);
    forgotten += size - kept;
    await truncate(path, kept);
  }
  return forgotten;
}
