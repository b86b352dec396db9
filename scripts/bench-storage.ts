/**
 * What the storage layer costs over raw classic-level: `node scripts/bench-storage.ts [keys]`. Prints ratios of medians over interleaved rounds,
 * and how fast a large store opens and streams a snapshot. Default: 1,000,000 keys of 256 bytes.
 */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ClassicLevel } from "classic-level";
import { assert } from "../cluster/assert.ts";
import type { Configuration, Entry } from "../cluster/types.ts";
import { LogIndex, NodeId, Revision, ShardId, Term } from "../cluster/types.ts";
import { decodeAppliedRecord } from "../storage/applied-record.ts";
import { openRecord, sealRecord } from "../storage/checksum.ts";
import { DataDirectory } from "../storage/data-directory.ts";
import type { Database, KeyRange } from "../storage/database.ts";
import {
  appliedKey,
  prefixRange,
  stateKey,
  statePrefix,
  statePrefixBytes,
  stateRange,
} from "../storage/keys.ts";
import { LevelDatabase } from "../storage/level-database.ts";
import { DatabaseLogStore } from "../storage/log-store.ts";
import { SnapshotReceiver } from "../storage/snapshot-receiver.ts";
import { createSnapshotReader } from "../storage/snapshot-reader.ts";
import { StateScan } from "../storage/state-scan.ts";

const { positionals } = parseArgs({ allowPositionals: true });
const keyCount = Number(positionals[0] ?? 1_000_000);
const valueBytes = 256;
const shard = ShardId(1);
const configuration: Configuration = {
  voters: [NodeId("n1")],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

/** 64 entries of 300 bytes over 8 shards in one synced batch, against a raw batch of 64 puts of the same keys and sizes. */
async function benchAppend(path: string): Promise<void> {
  const database = await LevelDatabase.open(join(path, "ours"), { createIfMissing: true });
  const raw = new ClassicLevel<Buffer, Buffer>(join(path, "raw"), {
    keyEncoding: "view",
    valueEncoding: "view",
    writeBufferSize: 16 * 1024 * 1024,
  });
  await raw.open();
  const store = new DatabaseLogStore(database, null);
  await store.recover();
  const shards = Array.from({ length: 8 }, (_, i) => ShardId(i));
  const founding = store.batch();
  for (const each of shards) {
    founding.createShard(each, configuration, false);
    founding.setHardState(each, { term: Term(1), vote: null, commit: LogIndex(0) });
  }
  await founding.write();

  const payload = randomBytes(300);
  const value = Buffer.concat([randomBytes(13), payload]);
  const ours: number[] = [];
  const theirs: number[] = [];
  const submit = { ours: [] as number[], theirs: [] as number[] };
  for (let round = 0; round < 3_000; round++) {
    let started = performance.now();
    const batch = store.batch();
    for (const each of shards) {
      const entries = Array.from({ length: 8 }, (_, i): Entry => ({
        index: LogIndex(round * 8 + i + 1),
        term: Term(1),
        type: "command",
        payload,
      }));
      batch.append(each, entries);
    }
    const writing = batch.write();
    submit.ours.push(performance.now() - started);
    await writing;
    ours.push(performance.now() - started);

    started = performance.now();
    const plain = raw.batch();
    for (let i = 0; i < 64; i++) {
      const key = Buffer.allocUnsafe(17);
      key.fill(0, 0, 9);
      key.writeUInt32BE(i >> 3, 1);
      key.writeUInt32BE(0, 9);
      key.writeUInt32BE(round * 8 + (i & 7), 13);
      plain.put(key, value);
    }
    const plainWriting = plain.write({ sync: true });
    submit.theirs.push(performance.now() - started);
    await plainWriting;
    theirs.push(performance.now() - started);
  }
  report("append 64 x 300 B over 8 shards, synced", median(ours), median(theirs), "ms", 1.3);
  report("  of it on the event loop", median(submit.ours), median(submit.theirs), "ms", null);
  await Promise.all([database.close(), raw.close()]);
}

async function benchState(parent: string): Promise<void> {
  const path = join(parent, "state");
  const options = { path, nodeId: NodeId("n1"), clusterId: null, verifiesTables: true };
  const filling = await DataDirectory.open(options);
  await fill(filling);
  await filling.close();

  const started = performance.now();
  const opened = await DataDirectory.open(options);
  const store = new DatabaseLogStore(opened.database, opened.witness);
  await store.recover();
  limit(
    `open ${keyCount} keys of ${valueBytes} B, every table verified`,
    performance.now() - started,
    2_000,
  );

  const applied = opened.database.getSync(appliedKey(shard)) ?? new Uint8Array(0);
  const prefix = statePrefix(shard, decodeAppliedRecord(shard, applied).generation);
  await opened.close();
  await benchReads(join(path, "store"), prefix);
  await benchSnapshot(options, parent);
}

async function fill({ database, witness }: DataDirectory): Promise<void> {
  const store = new DatabaseLogStore(database, witness);
  await store.recover();
  const founding = store.batch();
  founding.createShard(shard, configuration, false);
  await founding.write();
  const applied = decodeAppliedRecord(
    shard,
    database.getSync(appliedKey(shard)) ?? new Uint8Array(0),
  );
  const prefix = statePrefix(shard, applied.generation);
  for (let next = 0; next < keyCount;) {
    const batch = store.batch();
    for (const end = Math.min(next + 1_000, keyCount); next < end; next++) {
      const key = keyOf(prefix, next);
      batch.put(key, sealRecord(key, jsonLike(next), statePrefixBytes));
    }
    batch.setApplied(shard, { ...applied, revision: Revision(next) });
    await batch.write();
  }
}

/**
 * The storage layer against raw classic-level on a copy of the same files, sample by sample and with either of them first:
 * what else the machine does, and who pays for whose garbage, meets both alike.
 */
async function benchReads(path: string, prefix: Uint8Array): Promise<void> {
  const copy = `${path}-copy`;
  await cp(path, copy, { recursive: true });
  const database = await LevelDatabase.open(path, { createIfMissing: false });
  const raw = new ClassicLevel<Uint8Array, Uint8Array>(copy, {
    keyEncoding: "view",
    valueEncoding: "view",
    cacheSize: 16 * 1024 * 1024,
    writeBufferSize: 16 * 1024 * 1024,
  });
  await raw.open();

  const readOurs = (key: Uint8Array): void => {
    openRecord(key, database.getSync(key) ?? new Uint8Array(0), statePrefixBytes);
  };
  const readRaw = (key: Uint8Array): void => {
    raw.getSync(key);
  };
  const scanOurs = async (range: KeyRange): Promise<number> => {
    const scan = new StateScan(database.iterate(range), []);
    const rows = await scan.next(1_000);
    await scan.close();
    return rows.length;
  };
  const scanRaw = async (range: KeyRange): Promise<number> => {
    const iterator = raw.iterator({ ...range, highWaterMarkBytes: 1024 * 1024 });
    const pairs = await iterator.nextv(1_000);
    await iterator.close();
    return pairs.length;
  };

  const reads: Samples = { ours: [], theirs: [] };
  for (let sample = 0; sample < 1_200; sample++) {
    const keys = Array.from({ length: 100 }, (_, i) =>
      keyOf(prefix, ((sample * 100 + i) * 7_919) % keyCount),
    );
    const oursFirst = sample % 2 === 0;
    for (const isOurs of [oursFirst, !oursFirst]) {
      const samples = isOurs ? reads.ours : reads.theirs;
      samples.push(timeReads(keys, isOurs ? readOurs : readRaw));
    }
  }
  report("point read, checksum verified", median(reads.ours), median(reads.theirs), "us", 1.5);

  const scans: Samples = { ours: [], theirs: [] };
  for (let sample = 0; sample < 600; sample++) {
    const first = (sample * 104_729) % Math.max(1, keyCount - 1_000);
    const range = stateRange(prefix, 1, keyText(first), keyText(first + 1_000));
    const oursFirst = sample % 2 === 0;
    for (const isOurs of [oursFirst, !oursFirst]) {
      const samples = isOurs ? scans.ours : scans.theirs;
      samples.push(await timeScan(range, isOurs ? scanOurs : scanRaw));
    }
  }
  report(
    "scan of 1,000 keys, checksums verified",
    median(scans.ours),
    median(scans.theirs),
    "us",
    1.5,
  );
  await Promise.all([database.close(), raw.close()]);
  await rm(copy, { recursive: true });
}

interface Samples {
  readonly ours: number[];
  readonly theirs: number[];
}

/** Microseconds per read. */
function timeReads(keys: readonly Uint8Array[], read: (key: Uint8Array) => void): number {
  const started = performance.now();
  keys.forEach(read);
  return ((performance.now() - started) / keys.length) * 1_000;
}

/** Microseconds of a scan. */
async function timeScan(
  range: KeyRange,
  scan: (range: KeyRange) => Promise<number>,
): Promise<number> {
  const started = performance.now();
  const found = await scan(range);
  const taken = (performance.now() - started) * 1_000;
  assert(found === Math.min(1_000, keyCount), `a scan found ${found} keys`);
  return taken;
}

async function benchSnapshot(
  options: Parameters<typeof DataDirectory.open>[0],
  parent: string,
): Promise<void> {
  const source = await DataDirectory.open(options);
  await new DatabaseLogStore(source.database, source.witness).recover();
  const rates: number[] = [];
  const rawRates: number[] = [];
  for (let round = 0; round < 5; round++) {
    rawRates.push(await iterationRate(source.database));
    const started = performance.now();
    const reader = createSnapshotReader(source.database, shard);
    let bytes = 0;
    for await (const chunk of reader.chunks(1024 * 1024)) {
      bytes += chunk.length;
    }
    await reader.close();
    rates.push(bytes / 1e3 / (performance.now() - started));
  }
  const [rate, rawRate] = [median(rates), median(rawRates)];
  console.log(
    `snapshot stream: ${rate.toFixed(0)} MB/s (goal 80) ${rate >= 80 ? "ok" : "MISSED"}; ` +
      `plain iteration over the same records in the same run: ${rawRate.toFixed(0)} MB/s, ratio ${(rate / rawRate).toFixed(2)}`,
  );

  const target = await DataDirectory.open({ ...options, path: join(parent, "target") });
  const store = new DatabaseLogStore(target.database, target.witness);
  await store.recover();
  const started = performance.now();
  const reader = createSnapshotReader(source.database, shard);
  const receiver = new SnapshotReceiver(target.database, store, shard);
  let bytes = 0;
  for await (const chunk of reader.chunks(1024 * 1024)) {
    bytes += chunk.length;
    await receiver.write(chunk);
  }
  await receiver.finish();
  const received = bytes / 1e3 / (performance.now() - started);
  console.log(
    `snapshot stream into another store of this process, every block synced: ${received.toFixed(0)} MB/s`,
  );
  await reader.close();
  await Promise.all([source.close(), target.close()]);
}

/** Megabytes per second of only walking over the state: the most that a stream can reach. */
async function iterationRate(database: Database): Promise<number> {
  const applied = decodeAppliedRecord(
    shard,
    database.getSync(appliedKey(shard)) ?? new Uint8Array(0),
  );
  const started = performance.now();
  const iterator = database.iterate(prefixRange(statePrefix(shard, applied.generation)));
  let bytes = 0;
  for (
    let pairs = await iterator.next(1_000);
    pairs.length > 0;
    pairs = await iterator.next(1_000)
  ) {
    bytes += pairs.reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  }
  await iterator.close();
  return bytes / 1e3 / (performance.now() - started);
}

function keyOf(prefix: Uint8Array, i: number): Uint8Array {
  return stateKey(prefix, 1, keyText(i));
}

function keyText(i: number): Uint8Array {
  return Buffer.from(`user:${String(i).padStart(12, "0")}`);
}

/** About as compressible as JSON. */
function jsonLike(i: number): Uint8Array {
  const fields = `{"id":${i},"name":"user ${(i * 48_271) % 65_537}","score":${(i * 16_807) % 1_000_003},"tags":["`;
  return Buffer.from(fields.padEnd(valueBytes, `${(i * 69_621) % 99_991},`).slice(0, valueBytes));
}

function randomBytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => Math.floor(Math.random() * 256)));
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}

function report(
  what: string,
  ours: number,
  theirs: number,
  unit: string,
  goal: number | null,
): void {
  const ratio = ours / theirs;
  const verdict = goal === null ? "" : ` (goal ${goal}) ${ratio <= goal ? "ok" : "MISSED"}`;
  console.log(
    `${what}: ${ours.toFixed(3)} ${unit}, raw ${theirs.toFixed(3)} ${unit}, ratio ${ratio.toFixed(2)}${verdict}`,
  );
}

function limit(what: string, ms: number, goalMs: number): void {
  console.log(`${what}: ${ms.toFixed(0)} ms (goal ${goalMs}) ${ms <= goalMs ? "ok" : "MISSED"}`);
}

const directory = await mkdtemp(join(tmpdir(), "flotilla-bench-"));
try {
  await benchAppend(join(directory, "append"));
  await benchState(directory);
} finally {
  await rm(directory, { recursive: true });
}
