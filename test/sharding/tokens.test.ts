import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Ring } from "../../cluster/sharding/ring.ts";
import { chooseTokens, circle } from "../../cluster/sharding/tokens.ts";
import type { TokenOwner } from "../../cluster/sharding/tokens.ts";
import { ShardId } from "../../cluster/types.ts";
import { fuzzParameters } from "../storage/seed.ts";
import { bareShard, bytes } from "./maps.ts";

const keys = Array.from({ length: 20_000 }, (_, i) => bytes(`some/key/${i}`));

/** Shards that joined one after another, each in a call of its own, as a growing cluster does it. */
function grow(weights: readonly number[], tokensPerShard: number): readonly TokenOwner[] {
  const shards: TokenOwner[] = [];
  for (const [index, weight] of weights.entries()) {
    const [tokens] = chooseTokens(shards, [{ weight, count: tokensPerShard * weight }]);
    shards.push(bareShard(index + 1, tokens ?? [], weight));
  }
  return shards;
}

function ringOf(shards: readonly TokenOwner[]): Ring {
  return new Ring({ shards, routing: [] });
}

/** The largest share, in units of what is fair for the shard's weight. */
function largestShare(shards: readonly TokenOwner[]): number {
  const weights = shards.reduce((sum, shard) => sum + shard.weight, 0);
  const shares = ringOf(shards).shares();
  return Math.max(...shards.map(({ id, weight }) => ((shares.get(id) ?? 0) * weights) / weight));
}

const weightsArbitrary = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 24 });

test("At 64 tokens a shard, every cluster of 1 to 100 equal shards has its largest below 1.05 times the mean", () => {
  const shards: TokenOwner[] = [];
  for (let id = 1; id <= 100; id++) {
    const [tokens] = chooseTokens(shards, [{ weight: 1, count: 64 }]);
    shards.push(bareShard(id, tokens ?? []));
    assert.ok(largestShare(shards) < 1.05, `${id} shards: ${largestShare(shards)}`);
  }
});

test("Counted in keys, the largest of 64 shards stays below 1.25 times the mean", () => {
  const ring = ringOf(grow(new Array<number>(64).fill(1), 64));
  const counts = new Map<ShardId, number>();
  for (let i = 0; i < 200_000; i++) {
    const shard = ring.shardOf(bytes(`user:${i}`));
    counts.set(shard, (counts.get(shard) ?? 0) + 1);
  }
  assert.equal(counts.size, 64);
  const largest = Math.max(...counts.values());
  assert.ok(largest < (1.25 * 200_000) / 64, `${largest} keys`);
});

test("Shards of any weights stay below 1.25 times their fair share, in whatever order they join", () => {
  fc.assert(
    fc.property(weightsArbitrary, (weights) => {
      const largest = largestShare(grow(weights, 64));
      assert.ok(largest < 1.25, `${largest}`);
    }),
    fuzzParameters(60),
  );
});

test("Adding a shard moves about 1/(n+1) of the keys, all of them to it; removing it gives every key back", () => {
  fc.assert(
    fc.property(weightsArbitrary, fc.integer({ min: 16, max: 100 }), (weights, tokensPerShard) => {
      const before = grow(weights, tokensPerShard);
      const [tokens] = chooseTokens(before, [{ weight: 1, count: tokensPerShard }]);
      const added = bareShard(99, tokens ?? []);
      const old = ringOf(before);
      const grown = ringOf([...before, added]);
      for (const key of keys.slice(0, 2000)) {
        const owner = grown.shardOf(key);
        assert.ok(
          owner === added.id || owner === old.shardOf(key),
          "a key moved between old shards",
        );
      }
      const fair = 1 / (1 + weights.reduce((sum, weight) => sum + weight, 0));
      assert.ok(Math.abs((grown.shares().get(added.id) ?? 0) / fair - 1) < 0.01);
    }),
    fuzzParameters(60),
  );
});

test("Removing any shard moves no key between the others", () => {
  fc.assert(
    fc.property(weightsArbitrary, fc.nat(), (weights, pick) => {
      const all = grow([1, ...weights], 16);
      const gone = all[pick % all.length];
      const before = ringOf(all);
      const after = ringOf(all.filter((shard) => shard !== gone));
      for (const key of keys.slice(0, 2000)) {
        const owner = before.shardOf(key);
        assert.ok(owner === gone?.id || owner === after.shardOf(key));
      }
    }),
    fuzzParameters(60),
  );
});

test("New tokens are on the circle, ascending, and on no other token, also on a ring with arbitrary tokens", () => {
  const token = fc.oneof(
    fc.integer({ min: 0, max: circle - 1 }),
    fc.nat(50),
    fc.constant(circle - 1),
  );
  const explicit = fc.uniqueArray(token, { minLength: 2, maxLength: 60 });
  fc.assert(
    fc.property(explicit, fc.integer({ min: 1, max: 64 }), (present, count) => {
      const sorted = present.toSorted((a, b) => a - b);
      const shards = [bareShard(1, sorted.slice(0, 1)), bareShard(2, sorted.slice(1))];
      const [tokens = []] = chooseTokens(shards, [{ weight: 1, count }]);
      assert.equal(tokens.length, count);
      assert.equal(new Set([...tokens, ...present]).size, count + present.length);
      assert.ok(tokens.every((at) => Number.isInteger(at) && at >= 0 && at < circle));
      assert.deepEqual(
        tokens,
        tokens.toSorted((a, b) => a - b),
      );
      const before = ringOf(shards);
      const after = ringOf([...shards, bareShard(3, tokens)]);
      for (const key of keys.slice(0, 300)) {
        assert.ok(after.shardOf(key) === 3 || after.shardOf(key) === before.shardOf(key));
      }
    }),
    fuzzParameters(200),
  );
});

test("Shards that join in one call are as balanced as those that join one by one", () => {
  const joining = new Array(50).fill({ weight: 1, count: 64 });
  const shards = chooseTokens([], joining).map((tokens, index) => bareShard(index + 1, tokens));
  assert.ok(largestShare(shards) < 1.05);
});

test("A shard without tokens gives nothing and counts for nothing", () => {
  const [first = []] = chooseTokens([], [{ weight: 1, count: 8 }]);
  const shards = [bareShard(1, first), bareShard(2, [])];
  const [joined = []] = chooseTokens(shards, [{ weight: 1, count: 8 }]);
  const share =
    ringOf([...shards, bareShard(3, joined)])
      .shares()
      .get(ShardId(3)) ?? 0;
  assert.ok(Math.abs(share - 0.5) < 1e-6, `${share}`);
});

test("Asking for more tokens than there is room for is a programmer's error", () => {
  // Beside a shard of weight 2^31, a shard of weight 1 is due one position on the circle: room for one token.
  const [first = []] = chooseTokens([], [{ weight: 2 ** 31, count: 1 }]);
  const shards = [bareShard(1, first, 2 ** 31)];
  assert.equal(chooseTokens(shards, [{ weight: 1, count: 1 }])[0]?.length, 1);
  assert.throws(() => chooseTokens(shards, [{ weight: 1, count: 2 }]), /too many tokens/);
});
