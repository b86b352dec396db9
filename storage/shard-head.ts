import type { Configuration, HardState, ShardId } from "../cluster/types.ts";
import { isNodeId, LogIndex, NodeId, Term } from "../cluster/types.ts";
import { ByteReader, ByteWriter } from "./byte-codec.ts";
import { openRecord, sealRecord } from "./checksum.ts";
import { StoreFailure } from "./failure.ts";
import { type Generation, headKey } from "./keys.ts";

/**
 * Everything small that must never be forgotten about one replica, in one record: its hard state and the bounds of its log. Written
 * in the same batch as the entries it speaks of, so the recorded end of a log is as durable as the log.
 */
export interface ShardHead {
  readonly hardState: HardState;
  /** Under which the log's entries lie. */
  readonly generation: Generation;
  /** Entries up to here are forgotten; this one had `compactedTerm`. */
  readonly compactedIndex: LogIndex;
  readonly compactedTerm: Term;
  /** The log's last index: `compactedIndex` when it is empty. Entries beyond it are leftovers and do not exist. */
  readonly lastIndex: LogIndex;
  readonly isQuarantined: boolean;
}

/** The head of a replica that has seen nothing yet. */
export function newShardHead(generation: Generation, isQuarantined: boolean): ShardHead {
  return {
    hardState: { term: Term(0), vote: null, commit: LogIndex(0) },
    generation,
    compactedIndex: LogIndex(0),
    compactedTerm: Term(0),
    lastIndex: LogIndex(0),
    isQuarantined,
  };
}

/** No members: what a replica knows before a snapshot told it. */
export const emptyConfiguration: Configuration = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

const headVersion = 1;

/** The sealed record, to be put under `headKey(shard)`. */
export function encodeShardHead(shard: ShardId, head: ShardHead): Uint8Array {
  const { term, vote, commit } = head.hardState;
  const writer = new ByteWriter()
    .u8(headVersion)
    .u8(head.isQuarantined ? 1 : 0)
    .u32(head.generation)
    .u64(head.compactedIndex)
    .u64(head.compactedTerm)
    .u64(head.lastIndex)
    .u64(term)
    .u64(commit)
    .text(vote ?? "");
  return sealRecord(headKey(shard), writer.finish());
}

/** Throws StoreFailure `corrupt` or `newer_format`. */
export function decodeShardHead(shard: ShardId, bytes: Uint8Array): ShardHead {
  const what = `the head record of shard ${shard}`;
  const reader = new ByteReader(openRecord(headKey(shard), bytes), what);
  const version = reader.u8();
  if (version !== headVersion) {
    throw new StoreFailure(
      "newer_format",
      `${what} has format ${version}, this version of Flotilla reads ${headVersion}: start the newer version`,
    );
  }
  const isQuarantined = reader.u8() === 1;
  const generation = reader.generation();
  const compactedIndex = LogIndex(reader.u64());
  const compactedTerm = Term(reader.u64());
  const lastIndex = LogIndex(reader.u64());
  const term = Term(reader.u64());
  const commit = LogIndex(reader.u64());
  const vote = reader.text();
  reader.end();
  if (vote !== "" && !isNodeId(vote)) {
    throw new StoreFailure("corrupt", `${what} holds a vote for ${JSON.stringify(vote)}`);
  }
  return {
    hardState: { term, vote: vote === "" ? null : NodeId(vote), commit },
    generation,
    compactedIndex,
    compactedTerm,
    lastIndex,
    isQuarantined,
  };
}
