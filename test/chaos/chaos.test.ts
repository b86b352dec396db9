import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { changesOf } from "../checkers/watch-streams.ts";
import { drawPlan, type FaultKind } from "./plan.ts";
import { readRecord, type RunRecord, writeRecord } from "./record.ts";
import { ChaosRun } from "./run.ts";
import { judge } from "./verdict.ts";

const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 1e6));
const seconds = 8;
/** Network faults ask Linux who dials. */
const kinds: readonly FaultKind[] = process.platform === "linux" ? ["kill", "partition"] : ["kill"];

test("real processes that are killed and cut off keep their promises, and a record of it shows when one is broken", async (context) => {
  context.diagnostic(`seed ${seed}; SEED=${seed} does the same to another cluster`);
  const directory = await mkdtemp(join(tmpdir(), "flotilla-chaos-test-"));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const record = await ChaosRun.record(drawPlan(seed, kinds, seconds), directory, (what) =>
    context.diagnostic(what),
  );
  const { done, failed, unknown, longestOutageMs } = record.figures;
  context.diagnostic(
    `${done} done, ${failed} refused, ${unknown} unknown, longest outage ${Math.round(longestOutageMs)} ms`,
  );
  assert.deepEqual(judge(record).violations, []);
  assert.ok(done > 200, `${done} operations were answered`);
  assert.ok(record.figures.faults > 0);
  const file = join(directory, "history.ndjson");
  writeRecord(file, record);
  assert.deepEqual(readRecord(file), JSON.parse(JSON.stringify(record)));
  await plantViolations(context, readRecord(file));
});

/** What is wrong with the record when one thing in it is another. */
async function plantViolations(context: TestContext, record: RunRecord): Promise<void> {
  const { operations, streams, sightings, figures } = record;
  const sound = { ...figures, calmRate: 200, runnerStallMs: 100 };
  const planted: readonly (readonly [string, string, Partial<RunRecord>])[] = [
    ["a read of a value that nobody wrote", "linearizable", { operations: withWrongRead(record) }],
    ["an acknowledged write that is not there", "linearizable", { operations: withLoss(record) }],
    ["a change that a watcher was not told", "watches", { streams: withoutLastChange(record) }],
    ["a write that was applied twice", "applied-once", { streams: withRepetition(record) }],
    ["replicas that differ", "replicas", { sightings: withOddDigest(record) }],
    ["a key that dies early", "ttl", { mortals: [earlyDeath] }],
    ["a lock in two hands", "locks", { grants: [grantTo("a"), grantTo("b")] }],
    [
      "a process that grows",
      "footprint",
      { plan: { ...record.plan, seconds: 1800 }, figures: { ...sound, footprints: grown } },
    ],
    ["a process that ends", "surprise", { surprises: [{ what: "n1 ended" }] }],
  ];
  assert.ok(operations.length > 0 && streams.length > 0 && sightings.length > 0);
  for (const [what, promise, change] of planted) {
    await context.test(`${what} breaks the promise "${promise}"`, () => {
      const { violations } = judge({ ...record, figures: sound, ...change });
      assert.ok(
        violations.some((violation) => violation.startsWith(`${promise}: `)),
        violations.join("\n"),
      );
    });
  }
  await context.test(
    "too little work, too much that nobody knows, or a runner that stood still is void",
    () => {
      const idle = { ...record, figures: { ...sound, calmRate: 99 } };
      const silent = { ...record, figures: { ...sound, unknown: figures.done } };
      const stalled = { ...record, figures: { ...sound, runnerStallMs: 5000 } };
      assert.equal(judge({ ...record, figures: sound }).void, null);
      assert.match(judge(idle).void ?? "", /99 operations per second/);
      assert.match(judge(silent).void ?? "", /% are unknown/);
      assert.match(judge(stalled).void ?? "", /held up for 5000 ms/);
    },
  );
}

function withWrongRead({ operations }: RunRecord): RunRecord["operations"] {
  const at = operations.findIndex(({ output }) => output?.type === "got" && output.record !== null);
  const operation = operations[at];
  assert.ok(operation?.output?.type === "got" && operation.output.record !== null);
  const output = { type: "got", record: { ...operation.output.record, value: "planted" } } as const;
  return operations.with(at, { ...operation, output });
}

/** Forgets a write whose value a read shows. */
function withLoss({ operations }: RunRecord): RunRecord["operations"] {
  const read = operations.find(
    ({ key, output }) => key.includes("pulse") && output?.type === "got" && output.record !== null,
  );
  assert.ok(read?.output?.type === "got");
  const { key, output } = read;
  const at = operations.findIndex(
    (each) =>
      each.key === key && each.input.type === "put" && each.input.value === output.record?.value,
  );
  assert.ok(at >= 0);
  return operations.toSpliced(at, 1);
}

/**
 * One more watcher, who was told what the first was, but for the last. To leave it out of what the first was told is not enough: when no
 * other watched that key, and the change is a death that no client asked for, nobody knows that it happened.
 */
function withoutLastChange({ streams }: RunRecord): RunRecord["streams"] {
  const [first] = streams;
  assert.ok(first !== undefined);
  const changes = changesOf(first);
  assert.ok(changes.length > 0);
  return [
    ...streams,
    { prefix: first.prefix, stretches: [{ state: [], changes: changes.slice(0, -1) }] },
  ];
}

function withRepetition({ streams }: RunRecord): RunRecord["streams"] {
  const written = streams.flatMap(changesOf).find(({ data }) => /"value":"[^"]*\.\d+"/.test(data));
  assert.ok(written !== undefined);
  const again = { ...written, revision: 1e9 };
  return [...streams, { prefix: "", stretches: [{ state: [], changes: [again] }] }];
}

function withOddDigest({ sightings }: RunRecord): RunRecord["sightings"] {
  const last = sightings.at(-1);
  assert.ok(last !== undefined);
  return [...sightings, { ...last, node: "n0", isLeader: false, digest: "planted" }];
}

const earlyDeath: RunRecord["mortals"][number] = {
  key: "k",
  ttlMs: 1000,
  writtenAfterMs: 0,
  answeredAtMs: 10,
  looks: [{ callMs: 20, returnMs: 30, isThere: false }],
};

const grown: RunRecord["figures"]["footprints"] = {
  before: [{ node: "n1", ownMiB: 200, openFiles: 60 }],
  after: [{ node: "n1", ownMiB: 241, openFiles: 60 }],
};

function grantTo(owner: string): RunRecord["grants"][number] {
  return { lock: "l", owner, token: 7, call: 1, return: 2 };
}
