import { type Load, measure, type Sample, warmUp } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { preload } from "./preload.ts";
import { type Store, withFlotilla } from "./store.ts";
import { median, ms, rate, type Report } from "./table.ts";
import { Watchers } from "./watchers.ts";

const counts = [0, 100, 1000];

interface Step {
  readonly label: string;
  readonly writes: readonly Sample[];
  readonly eventsPerSecond: number;
  readonly ended: number;
}

/** Writes while others watch: other keys, then the keys that are written. Watchers are spread over all nodes, and read by this process. */
export async function watchers(options: BenchOptions): Promise<Report> {
  const load: Load = { ...options, workload: "write", connections: 64, prefix: "bench-" };
  const steps = await withFlotilla(options, async (store) => {
    await preload(store, { ...load, from: 1, to: load.keys });
    await warmUp(store, load, options.warmupSeconds);
    const done: Step[] = [];
    for (const count of counts) {
      const label = count === 0 ? "no watcher" : `${count} of other keys`;
      done.push(await watched(store, load, { label, count, prefix: "other-", ...options }));
    }
    for (const count of counts.slice(1)) {
      const label = `${count} of the written keys`;
      done.push(await watched(store, load, { label, count, prefix: "bench-", ...options }));
    }
    return done;
  });
  return reportOf(steps);
}

interface Watched {
  readonly label: string;
  readonly count: number;
  readonly prefix: string;
  readonly rounds: number;
}

async function watched(store: Store, load: Load, what: Watched): Promise<Step> {
  const { label, count, prefix, rounds } = what;
  console.log(label);
  const clients = new Watchers();
  for (const [at, url] of store.urls.entries()) {
    const share = Math.floor((count + at) / store.urls.length);
    await clients.open(`${url}/v1/watch?prefix=${prefix}`, share);
  }
  const startedMs = performance.now();
  const writes: Sample[] = [];
  for (let round = 0; round < rounds; round += 1) {
    writes.push(await measure(store, load));
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const { events, ended } = clients;
  clients.close();
  return { label, writes, eventsPerSecond: events / seconds, ended };
}

function reportOf(steps: readonly Step[]): Report {
  const perSecond = (step: Step | undefined): number =>
    median((step?.writes ?? []).map((sample) => sample.requestsPerSecond));
  return {
    name: "watchers",
    title: "Writes while others watch, 64 connections",
    columns: [
      "watchers",
      "writes",
      "to none",
      "p99",
      "events told",
      "watches ended by the node",
      "MiB per node",
      "errors",
    ],
    rows: steps.map((step) => [
      step.label,
      rate(perSecond(step)),
      (perSecond(step) / perSecond(steps[0])).toFixed(2),
      ms(median(step.writes.map((sample) => sample.p99Ms))),
      rate(step.eventsPerSecond),
      String(step.ended),
      Math.max(...step.writes.flatMap((sample) => sample.rssMiB)).toFixed(0),
      String(step.writes.reduce((sum, sample) => sum + sample.errors, 0)),
    ]),
    samples: steps,
    chart: steps.map((step) => ({
      label: step.label,
      bars: [{ name: "writes", value: perSecond(step) }],
    })),
  };
}
