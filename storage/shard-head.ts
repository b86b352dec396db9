import type { Configuration, HardState } from "../cluster/types.ts";
import { isNodeId, LogIndex, NodeId, Term } from "../cluster/types.ts";
import { CodecError, type ByteReader, type ByteWriter } from "./wire-codec.ts";

/**
 * Everything small that must never be forgotten about one replica: its hard state and the bounds of its log. Written in the same journal
 * record as the entries it speaks of, so the recorded end of a log is as durable as the log.
 */
export interface ShardHead {
  readonly hardState: HardState;
  /** Entries up to here are forgotten; this one had `compactedTerm`. */
  readonly compactedIndex: LogIndex;
  readonly compactedTerm: Term;
  /** The log's last index: `compactedIndex` when it is empty. */
  readonly lastIndex: LogIndex;
  readonly isQuarantined: boolean;
}

/** The head of a replica that has seen nothing yet. */
export function newShardHead(isQuarantined: boolean): ShardHead {
  return {
    hardState: { term: Term(0), vote: null, commit: LogIndex(0) },
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

/** quarantined, compacted index and term, last index, term, commit, vote (empty: none). */
export function writeShardHead(writer: ByteWriter, head: ShardHead): void {
  const { term, vote, commit } = head.hardState;
  writer.bool(head.isQuarantined);
  writer.varuint(head.compactedIndex);
  writer.varuint(head.compactedTerm);
  writer.varuint(head.lastIndex);
  writer.varuint(term);
  writer.varuint(commit);
  writer.string(vote ?? "");
}

/** What `writeShardHead` wrote. Throws CodecError. */
export function readShardHead(reader: ByteReader): ShardHead {
  const isQuarantined = reader.bool();
  const compactedIndex = LogIndex(reader.varuint());
  const compactedTerm = Term(reader.varuint());
  const lastIndex = LogIndex(reader.varuint());
  const term = Term(reader.varuint());
  const commit = LogIndex(reader.varuint());
  const vote = reader.string();
  if (vote !== "" && !isNodeId(vote)) {
    throw new CodecError("malformed", `a vote for ${JSON.stringify(vote.slice(0, 80))}`);
  }
  return {
    hardState: { term, vote: vote === "" ? null : NodeId(vote), commit },
    compactedIndex,
    compactedTerm,
    lastIndex,
    isQuarantined,
  };
}
