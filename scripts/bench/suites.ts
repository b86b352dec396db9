import { idle, memory } from "./cost-suites.ts";
import { floor } from "./floor-suite.ts";
import type { BenchOptions } from "./options.ts";
import { overload } from "./overload.ts";
import { keys, shards, values } from "./scaling-suites.ts";
import type { Report } from "./table.ts";
import { watchers } from "./watcher-suite.ts";

/** What `--suite` takes: each starts its own clusters and says what it found. */
export const suites: Readonly<Record<string, (options: BenchOptions) => Promise<Report>>> = {
  shards,
  values,
  keys,
  watchers,
  idle,
  memory,
  overload,
  floor,
};
