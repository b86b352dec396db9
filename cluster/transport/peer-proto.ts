import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { MethodDefinition } from "@grpc/grpc-js";
import { loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";
import { unreachable } from "../assert.ts";
import type { Hello, SnapshotHeader } from "../multiraft/transport.ts";
import {
  isNodeId,
  LogIndex,
  NodeId,
  ShardId,
  Term,
  type Configuration,
  type SnapshotMetadata,
} from "../types.ts";
import { WireError } from "./wire.ts";

/** The start of a Stream or a Snapshot: who speaks, and to whom. */
export interface Open {
  readonly hello: Hello;
  readonly target: string;
}

/** One message of a Snapshot call. */
export type SnapshotPart =
  | { readonly type: "header"; readonly header: SnapshotHeader }
  | { readonly type: "data"; readonly data: Uint8Array }
  | { readonly type: "end" };

/** The receiver has staged all of a snapshot: there is nothing more to say. */
export type SnapshotResult = Record<string, never>;

type Fields = Record<string, unknown>;

// The sources lie in cluster/transport, the build in dist/cluster/transport; both have proto/ two folders up.
const protoPath = fileURLToPath(new URL("../../proto/peer.proto", import.meta.url));
if (!existsSync(protoPath)) {
  throw new Error(`${protoPath} is missing: the build must copy proto/ next to cluster/`);
}
const definition = loadSync(protoPath, { longs: Number, enums: Number, keepCase: false });

const packagePrefix = "flotilla.peer.v1.";
const openType = messageType("Open");
const helloRequestType = messageType("HelloRequest");
const helloResponseType = messageType("HelloResponse");
const chunkType = messageType("SnapshotChunk");
const resultType = messageType("SnapshotResult");

const servicePath = `/${packagePrefix}Peer/`;

/** The three calls of service Peer. Stream moves bytes: frame-codec.ts reads and writes them, several times faster (see README). */
export const peerMethods = {
  hello: {
    path: `${servicePath}Hello`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (hello) => helloRequestType.serialize({ identity: fromHello(hello) }),
    requestDeserialize: (bytes) =>
      toHello(fieldsOf(deserialize(helloRequestType, bytes)["identity"])),
    responseSerialize: (hello) => helloResponseType.serialize({ identity: fromHello(hello) }),
    responseDeserialize: (bytes) =>
      toHello(fieldsOf(deserialize(helloResponseType, bytes)["identity"])),
  } satisfies MethodDefinition<Hello, Hello>,
  stream: {
    path: `${servicePath}Stream`,
    requestStream: true,
    responseStream: true,
    requestSerialize: sameBytes,
    requestDeserialize: sameBytes,
    responseSerialize: sameBytes,
    responseDeserialize: sameBytes,
  } satisfies MethodDefinition<Buffer, Buffer>,
  snapshot: {
    path: `${servicePath}Snapshot`,
    requestStream: true,
    responseStream: false,
    requestSerialize: (part) => chunkType.serialize(fromSnapshotPart(part)),
    requestDeserialize: (bytes) => toSnapshotPart(deserialize(chunkType, bytes)),
    responseSerialize: () => resultType.serialize({}),
    responseDeserialize: () => ({}),
  } satisfies MethodDefinition<SnapshotPart, SnapshotResult>,
};

/** An `Open` as it travels in metadata. */
export function encodeOpen(open: Open): Buffer {
  return openType.serialize({ identity: fromHello(open.hello), target: open.target });
}

/** @throws WireError when `bytes` are not an `Open` */
export function decodeOpen(bytes: Buffer): Open {
  const fields = deserialize(openType, bytes);
  return { hello: toHello(fieldsOf(fields["identity"])), target: stringOf(fields, "target") };
}

function messageType(name: string): MessageTypeDefinition<Fields, Fields> {
  const found = definition[packagePrefix + name];
  if (found === undefined || !("serialize" in found)) {
    throw new Error(`${protoPath} does not define ${name}`);
  }
  return found as unknown as MessageTypeDefinition<Fields, Fields>;
}

function sameBytes(bytes: Buffer): Buffer {
  return bytes;
}

/** protobufjs throws errors of many kinds at bytes that are no message. */
function deserialize(type: MessageTypeDefinition<Fields, Fields>, bytes: Buffer): Fields {
  try {
    return type.deserialize(bytes);
  } catch (error) {
    throw new WireError("not a message", { cause: error });
  }
}

function fromHello(hello: Hello): Fields {
  return {
    nodeId: hello.nodeId,
    instanceId: hello.instanceId,
    ...(hello.clusterId === null ? {} : { clusterId: hello.clusterId }),
    founders: Object.fromEntries(hello.founders),
    incarnation: hello.incarnation,
    peerAddress: hello.peerAddress,
    httpAddress: hello.httpAddress,
  };
}

function toHello(fields: Fields): Hello {
  const founders = new Map<NodeId, string>();
  for (const [node, instance] of Object.entries(fieldsOf(fields["founders"]))) {
    founders.set(nodeIdOf(node), textOf(instance));
  }
  const instanceId = stringOf(fields, "instanceId");
  if (instanceId === "") {
    throw new WireError("an identity has no instance id");
  }
  return {
    nodeId: nodeIdOf(fields["nodeId"]),
    instanceId,
    clusterId: fields["clusterId"] === undefined ? null : textOf(fields["clusterId"]),
    founders,
    incarnation: numberOf(fields, "incarnation"),
    peerAddress: stringOf(fields, "peerAddress"),
    httpAddress: stringOf(fields, "httpAddress"),
  };
}

function fromSnapshotPart(part: SnapshotPart): Fields {
  switch (part.type) {
    case "header":
      return { header: fromHeader(part.header) };
    case "data":
      return { data: part.data };
    case "end":
      return { end: {} };
    default:
      return unreachable(part);
  }
}

function fromHeader(header: SnapshotHeader): Fields {
  return { shard: header.shard, term: header.term, snapshot: { ...header.snapshot } };
}

function toSnapshotPart(fields: Fields): SnapshotPart {
  const data = fields["data"];
  if (data instanceof Uint8Array) {
    return { type: "data", data };
  }
  if (fields["end"] !== undefined) {
    return { type: "end" };
  }
  const header = fieldsOf(fields["header"]);
  const shard = numberOf(header, "shard");
  if (shard >= 2 ** 31) {
    throw new WireError(`shard ${shard} is impossible`);
  }
  const snapshot = toSnapshotMetadata(fieldsOf(header["snapshot"]));
  return {
    type: "header",
    header: { shard: ShardId(shard), term: numberOf(header, "term"), snapshot },
  };
}

function toSnapshotMetadata(fields: Fields): SnapshotMetadata {
  return {
    index: LogIndex(numberOf(fields, "index")),
    term: Term(numberOf(fields, "term")),
    configuration: toConfiguration(fieldsOf(fields["configuration"])),
  };
}

function toConfiguration(fields: Fields): Configuration {
  return {
    voters: membersOf(fields, "voters"),
    votersOutgoing: membersOf(fields, "votersOutgoing"),
    learners: membersOf(fields, "learners"),
    learnersNext: membersOf(fields, "learnersNext"),
    autoLeave: fields["autoLeave"] === true,
  };
}

function membersOf(fields: Fields, name: string): readonly NodeId[] {
  const value = fields[name] ?? [];
  if (!Array.isArray(value)) {
    throw new WireError(`${name} is not a list`);
  }
  const nodes = value.map(nodeIdOf);
  for (const [position, node] of nodes.entries()) {
    const next = nodes[position + 1];
    if (next !== undefined && next <= node) {
      throw new WireError(`${name} is not sorted`);
    }
  }
  return nodes;
}

function fieldsOf(value: unknown): Fields {
  if (value === undefined) {
    return {};
  }
  if (typeof value !== "object" || value === null) {
    throw new WireError("a message is missing");
  }
  return value as Fields;
}

function nodeIdOf(value: unknown): NodeId {
  const text = textOf(value);
  if (!isNodeId(text)) {
    throw new WireError(`node id is malformed: ${JSON.stringify(text.slice(0, 80))}`);
  }
  return NodeId(text);
}

function stringOf(fields: Fields, name: string): string {
  return textOf(fields[name] ?? "");
}

function textOf(value: unknown): string {
  if (typeof value !== "string" || value.length > 1024) {
    throw new WireError("a text is missing or too long");
  }
  return value;
}

function numberOf(fields: Fields, name: string): number {
  const value = fields[name] ?? 0;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new WireError(`${name} is out of range`);
  }
  return value;
}
