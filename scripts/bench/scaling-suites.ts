import { type Load, measure, type Sample, warmUp } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { preload } from "./preload.ts";
import { type Store, withFlotilla } from "./store.ts";
import { median, ms, rate, type Report } from "./table.ts";

const connections = 64;

/** One setting of what a suite varies, and what was measured with it. */
interface Step {
  readonly label: string;
  readonly writes: readonly Sample[];
  readonly reads: readonly Sample[];
}

/** The same load on 1, 8 and 64 shards, a fresh cluster each. */
export async function shards(options: BenchOptions): Promise<Report> {
  const { directory } = options;
  const steps: Step[] = [];
  for (const count of [1, 8, 64]) {
    const label = `${count} shard${count === 1 ? "" : "s"}`;
    const load = loadOf(options);
    const step = await withFlotilla({ directory, shards: count }, async (store) => {
      await preload(store, { ...load, from: 1, to: load.keys });
      await warmUp(store, load, options.warmupSeconds);
      return writesAndReads(store, load, { label, rounds: options.rounds });
    });
    steps.push(step);
  }
  return reportOf("shards", `Number of shards, ${connections} connections`, steps);
}

/** Values of 64 B to 64 KiB in one cluster; few keys, so that the largest fit on the disk. */
export async function values(options: BenchOptions): Promise<Report> {
  const keysOfEach = Math.min(options.keys, 2000);
  const steps = await withFlotilla(options, async (store) => {
    await warm(store, options, keysOfEach);
    const done: Step[] = [];
    for (const valueBytes of [64, 256, 4096, 65_536]) {
      const prefix = `value-${valueBytes}-`;
      const load = { ...loadOf(options), prefix, keys: keysOfEach, valueBytes };
      await preload(store, { ...load, from: 1, to: load.keys });
      const label = valueBytes < 1024 ? `${valueBytes} B` : `${valueBytes / 1024} KiB`;
      done.push(await writesAndReads(store, load, { label, rounds: options.rounds }));
    }
    return done;
  });
  return reportOf("values", `Size of a value, ${connections} connections`, steps);
}

/** The same load on more and more keys in one cluster. */
export async function keys(options: BenchOptions): Promise<Report> {
  const steps = await withFlotilla(options, async (store) => {
    await warm(store, options, 10_000);
    const done: Step[] = [];
    let written = 10_000;
    for (const count of [10_000, 100_000, 1_000_000]) {
      const load = { ...loadOf(options), keys: count };
      await preload(store, { ...load, from: written + 1, to: count });
      written = count;
      const label = `${count.toLocaleString("en")} keys`;
      done.push(await writesAndReads(store, load, { label, rounds: options.rounds }));
    }
    return done;
  });
  return reportOf("keys", `Number of keys, ${connections} connections`, steps);
}

function loadOf(options: BenchOptions): Load {
  return { ...options, workload: "write", connections, prefix: "bench-" };
}

async function warm(store: Store, options: BenchOptions, keyCount: number): Promise<void> {
  const load = { ...loadOf(options), keys: keyCount };
  await preload(store, { ...load, from: 1, to: keyCount });
  await warmUp(store, load, options.warmupSeconds);
}

async function writesAndReads(
  store: Store,
  load: Load,
  { label, rounds }: { readonly label: string; readonly rounds: number },
): Promise<Step> {
  const writes: Sample[] = [];
  const reads: Sample[] = [];
  for (let round = 0; round < rounds; round += 1) {
    writes.push(await measure(store, { ...load, workload: "write" }));
    reads.push(await measure(store, { ...load, workload: "read" }));
  }
  return { label, writes, reads };
}

/** Throughput of each step, and relative to the first. */
function reportOf(name: string, title: string, steps: readonly Step[]): Report {
  const perSecond = (samples: readonly Sample[] | undefined): number =>
    median((samples ?? []).map((sample) => sample.requestsPerSecond));
  const p99 = (samples: readonly Sample[]): string => ms(median(samples.map((s) => s.p99Ms)));
  const [first] = steps;
  return {
    name,
    title,
    columns: [
      "",
      "writes",
      "to the first",
      "p99",
      "reads",
      "to the first",
      "p99",
      "MiB per node",
      "errors",
    ],
    rows: steps.map(({ label, writes, reads }) => [
      label,
      rate(perSecond(writes)),
      (perSecond(writes) / perSecond(first?.writes)).toFixed(2),
      p99(writes),
      rate(perSecond(reads)),
      (perSecond(reads) / perSecond(first?.reads)).toFixed(2),
      p99(reads),
      Math.max(...reads.flatMap((sample) => sample.rssMiB)).toFixed(0),
      String([...writes, ...reads].reduce((sum, sample) => sum + sample.errors, 0)),
    ]),
    samples: steps,
    chart: steps.map(({ label, writes, reads }) => ({
      label,
      bars: [
        { name: "writes", value: perSecond(writes) },
        { name: "reads", value: perSecond(reads) },
      ],
    })),
  };
}
