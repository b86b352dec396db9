import { once } from "node:events";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";

/**
 * Runs the Raft simulator (test/sim) over seeds, on all cores.
 *
 *     npm run simulate -- --seed 42 [--trace]           replay one seed
 *     npm run simulate -- --seeds 500 --from 1000       sweep a range
 *     --workers N      threads; default: as many as there are cores
 *     --keep-going     do not stop at the first failure
 *     --json           one line of JSON per failure instead of prose
 *
 * Exit code 1 if any seed failed.
 */
const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: "1" },
    workers: { type: "string" },
    trace: { type: "boolean", default: false },
    "keep-going": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

/** What test/sim/worker.ts answers. Nobody imports tests, so its shape is said here again. */
interface Outcome {
  readonly seed: number;
  readonly result: Readonly<Record<string, number>> | null;
  readonly failure: {
    readonly invariant: string | null;
    readonly message: string;
    readonly stack: string;
  } | null;
  readonly trace: readonly string[];
}

const workerFile = new URL("../test/sim/worker.ts", import.meta.url);

process.exitCode = values.seed === undefined ? await sweep() : await replay(toNumber(values.seed));

/** One seed, with all that is known about it. */
async function replay(seed: number): Promise<number> {
  const worker = new Worker(workerFile);
  const outcome = await run(worker, { seed, isTraced: values.trace });
  await worker.terminate();
  print(outcome);
  if (outcome.result !== null) {
    console.log(outcome.result);
  }
  return outcome.failure === null ? 0 : 1;
}

/** Many seeds; each worker takes the next one when it is done. */
async function sweep(): Promise<number> {
  const from = toNumber(values.from);
  const count = toNumber(values.seeds);
  const workers = Math.min(count, toNumber(values.workers ?? String(availableParallelism())));
  const totals = new Map<string, number>();
  const started = performance.now();
  let next = from;
  let failures = 0;
  const work = async (): Promise<void> => {
    const worker = new Worker(workerFile);
    while (next < from + count && (failures === 0 || values["keep-going"])) {
      const outcome = await run(worker, { seed: next++, isTraced: false });
      for (const [name, value] of Object.entries(outcome.result ?? {})) {
        totals.set(name, (totals.get(name) ?? 0) + value);
      }
      if (outcome.failure !== null) {
        failures += 1;
        print(outcome);
      }
    }
    await worker.terminate();
  };
  await Promise.all(Array.from({ length: workers }, work));
  const seconds = (performance.now() - started) / 1000;
  if (!values.json) {
    summarise({ from, done: next - from, failures, seconds, totals });
  }
  return failures === 0 ? 0 : 1;
}

async function run(worker: Worker, job: { seed: number; isTraced: boolean }): Promise<Outcome> {
  // Rejects when the worker dies instead of answering.
  const answer = once(worker, "message");
  worker.postMessage(job);
  const [outcome]: Outcome[] = await answer;
  if (outcome === undefined) {
    throw new Error(`no answer for seed ${job.seed}`);
  }
  return outcome;
}

function print(outcome: Outcome): void {
  const { seed, failure, trace } = outcome;
  if (values.json) {
    console.log(JSON.stringify({ seed, ...failure }));
    return;
  }
  for (const line of trace) {
    console.log(line);
  }
  if (failure !== null) {
    console.log(`\nseed ${seed} failed: ${failure.message}`);
    console.log(failure.invariant === null ? failure.stack : `broken: ${failure.invariant}`);
    console.log(`replay: npm run simulate -- --seed ${seed} --trace\n`);
  }
}

function summarise(summary: {
  readonly from: number;
  readonly done: number;
  readonly failures: number;
  readonly seconds: number;
  readonly totals: ReadonlyMap<string, number>;
}): void {
  const { from, done, failures, seconds, totals } = summary;
  const perSeed = [...totals]
    .filter(([name]) => name !== "seed" && name !== "digest")
    .map(([name, total]) => `${name} ${(total / done).toFixed(1)}`);
  console.log(
    `seeds ${from} to ${from + done - 1}: ${done} runs, ${failures} failed, ${seconds.toFixed(1)} s`,
  );
  console.log(`per seed: ${perSeed.join(", ")}`);
}

function toNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new Error(`not a number: ${text}`);
  }
  return value;
}
