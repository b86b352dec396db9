import { hasEtcd } from "./etcd-cluster.ts";
import { type Load, measure, type Sample, warmUp } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { preload } from "./preload.ts";
import { type Store, withEtcd, withFlotilla } from "./store.ts";
import { connectionsText, median, ms, rate, type Report } from "./table.ts";
import type { Dialect } from "./wrk.ts";

/** Flotilla beside etcd, each measurement in turn: A B A B. Without an etcd (or when none is wanted) Flotilla alone. */
export async function compare(options: BenchOptions): Promise<Report> {
  const { directory, shards } = options;
  const samples = await withFlotilla({ directory, shards }, async (flotilla) =>
    hasEtcd() && options.withEtcd
      ? withEtcd(directory, (etcd) => measureAll([flotilla, etcd], options))
      : measureAll([flotilla], options),
  );
  return reportOf(samples, options);
}

async function measureAll(stores: readonly Store[], options: BenchOptions): Promise<Sample[]> {
  const load: Load = { ...options, workload: "write", connections: 64, prefix: "bench-" };
  for (const store of stores) {
    console.log(`${store.dialect}: writing ${options.keys} keys`);
    await preload(store, { ...load, from: 1, to: options.keys });
    await warmUp(store, load, options.warmupSeconds);
  }
  const samples: Sample[] = [];
  for (const workload of options.workloads) {
    for (const connections of options.connections) {
      for (let round = 0; round < options.rounds; round += 1) {
        for (const store of stores) {
          samples.push(await measure(store, { ...load, workload, connections }));
        }
      }
    }
  }
  return samples;
}

/** Medians of the rounds, Flotilla's beside etcd's. */
function reportOf(samples: readonly Sample[], options: BenchOptions): Report {
  const groups = [...Map.groupBy(samples, labelOf)];
  const rows = groups.map(([label, group]) => ({ label, ...pairs(group) }));
  return {
    name: "bench",
    title: `Flotilla / etcd, three nodes, ${options.keys} keys, ${options.valueBytes} B values, median of ${options.rounds}`,
    columns: [
      "workload",
      "Flotilla",
      "etcd",
      "ratio",
      "p50",
      "p99",
      "cores per node",
      "MiB per node",
      "errors",
    ],
    rows: rows.map(({ label, perSecond, p50, p99, cores, mib, errors }) => [
      label,
      rate(perSecond.flotilla),
      perSecond.etcd === null ? "-" : rate(perSecond.etcd),
      perSecond.etcd === null ? "-" : (perSecond.flotilla / perSecond.etcd).toFixed(2),
      pair(p50, ms),
      pair(p99, ms),
      pair(cores, (n) => n.toFixed(2)),
      pair(mib, (n) => n.toFixed(0)),
      pair(errors, String),
    ]),
    samples,
    chart: rows.map(({ label, perSecond }) => ({
      label,
      bars: [
        { name: "Flotilla", value: perSecond.flotilla },
        ...(perSecond.etcd === null ? [] : [{ name: "etcd", value: perSecond.etcd }]),
      ],
    })),
  };
}

interface Pair {
  readonly flotilla: number;
  readonly etcd: number | null;
}

type Figure = "perSecond" | "p50" | "p99" | "cores" | "mib" | "errors";

function pairs(group: readonly Sample[]): Record<Figure, Pair> {
  const pairOf = (of: (sample: Sample) => number, combine = median): Pair => {
    const figures = (dialect: Dialect): number[] =>
      group.filter((sample) => sample.dialect === dialect).map(of);
    const etcd = figures("etcd");
    return {
      flotilla: combine(figures("flotilla")),
      etcd: etcd.length === 0 ? null : combine(etcd),
    };
  };
  const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
  return {
    perSecond: pairOf((s) => s.requestsPerSecond),
    p50: pairOf((s) => s.p50Ms),
    p99: pairOf((s) => s.p99Ms),
    cores: pairOf((s) => sum(s.cores) / s.cores.length),
    mib: pairOf((s) => Math.max(...s.rssMiB)),
    errors: pairOf((s) => s.errors, sum),
  };
}

function pair({ flotilla, etcd }: Pair, text: (number: number) => string): string {
  return `${text(flotilla)} / ${etcd === null ? "-" : text(etcd)}`;
}

function labelOf({ workload, connections }: Sample): string {
  return `${workload}, ${connectionsText(connections)}`;
}
