import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { runJob } from "./worker.ts";
import { simulate } from "./world.ts";

const seeds = 150;
const firstSeed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));

describe("the simulator", () => {
  test(`no invariant breaks and every group recovers, seeds ${firstSeed} and the next ${seeds - 1}`, () => {
    const totals = { acknowledged: 0, reads: 0, snapshots: 0, crashes: 0, cuts: 0, changes: 0 };
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const { result, failure, trace } = runJob({ seed, isTraced: false });
      const story = trace.join("\n");
      assert(
        result !== null,
        `${story}\n${failure?.message}\n${failure?.stack}\nreplay: npm run simulate -- --seed ${seed} --trace`,
      );
      totals.acknowledged += result.acknowledged;
      totals.reads += result.reads;
      totals.snapshots += result.snapshots;
      totals.crashes += result.crashes;
      totals.cuts += result.cuts;
      totals.changes += result.changes;
    }
    // A world in which nothing happens proves nothing.
    for (const [what, total] of Object.entries(totals)) {
      assert(total > seeds, `${what}: only ${total} in ${seeds} runs`);
    }
  });

  test("the same seed gives the same run, line by line", () => {
    for (let seed = 1; seed <= 5; seed++) {
      assert.equal(hashOfRun(seed), hashOfRun(seed));
    }
  });

  test("another seed gives another run", () => {
    assert.notEqual(hashOfRun(1), hashOfRun(2));
  });

  test("telling what happens does not change it", () => {
    const lines: string[] = [];
    assert.deepEqual(
      simulate(7),
      simulate(7, (line) => lines.push(line)),
    );
    assert(lines.length > 100);
  });
});

function hashOfRun(seed: number): string {
  const hash = createHash("sha256");
  simulate(seed, (line) => hash.update(line).update("\n"));
  return hash.digest("hex");
}
