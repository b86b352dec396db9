import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { judge, liveAndDie } from "./crash-run.ts";
import type { CrashOrder } from "./crash-worker.ts";
import { Random } from "./random.ts";
import { seed } from "./seed.ts";
import { temporaryDirectory } from "./temporary.ts";
import { generateTurns, turnLabels } from "./workload.ts";

/** Kills per point. The full sweep is `CRASH_RUNS=10`. */
const runs = Number(process.env["CRASH_RUNS"] ?? 1);
const turnCount = 120;

const points = [
  ...[...turnLabels, "recovery", "staging", "clear"].flatMap((phase) =>
    ["before", "during", "after"].map((moment) => `${phase}:${moment}`),
  ),
  "open:before",
  "open:during",
  "open:after",
  "close:before",
  "close:during",
];

test(`a process killed at any of ${points.length} points, ${runs} times each, loses nothing and leaves nothing half done (seed ${seed})`, async (context) => {
  const random = new Random(seed);
  const parent = await temporaryDirectory(context);
  let kills = 0;
  for (const point of points) {
    for (let run = 0; run < runs; run++) {
      const { life, hits } = drawLife(random, point);
      const order: CrashOrder = {
        path: join(parent, "data"),
        seed: life,
        turns: turnCount,
        point,
        hit: random.between(1, Math.min(hits, 5) + 1),
        // Small, so that LevelDB's own switches of log files and tables happen meanwhile.
        writeBufferBytes: 64 * 1024,
      };
      const killed = await liveAndDie(order);
      assert.ok(killed.isKilled, `${point} was never reached: ${JSON.stringify(order)}`);
      await judge(order, killed.acknowledged);
      await rm(order.path, { recursive: true, force: true });
      kills++;
    }
  }
  context.diagnostic(`${points.length} points, ${kills} kills, nothing lost`);
});

/** The seed of a life in which the point is reached, and how often at least. */
function drawLife(random: Random, point: string): { readonly life: number; readonly hits: number } {
  const [phase = ""] = point.split(":");
  if (["open", "close", "recovery"].includes(phase)) {
    return { life: random.between(0, 2 ** 31), hits: 1 };
  }
  const label = phase === "staging" || phase === "clear" ? "install" : phase;
  for (;;) {
    const life = random.between(0, 2 ** 31);
    const hits = generateTurns(life, turnCount).filter((turn) => turn.label === label).length;
    if (hits > 0) {
      return { life, hits };
    }
  }
}
