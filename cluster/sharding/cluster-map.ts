import { unreachable } from "../assert.ts";
import { ShardId } from "../types.ts";
import type { NodeId } from "../types.ts";
import { isCount, mapLimits, whatIsWrong, whatIsWrongWithMembers } from "./map-check.ts";
import { planPlacement } from "./placement.ts";
import type { RoutingRule } from "./routing.ts";
import { chooseTokens } from "./tokens.ts";
import type { TokenOwner } from "./tokens.ts";

/**
 * The versioned truth about a cluster: who is in it, which shards there are, where each should be, and which keys each holds.
 * Replicated in shard 0. Immutable; every change is a new map with the next epoch. Lists are sorted by id or prefix, so that equal maps are
 * equal bytes (map-json.ts).
 */
export interface ClusterMap {
  /** 1 at the founding, one more with each change. */
  readonly epoch: number;
  readonly clusterId: string;
  /** Voters that each data shard should have; as many as there are nodes when those are fewer. */
  readonly replicationFactor: number;
  /** Tokens of a shard of weight 1. More tokens: finer balance, larger map. */
  readonly tokensPerShard: number;
  readonly nodes: readonly NodeRecord[];
  /** All shards; the first is the meta shard. */
  readonly shards: readonly ShardRecord[];
  readonly routing: readonly RoutingRule[];
}

/** One member of the cluster. */
export interface NodeRecord {
  readonly id: NodeId;
  /** `host:port` of its gRPC listener. */
  readonly peerAddress: string;
  /** `host:port` of its HTTP listener, as clients reach it. */
  readonly httpAddress: string;
  /** Nodes of one zone may fail together; replicas of a shard avoid to share one. */
  readonly zone: string;
  /** Made with the node's data directory: a wiped node has another one and is not the same member. */
  readonly instanceId: string;
  readonly state: NodeState;
}

/** `active` nodes hold replicas; placement moves everything away from `draining` (alive) and `dead` (declared lost) nodes. */
export type NodeState = "active" | "draining" | "dead";

/** One shard: where its replicas should be (Raft's own configuration says where they are), and its place on the ring. */
export interface ShardRecord extends TokenOwner, ShardReplicas {}

/** Where a shard's replicas should be. */
export interface ShardReplicas {
  readonly id: ShardId;
  /** The first one is the preferred leader. Never empty. */
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
}

/** A map, or the sentence that says why there is none. */
export type MapResult =
  | { readonly type: "ok"; readonly map: ClusterMap }
  | { readonly type: "refused"; readonly reason: string };

/** What a cluster begins with. Nodes start `active`. */
export interface FoundingOptions {
  readonly clusterId: string;
  readonly nodes: readonly Omit<NodeRecord, "state">[];
  /** Data shards, numbered from 1. */
  readonly shardCount: number;
  readonly replicationFactor: number;
  readonly tokensPerShard: number;
}

/** One step from a map to the next. */
export type MapChange =
  /** Adds a node, or replaces what is known of it. */
  | { readonly type: "putNode"; readonly node: NodeRecord }
  /** Forgets a node; no shard may list it any more. */
  | { readonly type: "removeNode"; readonly id: NodeId }
  /** New places for the shards that are listed; usually the outcome of `planPlacement`. */
  | { readonly type: "setReplicas"; readonly replicas: readonly ShardReplicas[] }
  /** Adds or replaces a shard. A shard without tokens owns no keys: so it begins, before its arcs are handed over. */
  | { readonly type: "putShard"; readonly shard: ShardRecord }
  /** Removes a data shard; what it owns on the ring goes back to its neighbours there. */
  | { readonly type: "removeShard"; readonly id: ShardId }
  | { readonly type: "setRouting"; readonly routing: readonly RoutingRule[] }
  | { readonly type: "setReplicationFactor"; readonly replicationFactor: number };

/**
 * The map at epoch 1: the meta shard on every node, data shards 1 to `shardCount` placed and on the ring. Nodes that are given the same
 * options, in whatever order of nodes, make the same map.
 */
export function foundingMap(options: FoundingOptions): MapResult {
  const { clusterId, replicationFactor, tokensPerShard, shardCount } = options;
  if (!isCount(shardCount, mapLimits.dataShards)) {
    return refused(`shard count must be 1 to ${mapLimits.dataShards}, not ${shardCount}`);
  }
  const members: ClusterMap = {
    epoch: 1,
    clusterId,
    replicationFactor,
    tokensPerShard,
    nodes: sortedBy(options.nodes, (node) => node.id).map((node) => ({ ...node, state: "active" })),
    shards: [],
    routing: [],
  };
  const reason = whatIsWrongWithMembers(members);
  if (reason !== null) {
    return refused(reason);
  }
  const joining = Array.from({ length: shardCount }, () => ({ weight: 1, count: tokensPerShard }));
  const shards = [[], ...chooseTokens([], joining)].map((tokens, id): ShardRecord => {
    return { id: ShardId(id), voters: [], learners: [], weight: 1, tokens };
  });
  const replicas = planPlacement({ ...members, shards });
  return checked({ ...members, shards: withReplicas(shards, replicas) });
}

/** The next map, at the next epoch, or why the change is not possible. */
export function changeMap(map: ClusterMap, change: MapChange): MapResult {
  const changed = applyChange(map, change);
  return typeof changed === "string"
    ? refused(changed)
    : checked({ ...map, ...changed, epoch: map.epoch + 1 });
}

/** Why `next` may not follow `current`, or null: a map changes by one epoch at a time and never changes its cluster. */
export function whatIsWrongWithSuccessor(current: ClusterMap, next: ClusterMap): string | null {
  if (next.clusterId !== current.clusterId) {
    return `the map belongs to cluster ${next.clusterId}, not to ${current.clusterId}`;
  }
  if (next.epoch !== current.epoch + 1) {
    return `epoch ${next.epoch} does not follow epoch ${current.epoch}`;
  }
  return whatIsWrong(next);
}

/** The parts that change, or why they cannot. */
function applyChange(map: ClusterMap, change: MapChange): Partial<ClusterMap> | string {
  switch (change.type) {
    case "putNode":
      return { nodes: put(map.nodes, change.node) };
    case "removeNode":
      return map.nodes.some((node) => node.id === change.id)
        ? { nodes: map.nodes.filter((node) => node.id !== change.id) }
        : `there is no node ${change.id}`;
    case "setReplicas": {
      const unknown = change.replicas.find(
        ({ id }) => !map.shards.some((shard) => shard.id === id),
      );
      return unknown === undefined
        ? { shards: withReplicas(map.shards, change.replicas) }
        : `there is no shard ${unknown.id}`;
    }
    case "putShard":
      return { shards: put(map.shards, change.shard) };
    case "removeShard":
      return map.shards.some((shard) => shard.id === change.id)
        ? { shards: map.shards.filter((shard) => shard.id !== change.id) }
        : `there is no shard ${change.id}`;
    case "setRouting":
      return { routing: sortedBy(change.routing, (rule) => rule.prefix) };
    case "setReplicationFactor":
      return { replicationFactor: change.replicationFactor };
    default:
      return unreachable(change);
  }
}

function withReplicas(
  shards: readonly ShardRecord[],
  replicas: readonly ShardReplicas[],
): readonly ShardRecord[] {
  const byId = new Map(replicas.map((entry) => [entry.id, entry]));
  return shards.map((shard) => ({ ...shard, ...byId.get(shard.id) }));
}

function put<T extends { readonly id: string | number }>(
  list: readonly T[],
  item: T,
): readonly T[] {
  return sortedBy([...list.filter((other) => other.id !== item.id), item], (entry) => entry.id);
}

/** By UTF-16 code units or by number: the same order everywhere, unlike a locale's. */
function sortedBy<T>(list: readonly T[], key: (item: T) => string | number): readonly T[] {
  return list.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

function checked(map: ClusterMap): MapResult {
  const reason = whatIsWrong(map);
  return reason === null ? { type: "ok", map } : refused(reason);
}

function refused(reason: string): MapResult {
  return { type: "refused", reason };
}
