import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { describe, test } from "node:test";
import { checkTidy, fileLinesMax, functionLinesMax } from "./tidy.ts";
import type { Rule, SourceFile, Violation } from "./tidy.ts";

const root = join(import.meta.dirname, "..");

/** The files that may set timers, and what for. Elsewhere time comes in as a tick or a deadline. */
const timerFiles: Readonly<Record<string, string>> = {
  "cluster/transport/dial.ts": "a connection attempt that takes too long",
  "cluster/transport/peer-link.ts": "the pause before the next attempt; evidence that comes late",
  "cluster/transport/probe.ts": "a port that neither answers nor refuses",
  "cluster/transport/session.ts": "a stream that does not end by itself",
  "cluster/transport/snapshot-stream.ts": "a snapshot that has stalled",
  "storage/witness.ts": "many turns are noted with one write",
  "server/timers.ts": "the timers that a server hands to whoever has deadlines",
};

const ignoredFolders = new Set([
  ".data",
  ".git",
  "bench-results",
  "chaos-results",
  "coverage",
  "dist",
  "node_modules",
]);

const textFile = /(\.(ts|mjs|js|json|md|ya?ml|proto|sh|html|css)|\/Dockerfile|^Dockerfile)$/;

function repositoryFiles(): readonly SourceFile[] {
  const paths = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .filter((path) => !path.split("/").some((part) => ignoredFolders.has(part)))
    .filter((path) => textFile.test(path) && path !== "package-lock.json");
  return paths.sort().map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
}

function print(violations: readonly Violation[]): string {
  return violations.map(({ path, line, what }) => `${path}:${line}: ${what}`).join("\n");
}

describe("In this repository,", () => {
  const files = repositoryFiles();
  const violations = checkTidy(files, Object.keys(timerFiles));
  const sentences: Readonly<Record<Rule, string>> = {
    arrows: "imports point one way",
    dependencies: "every dependency is known to one place",
    purity: "cluster/raft and cluster/sharding have no clock, chance, timers, promises or I/O",
    fileSize: `no file has more than ${fileLinesMax} lines`,
    functionSize: `no function has more than ${functionLinesMax} lines`,
    docstrings: "every exported name has a docstring",
    defaultExports: "nothing is exported as default",
    timers: "only the listed files set timers",
    machinePaths: "no file names a path of somebody's machine",
    readmes: "every folder explains itself in a README.md",
  };
  for (const [rule, sentence] of Object.entries(sentences)) {
    test(sentence, () => {
      const broken = violations.filter((violation) => violation.rule === rule);
      assert.ok(broken.length === 0, `\n${print(broken)}`);
    });
  }

  test("the files that may set timers do", () => {
    const setting = checkTidy(files, []).filter(({ rule }) => rule === "timers");
    const idle = Object.keys(timerFiles).filter((path) => !setting.some((at) => at.path === path));
    assert.deepEqual(idle, []);
  });

  test("the check has looked at the sources", () => {
    const paths = files.map((file) => file.path);
    for (const path of ["cluster/types.ts", "cluster/sharding/ring.ts", "test/tidy.test.ts"]) {
      assert.ok(paths.includes(path), path);
    }
  });
});

/** What is found in one file with the given lines; its folders have their README.md. */
function found(path: string, ...lines: readonly string[]): readonly string[] {
  const folders = path.split("/").slice(0, -1);
  const readmes = folders.map((_, index) => ({
    path: `${folders.slice(0, index + 1).join("/")}/README.md`,
    text: "",
  }));
  const files = [...readmes, { path, text: lines.join("\n") }];
  return checkTidy(files, ["server/ticker.ts"]).map(({ rule, line }) => `${rule}:${line}`);
}

describe("A planted violation is found:", () => {
  const forbidden: readonly (readonly [importer: string, imported: string])[] = [
    ["cluster/assert.ts", "./types.ts"],
    ["cluster/raft/raft.ts", "../multiraft/store.ts"],
    ["cluster/raft/raft.ts", "../sharding/hash.ts"],
    ["cluster/sharding/ring.ts", "../raft/message.ts"],
    ["cluster/multiraft/replica.ts", "../transport/wire.ts"],
    ["cluster/multiraft/replica.ts", "../../storage/keys.ts"],
    ["cluster/transport/wire.ts", "../../storage/keys.ts"],
    ["storage/keys.ts", "../server/router.ts"],
    ["storage/keys.ts", "../cluster/transport/wire.ts"],
    ["client/client.ts", "../cluster/types.ts"],
    ["server/node.ts", "../scripts/bench.ts"],
    ["server/node.ts", "../test/tidy.ts"],
    ["server/node.ts", "../client/client.ts"],
    ["scripts/bench.ts", "../test/tidy.ts"],
  ];
  for (const [importer, imported] of forbidden) {
    test(`${importer} imports ${imported}`, () => {
      assert.deepEqual(found(importer, `import { a } from "${imported}";`), ["arrows:1"]);
    });
  }

  test("an arrow in any syntax", () => {
    const path = "storage/keys.ts";
    const target = '"../server/router.ts"';
    assert.deepEqual(found(path, "", `import type { A } from ${target};`), ["arrows:2"]);
    assert.deepEqual(found(path, `export { a } from ${target};`), ["arrows:1"]);
    assert.deepEqual(found(path, `void import(${target});`), ["arrows:1"]);
    assert.deepEqual(found(path, `let a: import(${target}).A;`), ["arrows:1"]);
    assert.deepEqual(found(path, `import ${target};`), ["arrows:1"]);
  });

  const misplaced: readonly (readonly [importer: string, dependency: string])[] = [
    ["cluster/multiraft/store.ts", "level"],
    ["server/node.ts", "classic-level"],
    ["server/node.ts", "@grpc/grpc-js"],
    ["server/router.ts", "fastify"],
    ["server/router.ts", "@fastify/swagger"],
    ["server/http/app.ts", "prom-client"],
    ["server/http/app.ts", "pino"],
    ["server/tracing.ts", "@opentelemetry/api"],
    ["client/client.ts", "undici"],
    ["storage/keys.ts", "levelup"],
  ];
  for (const [importer, dependency] of misplaced) {
    test(`${importer} imports ${dependency}`, () => {
      assert.deepEqual(found(importer, `import a from "${dependency}";`), ["dependencies:1"]);
    });
  }

  const impure: readonly string[] = [
    "const a = Date.now();",
    "const a = new Date();",
    "const a = Math.random();",
    "const a = performance.now();",
    "const a = process.env;",
    'console.log("a");',
    "queueMicrotask(b);",
    "const a = Promise.resolve();",
    "declare const a: Promise<void>;",
    "async function a() {}",
    "const a = async () => {};",
    "await b;",
    "for await (const a of b) {}",
    'const a = "a".localeCompare("b");',
    "const a = (1).toLocaleString();",
    "const a = globalThis;",
    'import { a } from "node:crypto";',
    'import { a } from "fast-check";',
  ];
  for (const code of impure) {
    test(`${code} in pure code`, () => {
      for (const path of ["cluster/raft/raft.ts", "cluster/sharding/ring.ts", "cluster/types.ts"]) {
        const rules = found(path, code).filter((finding) => finding.startsWith("purity"));
        assert.notDeepEqual(rules, [], path);
      }
      const elsewhere = found("test/raft/world.ts", code);
      assert.deepEqual(elsewhere, []);
    });
  }

  test("a file with one line too many", () => {
    const lines = (count: number): readonly string[] => new Array<string>(count).fill("// line");
    assert.deepEqual(found("storage/keys.ts", ...lines(fileLinesMax), ""), []);
    assert.deepEqual(found("storage/keys.ts", ...lines(fileLinesMax + 1)), ["fileSize:1"]);
    assert.deepEqual(found("test/keys.test.ts", ...lines(fileLinesMax + 1)), ["fileSize:1"]);
  });

  test("a function with one line too many, of any kind", () => {
    const body = (count: number): readonly string[] => new Array<string>(count - 2).fill("a();");
    const heads = ["function f() {", "const f = () => {", "const f = { f() {", "class F { f() {"];
    for (const [index, head] of heads.entries()) {
      const tail = index < 2 ? "}" : "} }";
      const sized = (lines: number): readonly string[] => {
        return found("storage/keys.ts", head, ...body(lines), tail);
      };
      assert.deepEqual(sized(functionLinesMax), [], head);
      assert.deepEqual(sized(functionLinesMax + 1), ["functionSize:1"], head);
    }
  });

  test("a long helper among tests, while the list of cases may be long", () => {
    const body = new Array<string>(functionLinesMax).fill("a();");
    const cases = ['describe("a", () => {', ...body, 'test("b", () => {', ...body, "});", "});"];
    assert.deepEqual(found("test/keys.test.ts", ...cases), []);
    assert.deepEqual(found("storage/keys.ts", ...cases), ["functionSize:1", "functionSize:72"]);
    const suite = ["export function suite() {", ...body, 'test("b", () => {});', "}"];
    assert.deepEqual(found("test/keys-suite.ts", ...suite), []);
    const helper = ['describe("a", () => {', "const f = () => {", ...body, "};", "});"];
    assert.deepEqual(found("test/keys.test.ts", ...helper), ["functionSize:2"]);
  });

  test("an exported name without a docstring", () => {
    const exports = [
      "export function a() {}",
      "export class A {}",
      "export interface A {}",
      "export type A = string;",
      "export const a = 1;",
    ];
    for (const code of exports) {
      assert.deepEqual(found("storage/keys.ts", code), ["docstrings:1"], code);
      assert.deepEqual(found("storage/keys.ts", "// Not a docstring.", code), ["docstrings:2"]);
      assert.deepEqual(found("storage/keys.ts", "/** What it promises. */", code), []);
      assert.deepEqual(found("test/keys.ts", code), []);
    }
  });

  test("a default export, however it is written", () => {
    const rule = ["defaultExports:1"];
    assert.deepEqual(found("test/keys.ts", "export default function a() {}"), rule);
    assert.deepEqual(found("test/keys.ts", "export default class {}"), rule);
    assert.deepEqual(found("test/keys.ts", "export default 1;"), rule);
    assert.deepEqual(found("test/keys.ts", "export { a as default };"), rule);
  });

  test("a timer in a file that is not listed", () => {
    for (const code of ["setTimeout(a, 1);", "setInterval(a, 1);", "setImmediate(a);"]) {
      assert.deepEqual(found("server/router.ts", code), ["timers:1"]);
      assert.deepEqual(found("server/ticker.ts", code), []);
      assert.deepEqual(found("scripts/bench.ts", code), []);
    }
    const imported = 'import { setTimeout as wait } from "node:timers/promises";';
    assert.ok(found("storage/keys.ts", imported).includes("timers:1"));
  });

  test("a path of somebody's machine, in any kind of file", () => {
    for (const top of ["home", "root", "Users", "work"]) {
      const path = ["", top, "me", "flotilla"].join("/");
      for (const file of ["test/keys.ts", "deploy/compose.yaml", "notes.md"]) {
        assert.deepEqual(found(file, `a "${path}" b`), ["machinePaths:1"]);
        assert.deepEqual(found(file, path), ["machinePaths:1"]);
        assert.deepEqual(found(file, `https://example.org${path}`), []);
      }
    }
  });

  test("a folder without a README.md", () => {
    const missing = (...paths: readonly string[]): readonly string[] => {
      const files = paths.map((path) => ({ path, text: "" }));
      return checkTidy(files, []).map(({ rule, path }) => `${rule} ${path}`);
    };
    assert.deepEqual(missing("client/client.ts"), ["readmes client/README.md"]);
    assert.deepEqual(missing("cluster/README.md", "cluster/raft/raft.ts"), [
      "readmes cluster/raft/README.md",
    ]);
    assert.deepEqual(missing("test/README.md", "test/raft/raft.test.ts", "eslint.config.js"), []);
  });
});

test("Code that keeps the rules is left alone", () => {
  const ring = [
    'import { assert } from "../assert.ts";',
    'import type { ShardId } from "../types.ts";',
    "interface Clock { Date: number; process(): void }",
    "/** What it promises. */",
    "export function a(options: { random: () => number }): number {",
    "  return options.random() + Math.floor(1);",
    "}",
  ];
  assert.deepEqual(found("cluster/sharding/ring.ts", ...ring), []);
  const node = [
    'import { Ring } from "../cluster/sharding/ring.ts";',
    'import { MultiRaft } from "../cluster/multiraft/multi-raft.ts";',
    'import { LevelLogStore } from "../storage/log-store.ts";',
    'import { App } from "./http/app.ts";',
    'import { once } from "node:events";',
  ];
  assert.deepEqual(found("server/node.ts", ...node), []);
  assert.deepEqual(found("server/http/app.ts", 'import { fastify } from "fastify";'), []);
  assert.deepEqual(found("server/metrics.ts", 'import prom from "prom-client";'), []);
  assert.deepEqual(found("storage/database.ts", 'import { Level } from "level";'), []);
  const anything = ['import fc from "fast-check";', 'import { a } from "../../scripts/a.ts";'];
  assert.deepEqual(found("test/raft/raft.test.ts", ...anything), []);
});
