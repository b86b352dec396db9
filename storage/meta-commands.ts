import { unreachable } from "../cluster/assert.ts";
import type {
  ClusterMap,
  MapChange,
  NodeRecord,
  NodeState,
  ShardRecord,
  ShardReplicas,
} from "../cluster/sharding/cluster-map.ts";
import { decodeMap, encodeMap } from "../cluster/sharding/map-json.ts";
import type { RoutingRule } from "../cluster/sharding/routing.ts";
import { isNodeId, NodeId, ShardId } from "../cluster/types.ts";
import { readNullable, writeNullable } from "./record-codec.ts";
import {
  CodecError,
  decodeWith,
  encodeWith,
  expectVersion,
  readList,
  writeList,
  type ByteReader,
  type ByteWriter,
} from "./wire-codec.ts";

/** What is done to the cluster map, in the log of shard 0. */
export type MetaCommand =
  /** The first map, at epoch 1. All founders propose the same; the first one counts. */
  | { readonly type: "found"; readonly map: ClusterMap }
  /** One step from the present map to the next epoch; with `ifEpoch`, only from that epoch. */
  | { readonly type: "change"; readonly change: MapChange; readonly ifEpoch: number | null };

/** What became of it. `epoch` is the map's afterwards; 0 while there is no map. */
export type MetaOutcome =
  | { readonly type: "changed"; readonly epoch: number }
  /** The map was at another epoch: look at it and decide anew. */
  | { readonly type: "stale"; readonly epoch: number }
  | { readonly type: "refused"; readonly epoch: number; readonly reason: string };

const version = 1;
const codeFound = 1;
const codeChange = 2;

/** What `decodeMetaCommand` reads; proposed to shard 0 like a command envelope to a data shard. */
export function encodeMetaCommand(command: MetaCommand): Uint8Array {
  return encodeWith(writeCommand, command);
}

/** Throws CodecError when the bytes are not a command, or the map in them is not a valid one. */
export function decodeMetaCommand(bytes: Uint8Array): MetaCommand {
  return decodeWith(readCommand, bytes);
}

/** The answer to one command: what `decodeMetaOutcome` reads. */
export function encodeMetaOutcome(outcome: MetaOutcome): Uint8Array {
  return encodeWith(writeOutcome, outcome);
}

/** Throws CodecError when the bytes are not an outcome. */
export function decodeMetaOutcome(bytes: Uint8Array): MetaOutcome {
  return decodeWith(readOutcome, bytes);
}

function writeCommand(writer: ByteWriter, command: MetaCommand): void {
  writer.u8(version);
  switch (command.type) {
    case "found":
      writer.u8(codeFound);
      return writer.bytes(encodeMap(command.map));
    case "change":
      writer.u8(codeChange);
      writeNullable(writer, command.ifEpoch);
      return writeChange(writer, command.change);
    default:
      return unreachable(command);
  }
}

function readCommand(reader: ByteReader): MetaCommand {
  expectVersion(reader, version, "a meta command");
  const code = reader.u8();
  switch (code) {
    case codeFound: {
      const decoded = decodeMap(reader.bytes());
      if (decoded.type === "refused") {
        throw new CodecError("malformed", decoded.reason);
      }
      return { type: "found", map: decoded.map };
    }
    case codeChange: {
      const ifEpoch = readNullable(reader);
      return { type: "change", ifEpoch, change: readChange(reader) };
    }
    default:
      throw new CodecError("unsupported_version", `unknown meta command ${code}`);
  }
}

const outcomeTypes = ["changed", "stale", "refused"] as const;

function writeOutcome(writer: ByteWriter, outcome: MetaOutcome): void {
  writer.u8(version);
  writer.u8(outcomeTypes.indexOf(outcome.type));
  writer.varuint(outcome.epoch);
  if (outcome.type === "refused") {
    writer.string(outcome.reason);
  }
}

function readOutcome(reader: ByteReader): MetaOutcome {
  expectVersion(reader, version, "a meta outcome");
  const type = outcomeTypes[reader.u8()];
  const epoch = reader.varuint();
  if (type === undefined) {
    throw new CodecError("unsupported_version", "unknown meta outcome");
  }
  return type === "refused" ? { type, epoch, reason: reader.string() } : { type, epoch };
}

/** Part of the format of logs: never reuse a number. */
const changeCode = {
  putNode: 1,
  removeNode: 2,
  setReplicas: 3,
  putShard: 4,
  removeShard: 5,
  setRouting: 6,
  setReplicationFactor: 7,
} as const satisfies Record<MapChange["type"], number>;

function writeChange(writer: ByteWriter, change: MapChange): void {
  writer.u8(changeCode[change.type]);
  switch (change.type) {
    case "putNode":
      return writeNode(writer, change.node);
    case "removeNode":
      return writer.string(change.id);
    case "setReplicas":
      return writeList(writer, change.replicas, writeReplicas);
    case "putShard":
      writeReplicas(writer, change.shard);
      writer.varuint(change.shard.weight);
      return writeList(writer, change.shard.tokens, (to, token) => to.varuint(token));
    case "removeShard":
      return writer.varuint(change.id);
    case "setRouting":
      return writeList(writer, change.routing, writeRule);
    case "setReplicationFactor":
      return writer.varuint(change.replicationFactor);
    default:
      return unreachable(change);
  }
}

function readChange(reader: ByteReader): MapChange {
  const code = reader.u8();
  switch (code) {
    case changeCode.putNode:
      return { type: "putNode", node: readNode(reader) };
    case changeCode.removeNode:
      return { type: "removeNode", id: readNodeId(reader) };
    case changeCode.setReplicas:
      return { type: "setReplicas", replicas: readList(reader, 3, readReplicas) };
    case changeCode.putShard:
      return { type: "putShard", shard: readShard(reader) };
    case changeCode.removeShard:
      return { type: "removeShard", id: readShardId(reader) };
    case changeCode.setRouting:
      return { type: "setRouting", routing: readList(reader, 2, readRule) };
    case changeCode.setReplicationFactor:
      return { type: "setReplicationFactor", replicationFactor: reader.varuint() };
    default:
      throw new CodecError("unsupported_version", `unknown change of the map ${code}`);
  }
}

const nodeStates: readonly NodeState[] = ["active", "draining", "dead"];

function writeNode(writer: ByteWriter, node: NodeRecord): void {
  writer.string(node.id);
  writer.string(node.peerAddress);
  writer.string(node.httpAddress);
  writer.string(node.zone);
  writer.string(node.instanceId);
  writer.u8(nodeStates.indexOf(node.state));
}

function readNode(reader: ByteReader): NodeRecord {
  const texts = {
    id: readNodeId(reader),
    peerAddress: reader.string(),
    httpAddress: reader.string(),
    zone: reader.string(),
    instanceId: reader.string(),
  };
  const state = nodeStates[reader.u8()];
  if (state === undefined) {
    throw new CodecError("malformed", "unknown state of a node");
  }
  return { ...texts, state };
}

function writeReplicas(writer: ByteWriter, replicas: ShardReplicas): void {
  writer.varuint(replicas.id);
  writeList(writer, replicas.voters, (to, id) => to.string(id));
  writeList(writer, replicas.learners, (to, id) => to.string(id));
}

function readReplicas(reader: ByteReader): ShardReplicas {
  return {
    id: readShardId(reader),
    voters: readList(reader, 1, readNodeId),
    learners: readList(reader, 1, readNodeId),
  };
}

function readShard(reader: ByteReader): ShardRecord {
  const replicas = readReplicas(reader);
  const weight = reader.varuint();
  return { ...replicas, weight, tokens: readList(reader, 1, (from) => from.varuint()) };
}

const ruleTypes = ["hash", "segments", "shard"] as const satisfies readonly RoutingRule["type"][];

function writeRule(writer: ByteWriter, rule: RoutingRule): void {
  writer.u8(ruleTypes.indexOf(rule.type));
  writer.string(rule.prefix);
  switch (rule.type) {
    case "hash":
      return;
    case "segments":
      return writer.varuint(rule.count);
    case "shard":
      return writer.varuint(rule.shard);
    default:
      return unreachable(rule);
  }
}

function readRule(reader: ByteReader): RoutingRule {
  const type = ruleTypes[reader.u8()];
  const prefix = reader.string();
  switch (type) {
    case undefined:
      throw new CodecError("malformed", "unknown type of routing rule");
    case "hash":
      return { type, prefix };
    case "segments":
      return { type, prefix, count: reader.varuint() };
    case "shard":
      return { type, prefix, shard: readShardId(reader) };
    default:
      return unreachable(type);
  }
}

function readNodeId(reader: ByteReader): NodeId {
  const id = reader.string();
  if (!isNodeId(id)) {
    throw new CodecError("malformed", "not a node id");
  }
  return NodeId(id);
}

function readShardId(reader: ByteReader): ShardId {
  const id = reader.varuint();
  if (id >= 2 ** 31) {
    throw new CodecError("malformed", `shard id out of range: ${id}`);
  }
  return ShardId(id);
}
