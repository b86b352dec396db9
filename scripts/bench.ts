import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compare } from "./bench/compare.ts";
import type { BenchOptions } from "./bench/options.ts";
import { suites } from "./bench/suites.ts";
import { publish, type Report } from "./bench/table.ts";
import { hasWrk, isWorkload, type Workload } from "./bench/wrk.ts";
import { runProgram } from "./lib/program.ts";

const usage = `npm run bench -- [options]: Flotilla beside etcd, the same load, in turn

  --suite NAME       instead: one of ${Object.keys(suites).join(", ")}
  --seconds N        length of each measurement             (8)
  --rounds N         A B A B ... of each measurement        (2)
  --warmup N         seconds of load before the first one   (15)
  --connections L    for example 1,16,64,256                (1,16,64,256)
  --workloads L      write,read,mixed                       (write,read,mixed)
  --shards N         shards of the Flotilla cluster         (8)
  --keys N           keys, all written before the load      (100000)
  --value-bytes N    size of a value                        (256)
  --no-etcd          Flotilla alone
  --out DIR          where results are written              (bench-results)

Needs wrk (Debian package wrk); compares with etcd where it is on the PATH (Debian package etcd-server).`;

const { values } = parseArgs({
  options: {
    suite: { type: "string" },
    seconds: { type: "string", default: "8" },
    rounds: { type: "string", default: "2" },
    warmup: { type: "string", default: "15" },
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
  const suite = suiteOf(values.suite);
  const [load = 0] = loadavg();
  console.log(`Load of this machine before the start: ${load.toFixed(1)}`);
  const directory = await mkdtemp(join(tmpdir(), "flotilla-bench-"));
  try {
    await publish(await suite(optionsOf(directory)), values.out);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function suiteOf(name: string | undefined): (options: BenchOptions) => Promise<Report> {
  if (name === undefined) {
    return compare;
  }
  const suite = suites[name];
  if (suite === undefined) {
    throw new Error(`there is no suite ${name}; suites: ${Object.keys(suites).join(", ")}`);
  }
  return suite;
}

function optionsOf(directory: string): BenchOptions {
  return {
    seconds: number(values.seconds),
    rounds: number(values.rounds),
    warmupSeconds: number(values.warmup),
    connections: values.connections.split(",").map(number),
    workloads: values.workloads.split(",").map(workload),
    shards: number(values.shards),
    keys: number(values.keys),
    valueBytes: number(values["value-bytes"]),
    withEtcd: !values["no-etcd"],
    directory,
  };
}

function number(text: string): number {
  if (!/^\d+$/.test(text)) {
    throw new Error(`not a whole number: ${text}`);
  }
  return Number(text);
}

function workload(text: string): Workload {
  if (!isWorkload(text)) {
    throw new Error(`not a workload: ${text}`);
  }
  return text;
}

await runProgram(main);
