import type { BenchOptions } from "./options.ts";
import type { Report } from "./table.ts";

/** What `--suite` takes: each starts its own clusters and says what it found. */
export const suites: Readonly<Record<string, (options: BenchOptions) => Promise<Report>>> = {};
