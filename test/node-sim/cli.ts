import { parseArgs } from "node:util";
import { runSeed, type SeedResult, sweep } from "./sweep.ts";

const usage = `npm run simulate:node -- [--seeds 1-500] [--workers 2] [--first-failure] [--odd]     (default: 500 new seeds)
npm run simulate:node -- --seed 17 [--trace] [--odd]

Runs whole clusters in simulation, one per seed, and checks what they promised. A seed that fails is printed with its last events and
can be run again alone: the same seed is the same run. With --odd one replica of each cluster goes wrong, and the others must find it.`;

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: newSeeds() },
    seed: { type: "string" },
    workers: { type: "string" },
    odd: { type: "boolean", default: false },
    trace: { type: "boolean", default: false },
    "first-failure": { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(usage);
} else if (values.seed !== undefined) {
  await runOne(Number(values.seed), values.trace);
} else {
  await runMany(values.seeds, values.workers === undefined ? undefined : Number(values.workers));
}

/** A range that hardly anybody has run before; the summary names it. */
function newSeeds(): string {
  const first = 1_000_000 + Math.floor(Math.random() * 1e9);
  return `${first}-${first + 499}`;
}

async function runOne(seed: number, traces: boolean): Promise<void> {
  const result = await runSeed(seed, values.odd, traces ? (line) => console.log(line) : undefined);
  print(result);
  console.log(`seed ${seed}: ${describe(result)}, trace ${result.traceHash}`);
}

async function runMany(range: string, workers: number | undefined): Promise<void> {
  const [first = 1, last = first] = range.split("-").map(Number);
  const startedMs = performance.now();
  let count = 0;
  const summary = await sweep({
    first,
    last,
    ...(workers === undefined ? {} : { workers }),
    isOdd: values.odd,
    stopsAtFailure: values["first-failure"],
    onResult: (result) => {
      print(result);
      count += 1;
      if (count % 500 === 0) {
        console.log(`${count} seeds, ${seconds(startedMs)} s`);
      }
    },
  });
  const { done, failed, unknown } = summary.operations;
  const faults = [...summary.faults].sort().map(([kind, times]) => `${kind} ${times}`);
  console.log(
    `seeds ${first}-${last}: ${summary.seeds} runs in ${seconds(startedMs)} s, ${summary.failures.length} failed; ` +
      `operations: ${done} done, ${failed} refused, ${unknown} unknown; ` +
      `${summary.watched} changes watched; ${summary.digests} digests told; ` +
      `${summary.odd.made} replicas made to differ, ${summary.odd.found} findings of who; ${summary.events} events; ${summary.undecided} histories undecided`,
  );
  console.log(`faults: ${faults.join(", ")}`);
  if (summary.failures.length > 0) {
    console.log(`failed seeds: ${summary.failures.map(({ seed }) => seed).join(" ")}`);
  }
}

function print(result: SeedResult): void {
  if (result.failure !== null) {
    process.exitCode = 1;
    console.log(`${result.tail.join("\n")}\nseed ${result.seed} FAILED: ${result.failure}\n`);
  }
}

function describe({ failure, events, done, failed, unknown }: SeedResult): string {
  const verdict = failure === null ? "ok" : "FAILED";
  return `${verdict}, ${events} events, ${done} done, ${failed} refused, ${unknown} unknown`;
}

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1000).toFixed(1);
}
