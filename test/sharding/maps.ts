import assert from "node:assert/strict";
import fc from "fast-check";
import { changeMap, foundingMap } from "../../cluster/sharding/cluster-map.ts";
import type {
  ClusterMap,
  MapChange,
  MapResult,
  NodeRecord,
  NodeState,
  ShardRecord,
} from "../../cluster/sharding/cluster-map.ts";
import { NodeId, ShardId } from "../../cluster/types.ts";

/** Node `n<number>` with addresses and instance of its own. */
export function node(number: number, zone: string, state: NodeState = "active"): NodeRecord {
  return {
    id: NodeId(`n${number}`),
    peerAddress: `host${number}:7001`,
    httpAddress: `host${number}:8001`,
    zone,
    instanceId: `instance-${number}`,
    state,
  };
}

/** The map of a refused or accepted change; fails the test when it was refused. */
export function mapOf(result: MapResult): ClusterMap {
  assert.equal(result.type, "ok", result.type === "refused" ? result.reason : "");
  return result.map;
}

/** Why it was refused; fails the test when it was accepted. */
export function reasonOf(result: MapResult): string {
  assert.equal(result.type, "refused");
  return result.reason;
}

/** A founded cluster; by default three nodes in three zones. */
export function found(options: {
  readonly zones?: readonly string[];
  readonly shardCount?: number;
  readonly replicationFactor?: number;
  readonly tokensPerShard?: number;
}): ClusterMap {
  const zones = options.zones ?? ["a", "b", "c"];
  const founded = foundingMap({
    clusterId: "test",
    nodes: zones.map((zone, index) => node(index + 1, zone)),
    shardCount: options.shardCount ?? 8,
    replicationFactor: options.replicationFactor ?? 3,
    tokensPerShard: options.tokensPerShard ?? 64,
  });
  return mapOf(founded);
}

export function change(map: ClusterMap, ...changes: readonly MapChange[]): ClusterMap {
  return changes.reduce((current, step) => mapOf(changeMap(current, step)), map);
}

/** A shard that is not placed. */
export function bareShard(id: number, tokens: readonly number[], weight = 1): ShardRecord {
  return { id: ShardId(id), voters: [], learners: [], weight, tokens };
}

/** Nodes with ids n1, n2, ... in up to three zones, at least one of them active. */
export function nodesArbitrary(nodesMax: number): fc.Arbitrary<readonly NodeRecord[]> {
  const zone = fc.constantFrom("a", "b", "c");
  const state = fc.constantFrom<NodeState>("active", "active", "active", "draining", "dead");
  return fc
    .array(fc.tuple(zone, state), { minLength: 1, maxLength: nodesMax })
    .map((specs) =>
      specs.map(([at, is], index) => node(index + 1, at, index === 0 ? "active" : is)),
    );
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
