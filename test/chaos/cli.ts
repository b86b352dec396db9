import { appendFileSync, existsSync, readFileSync, rmSync } from "node:fs";
import { cp, mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  containerKinds,
  drawPlan,
  type FaultKind,
  faultKinds,
  inContainers,
  networkKinds,
  type Plan,
} from "./plan.ts";
import { type Footprint, readRecord, type RunRecord, writeRecord } from "./record.ts";
import { ChaosRun } from "./run.ts";
import { SmallDisks } from "./small-disks.ts";
import { type RunResult, verdictTable } from "./table.ts";
import { judge } from "./verdict.ts";

const usage = `npm run chaos -- [--minutes 5 | --runs 3] [--seconds 60] [--faults kill,pause,partition] [--each] [--seed 1]
npm run chaos -- --check chaos-results/seed-7

Runs clusters of real processes under attack and checks what they promised. Each run is a fresh cluster with its own seed.

--minutes N    as many runs as fit into this time
--runs N       that many runs; 1 if neither is given
--seconds N    how long clients work in each run (60)
--faults LIST  what is done to it, mixed by the seed (all): ${faultKinds.join(", ")}
--containers   the cluster of docker-compose.yml in containers; faults: ${containerKinds.join(", ")}
--each         every run with one kind of faults, one after the other, then one with all of them
--seed N       of the first run; the next has the next (a random one)
--results FILE appends a line of JSON for each run; the table at the end covers all of the file
--keep DIR     where history and logs of failed runs go (chaos-results)
--check DIR    judges a kept history again
--quiet        prints nothing while a run goes on`;

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    runs: { type: "string" },
    seconds: { type: "string", default: "60" },
    faults: { type: "string", default: "all" },
    containers: { type: "boolean", default: false },
    each: { type: "boolean", default: false },
    seed: { type: "string" },
    results: { type: "string" },
    keep: { type: "string", default: "chaos-results" },
    check: { type: "string" },
    quiet: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const historyFile = "history.ndjson";

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => process.exit(1));
}

if (values.help) {
  console.log(usage);
} else if (values.check !== undefined) {
  report(resultOf(readRecord(join(values.check, historyFile))));
} else {
  await runMany(kindsOf(values.faults));
}

/** The kinds that a list names. Of `all`, those that are possible here. */
function kindsOf(list: string): readonly FaultKind[] {
  const all = values.containers ? containerKinds : faultKinds;
  const names: readonly string[] = list === "all" ? all : list.split(",");
  const kinds = names.map((name) => {
    const kind = all.find((each) => each === name);
    if (kind === undefined) {
      throw new Error(`there is no fault "${name}"; there are: ${all.join(", ")}`);
    }
    return kind;
  });
  const impossible = impossibleHere(kinds);
  if (impossible.length > 0) {
    const what = `not possible here: ${impossible.join(", ")} (the network's faults need Linux, small disks the right to mount)`;
    if (list !== "all") {
      throw new Error(what);
    }
    console.log(what);
  }
  return kinds.filter((kind) => !impossible.includes(kind));
}

function impossibleHere(kinds: readonly FaultKind[]): readonly FaultKind[] {
  if (values.containers) {
    return [];
  }
  const network = process.platform === "linux" ? [] : networkKinds;
  const disk: FaultKind[] =
    kinds.includes("disk-full") && !SmallDisks.arePossible() ? ["disk-full"] : [];
  return [...network, ...disk].filter((kind) => kinds.includes(kind));
}

async function runMany(kinds: readonly FaultKind[]): Promise<void> {
  const startedMs = performance.now();
  const minutes = values.minutes === undefined ? 0 : Number(values.minutes);
  const runs = Number(values.runs ?? (minutes > 0 ? Infinity : 1));
  const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 1e6));
  const results: RunResult[] = [];
  for (let at = 0; at < runs; at += 1) {
    const seed = firstSeed + at;
    const isOver = performance.now() - startedMs > minutes * 60_000;
    if (minutes > 0 && isOver && at > 0) {
      break;
    }
    const plan = drawPlan(seed, values.each ? oneOf(kinds, seed) : kinds, Number(values.seconds));
    results.push(await runOne(values.containers ? inContainers(plan) : plan));
  }
  console.log(`\n${verdictTable(values.results === undefined ? results : readResults())}`);
}

/** Round and round: each kind alone, then all together. */
function oneOf(kinds: readonly FaultKind[], seed: number): readonly FaultKind[] {
  const kind = kinds[seed % (kinds.length + 1)];
  return kind === undefined ? kinds : [kind];
}

async function runOne(plan: Plan): Promise<RunResult> {
  const directory = await mkdtemp(join(tmpdir(), "flotilla-chaos-"));
  const kept = join(values.keep, `seed-${plan.seed}`);
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  process.on("exit", remove);
  try {
    const onDeed = (what: string): void => {
      if (!values.quiet) {
        console.log(`  ${what}`);
      }
    };
    const record = await ChaosRun.record(plan, directory, onDeed);
    const result = resultOf(record);
    report(result);
    if (result.violations.length > 0) {
      await keepLogs(plan, directory, kept);
      writeRecord(join(kept, historyFile), record);
      console.log(`history and logs are in ${kept}; npm run chaos -- --check ${kept}`);
    }
    if (values.results !== undefined) {
      appendFileSync(values.results, `${JSON.stringify(result)}\n`);
    }
    return result;
  } catch (error) {
    await keepLogs(plan, directory, kept);
    throw new Error(`seed ${plan.seed} could not be run; logs are in ${kept}`, { cause: error });
  } finally {
    process.off("exit", remove);
    remove();
  }
}

async function keepLogs(plan: Plan, directory: string, kept: string): Promise<void> {
  await mkdir(kept, { recursive: true });
  for (let node = 1; node <= plan.nodes; node += 1) {
    await cp(join(directory, `n${node}.log`), join(kept, `n${node}.log`));
  }
}

function resultOf(record: RunRecord): RunResult {
  const { plan, figures } = record;
  const { seed, kinds, nodes } = plan;
  const name = kinds.length > 3 ? `${kinds.length} kinds mixed` : kinds.join(" + ");
  return { seed, kinds: name, nodes, ...figures, ...judge(record) };
}

function report(result: RunResult): void {
  const { seed, kinds, done, failed, unknown, violations, undecided } = result;
  const verdict = violations.length > 0 ? "FAILED" : result.void === null ? "ok" : "void";
  const figures = [
    `${result.faults} faults`,
    `${done} done, ${failed} refused, ${unknown} unknown`,
    `${Math.round(result.calmRate)}/s before faults`,
    `longest outage ${Math.round(result.longestOutageMs)} ms`,
    `healed in ${Math.round(result.healedMs)} ms`,
    ...footprintsOf(result),
    ...(undecided > 0 ? [`${undecided} keys undecided`] : []),
    ...(result.void === null ? [] : [result.void]),
  ];
  console.log(`seed ${seed}, ${kinds}, ${result.nodes} nodes: ${verdict}; ${figures.join("; ")}`);
  violations.slice(0, 20).forEach((violation) => console.log(`  ${violation}`));
  if (violations.length > 0) {
    process.exitCode = 1;
  }
}

/** Memory and open files of each node, before the first fault and after the last. */
function footprintsOf({ footprints }: RunResult): readonly string[] {
  const list = (each: readonly Footprint[]): string =>
    each.map(({ ownMiB, openFiles }) => `${Math.round(ownMiB)} MiB/${openFiles}`).join(" ");
  const { before, after } = footprints;
  return before.length > 0 ? [`memory and files ${list(before)}, then ${list(after)}`] : [];
}

function readResults(): readonly RunResult[] {
  const file = values.results ?? "";
  const lines = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [];
  return lines.map((line) => JSON.parse(line) as RunResult);
}
