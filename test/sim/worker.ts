import { parentPort } from "node:worker_threads";
import { InvariantViolation } from "../../cluster/assert.ts";
import { SimulationFailure } from "./failure.ts";
import { simulate } from "./world.ts";
import type { RunResult } from "./world.ts";

/** What a worker is asked for. */
export interface Job {
  readonly seed: number;
  /** Whether to send all lines of what happened, not only the last ones of a failure. */
  readonly isTraced: boolean;
}

/** What became of one seed. */
export interface Outcome {
  readonly seed: number;
  readonly result: RunResult | null;
  readonly failure: Failure | null;
  readonly trace: readonly string[];
}

/**
 * `invariant` is the name of a check of this simulator, the number of an assert in cluster/raft, or null for an error that no check
 * foresaw.
 */
export interface Failure {
  readonly invariant: string | null;
  readonly message: string;
  readonly stack: string;
}

const lastLines = 60;

/** Runs one seed. A failure is run again with a trace: the same seed gives the same run, so nobody else pays for the lines. */
export function runJob(job: Job): Outcome {
  const first = attempt(job.seed, job.isTraced);
  if (first.failure === null || job.isTraced) {
    return first;
  }
  const again = attempt(job.seed, true);
  return { ...again, trace: again.trace.slice(-lastLines) };
}

function attempt(seed: number, isTraced: boolean): Outcome {
  const trace: string[] = [];
  try {
    const result = simulate(seed, isTraced ? (line) => trace.push(line) : null);
    return { seed, result, failure: null, trace };
  } catch (error) {
    return { seed, result: null, failure: describeFailure(error), trace };
  }
}

function describeFailure(error: unknown): Failure {
  if (!(error instanceof Error)) {
    return { invariant: null, message: String(error), stack: "" };
  }
  const { message, stack = "" } = error;
  if (error instanceof SimulationFailure) {
    return { invariant: error.invariant, message, stack };
  }
  if (error instanceof InvariantViolation) {
    return { invariant: message.match(/^R\d+/)?.[0] ?? "assert", message, stack };
  }
  return { invariant: null, message: `${error.name}: ${message}`, stack };
}

parentPort?.on("message", (job: Job) => {
  parentPort?.postMessage(runJob(job));
});
