import { assert } from "../assert.ts";
import { isNodeId, NodeId, ShardId } from "../types.ts";
import type { ClusterMap, MapResult, NodeRecord, NodeState, ShardRecord } from "./cluster-map.ts";
import { whatIsWrong } from "./map-check.ts";
import type { RoutingRule } from "./routing.ts";

/** Written into every encoded map; a decoder refuses what it does not know. */
const formatVersion = 1;

/** Internal to decoding: carries the sentence out of nested parsers. Never leaves this module. */
class Malformed extends Error {}

/**
 * The map as canonical JSON: fields in one order, lists sorted (a valid map's are), no white space. Equal maps are equal bytes, on disk
 * and on the wire.
 */
export function encodeMap(map: ClusterMap): Uint8Array {
  const { epoch, clusterId, replicationFactor, tokensPerShard } = map;
  const nodes = map.nodes.map(({ id, peerAddress, httpAddress, zone, instanceId, state }) => {
    return { id, peerAddress, httpAddress, zone, instanceId, state };
  });
  const shards = map.shards.map(({ id, voters, learners, weight, tokens }) => {
    return { id, voters, learners, weight, tokens };
  });
  const routing = map.routing.map((rule) => {
    const { type, prefix } = rule;
    const count = rule.type === "segments" ? rule.count : undefined;
    const shard = rule.type === "shard" ? rule.shard : undefined;
    return { type, prefix, count, shard };
  });
  const head = { version: formatVersion, epoch, clusterId, replicationFactor, tokensPerShard };
  return new TextEncoder().encode(JSON.stringify({ ...head, nodes, shards, routing }));
}

/** The map in `bytes`, checked, or why there is none. Strict: unknown and missing fields are refused. Never throws. */
export function decodeMap(bytes: Uint8Array): MapResult {
  try {
    const map = parseMap(parseJson(bytes));
    const reason = whatIsWrong(map);
    return reason === null ? { type: "ok", map } : { type: "refused", reason };
  } catch (error) {
    assert(error instanceof Malformed, `parsing a map threw ${String(error)}`);
    return { type: "refused", reason: `not a cluster map: ${error.message}` };
  }
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new Malformed("the bytes are not JSON", { cause });
  }
}

function parseMap(value: unknown): ClusterMap {
  const fields = record(value, "map", [
    "version",
    "epoch",
    "clusterId",
    "replicationFactor",
    "tokensPerShard",
    "nodes",
    "shards",
    "routing",
  ]);
  if (fields.get("version") !== formatVersion) {
    throw new Malformed(`format version ${JSON.stringify(fields.get("version"))} is not known`);
  }
  return {
    epoch: number(fields.get("epoch"), "epoch"),
    clusterId: string(fields.get("clusterId"), "clusterId"),
    replicationFactor: number(fields.get("replicationFactor"), "replicationFactor"),
    tokensPerShard: number(fields.get("tokensPerShard"), "tokensPerShard"),
    nodes: list(fields.get("nodes"), "nodes").map(parseNode),
    shards: list(fields.get("shards"), "shards").map(parseShard),
    routing: list(fields.get("routing"), "routing").map(parseRule),
  };
}

function parseNode(value: unknown): NodeRecord {
  const names = ["id", "peerAddress", "httpAddress", "zone", "instanceId", "state"];
  const fields = record(value, "node", names);
  return {
    id: nodeId(fields.get("id")),
    peerAddress: string(fields.get("peerAddress"), "peerAddress"),
    httpAddress: string(fields.get("httpAddress"), "httpAddress"),
    zone: string(fields.get("zone"), "zone"),
    instanceId: string(fields.get("instanceId"), "instanceId"),
    state: nodeState(fields.get("state")),
  };
}

function nodeState(value: unknown): NodeState {
  if (value === "active" || value === "draining" || value === "dead") {
    return value;
  }
  throw new Malformed(`${JSON.stringify(value)} is not a node state`);
}

function parseShard(value: unknown): ShardRecord {
  const fields = record(value, "shard", ["id", "voters", "learners", "weight", "tokens"]);
  return {
    id: shardId(fields.get("id")),
    voters: list(fields.get("voters"), "voters").map(nodeId),
    learners: list(fields.get("learners"), "learners").map(nodeId),
    weight: number(fields.get("weight"), "weight"),
    tokens: list(fields.get("tokens"), "tokens").map((token) => number(token, "token")),
  };
}

function parseRule(value: unknown): RoutingRule {
  const type = value instanceof Object && "type" in value ? value.type : undefined;
  switch (type) {
    case "hash": {
      const fields = record(value, "rule", ["type", "prefix"]);
      return { type, prefix: string(fields.get("prefix"), "prefix") };
    }
    case "segments": {
      const fields = record(value, "rule", ["type", "prefix", "count"]);
      const count = number(fields.get("count"), "count");
      return { type, prefix: string(fields.get("prefix"), "prefix"), count };
    }
    case "shard": {
      const fields = record(value, "rule", ["type", "prefix", "shard"]);
      return {
        type,
        prefix: string(fields.get("prefix"), "prefix"),
        shard: shardId(fields.get("shard")),
      };
    }
    default:
      throw new Malformed("a routing rule has the type hash, segments or shard");
  }
}

/** The fields of an object that has exactly the given names. */
function record(
  value: unknown,
  what: string,
  names: readonly string[],
): ReadonlyMap<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Malformed(`a ${what} is an object`);
  }
  const fields = new Map<string, unknown>(Object.entries(value));
  const missing = names.find((name) => !fields.has(name));
  if (missing !== undefined) {
    throw new Malformed(`a ${what} lacks the field ${missing}`);
  }
  const unknown = [...fields.keys()].find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new Malformed(`a ${what} has no field ${JSON.stringify(unknown)}`);
  }
  return fields;
}

function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) {
    throw new Malformed(`${what} is a list`);
  }
  return value;
}

function string(value: unknown, what: string): string {
  if (typeof value !== "string") {
    throw new Malformed(`${what} is a string`);
  }
  return value;
}

function number(value: unknown, what: string): number {
  if (typeof value !== "number") {
    throw new Malformed(`${what} is a number`);
  }
  return value;
}

function nodeId(value: unknown): NodeId {
  const id = string(value, "node id");
  if (!isNodeId(id)) {
    throw new Malformed(`node id is malformed: ${JSON.stringify(id)}`);
  }
  return NodeId(id);
}

function shardId(value: unknown): ShardId {
  const id = number(value, "shard id");
  if (!Number.isInteger(id) || id < 0 || id >= 2 ** 31) {
    throw new Malformed(`shard id out of range: ${id}`);
  }
  return ShardId(id);
}
