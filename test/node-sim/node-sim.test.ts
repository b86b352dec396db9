import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { oddRegressions, regressions } from "./regressions.ts";
import { runSeed, sweep } from "./sweep.ts";

// Always the same seeds: a change is judged by what it changes. New ones are what `npm run simulate:node` is for.
const first = Number(process.env["SEED"] ?? 1);
const count = Number(process.env["SEEDS"] ?? (process.env["SEED"] === undefined ? 500 : 1));

describe("Whole nodes in simulation", () => {
  test("do the same again for the same seed", async () => {
    for (const seed of [first, first + 1, first + 2]) {
      const [once, again] = [await runSeed(seed), await runSeed(seed)];
      assert.equal(once.traceHash, again.traceHash, `seed ${seed}`);
      assert.equal(once.events, again.events, `seed ${seed}`);
    }
    assert.notEqual((await runSeed(first)).traceHash, (await runSeed(first + 1)).traceHash);
  });

  for (const [isOdd, list] of [[false, regressions] as const, [true, oddRegressions] as const]) {
    for (const { seed, what } of list) {
      test(`keep what they once broke: ${what} (seed ${seed})`, async () => {
        const { failure, tail } = await runSeed(seed, isOdd);
        assert.equal(failure, null, tail.join("\n"));
      });
    }
  }

  test("keep what they promise, whatever fails", async (context) => {
    const last = first + count - 1;
    context.diagnostic(`seeds ${first} to ${last}; SEED=n runs one, SEEDS=n that many`);
    const { failures, seeds, operations, watched, digests } = await sweep({ first, last });
    const [failure] = failures;
    const text = failure && `seed ${failure.seed}: ${failure.failure}\n${failure.tail.join("\n")}`;
    assert.equal(failures.length, 0, text);
    assert.equal(seeds, count);
    assert.ok(operations.done > 50 * count, `${operations.done} operations were answered`);
    assert.ok(operations.unknown < operations.done / 5, `${operations.unknown} are unknown`);
    assert.ok(watched > 20 * count, `${watched} changes were watched`);
    assert.ok(
      digests > 10 * count || count === 1,
      `${digests} digests were told, and no difference was found`,
    );
  });

  test("find a replica that holds what it should not, and make it anew", async (context) => {
    const seeds = Math.ceil(count / 5);
    const last = first + seeds - 1;
    context.diagnostic(`seeds ${first} to ${last}, with one odd replica each`);
    const { failures, odd } = await sweep({ first, last, isOdd: true });
    const [failure] = failures;
    const text = failure && `seed ${failure.seed}: ${failure.failure}\n${failure.tail.join("\n")}`;
    assert.equal(failures.length, 0, text);
    // A run checks that the one which was made to differ comes back, and that nobody else is called odd.
    assert.ok(odd.made >= seeds / 2 || seeds === 1, `${odd.made} replicas were made to differ`);
    assert.ok(odd.found >= 2 * odd.made, `${odd.found} times somebody found who`);
  });
});
