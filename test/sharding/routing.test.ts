import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compileRules, matchingRule, routingKey } from "../../cluster/sharding/routing.ts";
import type { RoutingRule } from "../../cluster/sharding/routing.ts";
import { ShardId } from "../../cluster/types.ts";
import { bytes } from "./maps.ts";

/** The text that is hashed, or `shard N`. */
function route(key: string, rules: readonly RoutingRule[] = []): string {
  const result = routingKey(bytes(key), compileRules(rules));
  return result.type === "shard"
    ? `shard ${result.shard}`
    : new TextDecoder().decode(bytes(key).subarray(result.start, result.end));
}

describe("Without rules,", () => {
  test("a key routes by all its bytes", () => {
    assert.equal(route("users/42"), "users/42");
    assert.equal(route("/"), "/");
  });

  test("only the bytes inside {tag} are hashed, by the rules of Redis Cluster", () => {
    assert.equal(route("{user1000}.following"), "user1000");
    assert.equal(route("foo{bar}{zap}"), "bar");
    assert.equal(route("foo{{bar}}zap"), "{bar");
    assert.equal(route("foo{}{bar}"), "foo{}{bar}");
    assert.equal(route("foo{bar"), "foo{bar");
    assert.equal(route("foo}bar{"), "foo}bar{");
    assert.equal(route("{}"), "{}");
    assert.equal(route("a}b{c}"), "c");
  });
});

describe("A segments rule", () => {
  const rules: readonly RoutingRule[] = [{ type: "segments", prefix: "users/", count: 2 }];

  test("routes by the first path segments, without the slash after them", () => {
    assert.equal(route("users/42/orders/7", rules), "users/42");
    assert.equal(route("users/42/", rules), "users/42");
    assert.equal(route("users/42", rules), "users/42");
  });

  test("hashes all of a key that has fewer segments", () => {
    assert.equal(route("users/", rules), "users/");
  });

  test("does not count a slash at the start", () => {
    const leading: readonly RoutingRule[] = [{ type: "segments", prefix: "/users/", count: 2 }];
    assert.equal(route("/users/42/orders", leading), "/users/42");
  });

  test("counts an empty segment as a segment", () => {
    assert.equal(route("users//orders", rules), "users/");
  });

  test("yields to a tag", () => {
    assert.equal(route("users/42/{cart}/1", rules), "cart");
  });

  test("says nothing about keys outside its prefix", () => {
    assert.equal(route("user", rules), "user");
    assert.equal(route("Users/42/orders", rules), "Users/42/orders");
  });
});

describe("A shard rule", () => {
  const rules: readonly RoutingRule[] = [{ type: "shard", prefix: "q/", shard: ShardId(3) }];

  test("sends every key under its prefix to its shard, tagged or not", () => {
    assert.equal(route("q/1", rules), "shard 3");
    assert.equal(route("q/{x}", rules), "shard 3");
    assert.equal(route("q", rules), "q");
  });
});

test("The longest matching prefix decides, and a hash rule is an exception under a wider one", () => {
  const rules: readonly RoutingRule[] = [
    { type: "shard", prefix: "a", shard: ShardId(1) },
    { type: "hash", prefix: "a/free/" },
    { type: "segments", prefix: "a/é/", count: 2 },
  ];
  assert.equal(route("abc", rules), "shard 1");
  assert.equal(route("a/free/x/y", rules), "a/free/x/y");
  assert.equal(route("a/é/x/y", rules), "a/é");
  assert.deepEqual(matchingRule(bytes("a/free/x"), compileRules(rules)), rules[1]);
  assert.equal(matchingRule(bytes("b"), compileRules(rules)), undefined);
});
