import { setTimeout as delay } from "node:timers/promises";
import { type Load, measure, warmUp } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { preload } from "./preload.ts";
import { type Usage, usageOf } from "../lib/process-usage.ts";
import { type Store, withFlotilla } from "./store.ts";
import type { Report } from "./table.ts";

const idleShards = 64;
const settleMs = 15_000;
const idleMs = 20_000;

const writesPerStep = 100_000;
const memorySteps = 10;

/** What 64 shards cost when nobody asks: right after the start, and after load. */
export async function idle(options: BenchOptions): Promise<Report> {
  const { directory } = options;
  const samples = await withFlotilla({ directory, shards: idleShards }, async (store) => {
    const before = await idleCost(store);
    const load = loadOf(options);
    await preload(store, { ...load, from: 1, to: load.keys });
    await warmUp(store, load, options.warmupSeconds);
    return [
      { label: "after the start", nodes: before },
      { label: "after load", nodes: await idleCost(store) },
    ];
  });
  return {
    name: "idle",
    title: `An idle cluster with ${idleShards} shards, ${idleMs / 1000} s`,
    columns: ["", ...[1, 2, 3].flatMap((id) => [`n${id}, % of a core`, `n${id}, MiB`])],
    rows: samples.map(({ label, nodes }) => [
      label,
      ...nodes.flatMap(({ corePercent, rssMiB }) => [corePercent.toFixed(1), rssMiB.toFixed(0)]),
    ]),
    samples,
    chart: samples.map(({ label, nodes }) => ({
      label,
      bars: nodes.map(({ corePercent }, at) => ({
        name: `n${at + 1}`,
        value: corePercent,
        text: `${corePercent.toFixed(1)} % of a core`,
      })),
    })),
  };
}

interface IdleCost extends Usage {
  readonly corePercent: number;
}

async function idleCost(store: Store): Promise<readonly IdleCost[]> {
  await delay(settleMs);
  const before = store.pids().map(usageOf);
  await delay(idleMs);
  return store.pids().map((pid, at) => {
    const after = usageOf(pid);
    const cpuMs = (after.cpuSeconds - (before[at]?.cpuSeconds ?? 0)) * 1000;
    return { ...after, corePercent: (100 * cpuMs) / idleMs };
  });
}

/** Memory of each node while a million writes go to 100,000 keys. */
export async function memory(options: BenchOptions): Promise<Report> {
  const samples = await withFlotilla(options, async (store) => {
    const load = loadOf(options);
    const steps = [{ writes: 0, nodes: store.pids().map(usageOf) }];
    let [writes, perSecond] = [0, 1000];
    for (let step = 1; step <= memorySteps; step += 1) {
      while (writes < step * writesPerStep) {
        const missing = step * writesPerStep - writes;
        const seconds = Math.min(60, Math.ceil(missing / perSecond));
        const sample = await measure(store, { ...load, seconds });
        writes += sample.requests - sample.errors;
        perSecond = Math.max(100, sample.requestsPerSecond);
      }
      steps.push({ writes, nodes: store.pids().map(usageOf) });
    }
    return steps;
  });
  return {
    name: "memory",
    title: `Memory while ${options.keys} keys of ${options.valueBytes} B are written over and over, MiB per node`,
    columns: ["writes", ...[1, 2, 3].flatMap((id) => [`n${id}`, `n${id} without mapped files`])],
    rows: samples.map(({ writes, nodes }) => [
      writes.toLocaleString("en"),
      ...nodes.flatMap(({ rssMiB, ownMiB }) => [rssMiB.toFixed(0), ownMiB.toFixed(0)]),
    ]),
    samples,
    chart: samples.map(({ writes, nodes }) => ({
      label: `${writes.toLocaleString("en")} writes`,
      bars: nodes.map(({ rssMiB }, at) => ({
        name: `n${at + 1}`,
        value: rssMiB,
        text: `${rssMiB.toFixed(0)} MiB`,
      })),
    })),
  };
}

function loadOf(options: BenchOptions): Load {
  return { ...options, workload: "write", connections: 64, prefix: "bench-" };
}
