import type { LogVerdict, RecoveredShard } from "../cluster/multiraft/store.ts";
import type { Entry, ShardId } from "../cluster/types.ts";
import { LogIndex, Revision, Term } from "../cluster/types.ts";
import type { AppliedRecord } from "./applied-record.ts";
import { decodeAppliedRecord, encodeAppliedRecord } from "./applied-record.ts";
import type { Database, DatabaseBatch, DatabasePair, KeyRange } from "./database.ts";
import { readEntryValue } from "./entry-codec.ts";
import { StoreFailure } from "./failure.ts";
import type { FoundGeneration } from "./generations.ts";
import { findGenerations } from "./generations.ts";
import { readStagingLadder } from "./staging-ladder.ts";
import {
  appliedKey,
  entryIndexOf,
  entryRange,
  generationPrefix,
  Generation,
  headKey,
  lostTurnsKey,
  prefixRange,
  readU64,
  recordKind,
  rungKey,
  shardOf,
} from "./keys.ts";
import type { ShardHead } from "./shard-head.ts";
import {
  decodeShardHead,
  emptyConfiguration,
  encodeShardHead,
  newShardHead,
} from "./shard-head.ts";

/** What opening a store finds, and has repaired on disk. */
export interface Recovery {
  readonly shards: readonly RecoveredShard[];
  readonly heads: ReadonlyMap<ShardId, ShardHead>;
  readonly stateGenerations: ReadonlyMap<ShardId, Generation>;
  /** Turns are missing, or were at an earlier opening: a replica that is not here may have been lost with them. */
  readonly hasLostTurns: boolean;
  /** Number of the newest turn, counting recovery itself. */
  readonly sequence: number;
  /** Highest number that any log or state on disk uses. */
  readonly generation: number;
  /** What nothing refers to any more. */
  readonly garbage: readonly KeyRange[];
  /** What is left of replicas that were quarantined: kept for inspection until they have recovered by snapshot. */
  readonly retained: ReadonlyMap<ShardId, readonly KeyRange[]>;
}

/**
 * Reads and verifies all that the store holds. A replica that may have lost something it acknowledged is replaced by an empty,
 * quarantined one, durably, before this resolves; its remains stay on disk until it has recovered by snapshot.
 *
 * @param witnessed a turn that is known to have been durable
 */
export async function recoverStore(database: Database, witnessed: number): Promise<Recovery> {
  const ladder = await readLadder(database);
  const replicas = await readReplicas(database);
  const found = await findGenerations(database);
  const isIncomplete = isTurnMissing(ladder, replicas.size > 0, witnessed);
  let generation = Math.max(0, ...found.map((each) => each.generation));
  for (const { head, applied } of replicas.values()) {
    generation = Math.max(generation, head?.generation ?? 0, applied?.generation ?? 0);
  }
  const nextGeneration = (): Generation => {
    generation++;
    return Generation(generation);
  };

  const batch = database.batch();
  const shards: RecoveredShard[] = [];
  const heads = new Map<ShardId, ShardHead>();
  const stateGenerations = new Map<ShardId, Generation>();
  for (const [shard, replica] of [...replicas].sort(([a], [b]) => a - b)) {
    const inspection = await inspect(database, shard, replica, isIncomplete);
    const { head, applied, entries } =
      inspection.intact ?? replaceReplica(batch, shard, replica.head, nextGeneration);
    heads.set(shard, head);
    stateGenerations.set(shard, applied.generation);
    shards.push({
      shard,
      hardState: head.hardState,
      compactedIndex: head.compactedIndex,
      compactedTerm: head.compactedTerm,
      entries,
      appliedIndex: applied.index,
      configuration: applied.configuration,
      isQuarantined: head.isQuarantined,
      verdict: inspection.verdict,
    });
  }

  const hasLostTurns = isIncomplete || database.getSync(lostTurnsKey) !== undefined;
  if (isIncomplete) {
    batch.put(lostTurnsKey, new Uint8Array(0));
  }
  const sequence = Math.max(witnessed, ...ladder) + 1;
  ladder.forEach((rung) => batch.del(rungKey(rung)));
  batch.put(rungKey(sequence), new Uint8Array(0));
  await batch.write(true);
  return {
    shards,
    heads,
    stateGenerations,
    hasLostTurns,
    sequence,
    generation,
    ...sortRemains(found, heads, stateGenerations),
  };
}

/** One replica's two records; null for one that is missing or damaged. */
interface Replica {
  head: ShardHead | null;
  applied: AppliedRecord | null;
}

interface IntactReplica {
  readonly head: ShardHead;
  readonly applied: AppliedRecord;
  readonly entries: readonly Entry[];
}

/** All rungs: numbers of turns whose successor is not known to have happened. One, when nothing is wrong. */
async function readLadder(database: Database): Promise<readonly number[]> {
  const pairs = await readAll(database, prefixRange(Uint8Array.of(recordKind.rung)));
  return pairs.map(([key]) => readU64(key, 1));
}

/**
 * Turn n removes the rung of turn n-1. Two rungs: the turns between them got lost although later ones are there. No rung, or one
 * below what the witness has seen: the newest turns got lost.
 */
function isTurnMissing(
  ladder: readonly number[],
  hasReplicas: boolean,
  witnessed: number,
): boolean {
  const [rung = 0] = ladder;
  return ladder.length > 1 || (ladder.length === 0 && hasReplicas) || rung < witnessed;
}

async function readReplicas(database: Database): Promise<Map<ShardId, Replica>> {
  const replicas = new Map<ShardId, Replica>();
  const replicaOf = (key: Uint8Array): Replica => {
    const shard = shardOf(key);
    const replica = replicas.get(shard) ?? { head: null, applied: null };
    replicas.set(shard, replica);
    return replica;
  };
  for (const [key, value] of await readAll(database, prefixRange(Uint8Array.of(recordKind.head)))) {
    replicaOf(key).head = unlessCorrupt(() => decodeShardHead(shardOf(key), value));
  }
  for (const [key, value] of await readAll(
    database,
    prefixRange(Uint8Array.of(recordKind.applied)),
  )) {
    replicaOf(key).applied = unlessCorrupt(() => decodeAppliedRecord(shardOf(key), value));
  }
  return replicas;
}

/** A damaged record costs its shard, not the node; a newer format costs the node. */
function unlessCorrupt<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch (error) {
    if (error instanceof StoreFailure && error.code === "corrupt") {
      return null;
    }
    throw error;
  }
}

interface Inspection {
  readonly verdict: LogVerdict;
  /** Null: the replica cannot be trusted. */
  readonly intact: IntactReplica | null;
}

async function inspect(
  database: Database,
  shard: ShardId,
  { head, applied }: Replica,
  isIncomplete: boolean,
): Promise<Inspection> {
  if (head === null || applied === null) {
    return { verdict: { type: "corrupt", index: LogIndex(1) }, intact: null };
  }
  const log = await readLog(database, shard, head);
  if (log.verdict.type !== "ok") {
    return { verdict: log.verdict, intact: null };
  }
  if (isIncomplete) {
    return { verdict: { type: "hole", index: LogIndex(head.lastIndex + 1) }, intact: null };
  }
  const staging = await readStagingLadder(database, shard, applied.generation);
  if (staging === "broken" || !isStateWithinLog(head, applied, log.entries)) {
    return { verdict: { type: "corrupt", index: applied.index }, intact: null };
  }
  return { verdict: log.verdict, intact: { head, applied, entries: log.entries } };
}

interface ReadLog {
  readonly verdict: LogVerdict;
  readonly entries: readonly Entry[];
}

/** All entries from the snapshot to the recorded end: none missing, each with its checksum, terms ascending up to the hard state's. */
async function readLog(database: Database, shard: ShardId, head: ShardHead): Promise<ReadLog> {
  const entries: Entry[] = [];
  let expected = LogIndex(head.compactedIndex + 1);
  let term: Term = head.compactedTerm;
  if (head.compactedTerm > head.hardState.term || head.compactedIndex > head.lastIndex) {
    return { verdict: { type: "corrupt", index: head.compactedIndex }, entries };
  }
  const range = entryRange(shard, head.generation, expected, head.lastIndex);
  for await (const [key, value] of pairsOf(database, range)) {
    if (entryIndexOf(key) !== expected) {
      return { verdict: { type: "hole", index: expected }, entries };
    }
    const entry = readEntryValue(key, value);
    if (entry === null || entry.term < term || entry.term > head.hardState.term) {
      return { verdict: { type: "corrupt", index: expected }, entries };
    }
    entries.push(entry);
    expected = LogIndex(expected + 1);
    term = entry.term;
  }
  return expected === head.lastIndex + 1
    ? { verdict: { type: "ok" }, entries }
    : { verdict: { type: "hole", index: expected }, entries };
}

/** The state was produced by this log: it is not behind the log's beginning nor ahead of its end, and agrees on the entry's term. */
function isStateWithinLog(
  head: ShardHead,
  applied: AppliedRecord,
  entries: readonly Entry[],
): boolean {
  if (applied.index < head.compactedIndex || applied.index > head.lastIndex) {
    return false;
  }
  const term =
    applied.index === head.compactedIndex
      ? head.compactedTerm
      : entries[applied.index - head.compactedIndex - 1]?.term;
  return applied.term === term;
}

/** An empty replica that keeps what is known of term and vote, and waits for a snapshot. */
function replaceReplica(
  batch: DatabaseBatch,
  shard: ShardId,
  damaged: ShardHead | null,
  nextGeneration: () => Generation,
): IntactReplica {
  const fresh = newShardHead(nextGeneration(), true);
  const head = damaged === null ? fresh : { ...fresh, hardState: clearedCommit(damaged) };
  const applied: AppliedRecord = {
    generation: nextGeneration(),
    index: LogIndex(0),
    term: Term(0),
    revision: Revision(0),
    configuration: emptyConfiguration,
    extra: new Uint8Array(0),
  };
  batch.put(headKey(shard), encodeShardHead(shard, head));
  batch.put(appliedKey(shard), encodeAppliedRecord(shard, applied));
  return { head, applied, entries: [] };
}

function clearedCommit(head: ShardHead): ShardHead["hardState"] {
  return { ...head.hardState, commit: LogIndex(0) };
}

/** What no head and no applied record refers to: of a quarantined replica it is kept, of others it is garbage. */
function sortRemains(
  found: readonly FoundGeneration[],
  heads: ReadonlyMap<ShardId, ShardHead>,
  stateGenerations: ReadonlyMap<ShardId, Generation>,
): Pick<Recovery, "garbage" | "retained"> {
  const garbage: KeyRange[] = [];
  const retained = new Map<ShardId, KeyRange[]>();
  for (const { kind, shard, generation } of found) {
    const head = heads.get(shard);
    const current = kind === recordKind.entry ? head?.generation : stateGenerations.get(shard);
    if (generation === current) {
      continue;
    }
    const range = prefixRange(generationPrefix(kind, shard, generation));
    if (head?.isQuarantined === true) {
      retained.set(shard, [...(retained.get(shard) ?? []), range]);
    } else {
      garbage.push(range);
    }
  }
  for (const [shard, head] of heads) {
    garbage.push(entryRange(shard, head.generation, 0, head.compactedIndex));
  }
  return { garbage, retained };
}

async function readAll(database: Database, range: KeyRange): Promise<DatabasePair[]> {
  const pairs: DatabasePair[] = [];
  for await (const pair of pairsOf(database, range)) {
    pairs.push(pair);
  }
  return pairs;
}

async function* pairsOf(database: Database, range: KeyRange): AsyncGenerator<DatabasePair> {
  const iterator = database.iterate(range);
  try {
    for (;;) {
      const pairs = await iterator.next(1_000);
      if (pairs.length === 0) {
        return;
      }
      yield* pairs;
    }
  } finally {
    await iterator.close();
  }
}
