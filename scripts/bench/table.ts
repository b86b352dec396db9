import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { barChart, type ChartRow } from "./chart.ts";

/** What a suite found: a table to read, the figures behind it, and a picture. */
export interface Report {
  /** Names the files. */
  readonly name: string;
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What JSON gets beside the rows: every single measurement. */
  readonly samples: readonly unknown[];
  readonly chart: readonly ChartRow[];
}

/** Prints the table and writes `NAME.json` and `NAME.svg`. */
export async function publish(report: Report, directory: string): Promise<void> {
  const { name, title, columns, rows, samples, chart } = report;
  console.log(`\n${title}\n`);
  for (const cells of [columns, columns.map(() => "---"), ...rows]) {
    console.log(`| ${cells.join(" | ")} |`);
  }
  await mkdir(directory, { recursive: true });
  const json = join(directory, `${name}.json`);
  const svg = join(directory, `${name}.svg`);
  await writeFile(json, `${JSON.stringify({ title, columns, rows, samples }, null, 2)}\n`);
  await writeFile(svg, barChart(title, chart));
  console.log(`\nWritten: ${json}, ${svg}`);
}

/** Requests per second, for a table. */
export function rate(perSecond: number): string {
  return `${Math.round(perSecond).toLocaleString("en")} /s`;
}

/** How many connections, for a label. */
export function connectionsText(connections: number): string {
  return `${connections} connection${connections === 1 ? "" : "s"}`;
}

/** Milliseconds, three digits that matter, for a table. */
export function ms(milliseconds: number): string {
  return milliseconds < 100
    ? `${milliseconds.toPrecision(3)} ms`
    : `${Math.round(milliseconds)} ms`;
}

/** The lower median; of nothing, NaN. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN;
}
