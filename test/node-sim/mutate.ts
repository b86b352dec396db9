import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs, promisify } from "node:util";

/**
 * Proves that the simulation of whole nodes finds bugs: plants each bug of test/node-sim/mutations/ in a copy of the sources and simulates until
 * a seed fails. Prints how many seeds it took and which promise was broken. Bugs whose names begin with `odd-` are looked for in the world with an
 * odd replica.
 *
 *     npm run mutate:node [-- --seeds 400 --only ack-before-sync]
 *
 * Exit code 1 if a bug was not found.
 */
const { values } = parseArgs({
  options: { seeds: { type: "string", default: "400" }, only: { type: "string", default: "" } },
});

/** A planted bug: a sentence, and what to find and replace, each exactly once. */
interface Mutation {
  readonly name: string;
  readonly sentence: string;
  readonly patches: readonly Patch[];
}

interface Patch {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const root = join(import.meta.dirname, "..", "..");
const folder = join(import.meta.dirname, "mutations");
const copied = ["package.json", "cluster", "server", "storage", "proto", "test"];

process.exitCode = await main();

async function main(): Promise<number> {
  const files = (await readdir(folder)).filter((name) => name.endsWith(".txt"));
  const names = files.filter((name) => name.startsWith(values.only)).sort();
  let missed = 0;
  console.log("| planted bug | found by | after seeds |\n| --- | --- | --- |");
  for (const name of names) {
    const mutation = parse(name, await readFile(join(folder, name), "utf8"));
    const finding = await simulateWith(mutation);
    missed += finding === null ? 1 : 0;
    const found = finding === null ? `NOT FOUND | ${values.seeds}` : finding;
    console.log(`| ${mutation.name}: ${mutation.sentence} | ${found} |`);
  }
  console.log(`${names.length - missed} of ${names.length} found within ${values.seeds} seeds`);
  return missed === 0 ? 0 : 1;
}

/** The broken promise and the number of seeds, as two cells; null when all seeds pass. */
async function simulateWith({ name, patches }: Mutation): Promise<string | null> {
  const copy = await mkdtemp(join(tmpdir(), "flotilla-mutation-"));
  try {
    for (const part of copied) {
      await cp(join(root, part), join(copy, part), { recursive: true });
    }
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    for (const { file, find, replace } of patches) {
      const path = join(copy, file);
      const parts = (await readFile(path, "utf8")).split(find);
      if (parts.length !== 2) {
        throw new Error(`${name}: found ${parts.length - 1} times, not once:\n${find}`);
      }
      await writeFile(path, parts.join(replace));
    }
    const world = name.startsWith("odd-") ? ["--odd"] : [];
    const output = await runSweep(join(copy, "test", "node-sim", "cli.ts"), world);
    const match = /^seed (\d+) FAILED: Violation: (.{1,100})/m.exec(output);
    return match === null ? null : `${match[2]?.replaceAll("|", "/")} | ${match[1]}`;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function runSweep(cli: string, world: readonly string[]): Promise<string> {
  const options = ["--seeds", `1-${values.seeds}`, "--workers", "1", "--first-failure", ...world];
  try {
    const maxBuffer = 64 * 1024 * 1024;
    const { stdout } = await promisify(execFile)(process.execPath, [cli, ...options], {
      maxBuffer,
    });
    return stdout;
  } catch (error) {
    const stdout = error instanceof Error && "stdout" in error ? String(error.stdout) : "";
    if (!stdout.includes("FAILED")) {
      throw error;
    }
    return stdout;
  }
}

/** A sentence, then blocks of `file:`, `find:` and `replace:`, whose texts end at the next of these words. */
function parse(fileName: string, text: string): Mutation {
  const [sentence = "", ...blocks] = text.split(/^file: /m);
  const patches = blocks.map((block) => {
    const [, file, find, replace] = /^(\S+)\nfind:\n([^]*?)\nreplace:\n?([^]*)$/.exec(block) ?? [];
    if (file === undefined || find === undefined || replace === undefined) {
      throw new Error(`${fileName}: a block is file, find, replace`);
    }
    return { file, find, replace: replace.trimEnd() };
  });
  return { name: basename(fileName, ".txt"), sentence: sentence.trim(), patches };
}
