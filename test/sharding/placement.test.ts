import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { ClusterMap, NodeRecord, ShardReplicas } from "../../cluster/sharding/cluster-map.ts";
import { planPlacement } from "../../cluster/sharding/placement.ts";
import { NodeId, ShardId } from "../../cluster/types.ts";
import { fuzzParameters } from "../storage/seed.ts";
import { change, found, node, nodesArbitrary } from "./maps.ts";

type PlacedMap = Pick<ClusterMap, "nodes" | "shards" | "replicationFactor">;

/** A map in which voters are wherever chance put them, on any node, active or not. */
const arbitraryMap: fc.Arbitrary<PlacedMap> = mapArbitrary({ nodesMax: 9, shardsMax: 12 });

function mapArbitrary(limits: {
  readonly nodesMax: number;
  readonly shardsMax: number;
}): fc.Arbitrary<PlacedMap> {
  return nodesArbitrary(limits.nodesMax).chain((nodes) => {
    const ids = nodes.map((each) => each.id);
    const replicas = fc.shuffledSubarray(ids, { maxLength: Math.min(4, ids.length) });
    const shards = fc.array(replicas, { minLength: 2, maxLength: limits.shardsMax + 1 });
    return fc.record({
      nodes: fc.constant(nodes),
      replicationFactor: fc.integer({ min: 1, max: 5 }),
      shards: shards.map((lists) =>
        lists.map((list, id) => {
          const voters = list.slice(0, 3);
          return { id: ShardId(id), voters, learners: list.slice(3), weight: 1, tokens: [] };
        }),
      ),
    });
  });
}

function activeNodes(map: PlacedMap): readonly NodeRecord[] {
  return map.nodes.filter((each) => each.state === "active");
}

function dataShards(plan: readonly ShardReplicas[]): readonly ShardReplicas[] {
  return plan.filter((shard) => shard.id !== 0);
}

function withPlan(map: PlacedMap, plan: readonly ShardReplicas[]): PlacedMap {
  const shards = map.shards.map((shard, index) => ({ ...shard, ...plan[index] }));
  return { ...map, shards };
}

/** How often each active node is named. */
function countsOf(map: PlacedMap, named: readonly NodeId[]): readonly number[] {
  return activeNodes(map).map(({ id }) => named.filter((other) => other === id).length);
}

function spread(counts: readonly number[]): number {
  return Math.max(...counts) - Math.min(...counts);
}

/** Voters that are not where they were. */
function movesBetween(before: readonly ShardReplicas[], after: readonly ShardReplicas[]): number {
  return after.reduce((sum, shard, index) => {
    const old = before[index]?.voters ?? [];
    return sum + shard.voters.filter((id) => !old.includes(id)).length;
  }, 0);
}

function squares(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count * count, 0);
}

function zoneCounts(map: PlacedMap, voters: readonly NodeId[]): ReadonlyMap<string, number> {
  const counts = new Map(activeNodes(map).map((each) => [each.zone, 0]));
  for (const id of voters) {
    const zone = map.nodes.find((each) => each.id === id)?.zone ?? "";
    counts.set(zone, (counts.get(zone) ?? 0) + 1);
  }
  return counts;
}

describe("For any nodes, zones, states and earlier places,", () => {
  test("no shard has two replicas on one node, or any on a node that is not active", () => {
    fc.assert(
      fc.property(arbitraryMap, (map) => {
        const active = new Set(activeNodes(map).map((each) => each.id));
        for (const shard of planPlacement(map)) {
          const replicas = [...shard.voters, ...shard.learners];
          assert.equal(new Set(replicas).size, replicas.length);
          assert.ok(replicas.every((id) => active.has(id)));
        }
      }),
      fuzzParameters(300),
    );
  });

  test("a data shard has as many voters as the replication factor, or as there are active nodes", () => {
    fc.assert(
      fc.property(arbitraryMap, (map) => {
        const wanted = Math.min(map.replicationFactor, activeNodes(map).length);
        for (const shard of dataShards(planPlacement(map))) {
          assert.equal(shard.voters.length, wanted);
        }
      }),
      fuzzParameters(300),
    );
  });

  test("two replicas share a zone only when every other zone with a free node has nearly as many", () => {
    fc.assert(
      fc.property(arbitraryMap, (map) => {
        for (const shard of planPlacement(map)) {
          const counts = [...zoneCounts(map, shard.voters)];
          for (const [zone, count] of counts) {
            const size = activeNodes(map).filter((each) => each.zone === zone).length;
            if (count < size) {
              assert.ok(counts.every(([, other]) => other <= count + 1));
            }
          }
        }
      }),
      fuzzParameters(300),
    );
  });

  test("a map that was placed is not changed by placing it again", () => {
    fc.assert(
      fc.property(arbitraryMap, (map) => {
        const plan = planPlacement(map);
        assert.deepEqual(planPlacement(withPlan(map, plan)), plan);
      }),
      fuzzParameters(200),
    );
  });

  test("within one zone, voters and preferred leaders per node differ by at most one", () => {
    fc.assert(
      fc.property(arbitraryMap, (map) => {
        const flat = { ...map, nodes: map.nodes.map((each) => ({ ...each, zone: "a" })) };
        const data = dataShards(planPlacement(flat));
        const voters = data.flatMap((shard) => shard.voters);
        assert.ok(spread(countsOf(flat, voters)) <= 1);
        const leaders = data.flatMap((shard) => shard.voters.slice(0, 1));
        assert.ok(spread(countsOf(flat, leaders)) <= 1);
      }),
      fuzzParameters(200),
    );
  });
});

/** Every way to place `count` voters, for a search by brute force. */
function choices(ids: readonly NodeId[], count: number): readonly (readonly NodeId[])[] {
  if (count === 0) {
    return [[]];
  }
  return ids.flatMap((id, index) =>
    choices(ids.slice(index + 1), count - 1).map((rest) => [id, ...rest]),
  );
}

/** Every way to take one option from each list. */
function combinations<T>(lists: readonly (readonly T[])[]): readonly (readonly T[])[] {
  return lists.reduce<readonly (readonly T[])[]>(
    (done, options) => done.flatMap((taken) => options.map((option) => [...taken, option])),
    [[]],
  );
}

/** The smallest of lists of numbers, compared from left to right. */
function smallest(costs: readonly (readonly number[])[]): readonly number[] {
  return costs.reduce((a, b) => {
    const at = a.findIndex((value, index) => value !== b[index]);
    return at === -1 || (a[at] ?? 0) < (b[at] ?? 0) ? a : b;
  });
}

/** What placement promises to make small: uneven zones, then uneven nodes, then moves. */
function costOf(map: PlacedMap, voters: readonly (readonly NodeId[])[]): readonly number[] {
  const zones = voters.map((list) => squares([...zoneCounts(map, list).values()]));
  const before = map.shards.filter((shard) => shard.id !== 0);
  const moves = voters.map((list, index) => {
    return list.filter((id) => before[index]?.voters.includes(id) !== true).length;
  });
  const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
  return [sum(zones), squares(countsOf(map, voters.flat())), sum(moves)];
}

describe("Compared with every possible placement of a small cluster,", () => {
  const smallMap = mapArbitrary({ nodesMax: 5, shardsMax: 3 });

  test("none has better spread zones, then better balanced nodes, then fewer moves", () => {
    fc.assert(
      fc.property(smallMap, (map) => {
        const ids = activeNodes(map).map((each) => each.id);
        const data = dataShards(planPlacement(map));
        const options = choices(ids, Math.min(map.replicationFactor, ids.length));
        const all = combinations(data.map(() => options)).map((voters) => costOf(map, voters));
        const planned = costOf(
          map,
          data.map((shard) => shard.voters),
        );
        assert.deepEqual(planned, smallest(all));
      }),
      fuzzParameters(150),
    );
  });

  test("no choice of preferred leaders among the voters is better balanced, or as balanced with fewer changes", () => {
    fc.assert(
      fc.property(smallMap, (map) => {
        const data = dataShards(planPlacement(map));
        const before = map.shards.slice(1).map((shard) => shard.voters[0]);
        const cost = (leaders: readonly NodeId[]): readonly number[] => {
          const changes = leaders.filter((id, index) => id !== before[index]).length;
          return [squares(countsOf(map, leaders)), changes];
        };
        const all = combinations(data.map((shard) => shard.voters)).map(cost);
        assert.deepEqual(cost(data.flatMap((shard) => shard.voters.slice(0, 1))), smallest(all));
      }),
      fuzzParameters(150),
    );
  });
});

describe("In a cluster that is already placed,", () => {
  const four = found({ zones: ["a", "a", "a"], shardCount: 64 });
  const grown = change(four, { type: "putNode", node: node(4, "a") });

  test("a new node takes its share and nothing else moves", () => {
    const before = dataShards(grown.shards);
    const after = dataShards(planPlacement(grown));
    assert.equal(movesBetween(before, after), 48);
    assert.deepEqual(
      countsOf(
        grown,
        after.flatMap((shard) => shard.voters),
      ),
      [48, 48, 48, 48],
    );
    const leaders = after.flatMap((shard) => shard.voters.slice(0, 1));
    assert.deepEqual(countsOf(grown, leaders), [16, 16, 16, 16]);
  });

  test("a node that drains or is dead loses its replicas and nothing else moves", () => {
    const full = change(grown, { type: "setReplicas", replicas: planPlacement(grown) });
    for (const state of ["draining", "dead"] as const) {
      const leaving = change(full, { type: "putNode", node: node(2, "a", state) });
      const after = dataShards(planPlacement(leaving));
      assert.equal(movesBetween(dataShards(full.shards), after), 48);
      const voters = after.flatMap((shard) => shard.voters);
      assert.deepEqual(countsOf(leaving, voters), [64, 64, 64]);
    }
  });

  test("without an active node nothing moves", () => {
    const nodes = four.nodes.map((each) => ({ ...each, state: "dead" as const }));
    const plan = planPlacement({ ...four, nodes });
    assert.deepEqual(
      plan,
      four.shards.map(({ id, voters, learners }) => ({ id, voters, learners })),
    );
  });
});

describe("Zones", () => {
  test("three replicas in three zones never share one, even when the zones differ in size", () => {
    const map = found({ zones: ["a", "a", "a", "b", "b", "c"], shardCount: 32 });
    for (const shard of dataShards(map.shards)) {
      assert.deepEqual([...zoneCounts(map, shard.voters).values()], [1, 1, 1]);
    }
  });

  test("five replicas in two zones are three and two", () => {
    const zones = ["a", "a", "a", "a", "b", "b", "b"];
    const map = found({ zones, shardCount: 8, replicationFactor: 5 });
    for (const shard of dataShards(map.shards)) {
      const counts = [...zoneCounts(map, shard.voters).values()].sort();
      assert.deepEqual(counts, [2, 3]);
    }
  });

  test("a zone that appears later gets one replica of every shard", () => {
    const before = found({ zones: ["a", "a", "b", "b"], shardCount: 16 });
    const map = change(before, { type: "putNode", node: node(5, "c") });
    const after = dataShards(planPlacement(map));
    assert.ok(after.every((shard) => shard.voters.includes(NodeId("n5"))));
    assert.equal(movesBetween(dataShards(before.shards), after), 16);
  });
});

describe("The meta shard", () => {
  test("is on every node: seven voters, the others learners", () => {
    const map = found({ zones: new Array<string>(9).fill("a") });
    const meta = map.shards[0];
    assert.deepEqual([meta?.voters.length, meta?.learners.length], [7, 2]);
    assert.equal(new Set([...(meta?.voters ?? []), ...(meta?.learners ?? [])]).size, 9);
  });

  test("promotes a learner when a voter's node is lost", () => {
    const map = found({ zones: new Array<string>(8).fill("a") });
    const gone = map.shards[0]?.voters[2] ?? NodeId("none");
    const nodes = map.nodes.map((each) => {
      return each.id === gone ? { ...each, state: "dead" as const } : each;
    });
    const [meta] = planPlacement({ ...map, nodes });
    assert.equal(meta?.voters.length, 7);
    assert.ok(meta.voters.includes(map.shards[0]?.learners[0] ?? NodeId("none")));
    assert.deepEqual(meta.learners, []);
  });
});

test("A learner of a data shard stays while its node is active and not a voter", () => {
  const map = found({ zones: ["a", "a", "a", "a"], shardCount: 1 });
  const outsider = map.nodes.find((each) => map.shards[1]?.voters.includes(each.id) !== true);
  assert.ok(outsider !== undefined);
  const shards = map.shards.map((shard) => {
    return shard.id === 1 ? { ...shard, learners: [outsider.id] } : shard;
  });
  assert.deepEqual(planPlacement({ ...map, shards })[1]?.learners, [outsider.id]);
  const nodes = map.nodes.map((each) => {
    return each === outsider ? { ...each, state: "draining" as const } : each;
  });
  assert.deepEqual(planPlacement({ ...map, shards, nodes })[1]?.learners, []);
  assert.deepEqual(planPlacement({ ...map, shards, replicationFactor: 4 })[1]?.learners, []);
});
