/** One pair of bars. */
export interface ChartRow {
  readonly label: string;
  readonly flotilla: number;
  readonly etcd: number | null;
}

const rowHeight = 46;
const labelWidth = 230;
const barWidth = 520;

/** A bar chart of requests per second as SVG text: larger is better. */
export function barChart(title: string, rows: readonly ChartRow[]): string {
  const max = Math.max(1, ...rows.flatMap((row) => [row.flotilla, row.etcd ?? 0]));
  const bars = rows.map((row, at) => chartRow(row, 50 + at * rowHeight, max)).join("");
  const height = 70 + rows.length * rowHeight;
  const width = labelWidth + barWidth + 110;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="bold">${title}</text>
${bars}</svg>
`;
}

function chartRow(row: ChartRow, y: number, max: number): string {
  const bar = (value: number, dy: number, colour: string, name: string): string => {
    const width = Math.max(1, (value / max) * barWidth);
    const text = `${name} ${Math.round(value).toLocaleString("en")}`;
    return `<rect x="${labelWidth}" y="${y + dy}" width="${width.toFixed(1)}" height="16" fill="${colour}"/>
<text x="${(labelWidth + width + 6).toFixed(1)}" y="${y + dy + 13}" font-size="11">${text}</text>
`;
  };
  const etcd = row.etcd === null ? "" : bar(row.etcd, 18, "#9aa5b1", "etcd");
  return `<text x="16" y="${y + 21}">${row.label}</text>
${bar(row.flotilla, 0, "#0f7b8a", "Flotilla")}${etcd}`;
}
