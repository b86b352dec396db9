import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { endChild } from "../lib/end-child.ts";
import { nodeFlags } from "../lib/local-cluster.ts";
import { hasEtcd } from "./etcd-cluster.ts";
import { type Load, measure, type Sample } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { preload } from "./preload.ts";
import { type Store, withEtcd, withFlotilla } from "./store.ts";
import { connectionsText, median, ms, rate, type Report } from "./table.ts";

const httpPort = 18_291;
const peerPort = 17_291;
const program = fileURLToPath(new URL("floor-node.ts", import.meta.url));

interface Named {
  readonly name: string;
  readonly store: Store;
}

interface Measured {
  readonly name: string;
  readonly sample: Sample;
}

/** Writes: Flotilla, etcd, and what the libraries do with nothing of a store around them. See floor-pipeline.ts. */
export async function floor(options: BenchOptions): Promise<Report> {
  const { directory, shards } = options;
  const samples = await withFloor(directory, (bare) =>
    withFlotilla({ directory, shards }, (flotilla) => {
      const stores = [{ name: "Flotilla", store: flotilla }];
      return hasEtcd() && options.withEtcd
        ? withEtcd(directory, (etcd) =>
            measureAll(bare, [...stores, { name: "etcd", store: etcd }], options),
          )
        : measureAll(bare, stores, options);
    }),
  );
  return reportOf(samples, options);
}

/** Flotilla and etcd get all keys first, as in `compare`. The bare pipeline knows no batches, and no old values. */
async function measureAll(
  bare: Store,
  stores: readonly Named[],
  options: BenchOptions,
): Promise<Measured[]> {
  const load: Load = { ...options, workload: "write", connections: 64, prefix: "bench-" };
  for (const { store } of stores) {
    await preload(store, { ...load, from: 1, to: options.keys });
  }
  const all = [{ name: "bare pipeline", store: bare }, ...stores];
  for (const { store } of all) {
    await measure(store, { ...load, seconds: Math.max(1, options.warmupSeconds) });
  }
  const samples: Measured[] = [];
  for (const connections of options.connections) {
    for (let round = 0; round < options.rounds; round += 1) {
      for (const { name, store } of all) {
        console.log(name);
        const sample = await measure(store, { ...load, connections });
        if (sample.errors > 0) {
          throw new Error(`${sample.errors} requests to ${name} failed: nothing can be compared`);
        }
        samples.push({ name, sample });
      }
    }
  }
  return samples;
}

function reportOf(samples: readonly Measured[], options: BenchOptions): Report {
  const rows = options.connections.flatMap((connections) => {
    const group = samples.filter(({ sample }) => sample.connections === connections);
    return [...Map.groupBy(group, ({ name }) => name)].map(([name, measured]) => {
      const of = (figure: (sample: Sample) => number): number =>
        median(measured.map(({ sample }) => figure(sample)));
      const perSecond = of((sample) => sample.requestsPerSecond);
      const p50Ms = of((sample) => sample.p50Ms);
      const p99Ms = of((sample) => sample.p99Ms);
      return { connections, name, perSecond, p50Ms, p99Ms, cpuUs: of(cpuUsOf) };
    });
  });
  return {
    name: "floor",
    title: `Writes beside a bare pipeline of the same libraries, ${options.valueBytes} B values, median of ${options.rounds}`,
    columns: ["connections", "", "writes", "p50", "p99", "processor time per write, three nodes"],
    rows: rows.map(({ connections, name, perSecond, p50Ms, p99Ms, cpuUs }) => [
      String(connections),
      name,
      rate(perSecond),
      ms(p50Ms),
      ms(p99Ms),
      `${Math.round(cpuUs)} us`,
    ]),
    samples,
    chart: options.connections.map((connections) => ({
      label: connectionsText(connections),
      bars: rows
        .filter((row) => row.connections === connections)
        .map(({ name, perSecond }) => ({ name, value: perSecond })),
    })),
  };
}

function cpuUsOf({ cores, requestsPerSecond }: Sample): number {
  return (cores.reduce((a, b) => a + b, 0) / requestsPerSecond) * 1e6;
}

/** Runs `use` with three fresh processes of the bare pipeline. */
async function withFloor<T>(directory: string, use: (store: Store) => Promise<T>): Promise<T> {
  const children: ChildProcess[] = [];
  const killAll = (): void => children.forEach((child) => void child.kill("SIGKILL"));
  process.once("exit", killAll);
  try {
    for (const node of [0, 1, 2]) {
      const data = join(directory, `floor-${node}`);
      mkdirSync(data, { recursive: true });
      const args = [program, String(node), String(httpPort), String(peerPort), data];
      children.push(
        spawn(process.execPath, [...nodeFlags, ...args], {
          stdio: ["pipe", "pipe", "inherit"],
        }),
      );
    }
    await Promise.all(children.map(isReady));
    return await use({
      dialect: "flotilla",
      urls: children.map((_, node) => `http://127.0.0.1:${httpPort + node}`),
      pids: () => children.map((child) => child.pid ?? 0),
    });
  } finally {
    await Promise.all(children.map((child) => endChild(child, "SIGKILL")));
    process.off("exit", killAll);
  }
}

async function isReady(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit").then(() => {
    throw new Error("a process of the bare pipeline has ended before it was ready");
  });
  // Once it is ready nobody waits for its end any more.
  ended.catch(() => undefined);
  await Promise.race([child.stdout === null ? ended : once(child.stdout, "data"), ended]);
}
