import { flagOf, variableOf, type SettingsTable } from "./settings.ts";

/** Where a value came from. */
export type Source = "flag" | "environment" | "default";

/** What was given on the command line and in the environment, checked against a table. */
export interface Reading {
  readonly values: ReadonlyMap<string, unknown>;
  /** As written, for `--print-config`. */
  readonly texts: ReadonlyMap<string, { readonly text: string; readonly source: Source }>;
  /** Arguments that are not settings: `--help` and the like. */
  readonly commands: ReadonlySet<string>;
  /** Everything that is wrong, one sentence each. */
  readonly errors: readonly string[];
}

/** Reads all settings of a table; flags win over variables, variables over defaults. Collects every error instead of the first. */
export function readSettings(
  table: SettingsTable,
  commands: readonly string[],
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Reading {
  const errors: string[] = [];
  const given = readFlags(table, commands, argv, errors);
  const values = new Map<string, unknown>();
  const texts = new Map<string, { text: string; source: Source }>();
  for (const [name, row] of Object.entries(table)) {
    const flag = given.flags.get(name);
    // An empty variable counts as not set: compose files pass `${NAME:-}` on.
    const variable = env[variableOf(name)] === "" ? undefined : env[variableOf(name)];
    const written = flag ?? variable;
    if (written === undefined) {
      values.set(name, row.parse(row.defaultText)?.value ?? null);
      texts.set(name, { text: row.defaultText, source: "default" });
      continue;
    }
    const result = row.parse(written);
    const source: Source = flag === undefined ? "environment" : "flag";
    if (result === null) {
      const by = source === "flag" ? `--${flagOf(name)}` : variableOf(name);
      const other = source === "flag" ? variableOf(name) : `--${flagOf(name)}`;
      errors.push(`${by} (${other}) is ${JSON.stringify(written)}; it must be ${row.allowed}`);
    } else {
      values.set(name, result.value);
    }
    texts.set(name, { text: written, source });
  }
  return { values, texts, commands: given.commands, errors };
}

interface GivenFlags {
  readonly flags: ReadonlyMap<string, string>;
  readonly commands: ReadonlySet<string>;
}

function readFlags(
  table: SettingsTable,
  knownCommands: readonly string[],
  argv: readonly string[],
  errors: string[],
): GivenFlags {
  const names = new Map(Object.keys(table).map((name) => [flagOf(name), name]));
  const known = [...names.keys(), ...knownCommands];
  const flags = new Map<string, string>();
  const commands = new Set<string>();
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? "";
    const match = /^--([^=]+)(?:=(.*))?$/s.exec(argument);
    const flag = match?.[1];
    if (flag === undefined) {
      errors.push(`${JSON.stringify(argument)} is not a flag; flags begin with --`);
      continue;
    }
    if (knownCommands.includes(flag)) {
      commands.add(flag);
      continue;
    }
    const name = names.get(flag);
    if (name === undefined) {
      errors.push(unknownFlag(flag, known));
      // What follows is probably the value of the flag that was meant.
      at += match?.[2] === undefined && argv[at + 1]?.startsWith("--") === false ? 1 : 0;
      continue;
    }
    if (flags.has(name)) {
      errors.push(`--${flag} is given twice`);
    }
    const next = argv[at + 1];
    if (match?.[2] !== undefined) {
      flags.set(name, match[2]);
    } else if (table[name]?.isSwitch === true) {
      flags.set(name, "true");
    } else if (next === undefined || next.startsWith("--")) {
      errors.push(`--${flag} has no value; it must be ${table[name]?.allowed}`);
    } else {
      flags.set(name, next);
      at += 1;
    }
  }
  return { flags, commands };
}

function unknownFlag(flag: string, known: readonly string[]): string {
  const [closest] = known
    .map((name) => ({ name, distance: editDistance(flag, name) }))
    .sort((a, b) => a.distance - b.distance);
  const isClose = closest !== undefined && closest.distance <= Math.max(2, flag.length / 3);
  const hint = isClose ? `did you mean --${closest.name}?` : "--help lists all flags";
  return `--${flag} is not a flag of this program; ${hint}`;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (above[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    above = row;
  }
  return above[b.length] ?? 0;
}
