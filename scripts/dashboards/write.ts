// Run: node scripts/dashboards/write.ts. Writes deploy/grafana/dashboards/*.json.
import { writeFileSync } from "node:fs";
import { node, overview, shards } from "./dashboards.ts";
import { renderDashboard } from "./panels.ts";

/** File name below deploy/grafana/dashboards -> its text. */
export function dashboardFiles(): ReadonlyMap<string, string> {
  return new Map(
    Object.entries({ overview, shards, node }).map(([name, dashboard]) => [
      `${name}.json`,
      `${JSON.stringify(renderDashboard(dashboard), null, 2)}\n`,
    ]),
  );
}

/** Where Grafana's dashboards lie. */
export const dashboardFolder = new URL("../../deploy/grafana/dashboards/", import.meta.url);

if (import.meta.main) {
  for (const [name, text] of dashboardFiles()) {
    writeFileSync(new URL(name, dashboardFolder), text);
  }
}
