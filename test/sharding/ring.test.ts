import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hash32 } from "../../cluster/sharding/hash.ts";
import { Ring } from "../../cluster/sharding/ring.ts";
import type { RoutingRule } from "../../cluster/sharding/routing.ts";
import { ShardId } from "../../cluster/types.ts";
import { fuzzParameters } from "../storage/seed.ts";
import { bareShard, bytes, found } from "./maps.ts";

/** Shards 1, 2, ... that share out the given tokens in turn. */
function shardsWith(tokens: readonly number[], shardCount: number): ReturnType<typeof bareShard>[] {
  const sorted = [...new Set(tokens)].sort((a, b) => a - b);
  return Array.from({ length: shardCount }, (_, shard) =>
    bareShard(
      shard + 1,
      sorted.filter((_token, index) => index % shardCount === shard),
    ),
  );
}

test("A key belongs to the owner of the first token at or after its hash, around the circle", () => {
  const token = fc.oneof(
    fc.nat(2 ** 31),
    fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1),
  );
  const tokens = fc.array(token, { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(tokens, fc.integer({ min: 1, max: 4 }), (list, shardCount) => {
      const shards = shardsWith(list, shardCount);
      const ring = new Ring({ shards, routing: [] });
      const points = shards.flatMap((shard) => shard.tokens.map((at) => ({ at, id: shard.id })));
      points.sort((a, b) => a.at - b.at);
      for (let i = 0; i < 50; i++) {
        const key = bytes(`key-${i}`);
        const owner = points.find((point) => point.at >= hash32(key)) ?? points[0];
        assert.equal(ring.shardOf(key), owner?.id);
        assert.equal(ring.locate(key).hashed?.token, owner?.at);
      }
    }),
    fuzzParameters(300),
  );
});

test("A token owns the hash that equals it, and not the next one", () => {
  const hash = hash32(bytes("edge"));
  const owner = (token: number): number => {
    const shards = [bareShard(1, [token]), bareShard(2, [(token + 2 ** 31) % 2 ** 32])];
    return new Ring({ shards, routing: [] }).shardOf(bytes("edge"));
  };
  assert.equal(owner(hash), 1);
  assert.equal(owner(hash + 1), 1);
  assert.equal(owner(hash - 1), 2);
});

test("Keys with one tag share a shard", () => {
  const ring = new Ring(found({ shardCount: 64 }));
  const shards = Array.from({ length: 100 }, (_, i) => ring.shardOf(bytes(`cart/{u7}/${i}`)));
  assert.deepEqual(new Set(shards), new Set([ring.shardOf(bytes("u7"))]));
});

test("locate explains a key by rule, bytes, hash and token, and agrees with shardOf", () => {
  const routing: readonly RoutingRule[] = [
    { type: "shard", prefix: "q/", shard: ShardId(2) },
    { type: "segments", prefix: "u/", count: 2 },
  ];
  const ring = new Ring({ ...found({}), routing });
  const segments = ring.locate(bytes("u/42/name"));
  assert.equal(segments.rule, routing[1]);
  assert.deepEqual(segments.hashed?.bytes, bytes("u/42"));
  assert.equal(segments.hashed?.hash, hash32(bytes("u/42")));
  assert.equal(segments.shard, ring.shardOf(bytes("u/42/name")));
  assert.deepEqual(ring.locate(bytes("q/1")), { shard: 2, rule: routing[0], hashed: null });
  assert.equal(ring.shardOf(bytes("q/1")), 2);
  assert.equal(ring.locate(bytes("other")).rule, null);
});

test("Shares add up to one and say how many keys a shard gets", () => {
  const ring = new Ring(found({ shardCount: 5 }));
  const shares = ring.shares();
  assert.deepEqual([...shares.keys()].sort(), [1, 2, 3, 4, 5]);
  const total = [...shares.values()].reduce((sum, share) => sum + share, 0);
  assert.ok(Math.abs(total - 1) < 1e-9);
  const keys = 100_000;
  const counts = new Map<number, number>();
  for (let i = 0; i < keys; i++) {
    const shard = ring.shardOf(bytes(`key/${i}`));
    counts.set(shard, (counts.get(shard) ?? 0) + 1);
  }
  for (const [shard, share] of shares) {
    // 0.7 % is more than five standard deviations.
    assert.ok(Math.abs((counts.get(shard) ?? 0) / keys - share) < 0.007, `shard ${shard}`);
  }
});

test("A ring without a token is a programmer's error", () => {
  assert.throws(() => new Ring({ shards: [bareShard(1, [])], routing: [] }), /needs a token/);
});
