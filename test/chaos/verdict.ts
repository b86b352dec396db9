import { checkAppliedOnce } from "../checkers/applied-once.ts";
import { kvModel, type KvOutput } from "../checkers/kv-model.ts";
import { checkLinearizable } from "../checkers/linearizability.ts";
import { checkLocks } from "../checkers/locks.ts";
import { checkMortals } from "../checkers/ttl.ts";
import {
  type AcknowledgedChange,
  changesOf,
  checkWatchStreams,
} from "../checkers/watch-streams.ts";
import { pairOf } from "../workload/client.ts";
import { soakSecondsMin } from "./plan.ts";
import type { RunRecord } from "./record.ts";

/** What a run has shown. */
export interface Verdict {
  /** Broken promises, as `promise: sentence`. */
  readonly violations: readonly string[];
  /** Keys whose history was too hard to decide. */
  readonly undecided: number;
  /** Why the run shows nothing; null when it does. */
  readonly void: string | null;
}

/** Runs with less say nothing about a cluster under load. */
const calmRateMin = 100;
const unknownShareMax = 0.2;
const runnerStallMsMax = 2000;

const growthMax = 1.2;

/** A history of one key may be long, and a run has few: better slow than undecided. */
const stepsMax = 2_000_000;

/** Judges a run by what was recorded of it. */
export function judge(record: RunRecord): Verdict {
  const { grants, fencedWrites, mortals, streams, surprises } = record;
  const { violations, undecided } = checkKeys(record);
  const found: Readonly<Record<string, readonly string[]>> = {
    linearizable: violations,
    locks: checkLocks(grants, fencedWrites),
    ttl: checkMortals(mortals, 0),
    watches: checkWatchStreams(streams, acknowledgedChanges(record)),
    "applied-once": checkAppliedOnce(streams.flatMap(changesOf).flatMap(valueOf)),
    replicas: checkReplicas(record),
    footprint: checkFootprints(record),
    // When the runner stood still, so may have done the nodes: what took them too long says nothing. What they answered does.
    surprise: isHeldUp(record) ? [] : surprises.map(({ what }) => what),
  };
  return {
    violations: Object.entries(found).flatMap(([promise, wrong]) =>
      wrong.map((what) => `${promise}: ${what}`),
    ),
    undecided,
    void: voidReason(record),
  };
}

function checkKeys({ operations }: RunRecord): { violations: string[]; undecided: number } {
  const violations: string[] = [];
  let undecided = 0;
  for (const [key, each] of Map.groupBy(operations, (operation) => operation.key)) {
    const verdict = checkLinearizable(kvModel, each, stepsMax);
    undecided += verdict === "undecided" ? 1 : 0;
    if (verdict === "violation") {
      violations.push(`nothing explains the ${each.length} operations on ${key}`);
    }
  }
  return { violations, undecided };
}

/** Equal digests at equal applied index, and one leader per term. */
function checkReplicas({ sightings }: RunRecord): readonly string[] {
  const wrong = new Set<string>();
  const digests = new Map<string, string>();
  const leaders = new Map<string, string>();
  const compare = (known: Map<string, string>, place: string, value: string): void => {
    const before = known.get(place) ?? value;
    known.set(place, before);
    if (before !== value) {
      wrong.add(`${place} is ${before} and ${value}`);
    }
  };
  for (const { node, shard, term, isLeader, appliedIndex, digest } of sightings) {
    compare(digests, `the digest of shard ${shard} at ${appliedIndex}`, digest);
    if (isLeader) {
      compare(leaders, `the leader of shard ${shard} in term ${term}`, node);
    }
  }
  return [...wrong];
}

/** After a long run, no process holds much more memory or many more files than before the first fault. */
function checkFootprints({ plan, figures }: RunRecord): readonly string[] {
  if (plan.seconds < soakSecondsMin) {
    return [];
  }
  const { before, after } = figures.footprints;
  return after.flatMap(({ node, ownMiB, openFiles }) => {
    const first = before.find((footprint) => footprint.node === node);
    const rows = [
      { what: "MiB", now: ownMiB, then: first?.ownMiB ?? Infinity },
      { what: "open files", now: openFiles, then: first?.openFiles ?? Infinity },
    ];
    return rows
      .filter(({ now, then }) => now > then * growthMax)
      .map(
        ({ what, now, then }) =>
          `${node} holds ${Math.round(now)} ${what}, ${Math.round(then)} before`,
      );
  });
}

/** Changes that clients were told to have made, by the keys that they are of. */
function acknowledgedChanges(record: RunRecord): readonly AcknowledgedChange[] {
  const { operations, fencedWrites } = record;
  const writes = operations.flatMap(({ key, output }) => {
    const revision = output === null ? null : revisionOf(output);
    const place = /^\{(.*)\}$/.exec(key)?.[1];
    const keys = place === undefined ? [key] : Object.values<string>({ ...pairOf(place) });
    return revision === null ? [] : keys.map((each) => ({ key: each, revision }));
  });
  const fenced = fencedWrites.map(({ lock, revision }) => ({
    key: lock.replace(/lock$/, "data"),
    revision,
  }));
  return [...writes, ...fenced];
}

function revisionOf(output: KvOutput): number | null {
  switch (output.type) {
    case "written":
      return output.revision;
    case "deleted":
      return output.deleted ? output.revision : null;
    case "got":
    case "condition_failed":
      return null;
  }
}

function valueOf({ key, revision, data }: { key: string; revision: number; data: string }) {
  const { value } = JSON.parse(data) as { value?: string };
  return value === undefined ? [] : [{ key, revision, value }];
}

function isHeldUp({ figures }: RunRecord): boolean {
  return figures.runnerStallMs > runnerStallMsMax;
}

function voidReason(record: RunRecord): string | null {
  const { done, failed, unknown, calmRate, runnerStallMs } = record.figures;
  if (isHeldUp(record)) {
    return `the runner itself was held up for ${Math.round(runnerStallMs)} ms`;
  }
  if (calmRate < calmRateMin) {
    return `${Math.round(calmRate)} operations per second before faults, of ${calmRateMin}`;
  }
  const share = unknown / Math.max(1, done + failed + unknown);
  return share > unknownShareMax ? `${Math.round(share * 100)} % are unknown` : null;
}
