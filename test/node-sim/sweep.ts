import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { drawOddScenario, drawScenario } from "./scenario.ts";
import { type Report, Simulation } from "./simulation.ts";

/** What is left of a run when it has crossed a process boundary. */
export interface SeedResult {
  readonly seed: number;
  /** Null: every promise was kept. */
  readonly failure: string | null;
  readonly tail: readonly string[];
  readonly events: number;
  readonly done: number;
  readonly failed: number;
  readonly unknown: number;
  readonly undecided: number;
  readonly watched: number;
  readonly digests: number;
  readonly odd: Report["odd"];
  readonly faults: Readonly<Record<string, number>>;
}

export interface SweepOptions {
  readonly first: number;
  readonly last: number;
  readonly workers?: number;
  /** The world in which one replica goes wrong; see `drawOddScenario`. */
  readonly isOdd?: boolean;
  /** Stops at the first failure. */
  readonly stopsAtFailure?: boolean;
  readonly onResult?: (result: SeedResult) => void;
}

/** What a sweep has seen. */
export interface SweepSummary {
  readonly seeds: number;
  readonly failures: readonly SeedResult[];
  readonly events: number;
  readonly operations: { readonly done: number; readonly failed: number; readonly unknown: number };
  readonly undecided: number;
  readonly watched: number;
  readonly digests: number;
  readonly odd: Report["odd"];
  readonly faults: ReadonlyMap<string, number>;
}

/** Runs all seeds of a range, spread over processes. */
export async function sweep(options: SweepOptions): Promise<SweepSummary> {
  const { first, last, isOdd = false } = options;
  const workers = Math.min(options.workers ?? availableParallelism(), last - first + 1);
  const results: SeedResult[] = [];
  let next = first;
  const take = (): number | null => {
    const isOver =
      options.stopsAtFailure === true && results.some(({ failure }) => failure !== null);
    return next > last || isOver ? null : next++;
  };
  const onResult = (result: SeedResult): void => {
    results.push(result);
    options.onResult?.(result);
  };
  await Promise.all(Array.from({ length: workers }, () => runWorker(isOdd, take, onResult)));
  return summaryOf(results);
}

/** Runs one seed here. */
export async function runSeed(
  seed: number,
  isOdd = false,
  onLine?: (line: string) => void,
): Promise<SeedResult & { readonly traceHash: string }> {
  const scenario = isOdd ? drawOddScenario(seed) : drawScenario(seed);
  const report = await new Simulation(scenario, onLine).run();
  return { ...resultOf(report), traceHash: report.traceHash };
}

function resultOf(report: Report): SeedResult {
  const { failure, tail, events, operations, undecided, watched, faults, scenario } = report;
  const { digests, odd } = report;
  return {
    seed: scenario.seed,
    failure: failure === null ? null : (failure.stack ?? failure.message),
    tail: failure === null ? [] : tail,
    events,
    ...operations,
    undecided,
    watched,
    digests,
    odd,
    faults: Object.fromEntries(faults),
  };
}

/** One process that runs seeds until there are no more. */
function runWorker(
  isOdd: boolean,
  take: () => number | null,
  onResult: (result: SeedResult) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = fork(new URL("./worker.ts", import.meta.url), isOdd ? ["odd"] : []);
    let running: number | null = null;
    const give = (): void => {
      running = take();
      if (running === null) {
        worker.disconnect();
      } else {
        worker.send(running);
      }
    };
    worker.on("message", (message) => {
      onResult(message as SeedResult);
      give();
    });
    worker.on("error", reject);
    worker.on("exit", (code) => {
      if (running === null) {
        resolve();
      } else {
        reject(new Error(`the process of seed ${running} ended with ${code}`));
      }
    });
    give();
  });
}

function summaryOf(results: readonly SeedResult[]): SweepSummary {
  const operations = { done: 0, failed: 0, unknown: 0 };
  const faults = new Map<string, number>();
  for (const { done, failed, unknown, faults: counts } of results) {
    operations.done += done;
    operations.failed += failed;
    operations.unknown += unknown;
    for (const [kind, count] of Object.entries(counts)) {
      faults.set(kind, (faults.get(kind) ?? 0) + count);
    }
  }
  return {
    seeds: results.length,
    failures: results.filter(({ failure }) => failure !== null).sort((a, b) => a.seed - b.seed),
    events: results.reduce((sum, { events }) => sum + events, 0),
    operations,
    undecided: results.reduce((sum, { undecided }) => sum + undecided, 0),
    watched: results.reduce((sum, { watched }) => sum + watched, 0),
    digests: results.reduce((sum, { digests }) => sum + digests, 0),
    odd: {
      made: results.reduce((sum, { odd }) => sum + odd.made, 0),
      found: results.reduce((sum, { odd }) => sum + odd.found, 0),
    },
    faults,
  };
}
