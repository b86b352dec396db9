import type { LogVerdict, RecoveredShard } from "../cluster/multiraft/store.ts";
import type { Entry, ShardId } from "../cluster/types.ts";
import { LogIndex, Revision, Term } from "../cluster/types.ts";
import type { AppliedRecord } from "./applied-record.ts";
import { decodeAppliedRecord, encodeAppliedRecord } from "./applied-record.ts";
import { type Database, type DatabaseBatch, type KeyRange, pairsOf } from "./database.ts";
import { StoreFailure } from "./failure.ts";
import type { FoundGeneration } from "./generations.ts";
import { findGenerations } from "./generations.ts";
import { encodeJournalRecord, type LogChange } from "./journal.ts";
import { JournalIndex } from "./journal-index.ts";
import { type FoundLog, replayJournal } from "./journal-replay.ts";
import { readStagingLadder } from "./staging-ladder.ts";
import {
  appliedKey,
  generationPrefix,
  Generation,
  journalKey,
  journalRange,
  lostTurnsKey,
  prefixRange,
  readU64,
  recordKind,
  rungKey,
  shardOf,
} from "./keys.ts";
import type { ShardHead } from "./shard-head.ts";
import { emptyConfiguration, newShardHead } from "./shard-head.ts";

/** What opening a store finds, and has repaired on disk. */
export interface Recovery {
  readonly shards: readonly RecoveredShard[];
  readonly heads: ReadonlyMap<ShardId, ShardHead>;
  readonly stateGenerations: ReadonlyMap<ShardId, Generation>;
  readonly journal: JournalIndex;
  /** Turns are missing, or were at an earlier opening: a replica that is not here may have been lost with them. */
  readonly hasLostTurns: boolean;
  /** Number of the newest turn, counting recovery itself. */
  readonly sequence: number;
  /** Highest number that any state on disk uses. */
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
 * @param journalBytesMax see JournalIndex
 */
export async function recoverStore(
  database: Database,
  witnessed: number,
  journalBytesMax: number,
): Promise<Recovery> {
  const ladder = await readLadder(database);
  const found = await replayJournal(database, journalBytesMax);
  const replicas = await readReplicas(database, found.logs);
  const generations = await findGenerations(database);
  const isIncomplete =
    found.isBroken ||
    found.lastTurn !== (ladder[0] ?? 0) ||
    isTurnMissing(ladder, replicas.size > 0, witnessed);
  const repair = new Repair(database.batch(), generations, replicas);
  const shards: RecoveredShard[] = [];
  const heads = new Map<ShardId, ShardHead>();
  const stateGenerations = new Map<ShardId, Generation>();
  for (const [shard, replica] of [...replicas].sort(([a], [b]) => a - b)) {
    const { verdict, intact } = await inspect(database, shard, replica, isIncomplete);
    const { head, applied, entries } = intact ?? repair.replace(shard, replica.log?.head ?? null);
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
      verdict,
    });
  }

  const hasLostTurns = isIncomplete || database.getSync(lostTurnsKey) !== undefined;
  if (isIncomplete) {
    await repair.forgetJournal(database);
  }
  const sequence = Math.max(witnessed, found.lastTurn, ...ladder) + 1;
  const journal = isIncomplete ? new JournalIndex(journalBytesMax) : found.index;
  await repair.write(ladder, sequence, journal);
  return {
    shards,
    heads,
    stateGenerations,
    journal,
    hasLostTurns,
    sequence,
    generation: repair.generation,
    ...sortRemains(generations, heads, stateGenerations),
  };
}

/** The turn that recovery itself is: it makes replicas that cannot be trusted empty. */
class Repair {
  readonly #batch: DatabaseBatch;
  readonly #changes = new Map<ShardId, LogChange>();
  /** Highest number that is given away. */
  generation: number;

  constructor(
    batch: DatabaseBatch,
    generations: readonly FoundGeneration[],
    replicas: ReadonlyMap<ShardId, Replica>,
  ) {
    this.#batch = batch;
    const applied = [...replicas.values()].map((replica) => replica.applied?.generation ?? 0);
    this.generation = Math.max(0, ...generations.map((each) => each.generation), ...applied);
  }

  /** An empty replica that keeps what is known of term and vote, and waits for a snapshot. */
  replace(shard: ShardId, damaged: ShardHead | null): IntactReplica {
    const fresh = newShardHead(true);
    const head = damaged === null ? fresh : { ...fresh, hardState: clearedCommit(damaged) };
    this.generation += 1;
    const applied: AppliedRecord = {
      generation: Generation(this.generation),
      index: LogIndex(0),
      term: Term(0),
      revision: Revision(0),
      configuration: emptyConfiguration,
      extra: new Uint8Array(0),
    };
    this.#changes.set(shard, { head, isReset: true, appended: [], repeated: [] });
    this.#batch.put(appliedKey(shard), encodeAppliedRecord(shard, applied));
    return { head, applied, entries: [] };
  }

  /** Turns are missing, now and for ever, and all that the others say has been replaced: the next opening begins with this turn. */
  async forgetJournal(database: Database): Promise<void> {
    this.#batch.put(lostTurnsKey, new Uint8Array(0));
    for await (const [key] of pairsOf(database, journalRange)) {
      this.#batch.del(key);
    }
  }

  async write(ladder: readonly number[], turn: number, journal: JournalIndex): Promise<void> {
    ladder.forEach((rung) => this.#batch.del(rungKey(rung)));
    this.#batch.put(rungKey(turn), new Uint8Array(0));
    const key = journalKey(turn);
    const record = encodeJournalRecord(key, this.#changes);
    journal.add(turn, record.length, this.#changes);
    this.#batch.put(key, record);
    await this.#batch.write(true);
  }
}

/** What is known of one replica; null for what is missing or damaged. */
interface Replica {
  log: FoundLog | null;
  applied: AppliedRecord | null;
}

interface IntactReplica {
  readonly head: ShardHead;
  readonly applied: AppliedRecord;
  readonly entries: readonly Entry[];
}

/** All rungs: numbers of turns whose successor is not known to have happened. One, when nothing is wrong. */
async function readLadder(database: Database): Promise<readonly number[]> {
  const rungs: number[] = [];
  for await (const [key] of pairsOf(database, prefixRange(Uint8Array.of(recordKind.rung)))) {
    rungs.push(readU64(key, 1));
  }
  return rungs;
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

async function readReplicas(
  database: Database,
  logs: ReadonlyMap<ShardId, FoundLog | null>,
): Promise<Map<ShardId, Replica>> {
  const replicas = new Map<ShardId, Replica>();
  for (const [shard, log] of logs) {
    replicas.set(shard, { log, applied: null });
  }
  const range = prefixRange(Uint8Array.of(recordKind.applied));
  for await (const [key, value] of pairsOf(database, range)) {
    const shard = shardOf(key);
    const applied = unlessCorrupt(() => decodeAppliedRecord(shard, value));
    replicas.set(shard, { log: logs.get(shard) ?? null, applied });
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
  { log, applied }: Replica,
  isIncomplete: boolean,
): Promise<Inspection> {
  if (log === null || applied === null) {
    return { verdict: { type: "corrupt", index: LogIndex(1) }, intact: null };
  }
  const { head, entries, verdict } = log;
  if (verdict.type !== "ok") {
    return { verdict, intact: null };
  }
  if (isIncomplete) {
    return { verdict: { type: "hole", index: LogIndex(head.lastIndex + 1) }, intact: null };
  }
  const staging = await readStagingLadder(database, shard, applied.generation);
  if (staging === "broken" || !isStateWithinLog(head, applied, entries)) {
    return { verdict: { type: "corrupt", index: applied.index }, intact: null };
  }
  return { verdict, intact: { head, applied, entries } };
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

function clearedCommit(head: ShardHead): ShardHead["hardState"] {
  return { ...head.hardState, commit: LogIndex(0) };
}

/** States that no applied record refers to: of a quarantined replica it is kept, of others it is garbage. */
function sortRemains(
  found: readonly FoundGeneration[],
  heads: ReadonlyMap<ShardId, ShardHead>,
  stateGenerations: ReadonlyMap<ShardId, Generation>,
): Pick<Recovery, "garbage" | "retained"> {
  const garbage: KeyRange[] = [];
  const retained = new Map<ShardId, KeyRange[]>();
  for (const { kind, shard, generation } of found) {
    if (generation === stateGenerations.get(shard)) {
      continue;
    }
    const range = prefixRange(generationPrefix(kind, shard, generation));
    if (heads.get(shard)?.isQuarantined === true) {
      retained.set(shard, [...(retained.get(shard) ?? []), range]);
    } else {
      garbage.push(range);
    }
  }
  return { garbage, retained };
}
