import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Inspector } from "./bench/inspector.ts";
import { type Load, measure, warmUp } from "./bench/measure.ts";
import { preload } from "./bench/preload.ts";
import { type CpuProfile, type Share, summarize } from "./bench/profile-summary.ts";
import { inspectorPort, withFlotilla } from "./bench/store.ts";
import { hasWrk, isWorkload, type Workload } from "./bench/wrk.ts";
import { runProgram } from "./lib/program.ts";

const usage = `npm run profile -- WORKLOAD [options]: where one of three nodes spends its time under load

  WORKLOAD           write, read or mixed
  --connections N    spread over all three nodes           (64)
  --seconds N        length of the profile                 (8)
  --warmup N         seconds of load before it             (10)
  --shards N         shards of the cluster                 (8)
  --keys N           keys, all written before the load     (20000)
  --value-bytes N    size of a value                       (256)
  --out DIR          where the profile is written          (bench-results)

The .cpuprofile opens in the developer tools of a browser. Needs wrk (Debian package wrk).`;

const functionsShown = 25;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    connections: { type: "string", default: "64" },
    seconds: { type: "string", default: "8" },
    warmup: { type: "string", default: "10" },
    shards: { type: "string", default: "8" },
    keys: { type: "string", default: "20000" },
    "value-bytes": { type: "string", default: "256" },
    out: { type: "string", default: "bench-results" },
    help: { type: "boolean", default: false },
  },
});

async function main(): Promise<void> {
  const [workload = ""] = positionals;
  if (values.help || !isWorkload(workload)) {
    console.log(usage);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  if (!hasWrk()) {
    throw new Error("wrk is not on the PATH: install it (Debian: apt-get install wrk)");
  }
  const directory = await mkdtemp(join(tmpdir(), "flotilla-profile-"));
  try {
    const profile = await profiled(workload, directory);
    await mkdir(values.out, { recursive: true });
    const file = join(values.out, `${workload}.cpuprofile`);
    await writeFile(file, JSON.stringify(profile));
    print(profile);
    console.log(`\nThe profile: ${file}`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function profiled(workload: Workload, directory: string): Promise<CpuProfile> {
  const load: Load = {
    workload,
    connections: Number(values.connections),
    seconds: Number(values.seconds),
    prefix: "bench-",
    keys: Number(values.keys),
    valueBytes: Number(values["value-bytes"]),
    directory,
  };
  const shards = Number(values.shards);
  return withFlotilla({ directory, shards, isInspected: true }, async (store) => {
    await preload(store, { ...load, from: 1, to: load.keys });
    await warmUp(store, load, Number(values.warmup));
    const inspector = await Inspector.connect(inspectorPort);
    try {
      await inspector.startProfile();
      await measure(store, load);
      return await inspector.stopProfile();
    } finally {
      inspector.close();
    }
  });
}

function print(profile: CpuProfile): void {
  const root = new URL("../", import.meta.url).href;
  const { totalMs, idleMs, modules, functions } = summarize(profile, root);
  const busy = (100 * (totalMs - idleMs)) / totalMs;
  console.log(`\nMain thread of n1: busy ${busy.toFixed(0)} % of ${totalMs.toFixed(0)} ms`);
  console.log("\nSelf time by module\n");
  modules.forEach(printShare);
  console.log(`\nThe ${functionsShown} functions with the most self time\n`);
  functions.slice(0, functionsShown).forEach(printShare);
}

function printShare({ name, selfMs, percent }: Share): void {
  console.log(`${percent.toFixed(1).padStart(6)} % ${selfMs.toFixed(0).padStart(7)} ms  ${name}`);
}

await runProgram(main);
