import ts from "typescript";
import {
  compilerNodes,
  importsOf,
  isDefaultExport,
  isExported,
  isListOfCases,
  lineOf,
  namesOf,
  resolveImport,
} from "./tidy-syntax.ts";

/** One file of the repository, by its path from the root (with `/`). */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

export type Rule = keyof typeof syntaxRules | "machinePaths" | "readmes";

/** A broken rule: where, and a sentence. */
export interface Violation {
  readonly rule: Rule;
  readonly path: string;
  readonly line: number;
  readonly what: string;
}

/** A TypeScript file, parsed. */
interface ParsedFile extends SourceFile {
  readonly tree: ts.SourceFile;
}

interface Finding {
  readonly line: number;
  readonly what: string;
}

export const fileLinesMax = 500;
export const functionLinesMax = 70;

/**
 * Which part of the program may import which; a file belongs to the longest prefix that fits. A part may always import itself. Tests may
 * import everything; nobody imports tests or scripts.
 */
const arrows: Readonly<Record<string, readonly string[]>> = {
  "cluster/types.ts": ["cluster/assert.ts"],
  "cluster/assert.ts": [],
  "cluster/raft/": ["cluster/types.ts", "cluster/assert.ts"],
  "cluster/sharding/": ["cluster/types.ts", "cluster/assert.ts"],
  "cluster/multiraft/": ["cluster/types.ts", "cluster/assert.ts", "cluster/raft/"],
  "cluster/transport/": [
    "cluster/types.ts",
    "cluster/assert.ts",
    "cluster/raft/",
    "cluster/multiraft/",
    "proto/",
  ],
  "storage/": [
    "cluster/types.ts",
    "cluster/assert.ts",
    "cluster/raft/",
    "cluster/sharding/",
    "cluster/multiraft/",
  ],
  "server/": ["cluster/", "storage/"],
  "client/": [],
  "scripts/": ["client/", "cluster/", "proto/", "server/", "storage/"],
  "test/": [""],
};

/** Where code that ships may import a package. A dependency that is not listed has no place yet. */
const dependencyPlaces: Readonly<Record<string, string>> = {
  level: "storage/",
  "classic-level": "storage/",
  "@grpc/grpc-js": "cluster/transport/",
  "@grpc/proto-loader": "cluster/transport/",
  fastify: "server/http/",
  "@fastify/": "server/http/",
  typebox: "server/http/",
  "prom-client": "server/metrics.ts",
  pino: "server/log.ts",
  "@opentelemetry/": "server/otlp-exporter.ts",
};

/** Code without a clock, chance, timers, promises, I/O or logger. */
const purePlaces = ["cluster/types.ts", "cluster/assert.ts", "cluster/raft/", "cluster/sharding/"];

const impureNames = new Set(
  (
    "AbortSignal Atomics Date Intl Promise Worker clearImmediate clearInterval clearTimeout console crypto fetch global " +
    "globalThis performance process queueMicrotask require setImmediate setInterval setTimeout"
  ).split(" "),
);
/** Members that depend on chance or on the machine's locale. */
const impureMembers = /^(random|localeCompare|toLocale[A-Z]\w*)$/;

const timerNames = /^(setTimeout|setInterval|setImmediate)$/;

/** Directories of people's machines. Paths inside containers (/data, /etc) are fine. */
const machinePath = /(?:^|[\s"'`(=:])(\/(?:home|root|Users|work)\/[A-Za-z0-9._-]+|[A-Z]:\\Users\\)/;

const shipped = ["client/", "cluster/", "server/", "storage/"];

/** Rules that look at one TypeScript file. */
const syntaxRules = {
  /** Imports point one way. */
  arrows: checkArrows,
  /** Every dependency is known to one place. */
  dependencies: checkDependencies,
  /** cluster/raft and cluster/sharding are functions of their arguments. */
  purity: checkPurity,
  fileSize: checkFileSize,
  functionSize: checkFunctionSize,
  /** Every exported name says what it promises. */
  docstrings: checkDocstrings,
  defaultExports: checkDefaultExports,
  /** Waiting happens in the files that the caller lists, and nowhere else. */
  timers: checkTimers,
} satisfies Record<string, (file: ParsedFile) => readonly Finding[]>;

/** Everything in `files` that breaks a rule. `timerFiles` are the files that may set timers. */
export function checkTidy(
  files: readonly SourceFile[],
  timerFiles: readonly string[],
): readonly Violation[] {
  const parsed = files.filter((file) => file.path.endsWith(".ts")).map(parse);
  const found = parsed.flatMap((file) => [
    ...findings("arrows", file),
    ...findings("dependencies", file),
    ...findings("purity", file),
    ...findings("fileSize", file),
    ...findings("functionSize", file),
    ...findings("docstrings", file),
    ...findings("defaultExports", file),
    ...(timerFiles.includes(file.path) ? [] : findings("timers", file)),
  ]);
  return [...found, ...files.flatMap(checkMachinePaths), ...checkReadmes(files)];
}

function findings(rule: keyof typeof syntaxRules, file: ParsedFile): readonly Violation[] {
  return syntaxRules[rule](file).map((finding) => ({ rule, path: file.path, ...finding }));
}

function parse(file: SourceFile): ParsedFile {
  const tree = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, true);
  return { ...file, tree };
}

function isIn(path: string, places: readonly string[]): boolean {
  return places.some((place) => path.startsWith(place));
}

/** The part of the program that a file belongs to, a key of `arrows`; null for files at the root. */
function partOf(path: string): string | null {
  const fitting = Object.keys(arrows).filter((part) => path.startsWith(part));
  return fitting.sort((a, b) => b.length - a.length)[0] ?? null;
}

function checkArrows(file: ParsedFile): readonly Finding[] {
  const part = partOf(file.path);
  return importsOf(file.tree).flatMap(({ target, line }) => {
    const path = resolveImport(file.path, target);
    if (path === null) {
      return [];
    }
    const allowed = part === null ? [] : [part, ...(arrows[part] ?? [])];
    return isIn(path, allowed)
      ? []
      : [{ line, what: `${part ?? "the root"} must not import ${path}` }];
  });
}

function checkDependencies(file: ParsedFile): readonly Finding[] {
  if (!isIn(file.path, shipped)) {
    return [];
  }
  return importsOf(file.tree).flatMap(({ target, line }) => {
    if (target.startsWith(".") || target.startsWith("node:")) {
      return [];
    }
    const name = Object.keys(dependencyPlaces).find((known) => {
      return known.endsWith("/") ? target.startsWith(known) : isIn(`${target}/`, [`${known}/`]);
    });
    const place = name === undefined ? undefined : dependencyPlaces[name];
    if (place !== undefined && file.path.startsWith(place)) {
      return [];
    }
    return [{ line, what: `only ${place ?? "nobody"} may import ${target}` }];
  });
}

function checkPurity(file: ParsedFile): readonly Finding[] {
  if (!isIn(file.path, purePlaces)) {
    return [];
  }
  const imported = importsOf(file.tree)
    .filter(({ target }) => !target.startsWith("."))
    .map(({ target, line }) => ({ line, what: `pure code must not import ${target}` }));
  const used = compilerNodes(file.tree).flatMap((node): readonly Finding[] => {
    const name = impureNameOf(node);
    return name === null ? [] : [{ line: lineOf(node), what: `pure code must not use ${name}` }];
  });
  return [...imported, ...used];
}

function impureNameOf(node: ts.Node): string | null {
  if (ts.isAwaitExpression(node) || node.kind === ts.SyntaxKind.AsyncKeyword) {
    return node.kind === ts.SyntaxKind.AsyncKeyword ? "async" : "await";
  }
  if (node.kind === ts.SyntaxKind.AwaitKeyword && ts.isForOfStatement(node.parent)) {
    return "for await";
  }
  if (!ts.isIdentifier(node)) {
    return null;
  }
  const isMember = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node;
  if (isMember) {
    const isOwn = node.text === "random" && node.parent.expression.getText() !== "Math";
    return impureMembers.test(node.text) && !isOwn ? node.text : null;
  }
  return impureNames.has(node.text) && !isDeclaredName(node) ? node.text : null;
}

/** Names of fields and keys of objects are nobody's globals. */
function isDeclaredName(node: ts.Identifier): boolean {
  const { parent } = node;
  return (
    (ts.isPropertyAssignment(parent) ||
      ts.isPropertySignature(parent) ||
      ts.isPropertyDeclaration(parent) ||
      ts.isMethodSignature(parent) ||
      ts.isMethodDeclaration(parent)) &&
    parent.name === node
  );
}

function checkFileSize(file: ParsedFile): readonly Finding[] {
  const lines = file.text.trimEnd().split("\n").length;
  return lines > fileLinesMax ? [{ line: 1, what: `the file has ${lines} lines` }] : [];
}

function checkFunctionSize(file: ParsedFile): readonly Finding[] {
  return compilerNodes(file.tree).flatMap((node): readonly Finding[] => {
    if (!ts.isFunctionLike(node) || (file.path.startsWith("test/") && isListOfCases(node))) {
      return [];
    }
    const line = lineOf(node);
    const last = file.tree.getLineAndCharacterOfPosition(node.end).line + 1;
    const lines = last - line + 1;
    return lines > functionLinesMax ? [{ line, what: `a function has ${lines} lines` }] : [];
  });
}

function checkDocstrings(file: ParsedFile): readonly Finding[] {
  if (file.path.startsWith("test/")) {
    return [];
  }
  const exported = file.tree.statements.filter(isExported);
  const documented = new Set(
    exported.filter((node) => ts.getJSDocCommentsAndTags(node).length > 0).flatMap(namesOf),
  );
  return exported.flatMap((node) =>
    namesOf(node)
      .filter((name) => !documented.has(name))
      .map((name) => ({ line: lineOf(node), what: `${name} has no docstring` })),
  );
}

function checkDefaultExports(file: ParsedFile): readonly Finding[] {
  return file.tree.statements
    .filter(isDefaultExport)
    .map((node) => ({ line: lineOf(node), what: "exports have names" }));
}

function checkTimers(file: ParsedFile): readonly Finding[] {
  if (!isIn(file.path, shipped)) {
    return [];
  }
  const imported = importsOf(file.tree)
    .filter(({ target }) => target.startsWith("node:timers"))
    .map(({ target, line }) => ({ line, what: `imports ${target}` }));
  const used = compilerNodes(file.tree)
    .filter((node) => ts.isIdentifier(node) && timerNames.test(node.text))
    .map((node) => ({ line: lineOf(node), what: `uses ${node.getText()}` }));
  return [...imported, ...used];
}

function checkMachinePaths(file: SourceFile): readonly Violation[] {
  return file.text.split("\n").flatMap((text, index) => {
    const found = machinePath.exec(text)?.[1];
    const what = `names a path of some machine: ${found}`;
    return found === undefined
      ? []
      : [{ rule: "machinePaths", path: file.path, line: index + 1, what }];
  });
}

/** Folders with sources explain themselves: all at the top, and the parts of cluster, server and storage. */
function checkReadmes(files: readonly SourceFile[]): readonly Violation[] {
  const folders = new Set<string>();
  for (const { path } of files.filter((file) => /\.(ts|mjs|proto)$/.test(file.path))) {
    const [top = "", ...rest] = path.split("/");
    if (rest.length > 0) {
      folders.add(`${top}/`);
    }
    if (rest.length > 1 && ["cluster", "server", "storage"].includes(top)) {
      folders.add(`${top}/${rest[0]}/`);
    }
  }
  const paths = new Set(files.map((file) => file.path));
  return [...folders]
    .map((folder) => `${folder}README.md`)
    .filter((path) => !paths.has(path))
    .map((path) => ({ rule: "readmes", path, line: 1, what: "the folder has no README.md" }));
}
