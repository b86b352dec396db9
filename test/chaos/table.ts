import type { Figures } from "./record.ts";

/** What is left of a run: one line of the results. */
export interface RunResult {
  readonly seed: number;
  readonly kinds: string;
  readonly nodes: number;
  readonly faults: number;
  readonly done: number;
  readonly failed: number;
  readonly unknown: number;
  readonly calmRate: number;
  readonly longestOutageMs: number;
  readonly healedMs: number;
  readonly footprints: Figures["footprints"];
  readonly undecided: number;
  readonly void: string | null;
  readonly violations: readonly string[];
}

const columns = [
  "faults",
  "runs",
  "void",
  "done to them",
  "operations",
  "unknown",
  "longest outage",
  "undecided keys",
  "violations",
];

/** The verdict, one row for each kind of faults and one for all. Void runs only count as such, but what they broke is broken. */
export function verdictTable(results: readonly RunResult[]): string {
  const groups = Map.groupBy(results, ({ kinds }) => kinds);
  const rows = [...groups].map(([kinds, each]) => rowOf(kinds, each));
  const all = groups.size > 1 ? [rowOf("**all**", results)] : [];
  return markdown([columns, columns.map(() => "---"), ...rows, ...all]);
}

function rowOf(name: string, results: readonly RunResult[]): readonly string[] {
  const counted = results.filter((result) => result.void === null);
  const sum = (of: (result: RunResult) => number): number =>
    counted.reduce((total, result) => total + of(result), 0);
  const operations = sum(({ done, failed, unknown }) => done + failed + unknown);
  const unknownShare = sum(({ unknown }) => unknown) / Math.max(1, operations);
  const longestMs = Math.max(0, ...counted.map(({ longestOutageMs }) => longestOutageMs));
  return [
    name,
    String(counted.length),
    String(results.length - counted.length),
    String(sum(({ faults }) => faults)),
    operations.toLocaleString("en-US"),
    `${(unknownShare * 100).toFixed(2)} %`,
    `${(longestMs / 1000).toFixed(1)} s`,
    String(sum(({ undecided }) => undecided)),
    String(results.reduce((total, { violations }) => total + violations.length, 0)),
  ];
}

function markdown(rows: readonly (readonly string[])[]): string {
  const widths = columns.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  const lines = rows.map((row) => {
    const cells = row.map((cell, at) =>
      cell === "---" ? "-".repeat(widths[at] ?? 3) : cell.padEnd(widths[at] ?? 0),
    );
    return `| ${cells.join(" | ")} |`;
  });
  return lines.join("\n");
}
