/** One row of a table of settings. `Value` is what the program gets. */
export interface Setting<Value> {
  readonly section: string;
  readonly help: string;
  readonly unit: string;
  /** What may be written, for error messages and docs. */
  readonly allowed: string;
  /** As a person would write it. */
  readonly defaultText: string;
  /** Null: not a permitted value. */
  readonly parse: (text: string) => Parsed<Value> | null;
  /** A flag that may stand alone, meaning `true`. */
  readonly isSwitch: boolean;
}

/** Boxed, because null can be a value. */
export interface Parsed<Value> {
  readonly value: Value;
}

/** Settings by name. The name gives the flag (`httpPort`: `--http-port`) and the variable (`FLOTILLA_HTTP_PORT`). */
export type SettingsTable = Readonly<Record<string, Setting<unknown>>>;

/** What the program gets of a table. */
export type ValuesOf<Table extends SettingsTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Setting<infer Value> ? Value : never;
};

/** The flag of a setting, without its dashes. */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The environment variable of a setting. */
export function variableOf(name: string): string {
  return `FLOTILLA_${flagOf(name).replaceAll("-", "_").toUpperCase()}`;
}

/** What every kind of row needs; its value has a default in words. */
interface Common {
  readonly section: string;
  readonly help: string;
}

/** A whole number within bounds. */
export function integer(
  row: Common & { default: number; min: number; max: number; unit?: string },
): Setting<number> {
  const { min, max } = row;
  return {
    ...described(row, row.unit ?? "", `a whole number from ${min} to ${max}`),
    defaultText: String(row.default),
    parse: (text) => within(/^-?\d{1,15}$/.test(text) ? Number(text) : null, min, max),
  };
}

const byteUnits: Readonly<Record<string, number>> = {
  "": 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

/** A size; `64KiB`, `1MiB` and plain numbers of bytes. */
export function bytes(
  row: Common & { default: string; min: string; max: string },
): Setting<number> {
  const min = sizeOf(row.min) ?? 0;
  const max = sizeOf(row.max) ?? 0;
  return {
    ...described(row, "bytes", `a size from ${row.min} to ${row.max}, such as 4096 or 64KiB`),
    defaultText: row.default,
    parse: (text) => within(sizeOf(text), min, max),
  };
}

function sizeOf(text: string): number | null {
  const match = /^(\d{1,12})([KMG]iB)?$/.exec(text);
  const factor = byteUnits[match?.[2] ?? ""];
  return match === null || factor === undefined ? null : Number(match[1]) * factor;
}

/** Text that a function accepts. */
export function text(
  row: Common & { default: string; allowed: string; check: (text: string) => boolean },
): Setting<string> {
  return {
    ...described(row, "", row.allowed),
    defaultText: row.default,
    parse: (text) => (row.check(text) ? { value: text } : null),
  };
}

/** Text that may be left out: then null, and something else decides, as `otherwise` says. */
export function optionalText(
  row: Common & { otherwise: string; allowed: string; check: (text: string) => boolean },
): Setting<string | null> {
  return {
    ...described(row, "", row.allowed),
    defaultText: row.otherwise,
    parse: (text) => (row.check(text) ? { value: text } : null),
  };
}

/** One of a few words. */
export function choice<Word extends string>(
  row: Common & { default: Word; words: readonly Word[] },
): Setting<Word> {
  return {
    ...described(row, "", `one of ${row.words.join(", ")}`),
    defaultText: row.default,
    parse: (text) => {
      const word = row.words.find((each) => each === text);
      return word === undefined ? null : { value: word };
    },
  };
}

/** Yes or no; the flag alone means yes. */
export function toggle(row: Common & { default: boolean }): Setting<boolean> {
  return {
    ...described(row, "", "true or false"),
    isSwitch: true,
    defaultText: String(row.default),
    parse: (text) =>
      text === "true" || text === "1"
        ? { value: true }
        : text === "false" || text === "0"
          ? { value: false }
          : null,
  };
}

/** Anything else: a function that makes the value of the text. */
export function parsed<Value>(
  row: Common & {
    default: string;
    allowed: string;
    parse: (text: string) => Parsed<Value> | null;
  },
): Setting<Value> {
  return { ...described(row, "", row.allowed), defaultText: row.default, parse: row.parse };
}

function described(row: Common, unit: string, allowed: string) {
  return { section: row.section, help: row.help, unit, allowed, isSwitch: false };
}

function within(value: number | null, min: number, max: number): Parsed<number> | null {
  return value === null || value < min || value > max ? null : { value };
}

/** The markdown table of a table of settings. */
export function markdownTable(table: SettingsTable): string {
  const rows = Object.entries(table).map(([name, row]) => {
    const unit = row.unit === "" ? "" : ` (${row.unit})`;
    const standard = row.defaultText === "" ? "" : `\`${row.defaultText}\``;
    return `| \`--${flagOf(name)}\` | \`${variableOf(name)}\` | ${standard} | ${row.help}${unit} |`;
  });
  return [
    "| flag | environment variable | default | meaning |",
    "| --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}

/** The text of `--help`, in sections. */
export function helpText(table: SettingsTable): string {
  const lines: string[] = [];
  let section = "";
  for (const [name, row] of Object.entries(table)) {
    if (row.section !== section) {
      section = row.section;
      lines.push("", `${section}:`);
    }
    const unit = row.unit === "" ? "" : `, ${row.unit}`;
    const standard = row.defaultText === "" ? "none" : row.defaultText;
    lines.push(`  --${flagOf(name).padEnd(30)} ${row.help} (${standard}${unit})`);
  }
  return lines.join("\n");
}
