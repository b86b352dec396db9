/**
 * What applying costs on one replica: `node scripts/bench-apply.ts [keys]`. Prints microseconds per put of 256 bytes over existing keys,
 * and reads and scans as ratios to raw LevelDB in the same run.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Configuration, Entry } from "../cluster/types.ts";
import { LogIndex, NodeId, Revision, ShardId, Term } from "../cluster/types.ts";
import { encodeCommandEnvelope } from "../storage/command-codec.ts";
import type { RequestId } from "../storage/commands.ts";
import { encodeEntryPayload } from "../storage/entry-payload.ts";
import { Generation, stateKey, statePrefix, stateRange } from "../storage/keys.ts";
import { KvStateMachine } from "../storage/kv-state-machine.ts";
import { LevelDatabase } from "../storage/level-database.ts";
import { DatabaseLogStore } from "../storage/log-store.ts";
import { RowCache } from "../storage/row-cache.ts";
import { stateLimits } from "../storage/state-limits.ts";
import { stateTable } from "../storage/state-tables.ts";

const { positionals } = parseArgs({ allowPositionals: true });
const keyCount = Number(positionals[0] ?? 100_000);
const commandsPerEntry = 64;
const valueBytes = 256;
const shard = ShardId(1);
const configuration: Configuration = {
  voters: [NodeId("n1")],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

async function bench(path: string): Promise<void> {
  const database = await LevelDatabase.open(path, { createIfMissing: true });
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const founding = store.batch();
  founding.createShard(shard, configuration, false);
  await founding.write();
  const machine = new KvStateMachine({
    database,
    store,
    rowCache: new RowCache(32 * 1024 * 1024),
    shard,
    limits: stateLimits,
    deadlines: {
      clock: () => performance.now(),
      checkpointIntervalMs: 60_000,
      checkpointRecordsMax: 1000,
      reofferMs: 3000,
      graceMs: 500,
    },
    history: { eventsMax: 10_000, bytesMax: () => 4 * 1024 * 1024 },
    onChanges: () => {},
  });
  console.log(
    `${keyCount} keys, values of ${valueBytes} bytes, ${commandsPerEntry} puts per entry`,
  );

  const puts = new PutStream();
  await applyAll(machine, store, puts, { rounds: keyCount / commandsPerEntry, request: false });
  for (const request of [false, true, false, true]) {
    const cost = await applyAll(machine, store, puts, { rounds: 500, request });
    const label = request ? "put with request id" : "put";
    console.log(
      `${label}: apply ${cost.applyUs.toFixed(2)} us, stage ${cost.stageUs.toFixed(2)} us, ` +
        `the write itself ${cost.writeUs.toFixed(2)} us (other thread)`,
    );
  }
  await benchReads(machine, database);
  await benchScans(machine, database);
  await database.close();
}

/** Entries of puts over all keys in a scattered order. */
class PutStream {
  #position = 0;
  #index = 0;
  #sequence = 0;

  next(withRequest: boolean): Entry {
    const commands: Uint8Array[] = [];
    for (let i = 0; i < commandsPerEntry; i++) {
      this.#position = (this.#position + 7919) % keyCount;
      this.#sequence += withRequest ? 1 : 0;
      const request: RequestId | null = withRequest
        ? { session: "n1/1", sequence: this.#sequence, ackedBelow: this.#sequence - 32 }
        : null;
      commands.push(
        encodeCommandEnvelope({
          request: request === null || request.ackedBelow >= 0 ? request : null,
          idempotency: null,
          command: {
            type: "put",
            key: keyOf(this.#position),
            value: Buffer.alloc(valueBytes, this.#position),
            contentType: "application/octet-stream",
            ttlMs: null,
            condition: null,
            fence: null,
            wantPrevious: false,
          },
        }),
      );
    }
    this.#index += 1;
    const payload = encodeEntryPayload(Revision(0), commands);
    return { index: LogIndex(this.#index), term: Term(0), type: "command", payload };
  }
}

interface Cost {
  readonly applyUs: number;
  readonly stageUs: number;
  readonly writeUs: number;
}

async function applyAll(
  machine: KvStateMachine,
  store: DatabaseLogStore,
  puts: PutStream,
  { rounds, request }: { readonly rounds: number; readonly request: boolean },
): Promise<Cost> {
  let [apply, stage, write] = [0, 0, 0];
  for (let round = 0; round < rounds; round++) {
    const entry = puts.next(request);
    const batch = store.batch();
    const begun = performance.now();
    machine.apply(entry, configuration);
    const applied = performance.now();
    machine.stage(batch);
    const staged = performance.now();
    await batch.write();
    machine.staged();
    apply += applied - begun;
    stage += staged - applied;
    write += performance.now() - staged;
  }
  const perPut = 1000 / (rounds * commandsPerEntry);
  return { applyUs: apply * perPut, stageUs: stage * perPut, writeUs: write * perPut };
}

function keyOf(number: number): Uint8Array {
  return Buffer.from(`user/${String(number).padStart(9, "0")}`);
}

async function benchReads(machine: KvStateMachine, database: LevelDatabase): Promise<void> {
  const prefix = await currentPrefix(database);
  const count = 100_000;
  const keys = Array.from({ length: count }, (_, i) => keyOf((i * 7919) % keyCount));
  const rawKeys = keys.map((key) => stateKey(prefix, stateTable.keys, key));
  const raw = perItem(rawKeys, (key) => database.getSync(key));
  const ours = perItem(keys, (key) => machine.get(key));
  console.log(`get: ${ours.toFixed(2)} us, raw getSync ${raw.toFixed(2)} us, ${ratio(ours, raw)}`);
}

async function benchScans(machine: KvStateMachine, database: LevelDatabase): Promise<void> {
  const prefix = await currentPrefix(database);
  const rounds = 200;
  const limit = 1000;
  let [raw, ours] = [0, 0];
  for (let round = 0; round < rounds; round++) {
    const start = keyOf((round * 7919) % (keyCount - limit));
    let begun = performance.now();
    const iterator = database.iterate(stateRange(prefix, stateTable.keys, start, null));
    await iterator.next(limit);
    await iterator.close();
    raw += performance.now() - begun;
    begun = performance.now();
    await machine.query({
      type: "scan",
      start,
      end: null,
      limit,
      bytesMax: Number.MAX_SAFE_INTEGER,
      keysOnly: false,
    });
    ours += performance.now() - begun;
  }
  const [oursMs, rawMs] = [ours / rounds, raw / rounds];
  console.log(
    `scan of ${limit}: ${oursMs.toFixed(2)} ms, raw iterator ${rawMs.toFixed(2)} ms, ${ratio(oursMs, rawMs)}`,
  );
}

/** The state's own generation: the second one that the store handed out. */
async function currentPrefix(database: LevelDatabase): Promise<Uint8Array> {
  for (let number = 1; number < 10; number++) {
    const prefix = statePrefix(shard, Generation(number));
    const iterator = database.iterate(stateRange(prefix, stateTable.keys, new Uint8Array(0), null));
    const [first] = await iterator.next(1);
    await iterator.close();
    if (first !== undefined) {
      return prefix;
    }
  }
  throw new Error("the state is empty");
}

function perItem<T>(items: readonly T[], run: (item: T) => unknown): number {
  const begun = performance.now();
  for (const item of items) {
    run(item);
  }
  return ((performance.now() - begun) * 1000) / items.length;
}

function ratio(ours: number, raw: number): string {
  return `ratio ${(ours / raw).toFixed(2)}`;
}

const directory = await mkdtemp(join(tmpdir(), "flotilla-bench-apply-"));
try {
  await bench(join(directory, "db"));
} finally {
  await rm(directory, { recursive: true, force: true });
}
