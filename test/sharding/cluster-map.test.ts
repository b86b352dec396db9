import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { InvariantViolation } from "../../cluster/assert.ts";
import {
  changeMap,
  foundingMap,
  whatIsWrongWithSuccessor,
} from "../../cluster/sharding/cluster-map.ts";
import type {
  ClusterMap,
  FoundingOptions,
  MapChange,
  ShardRecord,
} from "../../cluster/sharding/cluster-map.ts";
import { mapLimits, whatIsWrong } from "../../cluster/sharding/map-check.ts";
import { Ring } from "../../cluster/sharding/ring.ts";
import { chooseTokens } from "../../cluster/sharding/tokens.ts";
import { NodeId, ShardId } from "../../cluster/types.ts";
import { bareShard, bytes, change, found, mapOf, node, reasonOf } from "./maps.ts";

const founding: FoundingOptions = {
  clusterId: "test",
  nodes: [node(1, "a"), node(2, "b"), node(3, "c")],
  shardCount: 8,
  replicationFactor: 3,
  tokensPerShard: 64,
};

describe("The founding map", () => {
  test("has epoch 1, the meta shard on every node and every data shard placed and on the ring", () => {
    const map = mapOf(foundingMap(founding));
    assert.equal(map.epoch, 1);
    assert.deepEqual(
      map.shards.map((shard) => shard.id),
      [0, 1, 2, 3, 4, 5, 6, 7, 8],
    );
    for (const shard of map.shards) {
      assert.deepEqual(shard.voters.toSorted(), ["n1", "n2", "n3"]);
      assert.equal(shard.tokens.length, shard.id === 0 ? 0 : 64);
    }
    assert.deepEqual(
      map.nodes.map((each) => each.state),
      ["active", "active", "active"],
    );
  });

  test("is the same in whatever order the nodes are listed", () => {
    const nodes = founding.nodes.toReversed();
    assert.deepEqual(foundingMap({ ...founding, nodes }), foundingMap(founding));
  });

  test("spreads preferred leaders", () => {
    const leaders = mapOf(foundingMap(founding))
      .shards.slice(1)
      .map((shard) => shard.voters[0]);
    const counts = ["n1", "n2", "n3"].map((id) => leaders.filter((each) => each === id).length);
    assert.deepEqual(counts.sort(), [2, 3, 3]);
  });

  test("is made for a single node, too", () => {
    const map = mapOf(foundingMap({ ...founding, nodes: [node(1, "a")] }));
    assert.ok(map.shards.every((shard) => shard.voters.length === 1));
  });

  test("is refused with a sentence when an option makes no sense", () => {
    const refusals: readonly [Partial<FoundingOptions>, RegExp][] = [
      [{ shardCount: 0 }, /shard count must be 1 to 4096, not 0/],
      [{ shardCount: mapLimits.dataShards + 1 }, /shard count/],
      [{ tokensPerShard: 1.5 }, /tokens per shard must be 1 to 1024, not 1.5/],
      [{ replicationFactor: 8 }, /replication factor must be 1 to 7, not 8/],
      [{ replicationFactor: NaN }, /replication factor/],
      [{ clusterId: "" }, /cluster id must match/],
      [{ nodes: [] }, /1 to 256 nodes, not 0/],
      [{ nodes: [node(1, "a"), node(1, "b")] }, /node n1 is listed twice/],
      [{ shardCount: 4096, tokensPerShard: 1024, nodes: [] }, /nodes/],
    ];
    for (const [options, sentence] of refusals) {
      assert.match(reasonOf(foundingMap({ ...founding, ...options })), sentence);
    }
  });
});

describe("A change", () => {
  const map = found({});

  test("makes the next epoch and leaves the old map alone", () => {
    const before = structuredClone(map);
    const next = change(map, { type: "putNode", node: node(10, "a") });
    assert.equal(next.epoch, 2);
    assert.deepEqual(
      next.nodes.map((each) => each.id),
      ["n1", "n10", "n2", "n3"],
    );
    assert.deepEqual(map, before);
    assert.equal(whatIsWrongWithSuccessor(map, next), null);
  });

  test("replaces what is known of a node", () => {
    const moved = { ...node(2, "b", "draining"), httpAddress: "elsewhere:80" };
    const next = change(map, { type: "putNode", node: moved });
    assert.deepEqual(next.nodes[1], moved);
    assert.equal(next.nodes.length, 3);
  });

  test("removes a node only when no shard lists it", () => {
    const id = NodeId("n4");
    const joined = change(map, { type: "putNode", node: node(4, "a") });
    assert.equal(change(joined, { type: "removeNode", id }).nodes.length, 3);
    const removal: MapChange = { type: "removeNode", id: NodeId("n1") };
    assert.match(reasonOf(changeMap(map, removal)), /replica on n1, which is not in the map/);
    assert.match(reasonOf(changeMap(map, { type: "removeNode", id })), /there is no node n4/);
  });

  test("sets the replicas of the shards that it lists, and of no others", () => {
    const replicas = [{ id: ShardId(2), voters: [NodeId("n3")], learners: [NodeId("n1")] }];
    const next = change(map, { type: "setReplicas", replicas });
    assert.deepEqual(next.shards[2], { ...map.shards[2], ...replicas[0] });
    assert.deepEqual(next.shards.toSpliced(2, 1), map.shards.toSpliced(2, 1));
    const unknown = [{ id: ShardId(77), voters: [NodeId("n3")], learners: [] }];
    const refused = changeMap(map, { type: "setReplicas", replicas: unknown });
    assert.match(reasonOf(refused), /there is no shard 77/);
  });

  test("adds a shard in two steps, first without keys, and removing it gives every key back", () => {
    const voters = [NodeId("n1")];
    const born: ShardRecord = { ...bareShard(9, []), voters };
    const withEmpty = change(map, { type: "putShard", shard: born });
    const [tokens = []] = chooseTokens(withEmpty.shards, [{ weight: 1, count: 64 }]);
    const withTokens = change(withEmpty, { type: "putShard", shard: { ...born, tokens } });
    const rings = [map, withEmpty, withTokens].map((each) => new Ring(each));
    for (let i = 0; i < 2000; i++) {
      const [before, empty, after] = rings.map((ring) => ring.shardOf(bytes(`key ${i}`)));
      assert.equal(empty, before);
      assert.ok(after === before || after === 9);
    }
    assert.equal(rings[2]?.shares().size, 9);
    const removed = change(withTokens, { type: "removeShard", id: ShardId(9) });
    assert.deepEqual({ ...removed, epoch: 1 }, map);
  });

  test("does not remove a shard that is not there, or the meta shard", () => {
    const remove = (id: number): string => {
      return reasonOf(changeMap(map, { type: "removeShard", id: ShardId(id) }));
    };
    assert.match(remove(50), /there is no shard 50/);
    assert.match(remove(0), /the first shard must be the meta shard/);
  });

  test("sets routing rules, sorted by prefix", () => {
    const routing = [
      { type: "hash", prefix: "b" },
      { type: "segments", prefix: "a", count: 2 },
    ] as const;
    const next = change(map, { type: "setRouting", routing });
    assert.deepEqual(next.routing, routing.toReversed());
  });

  test("of a kind that does not exist is a programmer's error", () => {
    assert.throws(() => changeMap(map, { type: "explode" } as never), InvariantViolation);
  });

  test("sets the replication factor", () => {
    const factor = { type: "setReplicationFactor", replicationFactor: 1 } as const;
    assert.equal(change(map, factor).replicationFactor, 1);
  });
});

test("A successor has the same cluster, the next epoch, and nothing wrong", () => {
  const map = found({});
  const next: ClusterMap = { ...map, epoch: 2 };
  assert.equal(whatIsWrongWithSuccessor(map, next), null);
  assert.match(whatIsWrongWithSuccessor(map, map) ?? "", /epoch 1 does not follow epoch 1/);
  assert.match(whatIsWrongWithSuccessor(map, { ...map, epoch: 3 }) ?? "", /epoch 3/);
  const other = { ...next, clusterId: "other" };
  assert.match(whatIsWrongWithSuccessor(map, other) ?? "", /cluster other, not to test/);
  assert.match(whatIsWrongWithSuccessor(map, { ...next, nodes: [] }) ?? "", /nodes/);
});

/** A valid map with one part replaced. */
function broken(part: Partial<ClusterMap>): string {
  return whatIsWrong({ ...found({ shardCount: 2, tokensPerShard: 2 }), ...part }) ?? "nothing";
}

describe("Checking a map finds", () => {
  const { nodes, shards } = found({ shardCount: 2, tokensPerShard: 2 });
  const [first, second, third] = nodes;
  const [meta, one, two] = shards;
  assert.ok(first && second && third && meta && one && two);

  test("numbers out of range", () => {
    assert.match(broken({ epoch: 0 }), /epoch must be a whole number from 1, not 0/);
    assert.match(broken({ epoch: 2 ** 53 }), /epoch/);
    assert.match(broken({ replicationFactor: 0 }), /replication factor/);
    assert.match(broken({ tokensPerShard: 1025 }), /tokens per shard/);
    assert.equal(broken({ epoch: 7 }), "nothing");
  });

  test("malformed, repeated or unsorted nodes", () => {
    const withFirst = (part: Partial<typeof first>): string => {
      return broken({ nodes: [{ ...first, ...part }, second, third] });
    };
    // A peer's bytes may claim to be a NodeId; the brand is a compile-time promise only.
    const malformed = "n 1" as NodeId;
    assert.match(withFirst({ id: malformed }), /node id is malformed: "n 1"/);
    assert.match(withFirst({ instanceId: "" }), /instance id of node n1 must match/);
    assert.match(withFirst({ zone: "a b" }), /zone of node n1 must match/);
    assert.match(withFirst({ peerAddress: "host" }), /peer address of node n1 must be host:port/);
    assert.match(withFirst({ peerAddress: "http://host:1" }), /peer address/);
    assert.match(withFirst({ peerAddress: "host:65536" }), /peer address/);
    assert.match(withFirst({ httpAddress: "host:" }), /HTTP address of node n1 must be host:port/);
    assert.equal(withFirst({ peerAddress: "[::1]:7001" }), "nothing");
    assert.equal(withFirst({ httpAddress: "https://kv.example.org:443" }), "nothing");
    assert.match(withFirst({ instanceId: second.instanceId }), /two nodes have the instance id/);
    assert.match(withFirst({ peerAddress: second.peerAddress }), /two nodes have the peer address/);
    assert.match(
      broken({ nodes: [second, first, third] }),
      /nodes are not sorted: n2 comes before/,
    );
  });

  test("missing, repeated or unsorted shards", () => {
    assert.match(broken({ shards: [] }), /first shard must be the meta shard/);
    assert.match(broken({ shards: [one, two] }), /first shard must be the meta shard/);
    assert.match(broken({ shards: [meta] }), /1 to 4096 data shards, not 0/);
    assert.match(broken({ shards: [meta, one, one] }), /shard 1 is listed twice/);
    assert.match(broken({ shards: [meta, two, one] }), /shards are not sorted/);
  });

  test("shards with impossible replicas, weights or ids", () => {
    const withOne = (part: Partial<ShardRecord>): string => {
      return broken({ shards: [meta, { ...one, ...part }, two] });
    };
    const n1 = NodeId("n1");
    assert.match(withOne({ voters: [] }), /shard 1 has no voters/);
    assert.match(withOne({ voters: [NodeId("n9")] }), /replica on n9, which is not in the map/);
    assert.match(withOne({ learners: [NodeId("n9")] }), /replica on n9/);
    assert.match(withOne({ voters: [n1, n1] }), /two replicas on one node: n1, n1/);
    assert.match(withOne({ voters: [n1], learners: [n1] }), /two replicas on one node/);
    assert.match(withOne({ weight: 17 }), /weight of shard 1 must be 1 to 16, not 17/);
    const fraction = 1.5 as ShardId;
    assert.match(withOne({ id: fraction }), /shard id out of range: 1.5/);
    const huge = { ...two, id: (2 ** 31) as ShardId };
    assert.match(broken({ shards: [meta, one, huge] }), /shard id out of range/);
  });

  test("tokens that are off the circle, unsorted, shared, missing, or the meta shard's", () => {
    const withTokens = (tokens: readonly number[]): string => {
      return broken({ shards: [meta, { ...one, tokens }, { ...two, tokens: [5] }] });
    };
    assert.equal(withTokens([0, 2 ** 32 - 1]), "nothing");
    assert.match(withTokens([2 ** 32]), /token of shard 1 is not on the circle: 4294967296/);
    assert.match(withTokens([-1]), /not on the circle/);
    assert.match(withTokens([0.5]), /not on the circle/);
    assert.match(withTokens([7, 6]), /tokens of shard 1 are not sorted/);
    assert.match(withTokens([5]), /token 5 belongs to shard 1 and to shard 2/);
    assert.match(withTokens([6, 6]), /token 6 belongs to shard 1 and to shard 1/);
    const bare = [one, two].map((shard) => ({ ...shard, tokens: [] }));
    assert.match(broken({ shards: [meta, ...bare] }), /a ring has 1 to 524288 tokens, not 0/);
    const greedy = { ...meta, tokens: [1] };
    assert.match(broken({ shards: [greedy, one, two] }), /the meta shard owns no keys/);
  });

  test("routing rules that cannot be followed", () => {
    const shard = ShardId(1);
    const prefix = "p";
    assert.match(broken({ routing: [{ type: "hash", prefix: "" }] }), /needs a prefix/);
    assert.match(broken({ routing: [{ type: "hash", prefix: "\ud800" }] }), /needs a prefix/);
    assert.match(broken({ routing: [{ type: "segments", prefix, count: 0 }] }), /1 to 16 segments/);
    const meant = { type: "shard", prefix, shard } as const;
    assert.equal(broken({ routing: [meant] }), "nothing");
    assert.match(broken({ routing: [{ ...meant, shard: ShardId(3) }] }), /names shard 3/);
    assert.match(broken({ routing: [{ ...meant, shard: ShardId(0) }] }), /names shard 0/);
    assert.match(broken({ routing: [meant, meant] }), /routing prefix p is listed twice/);
    const many = Array.from({ length: 257 }, (_, i) => ({ ...meant, prefix: `p${i}` }));
    assert.match(broken({ routing: many }), /at most 256 routing rules, not 257/);
  });
});
