import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { barChart } from "./bench/chart.ts";
import { EtcdCluster, hasEtcd } from "./bench/etcd-cluster.ts";
import { usageOf } from "./bench/process-usage.ts";
import { type Dialect, hasWrk, type LoadResult, runLoad, type Workload } from "./bench/wrk.ts";
import { LocalCluster } from "./lib/local-cluster.ts";

const usage = `npm run bench -- [options]: Flotilla beside etcd, the same load, in turn

  --seconds N        length of each measurement        (8)
  --rounds N         A B A B ... of each measurement   (2)
  --connections L    for example 1,16,64,256           (1,16,64,256)
  --workloads L      write,read,mixed                  (write,read,mixed)
  --shards N         shards of the Flotilla cluster    (8)
  --keys N           keys the load draws from          (100000)
  --value-bytes N    size of a value                   (256)
  --no-etcd          Flotilla alone
  --out DIR          where results are written         (bench-results)

Needs wrk (Debian package wrk); compares with etcd where it is on the PATH (Debian package etcd-server).`;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "8" },
    rounds: { type: "string", default: "2" },
    connections: { type: "string", default: "1,16,64,256" },
    workloads: { type: "string", default: "write,read,mixed" },
    shards: { type: "string", default: "8" },
    keys: { type: "string", default: "100000" },
    "value-bytes": { type: "string", default: "256" },
    "no-etcd": { type: "boolean", default: false },
    out: { type: "string", default: "bench-results" },
    help: { type: "boolean", default: false },
  },
});

/** A store under test. */
interface Contender {
  readonly dialect: Dialect;
  readonly urls: readonly string[];
  readonly pids: () => readonly number[];
}

/** One measurement with what it cost. */
interface Sample extends LoadResult {
  readonly dialect: Dialect;
  readonly workload: Workload;
  readonly connections: number;
  /** Processor seconds per second, all nodes together. */
  readonly cores: number;
  readonly maxRssMiB: number;
}

const directory = await mkdtemp(join(tmpdir(), "flotilla-bench-"));
const seconds = Number(values.seconds);
const valueBytes = Number(values["value-bytes"]);
const keys = Number(values.keys);

async function main(): Promise<void> {
  if (values.help) {
    console.log(usage);
    return;
  }
  if (!hasWrk()) {
    throw new Error(
      "wrk is not on the PATH: install it (Debian: apt-get install wrk) and try again",
    );
  }
  const cluster = new LocalCluster({
    nodes: 3,
    shards: Number(values.shards),
    replicationFactor: 3,
    basePort: 18_091,
    peerBasePort: 17_091,
    dataDirectory: join(directory, "flotilla"),
    fresh: true,
  });
  const etcd = new EtcdCluster(join(directory, "etcd"), 18_191);
  const withEtcd = hasEtcd() && !values["no-etcd"];
  try {
    await cluster.start();
    await cluster.ready(30_000);
    const contenders: Contender[] = [
      {
        dialect: "flotilla",
        urls: cluster.nodes.map((node) => node.url),
        pids: () => cluster.nodes.map((node) => node.pid ?? 0),
      },
    ];
    if (withEtcd) {
      await etcd.start();
      contenders.push({ dialect: "etcd", urls: etcd.urls, pids: () => etcd.pids });
    }
    await report(await measureAll(contenders));
  } finally {
    await cluster.stopAll();
    await etcd.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function measureAll(contenders: readonly Contender[]): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const contender of contenders) {
    // Caches, compiled code, and keys for the reads to find.
    await measure(contender, "write", 64, Math.max(5, seconds));
  }
  for (const workload of values.workloads.split(",") as Workload[]) {
    for (const connections of values.connections.split(",").map(Number)) {
      for (let round = 0; round < Number(values.rounds); round += 1) {
        for (const contender of contenders) {
          const sample = await measure(contender, workload, connections, seconds);
          samples.push(sample);
          console.log(line(sample));
        }
      }
    }
  }
  return samples;
}

async function measure(
  contender: Contender,
  workload: Workload,
  connections: number,
  duration: number,
): Promise<Sample> {
  const { dialect, urls } = contender;
  const before = usageOf(contender.pids());
  const startedMs = performance.now();
  const result = await runLoad({
    dialect,
    workload,
    urls,
    connections,
    seconds: duration,
    keys,
    valueBytes,
    directory,
  });
  const after = usageOf(contender.pids());
  const elapsed = (performance.now() - startedMs) / 1000;
  const cores = (after.cpuSeconds - before.cpuSeconds) / elapsed;
  await delay(500);
  return { ...result, dialect, workload, connections, cores, maxRssMiB: after.maxRssMiB };
}

function line(sample: Sample): string {
  const { dialect, workload, connections, requestsPerSecond, p50Ms, p99Ms, cores } = sample;
  return [
    dialect.padEnd(9),
    workload.padEnd(6),
    `${connections} connections`.padStart(16),
    `${Math.round(requestsPerSecond)}/s`.padStart(9),
    `p50 ${p50Ms.toFixed(2)} ms`.padStart(14),
    `p99 ${p99Ms.toFixed(1)} ms`.padStart(15),
    `${cores.toFixed(2)} cores`.padStart(11),
    `${Math.round(sample.maxRssMiB)} MiB`.padStart(9),
    sample.errors > 0 ? `${sample.errors} errors` : "",
  ].join(" ");
}

/** Medians of each pair, as a table, as JSON and as a picture. */
async function report(samples: readonly Sample[]): Promise<void> {
  const rows = [...Map.groupBy(samples, (s) => `${s.workload}, ${s.connections} connections`)].map(
    ([label, group]) => ({
      label,
      flotilla: median(group, "flotilla", (s) => s.requestsPerSecond) ?? 0,
      etcd: median(group, "etcd", (s) => s.requestsPerSecond),
      p50: [median(group, "flotilla", (s) => s.p50Ms), median(group, "etcd", (s) => s.p50Ms)],
      p99: [median(group, "flotilla", (s) => s.p99Ms), median(group, "etcd", (s) => s.p99Ms)],
    }),
  );
  console.log(
    "\n| workload | Flotilla | etcd | ratio | p50 | p99 |\n| --- | --- | --- | --- | --- | --- |",
  );
  for (const { label, flotilla, etcd, p50, p99 } of rows) {
    const ratio = etcd === null ? "-" : (flotilla / etcd).toFixed(2);
    const pair = (both: readonly (number | null)[]): string =>
      both.map((ms) => (ms === null ? "-" : `${ms.toFixed(2)} ms`)).join(" / ");
    console.log(
      `| ${label} | ${Math.round(flotilla)}/s | ${etcd === null ? "-" : `${Math.round(etcd)}/s`} | ${ratio} | ${pair(p50)} | ${pair(p99)} |`,
    );
  }
  await mkdir(values.out, { recursive: true });
  await writeFile(
    join(values.out, "bench.json"),
    `${JSON.stringify({ samples, rows }, null, 2)}\n`,
  );
  const title = `Requests per second, three nodes, ${valueBytes} B values`;
  await writeFile(join(values.out, "bench.svg"), barChart(title, rows));
}

function median(
  samples: readonly Sample[],
  dialect: Dialect,
  of: (sample: Sample) => number,
): number | null {
  const sorted = samples
    .filter((sample) => sample.dialect === dialect)
    .map(of)
    .sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
