import type { Configuration, ShardId } from "../cluster/types.ts";
import { isNodeId, LogIndex, NodeId, Revision, Term } from "../cluster/types.ts";
import { ByteReader, ByteWriter } from "./byte-codec.ts";
import { openRecord, sealRecord } from "./checksum.ts";
import { StoreFailure } from "./failure.ts";
import { appliedKey, type Generation } from "./keys.ts";

/**
 * How far a shard's state is: one record per shard, written by its state machine in the same batch as the changes themselves, so
 * that the state never holds half of an entry and no entry is applied twice.
 */
export interface AppliedRecord {
  /** Under which the state's keys lie. */
  readonly generation: Generation;
  /** Last applied entry and its term. */
  readonly index: LogIndex;
  readonly term: Term;
  readonly revision: Revision;
  /** Membership at `index`. */
  readonly configuration: Configuration;
  /** The state machine's own: digest, counters. Empty for a state that nothing was applied to. */
  readonly extra: Uint8Array;
}

const appliedRecordVersion = 1;

/** The sealed record, to be put under `appliedKey(shard)`. */
export function encodeAppliedRecord(shard: ShardId, record: AppliedRecord): Uint8Array {
  const writer = new ByteWriter(160 + record.extra.length)
    .u8(appliedRecordVersion)
    .u32(record.generation);
  writeAppliedState(writer, record);
  return sealRecord(appliedKey(shard), writer.finish());
}

/** Throws StoreFailure `corrupt` or `other_format`. */
export function decodeAppliedRecord(shard: ShardId, bytes: Uint8Array): AppliedRecord {
  const what = `the applied record of shard ${shard}`;
  const reader = new ByteReader(openRecord(appliedKey(shard), bytes), what);
  const version = reader.u8();
  if (version !== appliedRecordVersion) {
    throw new StoreFailure(
      "other_format",
      `${what} has format ${version}, this version of Flotilla reads ${appliedRecordVersion}: start the one that wrote it`,
    );
  }
  const record = { generation: reader.generation(), ...readAppliedState(reader) };
  reader.end();
  return record;
}

/** What an applied record says apart from where the state lies: this part travels in snapshots. */
export type AppliedState = Omit<AppliedRecord, "generation">;

/** Adds everything but version and generation: the part that snapshots carry. */
export function writeAppliedState(writer: ByteWriter, state: AppliedState): void {
  writer.u64(state.index).u64(state.term).u64(state.revision);
  writeConfiguration(writer, state.configuration);
  writer.bytes(state.extra);
}

/** Reads what `writeAppliedState` wrote. Throws StoreFailure `corrupt`. */
export function readAppliedState(reader: ByteReader): AppliedState {
  return {
    index: LogIndex(reader.u64()),
    term: Term(reader.u64()),
    revision: Revision(reader.u64()),
    configuration: readConfiguration(reader),
    extra: reader.bytes(),
  };
}

function writeConfiguration(writer: ByteWriter, configuration: Configuration): void {
  writeNodes(writer, configuration.voters);
  writeNodes(writer, configuration.votersOutgoing);
  writeNodes(writer, configuration.learners);
  writeNodes(writer, configuration.learnersNext);
  writer.u8(configuration.autoLeave ? 1 : 0);
}

function readConfiguration(reader: ByteReader): Configuration {
  return {
    voters: readNodes(reader),
    votersOutgoing: readNodes(reader),
    learners: readNodes(reader),
    learnersNext: readNodes(reader),
    autoLeave: reader.u8() === 1,
  };
}

function writeNodes(writer: ByteWriter, nodes: readonly NodeId[]): void {
  writer.u32(nodes.length);
  for (const node of nodes) {
    writer.text(node);
  }
}

function readNodes(reader: ByteReader): NodeId[] {
  const nodes: NodeId[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    nodes.push(readNode(reader));
  }
  return nodes;
}

function readNode(reader: ByteReader): NodeId {
  const text = reader.text();
  if (!isNodeId(text)) {
    throw new StoreFailure("corrupt", `a stored membership names ${JSON.stringify(text)}`);
  }
  return NodeId(text);
}
