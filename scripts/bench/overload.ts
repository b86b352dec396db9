import { Agent, request as httpRequest } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { type Load, measure, type Sample, warmUp } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { preload } from "./preload.ts";
import { usageOf } from "../lib/process-usage.ts";
import { type Store, withFlotilla } from "./store.ts";
import { ms, rate, type Report } from "./table.ts";

const peakConnections = 64;
const overloadFactor = 10;

/** So few at a time that ten times the peak is refused for the most part; the standard limit takes it all. */
const lowLimit = 32;

const probesPerNode = 2;

/** One request that was sent among the others, to see how long its answer took. */
interface Probe {
  readonly status: number;
  readonly ms: number;
}

interface Step {
  readonly label: string;
  readonly peak: Sample;
  readonly over: Sample;
  readonly refusals: readonly number[];
  readonly leaderChanges: number;
  readonly maxRssMiB: number;
}

/** Ten times as many clients as at the peak, who never wait: once within the standard limits, once with a limit that refuses most of them. */
export async function overload(options: BenchOptions): Promise<Report> {
  const steps: Step[] = [];
  for (const flags of [[], [`--inflight-requests-max=${lowLimit}`]]) {
    const label = flags.length === 0 ? "standard limits" : `${lowLimit} requests at a time`;
    steps.push(
      await withFlotilla({ ...options, flags }, (store) => overloaded(store, label, options)),
    );
  }
  return reportOf(steps, options.seconds);
}

async function overloaded(store: Store, label: string, options: BenchOptions): Promise<Step> {
  console.log(label);
  const load: Load = {
    ...options,
    workload: "write",
    connections: peakConnections,
    prefix: "bench-",
  };
  await preload(store, { ...load, from: 1, to: load.keys });
  await warmUp(store, load, options.warmupSeconds);
  const peak = await measure(store, { ...load, seconds: 10, countRefusals: true });
  const changesBefore = await leaderChanges(store);
  const probes = new Probes(store.urls);
  const memory = watchMemory(store);
  const connections = peakConnections * overloadFactor;
  const over = await measure(store, { ...load, connections, countRefusals: true });
  const maxRssMiB = memory.stop();
  const answers = await probes.stop();
  return {
    label,
    peak,
    over,
    refusals: answers.filter(({ status }) => status === 503).map((probe) => probe.ms),
    leaderChanges: (await leaderChanges(store)) - changesBefore,
    maxRssMiB,
  };
}

/** Writers that measure each of their requests, for the whole time; wrk knows no times by status. */
class Probes {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #answers: Probe[] = [];
  readonly #writers: Promise<void>;
  #isOver = false;

  constructor(urls: readonly string[]) {
    const writers = urls.flatMap((url) =>
      Array.from({ length: probesPerNode }, (_, at) => this.#write(`${url}/v1/kv/probe-${at}`)),
    );
    this.#writers = Promise.all(writers).then(() => {});
  }

  async stop(): Promise<readonly Probe[]> {
    this.#isOver = true;
    await this.#writers;
    this.#agent.destroy();
    return this.#answers;
  }

  async #write(url: string): Promise<void> {
    while (!this.#isOver) {
      const startedMs = performance.now();
      const status = await this.#put(url);
      this.#answers.push({ status, ms: performance.now() - startedMs });
      await delay(10);
    }
  }

  /** Resolves to the status; 0 when there was no answer. */
  #put(url: string): Promise<number> {
    return new Promise((resolve) => {
      const headers = { "content-type": "application/octet-stream" };
      const request = httpRequest(url, { agent: this.#agent, method: "PUT", headers });
      request.once("response", (response) => {
        response.resume();
        response.once("close", () => resolve(response.statusCode ?? 0));
      });
      request.once("error", () => resolve(0));
      request.end("x".repeat(256));
    });
  }
}

/** Keeps the largest memory of a node that it saw. */
function watchMemory(store: Store): { readonly stop: () => number } {
  let max = 0;
  const look = (): void => {
    max = Math.max(max, ...store.pids().map((pid) => usageOf(pid).rssMiB));
  };
  const timer = setInterval(look, 1000);
  return {
    stop: () => {
      clearInterval(timer);
      look();
      return max;
    },
  };
}

/** New leaders that any node has seen since it began. */
async function leaderChanges(store: Store): Promise<number> {
  const texts = await Promise.all(
    store.urls.map(async (url) => (await fetch(`${url}/metrics`)).text()),
  );
  return texts
    .flatMap((text) => [...text.matchAll(/^flotilla_raft_leader_changes_total\S* (\d+)$/gm)])
    .reduce((sum, match) => sum + Number(match[1]), 0);
}

function reportOf(steps: readonly Step[], seconds: number): Report {
  const connections = peakConnections * overloadFactor;
  return {
    name: "overload",
    title: `Writes by ${connections} connections for ${seconds} s, after ${peakConnections}`,
    columns: [
      "",
      "peak",
      "overloaded",
      "to peak",
      "p99",
      "refused (503)",
      "503 p50",
      "503 p99",
      "other errors",
      "leader changes",
      "max MiB",
    ],
    rows: steps.map(({ label, peak, over, refusals, leaderChanges: changes, maxRssMiB }) => [
      label,
      rate(peak.requestsPerSecond),
      rate(over.requestsPerSecond),
      (over.requestsPerSecond / peak.requestsPerSecond).toFixed(2),
      ms(over.p99Ms),
      `${((100 * over.refused) / over.requests).toFixed(1)} %`,
      refusals.length === 0 ? "-" : ms(quantile(refusals, 0.5)),
      refusals.length === 0 ? "-" : ms(quantile(refusals, 0.99)),
      String(over.errors - over.refused),
      String(changes),
      maxRssMiB.toFixed(0),
    ]),
    samples: steps.map((step) => ({ ...step, refusals: step.refusals.length })),
    chart: steps.map(({ label, peak, over }) => ({
      label,
      bars: [
        { name: `${peakConnections} connections`, value: peak.requestsPerSecond },
        { name: `${connections} connections`, value: over.requestsPerSecond },
      ],
    })),
  };
}

function quantile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
}
