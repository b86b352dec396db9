import { readFileSync, writeFileSync } from "node:fs";
import { Metrics } from "../server/metrics.ts";

/** The page that carries the table of metrics, between two markers. */
export const metricsPage = new URL("../docs/metrics.md", import.meta.url);

const begin = "<!-- metrics: written by scripts/metrics-docs.ts -->";
const end = "<!-- /metrics -->";
// One row per metric, not aligned by the formatter: a new metric changes one line.
const unformatted = ["<!-- prettier-ignore-start -->", "<!-- prettier-ignore-end -->"] as const;

/** The page with its table brought in line with server/metrics.ts. */
export function renderMetricsPage(page: string): string {
  const before = page.indexOf(begin);
  const after = page.indexOf(end);
  if (before < 0 || after < before) {
    throw new Error(`docs/metrics.md must hold ${begin} and ${end}`);
  }
  const [ignore, heed] = unformatted;
  const table = `\n${ignore}\n\n${metricsTable()}\n${heed}\n`;
  return `${page.slice(0, before + begin.length)}${table}${page.slice(after)}`;
}

function metricsTable(): string {
  const rows = new Metrics().definitions.map(
    ({ name, type, labels, help }) =>
      `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(" ")} | ${help} |`,
  );
  return ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |", ...rows, ""].join(
    "\n",
  );
}

if (import.meta.main) {
  writeFileSync(metricsPage, renderMetricsPage(readFileSync(metricsPage, "utf8")));
}
