import { writeSync } from "node:fs";
import { NodeId } from "../../cluster/types.ts";
import type { Database, DatabaseBatch } from "../../storage/database.ts";
import { DataDirectory } from "../../storage/data-directory.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { Actor } from "./actor.ts";
import { Random } from "./random.ts";
import { generateTurns } from "./workload.ts";

/**
 * Lives the workload of a seed on a real store and kills itself with SIGKILL at a named point: `phase:moment`, the moment being before a
 * write is begun, during it, or after it is durable. Says "ack n" when n turns are durable. What it is given as JSON argument:
 */
export interface CrashOrder {
  readonly path: string;
  readonly seed: number;
  readonly turns: number;
  readonly point: string;
  /** Dies at this hit of the point, from 1. */
  readonly hit: number;
  readonly writeBufferBytes: number;
}

const order: CrashOrder = JSON.parse(process.argv[2] ?? "{}");
const random = new Random(order.seed ^ order.hit);
let phase = "recovery";
let hits = 0;

function reach(moment: string, inPhase = phase): boolean {
  return `${inPhase}:${moment}` === order.point && ++hits === order.hit;
}

function die(): never {
  process.kill(process.pid, "SIGKILL");
  for (;;) {
    // The signal is on its way.
  }
}

/** The write has been handed to another thread; die after 0 to 500 microseconds of it. */
function dieDuring(): never {
  const end = performance.now() + random.next() / 2;
  while (performance.now() < end) {
    // LevelDB works meanwhile.
  }
  die();
}

async function around<T>(inPhase: string, write: () => Promise<T>): Promise<T> {
  if (reach("before", inPhase)) {
    die();
  }
  const result = write();
  if (reach("during", inPhase)) {
    dieDuring();
  }
  await result;
  if (reach("after", inPhase)) {
    die();
  }
  return result;
}

/** Points are injected around the real database: production code knows nothing of them. */
function withCrashPoints(database: Database): Database {
  return {
    getSync: (key, snapshot) => database.getSync(key, snapshot),
    iterate: (range, options) => database.iterate(range, options),
    snapshot: () => database.snapshot(),
    clear: (range) => around("clear", () => database.clear(range)),
    close: () => database.close(),
    get failure(): Error | null {
      return database.failure;
    },
    batch: () => {
      const batch = database.batch();
      const wrapped: DatabaseBatch = {
        put: (key, value) => batch.put(key, value),
        del: (key) => batch.del(key),
        get size(): number {
          return batch.size;
        },
        write: (sync) => around(phase, () => batch.write(sync)),
      };
      return wrapped;
    },
  };
}

if (reach("before", "open")) {
  die();
}
const opening = DataDirectory.open({
  path: order.path,
  nodeId: NodeId("n1"),
  clusterId: null,
  verifiesTables: true,
  writeBufferBytes: order.writeBufferBytes,
});
if (reach("during", "open")) {
  setTimeout(die, random.next() * 15);
}
const directory = await opening;
if (reach("after", "open")) {
  die();
}
const database = withCrashPoints(directory.database);
const store = new DatabaseLogStore(database, directory.witness);
await store.recover();
const actor = new Actor(database, store, (entered) => (phase = entered));
let done = 0;
for (const turn of generateTurns(order.seed, order.turns)) {
  await actor.run(turn);
  done++;
  writeSync(1, `ack ${done}\n`);
}
phase = "garbage";
await store.collectGarbage();
if (reach("before", "close")) {
  die();
}
const closing = directory.close();
if (reach("during", "close")) {
  dieDuring();
}
await closing;
writeSync(1, "end\n");
