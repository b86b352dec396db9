import type { Workload } from "./wrk.ts";

/** What was asked for on the command line. */
export interface BenchOptions {
  /** Length of one measurement. */
  readonly seconds: number;
  readonly rounds: number;
  readonly warmupSeconds: number;
  readonly connections: readonly number[];
  readonly workloads: readonly Workload[];
  readonly shards: number;
  readonly keys: number;
  readonly valueBytes: number;
  readonly withEtcd: boolean;
  /** For data and files of the load generator; removed afterwards. */
  readonly directory: string;
}
