import { readFileSync, writeFileSync } from "node:fs";
import type { KvInput, KvOutput } from "../checkers/kv-model.ts";
import type { Operation } from "../checkers/linearizability.ts";
import type { FencedWrite, Grant } from "../checkers/locks.ts";
import type { MortalKey } from "../checkers/ttl.ts";
import type { WatchStream } from "../checkers/watch-streams.ts";
import type { History } from "../workload/history.ts";
import type { Plan } from "./plan.ts";

/** An operation and the key that it is of. */
export type RecordedOperation = Operation<KvInput, KvOutput> & { readonly key: string };

/** What a replica said of itself. */
export interface Sighting {
  readonly node: string;
  readonly shard: number;
  readonly term: number;
  readonly isLeader: boolean;
  readonly appliedIndex: number;
  readonly digest: string;
}

/** What one node's process holds. */
export interface Footprint {
  readonly node: string;
  /** The process's own memory, without the files that are mapped into it. */
  readonly ownMiB: number;
  readonly openFiles: number;
}

/** Figures of a run. */
export interface Figures {
  readonly done: number;
  readonly failed: number;
  readonly unknown: number;
  /** Operations answered per second before the first fault. */
  readonly calmRate: number;
  /** Longest time without an acknowledged write on some shard. */
  readonly longestOutageMs: number;
  /** From the end of the last fault until every shard took a write. */
  readonly healedMs: number;
  /** Longest time in which the runner itself did nothing: what it measured is at most so wrong. */
  readonly runnerStallMs: number;
  readonly faults: number;
  /** Under the load of the clients, before the first fault and a while after the last. Empty where the system does not tell. */
  readonly footprints: {
    readonly before: readonly Footprint[];
    readonly after: readonly Footprint[];
  };
}

/** Everything that clients, watchers and the runner saw in one run: what a verdict is made of, now or later. */
export interface RunRecord {
  readonly plan: Plan;
  readonly figures: Figures;
  readonly operations: readonly RecordedOperation[];
  readonly grants: readonly Grant[];
  readonly fencedWrites: readonly FencedWrite[];
  readonly mortals: readonly MortalKey[];
  readonly streams: readonly WatchStream[];
  readonly sightings: readonly Sighting[];
  /** What the runner did, in milliseconds since the clients began. */
  readonly deeds: readonly { readonly atMs: number; readonly what: string }[];
  /** What nobody should ever see: an answer outside the table of errors, a process that ends by itself, a shard that does not come back. */
  readonly surprises: readonly { readonly what: string }[];
}

/** The parts of a record that a history holds. */
export function recordedHistory(
  history: History,
): Pick<RunRecord, "operations" | "grants" | "fencedWrites" | "mortals"> {
  const operations = history.keys.flatMap((key) =>
    history.of(key).map((operation) => ({ key, ...operation })),
  );
  const { grants, fencedWrites, mortals } = history;
  return { operations, grants, fencedWrites, mortals };
}

/** Writes a record as lines of JSON: one with plan and figures, then one for each thing that was seen. */
export function writeRecord(file: string, record: RunRecord): void {
  const { plan, figures, ...lists } = record;
  const lines = [JSON.stringify({ plan, figures })];
  for (const [of, list] of Object.entries(lists)) {
    for (const item of list) {
      lines.push(JSON.stringify({ of, ...item }));
    }
  }
  writeFileSync(file, `${lines.join("\n")}\n`);
}

/** Reads what `writeRecord` wrote. */
export function readRecord(file: string): RunRecord {
  const [head = "{}", ...lines] = readFileSync(file, "utf8").trimEnd().split("\n");
  const lists: Record<string, object[]> = {
    operations: [],
    grants: [],
    fencedWrites: [],
    mortals: [],
    streams: [],
    sightings: [],
    deeds: [],
    surprises: [],
  };
  for (const line of lines) {
    const { of, ...item } = JSON.parse(line) as { of: string };
    lists[of]?.push(item);
  }
  return { ...JSON.parse(head), ...lists } as RunRecord;
}
