import type { Identity } from "../../storage/identity-file.ts";
import type {
  Database,
  DatabaseBatch,
  DatabaseIterator,
  DatabaseSnapshot,
  IterateOptions,
  KeyRange,
} from "../../storage/database.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { decodeAppliedRecord, encodeAppliedRecord } from "../../storage/applied-record.ts";
import { journalRange, recordKind, shardOf } from "../../storage/keys.ts";
import type { Witness } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { OrderedMap } from "../../storage/ordered-map.ts";
import type { NodeHome } from "../../server/cluster-node.ts";
import type { NodeId, ShardId } from "../../cluster/types.ts";
import type { Prng } from "../sim/prng.ts";
import type { ProcessLoop } from "./process-loop.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** Null deletes. */
type Change = readonly [key: Uint8Array, value: Uint8Array | null];
type Changes = readonly Change[];

export interface DiskOptions {
  readonly nodeId: NodeId;
  readonly time: VirtualTime;
  readonly random: Prng;
  /** Time that a write takes as a rule, at most. */
  readonly writeMsMax: number;
}

/** How a process ended: `killed`, the operating system goes on; `power`, what was not synced is at risk. */
export type EndKind = "killed" | "power";

/**
 * The disk of one machine. It outlives the processes that use it, one at a time, and forgets what was not synced when the power goes:
 * each unsynced write survives by chance, whatever happened to the others.
 */
export class Disk {
  readonly #options: DiskOptions;
  #image = new OrderedMap();
  /** Written, not synced: lost with the power. */
  #cached: Changes[] = [];
  /** Under way: lost or not, with the process. */
  readonly #inFlight = new Set<Changes>();
  #identity: Identity | null = null;
  #witness = 0;
  #witnessCached = 0;
  #wipes = 0;
  /** Every write fails: there is no space. */
  isFull = false;
  /** Writes take up to this much longer. */
  slowMs = 0;

  constructor(options: DiskOptions) {
    this.#options = options;
  }

  /** A new process opens the directory. */
  async open(loop: ProcessLoop): Promise<SimulatedHome> {
    const { nodeId } = this.#options;
    const identity: Identity = this.#identity ?? {
      nodeId,
      instanceId: `${nodeId}-${this.#wipes}`,
      clusterId: null,
      founders: new Map(),
      incarnation: 0,
    };
    this.#identity = { ...identity, incarnation: identity.incarnation + 1 };
    const memory = new MemoryDatabase();
    const batch = memory.batch();
    for (const [key, value] of this.#image.freeze().range(lowest, highest, false)) {
      batch.put(key, value);
    }
    await batch.write(true);
    return new SimulatedHome(this, loop, memory, this.#identity);
  }

  /** The process that had the directory open is no more. */
  end(kind: EndKind): void {
    const { random } = this.#options;
    for (const changes of this.#cached) {
      if (kind === "killed" || random.chance(0.5)) {
        this.#keep(changes);
      }
    }
    for (const changes of this.#inFlight) {
      if (random.chance(0.5)) {
        this.#keep(changes);
      }
    }
    this.#cached = [];
    this.#inFlight.clear();
    if (kind === "power" && random.chance(0.5)) {
      this.#witnessCached = this.#witness;
    }
    this.#witness = this.#witnessCached;
  }

  /** Somebody put an empty disk in its place. */
  wipe(): void {
    this.#image = new OrderedMap();
    this.#identity = null;
    this.#witness = 0;
    this.#witnessCached = 0;
    this.#wipes += 1;
    this.isFull = false;
  }

  /** Damages or removes one turn of the journal, while nobody has the directory open; false when there is none. */
  rot(): boolean {
    const { random } = this.#options;
    const { gte, lt } = journalRange;
    const turns = [...this.#image.freeze().range(gte, lt, false)];
    if (turns.length === 0) {
      return false;
    }
    const [key, value] = random.pick(turns);
    if (random.chance(0.5)) {
      this.#image.delete(key);
    } else {
      const damaged = Buffer.from(value);
      const at = random.between(0, damaged.length - 1);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << random.between(0, 7));
      this.#image.set(key, damaged);
    }
    return true;
  }

  /** Changes what some replica's state is said to digest to, while nobody has the directory open; null when there is none. */
  diverge(): ShardId | null {
    const first = Uint8Array.of(recordKind.applied);
    const last = Uint8Array.of(recordKind.applied + 1);
    const found = [...this.#image.freeze().range(first, last, false)].flatMap(([key, value]) => {
      const shard = shardOf(key);
      const record = decodeAppliedRecord(shard, value);
      return record.extra.length > 0 ? [{ key, shard, record }] : [];
    });
    if (found.length === 0) {
      return null;
    }
    const { key, shard, record } = this.#options.random.pick(found);
    const extra = Buffer.from(record.extra);
    extra.writeUInt8(extra.readUInt8(0) ^ 1, 0);
    this.#image.set(key, encodeAppliedRecord(shard, { ...record, extra }));
    return shard;
  }

  /** Calls `done` when the write has ended; with an error when it failed. */
  write(
    loop: ProcessLoop,
    changes: Changes,
    sync: boolean,
    done: (error: Error | null) => void,
  ): void {
    const { time, random, writeMsMax } = this.#options;
    const isSlow = this.slowMs > 0 && random.chance(0.3);
    const tookMs = 0.05 + random.next() * (writeMsMax + (isSlow ? this.slowMs : 0));
    this.#inFlight.add(changes);
    time.after(tookMs, () => {
      if (loop.isDead) {
        return;
      }
      this.#inFlight.delete(changes);
      if (this.isFull) {
        if (random.chance(0.3)) {
          this.#cached.push(changes);
        }
        loop.enter("io", () => done(new StoreFailure("disk_full", "the disk is full")));
        return;
      }
      this.#cached.push(changes);
      if (sync) {
        this.#cached.forEach((each) => this.#keep(each));
        this.#cached = [];
        this.#witness = this.#witnessCached;
      }
      loop.enter("io", () => done(null));
    });
  }

  setIdentity(identity: Identity): void {
    this.#identity = identity;
  }

  get witness(): number {
    return this.#witnessCached;
  }

  noteWitness(sequence: number): void {
    this.#witnessCached = sequence;
  }

  #keep(changes: Changes): void {
    for (const [key, value] of changes) {
      if (value === null) {
        this.#image.delete(key);
      } else {
        this.#image.set(key, value);
      }
    }
  }
}

const lowest = new Uint8Array(0);
const highest = new Uint8Array(64).fill(0xff);

/** A directory as one process has it open. */
export class SimulatedHome implements NodeHome {
  readonly database: Database;
  readonly witness: Witness;
  readonly #disk: Disk;
  readonly #loop: ProcessLoop;
  #identity: Identity;

  constructor(disk: Disk, loop: ProcessLoop, memory: MemoryDatabase, identity: Identity) {
    this.#disk = disk;
    this.#loop = loop;
    this.#identity = identity;
    this.database = new SimulatedDatabase(disk, loop, memory);
    this.witness = {
      sequence: disk.witness,
      note: (sequence) => disk.noteWitness(sequence),
    };
  }

  get identity(): Identity {
    return this.#identity;
  }

  joinCluster(clusterId: string, founders: ReadonlyMap<NodeId, string>): Promise<void> {
    return new Promise((resolve) => {
      this.#loop.after(1, () => {
        this.#identity = { ...this.#identity, clusterId, founders };
        this.#disk.setIdentity(this.#identity);
        resolve();
      });
    });
  }
}

/** MemoryDatabase whose writes take time and reach a disk, or do not. */
class SimulatedDatabase implements Database {
  readonly #disk: Disk;
  readonly #loop: ProcessLoop;
  readonly #memory: MemoryDatabase;
  #failure: Error | null = null;

  constructor(disk: Disk, loop: ProcessLoop, memory: MemoryDatabase) {
    this.#disk = disk;
    this.#loop = loop;
    this.#memory = memory;
  }

  get failure(): Error | null {
    return this.#failure;
  }

  getSync(key: Uint8Array, snapshot?: DatabaseSnapshot): Uint8Array | undefined {
    return this.#memory.getSync(key, snapshot);
  }

  iterate(range: KeyRange, options?: IterateOptions): DatabaseIterator {
    return this.#memory.iterate(range, options);
  }

  batch(): DatabaseBatch {
    const memory = this.#memory.batch();
    const changes: Change[] = [];
    return {
      put: (key, value) => {
        changes.push([Buffer.from(key), Buffer.from(value)]);
        memory.put(key, value);
      },
      del: (key) => {
        changes.push([Buffer.from(key), null]);
        memory.del(key);
      },
      get size(): number {
        return memory.size;
      },
      write: (sync) => this.#write(memory, changes, sync),
    };
  }

  async clear(range: KeyRange): Promise<void> {
    const batch = this.batch();
    const iterator = this.iterate(range, { keysOnly: true });
    for (const [key] of await iterator.next(Number.MAX_SAFE_INTEGER)) {
      batch.del(key);
    }
    await batch.write(false);
  }

  snapshot(): DatabaseSnapshot {
    return this.#memory.snapshot();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #write(memory: DatabaseBatch, changes: Changes, sync: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) {
        reject(this.#failure);
        return;
      }
      this.#disk.write(this.#loop, changes, sync, (error) => {
        if (error === null && this.#failure === null) {
          // Applies at once; what it resolves to is known.
          memory.write(sync).then(resolve, reject);
        } else {
          this.#failure ??= error;
          reject(this.#failure ?? new StoreFailure("io_error", "the disk failed"));
        }
      });
    });
  }
}
