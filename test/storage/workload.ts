import type { Configuration, Entry, HardState, ShardId } from "../../cluster/types.ts";
import { LogIndex, NodeId, ShardId as makeShardId, Term } from "../../cluster/types.ts";
import { crc32c } from "../../storage/checksum.ts";
import { Random } from "./random.ts";

/**
 * A made-up life of some replicas on one node: what each turn does, and what must be on disk after it. Generated from a seed, so the
 * process that is killed and the test that judges it agree without talking to each other.
 */
export interface Turn {
  /** Names what the turn is about; crash points are named after it. */
  readonly label: TurnLabel;
  readonly actions: readonly Action[];
  /** What `dump` must give after this turn. */
  readonly expected: string;
}

export const turnLabels = [
  "create",
  "append",
  "overwrite",
  "vote",
  "apply",
  "append-and-apply",
  "compact",
  "install",
  "remove",
] as const;
export type TurnLabel = (typeof turnLabels)[number];

export type Action =
  | { readonly type: "create"; readonly shard: ShardId }
  | { readonly type: "hard_state"; readonly shard: ShardId; readonly hardState: HardState }
  | { readonly type: "append"; readonly shard: ShardId; readonly entries: readonly Entry[] }
  | { readonly type: "apply"; readonly shard: ShardId; readonly entries: readonly Entry[] }
  | {
      readonly type: "compact";
      readonly shard: ShardId;
      readonly index: LogIndex;
      readonly term: Term;
    }
  /** Sends itself a snapshot: its own state through the stream, into a new generation, and an empty log after it. */
  | { readonly type: "install"; readonly shard: ShardId }
  | { readonly type: "remove"; readonly shard: ShardId };

export const configuration: Configuration = {
  voters: [NodeId("n1"), NodeId("n2"), NodeId("n3")],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

/** What one replica is, as far as disks are concerned. */
export interface ReplicaView {
  readonly hardState: HardState;
  readonly compactedIndex: number;
  readonly compactedTerm: number;
  readonly entries: readonly Entry[];
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** Checksum over all records, whatever their order. */
  readonly digest: number;
  readonly records: ReadonlyMap<string, string>;
}

/** One text for the state of a node, equal for equal states. */
export function canonical(replicas: ReadonlyMap<ShardId, ReplicaView>): string {
  const shards = [...replicas].sort(([a], [b]) => a - b);
  return JSON.stringify(
    shards.map(([shard, replica]) => ({
      shard,
      ...replica,
      entries: replica.entries.map(
        ({ index, term, type, payload }) =>
          `${index}/${term}/${type}/${Buffer.from(payload).toString("base64")}`,
      ),
      records: [...replica.records].sort(([a], [b]) => (a < b ? -1 : 1)),
    })),
    null,
    1,
  );
}

/** The checksum of one record; the digest of a state is the XOR over its records. */
export function recordDigest(key: string, value: string): number {
  return crc32c(Buffer.from(`${key}=${value}`));
}

/** An entry's effect: it sets one of a few keys. */
export function effectOf(entry: Entry): readonly [key: string, value: string] {
  const text = Buffer.from(entry.payload).toString("latin1");
  return [`key-${entry.payload[0] ?? 0}`, `${entry.index}:${text}`];
}

interface Replica {
  hardState: HardState;
  compactedIndex: number;
  compactedTerm: number;
  entries: Entry[];
  appliedIndex: number;
  appliedTerm: number;
  digest: number;
  records: Map<string, string>;
}

/** The first turn creates the shards; the others are drawn from `labels`. */
export function generateTurns(
  seed: number,
  count: number,
  labels: readonly TurnLabel[] = turnLabels,
): readonly Turn[] {
  const random = new Random(seed);
  const replicas = new Map<ShardId, Replica>();
  const turns: Turn[] = [];
  for (const shard of [1, 2, 3].map(makeShardId)) {
    turns.push(makeTurn(random, replicas, "create", shard));
  }
  while (turns.length < count) {
    const label = labels[random.between(0, labels.length)];
    const shard = makeShardId(random.between(1, 5));
    if (label !== undefined && isPossible(label, replicas.get(shard))) {
      turns.push(makeTurn(random, replicas, label, shard));
    }
  }
  return turns;
}

function isPossible(label: TurnLabel, replica: Replica | undefined): boolean {
  if (replica === undefined) {
    return label === "create";
  }
  const last = lastIndexOf(replica);
  switch (label) {
    case "create":
      return false;
    case "apply":
      return replica.appliedIndex < last;
    case "overwrite":
      return replica.appliedIndex < last;
    case "compact":
      return replica.appliedIndex > replica.compactedIndex;
    case "install":
      return replica.appliedIndex > 0;
    case "append":
    case "append-and-apply":
    case "vote":
    case "remove":
      return true;
  }
}

function makeTurn(
  random: Random,
  replicas: Map<ShardId, Replica>,
  label: TurnLabel,
  shard: ShardId,
): Turn {
  const actions = actionsOf(random, replicas, label, shard);
  for (const action of actions) {
    play(replicas, action);
  }
  return { label, actions, expected: canonical(replicas) };
}

function actionsOf(
  random: Random,
  replicas: ReadonlyMap<ShardId, Replica>,
  label: TurnLabel,
  shard: ShardId,
): readonly Action[] {
  const replica = replicas.get(shard) ?? emptyReplica();
  switch (label) {
    case "create":
    case "install":
    case "remove":
      return [{ type: label, shard }];
    case "vote":
      return [{ type: "hard_state", shard, hardState: nextTerm(random, replica.hardState) }];
    case "append":
      return appendTo(random, shard, replica, lastIndexOf(replica) + 1);
    case "overwrite":
      return appendTo(random, shard, replica, replica.appliedIndex + 1);
    case "apply":
      return [applySome(random, shard, replica, replica.entries)];
    case "append-and-apply": {
      const actions = appendTo(random, shard, replica, lastIndexOf(replica) + 1);
      const added = actions.flatMap((action) => (action.type === "append" ? action.entries : []));
      return [...actions, applySome(random, shard, replica, [...replica.entries, ...added])];
    }
    case "compact": {
      const index = random.between(replica.compactedIndex + 1, replica.appliedIndex + 1);
      const term = replica.entries[index - replica.compactedIndex - 1]?.term ?? Term(0);
      return [{ type: "compact", shard, index: LogIndex(index), term }];
    }
  }
}

function appendTo(random: Random, shard: ShardId, replica: Replica, from: number): Action[] {
  const hardState = random.chance(0.3) ? nextTerm(random, replica.hardState) : replica.hardState;
  const term = Term(Math.max(1, hardState.term));
  const entries = Array.from({ length: random.between(1, 6) }, (_, i): Entry => ({
    index: LogIndex(from + i),
    term,
    type: random.chance(0.1) ? "noop" : "command",
    payload: Buffer.concat([
      Buffer.of(random.between(0, 40)),
      random.bytes(random.between(1, 400)),
    ]),
  }));
  return [
    { type: "hard_state", shard, hardState: { ...hardState, term } },
    { type: "append", shard, entries },
  ];
}

function applySome(
  random: Random,
  shard: ShardId,
  replica: Replica,
  log: readonly Entry[],
): Action {
  const waiting = log.filter(({ index }) => index > replica.appliedIndex);
  return { type: "apply", shard, entries: waiting.slice(0, random.between(1, waiting.length + 1)) };
}

function nextTerm(random: Random, { term, commit }: HardState): HardState {
  return {
    term: Term(term + random.between(1, 3)),
    vote: random.chance(0.5) ? NodeId(`n${random.between(1, 4)}`) : null,
    commit,
  };
}

/** What the action does to the model. */
function play(replicas: Map<ShardId, Replica>, action: Action): void {
  const replica = replicas.get(action.shard) ?? emptyReplica();
  replicas.set(action.shard, replica);
  switch (action.type) {
    case "create":
      return;
    case "hard_state":
      replica.hardState = action.hardState;
      return;
    case "append": {
      const first = action.entries[0]?.index ?? 0;
      const kept = replica.entries.filter(({ index }) => index < first);
      replica.entries = [...kept, ...action.entries];
      return;
    }
    case "apply":
      action.entries.forEach((entry) => applyEntry(replica, entry));
      return;
    case "compact":
      replica.entries = replica.entries.filter(({ index }) => index > action.index);
      replica.compactedIndex = action.index;
      replica.compactedTerm = action.term;
      return;
    case "install":
      replica.entries = [];
      replica.compactedIndex = replica.appliedIndex;
      replica.compactedTerm = replica.appliedTerm;
      return;
    case "remove":
      replicas.delete(action.shard);
  }
}

function applyEntry(replica: Replica, entry: Entry): void {
  const [key, value] = effectOf(entry);
  const before = replica.records.get(key);
  if (before !== undefined) {
    replica.digest ^= recordDigest(key, before);
  }
  replica.digest = (replica.digest ^ recordDigest(key, value)) >>> 0;
  replica.records.set(key, value);
  replica.appliedIndex = entry.index;
  replica.appliedTerm = entry.term;
}

function lastIndexOf(replica: Replica): number {
  return replica.compactedIndex + replica.entries.length;
}

function emptyReplica(): Replica {
  return {
    hardState: { term: Term(0), vote: null, commit: LogIndex(0) },
    compactedIndex: 0,
    compactedTerm: 0,
    entries: [],
    appliedIndex: 0,
    appliedTerm: 0,
    digest: 0,
    records: new Map(),
  };
}
