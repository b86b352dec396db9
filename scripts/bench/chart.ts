/** One bar: its name, its length, and the text at its end, else the value. */
export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly text?: string;
}

/** A group of bars under one label. */
export interface ChartRow {
  readonly label: string;
  readonly bars: readonly Bar[];
}

const colours = ["#0f7b8a", "#9aa5b1", "#d98e04", "#7a5195"];
const barPitch = 18;
const labelWidth = 230;
const barWidth = 520;

/** A bar chart as SVG text, bars of one scale. */
export function barChart(title: string, rows: readonly ChartRow[]): string {
  const max = Math.max(1e-9, ...rows.flatMap((row) => row.bars.map((bar) => bar.value)));
  let y = 50;
  let content = "";
  for (const row of rows) {
    content += chartRow(row, y, max);
    y += row.bars.length * barPitch + 10;
  }
  const width = labelWidth + barWidth + 160;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y + 10}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="bold">${title}</text>
${content}</svg>
`;
}

function chartRow(row: ChartRow, top: number, max: number): string {
  const bars = row.bars.map(({ name, value, text }, at) => {
    const width = Math.max(1, (value / max) * barWidth);
    const y = top + at * barPitch;
    const end = text ?? Math.round(value).toLocaleString("en");
    return `<rect x="${labelWidth}" y="${y}" width="${width.toFixed(1)}" height="16" fill="${colours[at % colours.length]}"/>
<text x="${(labelWidth + width + 6).toFixed(1)}" y="${y + 13}" font-size="11">${name} ${end}</text>
`;
  });
  return `<text x="16" y="${top + 13}">${row.label}</text>
${bars.join("")}`;
}
