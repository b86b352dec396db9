import { isNodeId, metaShard } from "../types.ts";
import type { ClusterMap, NodeRecord, ShardRecord } from "./cluster-map.ts";
import type { RoutingRule } from "./routing.ts";
import { circle } from "./tokens.ts";

/** The largest map that is accepted: far beyond what is useful, small enough that no map exhausts a node. */
export const mapLimits = {
  nodes: 256,
  dataShards: 4096,
  replicationFactor: 7,
  tokensPerShard: 1024,
  /** Tokens of all shards together. */
  tokens: 2 ** 19,
  weight: 16,
  routingRules: 256,
  /** Path segments that a rule may count. */
  segments: 16,
  /** UTF-16 code units of a rule's prefix. */
  prefixLength: 1024,
} as const;

const idPattern = /^[A-Za-z0-9._-]{1,64}$/;
const addressPattern =
  /^(https?:\/\/)?([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})$/;

/** A whole number from 1 to `max`. */
export function isCount(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= max;
}

/** The first thing that makes a map unusable, as a sentence, or null. Never throws: maps come from peers and disks. */
export function whatIsWrong(map: ClusterMap): string | null {
  return whatIsWrongWithMembers(map) ?? wrongShards(map) ?? wrongRouting(map);
}

/** The same for a map that has no shards yet: its numbers and its nodes. */
export function whatIsWrongWithMembers(map: ClusterMap): string | null {
  return wrongHead(map) ?? wrongNodes(map.nodes);
}

function wrongHead(map: ClusterMap): string | null {
  if (!isCount(map.epoch, Number.MAX_SAFE_INTEGER)) {
    return `epoch must be a whole number from 1, not ${map.epoch}`;
  }
  if (!idPattern.test(map.clusterId)) {
    return `cluster id must match ${idPattern.source}, not ${JSON.stringify(map.clusterId)}`;
  }
  if (!isCount(map.replicationFactor, mapLimits.replicationFactor)) {
    return `replication factor must be 1 to ${mapLimits.replicationFactor}, not ${map.replicationFactor}`;
  }
  if (!isCount(map.tokensPerShard, mapLimits.tokensPerShard)) {
    return `tokens per shard must be 1 to ${mapLimits.tokensPerShard}, not ${map.tokensPerShard}`;
  }
  return null;
}

function wrongNodes(nodes: readonly NodeRecord[]): string | null {
  if (!isCount(nodes.length, mapLimits.nodes)) {
    return `a cluster has 1 to ${mapLimits.nodes} nodes, not ${nodes.length}`;
  }
  return (
    wrongOrder(
      "node",
      nodes.map((node) => node.id),
    ) ??
    firstOf(nodes, wrongNode) ??
    repeated(
      "instance id",
      nodes.map((node) => node.instanceId),
    ) ??
    repeated(
      "peer address",
      nodes.map((node) => node.peerAddress),
    )
  );
}

function wrongNode(node: NodeRecord): string | null {
  if (!isNodeId(node.id)) {
    return `node id is malformed: ${JSON.stringify(node.id)}`;
  }
  if (!idPattern.test(node.instanceId)) {
    return `instance id of node ${node.id} must match ${idPattern.source}, not ${JSON.stringify(node.instanceId)}`;
  }
  if (!idPattern.test(node.zone)) {
    return `zone of node ${node.id} must match ${idPattern.source}, not ${JSON.stringify(node.zone)}`;
  }
  if (!isAddress(node.peerAddress) || node.peerAddress.startsWith("http")) {
    return `peer address of node ${node.id} must be host:port, not ${JSON.stringify(node.peerAddress)}`;
  }
  if (!isAddress(node.httpAddress)) {
    return `HTTP address of node ${node.id} must be host:port, not ${JSON.stringify(node.httpAddress)}`;
  }
  return null;
}

function isAddress(value: string): boolean {
  const port = addressPattern.exec(value)?.[3];
  return port !== undefined && Number(port) <= 65535;
}

function wrongShards(map: ClusterMap): string | null {
  const { shards } = map;
  if (shards[0]?.id !== metaShard) {
    return "the first shard must be the meta shard, 0";
  }
  if (!isCount(shards.length - 1, mapLimits.dataShards)) {
    return `a cluster has 1 to ${mapLimits.dataShards} data shards, not ${shards.length - 1}`;
  }
  const nodes = new Set<string>(map.nodes.map((node) => node.id));
  return (
    wrongOrder(
      "shard",
      shards.map((shard) => shard.id),
    ) ??
    firstOf(shards, (shard) => wrongShard(shard, nodes)) ??
    wrongTokens(shards)
  );
}

function wrongShard(shard: ShardRecord, nodes: ReadonlySet<string>): string | null {
  const replicas = [...shard.voters, ...shard.learners];
  if (!Number.isInteger(shard.id) || shard.id >= 2 ** 31) {
    return `shard id out of range: ${shard.id}`;
  }
  if (shard.voters.length === 0) {
    return `shard ${shard.id} has no voters`;
  }
  const stranger = replicas.find((id) => !nodes.has(id));
  if (stranger !== undefined) {
    return `shard ${shard.id} has a replica on ${stranger}, which is not in the map`;
  }
  if (new Set(replicas).size < replicas.length) {
    return `shard ${shard.id} has two replicas on one node: ${replicas.join(", ")}`;
  }
  if (!isCount(shard.weight, mapLimits.weight)) {
    return `weight of shard ${shard.id} must be 1 to ${mapLimits.weight}, not ${shard.weight}`;
  }
  if (shard.id === metaShard && shard.tokens.length > 0) {
    return "the meta shard owns no keys, so it has no tokens";
  }
  return null;
}

function wrongTokens(shards: readonly ShardRecord[]): string | null {
  const count = shards.reduce((sum, shard) => sum + shard.tokens.length, 0);
  if (!isCount(count, mapLimits.tokens)) {
    return `a ring has 1 to ${mapLimits.tokens} tokens, not ${count}`;
  }
  const owners = new Map<number, number>();
  for (const shard of shards) {
    for (const [index, token] of shard.tokens.entries()) {
      if (!Number.isInteger(token) || token < 0 || token >= circle) {
        return `a token of shard ${shard.id} is not on the circle: ${token}`;
      }
      const owner = owners.get(token);
      if (owner !== undefined) {
        return `token ${token} belongs to shard ${owner} and to shard ${shard.id}`;
      }
      if (token < (shard.tokens[index - 1] ?? 0)) {
        return `tokens of shard ${shard.id} are not sorted`;
      }
      owners.set(token, shard.id);
    }
  }
  return null;
}

function wrongRouting(map: ClusterMap): string | null {
  const { routing } = map;
  if (routing.length > mapLimits.routingRules) {
    return `a map has at most ${mapLimits.routingRules} routing rules, not ${routing.length}`;
  }
  const shards = new Set<number>(map.shards.map((shard) => shard.id));
  return (
    wrongOrder(
      "routing prefix",
      routing.map((rule) => rule.prefix),
    ) ?? firstOf(routing, (rule) => wrongRule(rule, shards))
  );
}

function wrongRule(rule: RoutingRule, shards: ReadonlySet<number>): string | null {
  const name = `routing rule for ${JSON.stringify(rule.prefix)}`;
  if (!isCount(rule.prefix.length, mapLimits.prefixLength) || !rule.prefix.isWellFormed()) {
    return `${name} needs a prefix of 1 to ${mapLimits.prefixLength} characters`;
  }
  if (rule.type === "segments" && !isCount(rule.count, mapLimits.segments)) {
    return `${name} must count 1 to ${mapLimits.segments} segments, not ${rule.count}`;
  }
  if (rule.type === "shard" && (rule.shard === metaShard || !shards.has(rule.shard))) {
    return `${name} names shard ${rule.shard}, which is not a data shard of the map`;
  }
  return null;
}

/** Sorted and without repeats: one map, one encoding. */
function wrongOrder(what: string, values: readonly (string | number)[]): string | null {
  for (const [index, value] of values.entries()) {
    const previous = values[index - 1];
    if (previous === value) {
      return `${what} ${value} is listed twice`;
    }
    if (previous !== undefined && previous > value) {
      return `${what}s are not sorted: ${previous} comes before ${value}`;
    }
  }
  return null;
}

function repeated(what: string, values: readonly string[]): string | null {
  const value = values.find((candidate, index) => values.indexOf(candidate) !== index);
  return value === undefined ? null : `two nodes have the ${what} ${value}`;
}

function firstOf<T>(list: readonly T[], check: (item: T) => string | null): string | null {
  for (const item of list) {
    const reason = check(item);
    if (reason !== null) {
      return reason;
    }
  }
  return null;
}
