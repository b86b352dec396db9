/**
 * Grafana's dashboard JSON from few words: a panel is a title, a kind, a unit and its queries; places on the grid, ids and the
 * data source follow. Only what our dashboards use.
 */
export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly Row[];
}

/** A choice at the top of a dashboard: all values of a label. */
export interface Variable {
  readonly name: string;
  readonly label: string;
  /** `label_values(metric, label)` */
  readonly query: string;
}

/** Panels side by side under one heading, all of the same width. */
export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** One picture or number. */
export interface Panel {
  readonly title: string;
  /** What to make of it; shown when one points at the panel's i. */
  readonly description: string;
  readonly kind: "stat" | "timeseries" | "table" | "state-timeline";
  /** Grafana's unit id: s, bytes, reqps, percentunit, short ... */
  readonly unit: string;
  readonly queries: readonly Query[];
  /** Where the colour changes: ascending; the first step has no value. */
  readonly steps?: readonly Step[];
}

/** PromQL, and what its series are called. */
export interface Query {
  readonly expr: string;
  /** `{{instance}}` */
  readonly legend: string;
}

/** From this value on, this colour. */
export interface Step {
  readonly from: number | null;
  readonly color: "green" | "yellow" | "red";
}

/** Fixed, so that the dashboards find it: see deploy/grafana/provisioning/datasources. */
const datasource = { type: "prometheus", uid: "prometheus" };
const gridColumns = 24;
const panelHeights = { stat: 4, timeseries: 8, table: 8, "state-timeline": 10 } as const;
const neutral: readonly Step[] = [{ from: null, color: "green" }];

/** The JSON model that Grafana loads from a file. */
export function renderDashboard(dashboard: Dashboard): object {
  return {
    uid: dashboard.uid,
    title: dashboard.title,
    description: dashboard.description,
    tags: ["flotilla"],
    schemaVersion: 39,
    version: 1,
    editable: false,
    refresh: "5s",
    time: { from: "now-30m", to: "now" },
    timezone: "browser",
    links: [{ type: "dashboards", tags: ["flotilla"], title: "Flotilla", asDropdown: false }],
    templating: { list: dashboard.variables.map(renderVariable) },
    panels: renderRows(dashboard.rows),
  };
}

function renderVariable({ name, label, query }: Variable): object {
  return {
    type: "query",
    name,
    label,
    datasource,
    query: { query, refId: name },
    refresh: 2,
    includeAll: true,
    multi: true,
    allValue: ".*",
    current: { text: "All", value: "$__all" },
    sort: 3,
  };
}

function renderRows(rows: readonly Row[]): object[] {
  const rendered: object[] = [];
  let y = 0;
  for (const row of rows) {
    const id = rendered.length + 1;
    const gridPos = { x: 0, y, w: gridColumns, h: 1 };
    rendered.push({ id, type: "row", title: row.title, collapsed: false, gridPos, panels: [] });
    y += 1;
    const width = Math.floor(gridColumns / row.panels.length);
    const height = Math.max(...row.panels.map(({ kind }) => panelHeights[kind]));
    for (const [at, panel] of row.panels.entries()) {
      const place = { x: at * width, y, w: width, h: height };
      rendered.push({ id: rendered.length + 1, gridPos: place, ...renderPanel(panel) });
    }
    y += height;
  }
  return rendered;
}

function renderPanel(panel: Panel): object {
  const isTable = panel.kind === "table";
  return {
    type: panel.kind,
    title: panel.title,
    description: panel.description,
    datasource,
    targets: panel.queries.map(({ expr, legend }, at) => ({
      refId: String.fromCharCode("A".charCodeAt(0) + at),
      datasource,
      expr,
      legendFormat: legend,
      ...(isTable ? { format: "table", instant: true } : {}),
    })),
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        ...(panel.kind === "timeseries" ? { min: 0 } : {}),
        color: { mode: panel.kind === "timeseries" ? "palette-classic" : "thresholds" },
        thresholds: {
          mode: "absolute",
          steps: (panel.steps ?? neutral).map(({ from, color }) => ({ value: from, color })),
        },
        custom: panel.kind === "timeseries" ? { fillOpacity: 8, showPoints: "never" } : {},
      },
      overrides: [],
    },
    options: renderOptions(panel.kind),
  };
}

function renderOptions(kind: Panel["kind"]): object {
  switch (kind) {
    case "stat":
      return { reduceOptions: { calcs: ["lastNotNull"] }, colorMode: "background" };
    case "timeseries":
      return { tooltip: { mode: "multi", sort: "desc" }, legend: { displayMode: "list" } };
    case "state-timeline":
      return { showValue: "never", mergeValues: true };
    case "table":
      return { showHeader: true };
  }
}
