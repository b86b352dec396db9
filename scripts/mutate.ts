import { spawn } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";

/**
 * Proves that the Raft simulator finds bugs: plants each bug of scripts/mutations/ in a copy of the sources and simulates until a seed
 * fails. Prints which seed found it and which invariant was broken.
 *
 *     npm run mutate [-- --seeds 2000 --from 1 --only commit-older-term]
 *
 * Exit code 1 if a bug was not found, or was noticed only as an error that no check foresaw.
 */
const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "2000" },
    from: { type: "string", default: "1" },
    only: { type: "string" },
  },
});

const root = join(import.meta.dirname, "..");
const folder = join(import.meta.dirname, "mutations");

/** A planted bug: a sentence, and what to find and replace, each exactly once. */
interface Mutation {
  readonly name: string;
  readonly sentence: string;
  readonly patches: readonly {
    readonly file: string;
    readonly find: string;
    readonly replace: string;
  }[];
}

interface Finding {
  readonly seed: number;
  readonly invariant: string | null;
  readonly message: string;
}

process.exitCode = await main();

async function main(): Promise<number> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".txt")).sort();
  const chosen = names.filter((name) => values.only === undefined || name.startsWith(values.only));
  const width = Math.max(...chosen.map((name) => name.length));
  let missed = 0;
  console.log(`${"planted bug".padEnd(width)}  seed  broken invariant`);
  const mutations: Mutation[] = [];
  for (const name of chosen) {
    const mutation = parseMutation(name, await readFile(join(folder, name), "utf8"));
    await plant(mutation, root, false);
    mutations.push(mutation);
  }
  for (const mutation of mutations) {
    const finding = await simulateWith(mutation);
    const isFound = finding !== null && finding.invariant !== null;
    missed += isFound ? 0 : 1;
    const seed = finding === null ? "-" : String(finding.seed);
    const broken =
      finding === null ? "NOT FOUND" : (finding.invariant ?? `ERROR ${finding.message}`);
    console.log(`${mutation.name.padEnd(width)}  ${seed.padStart(4)}  ${broken}`);
  }
  console.log(
    `${chosen.length - missed} of ${chosen.length} planted bugs found within ${values.seeds} seeds`,
  );
  return missed === 0 ? 0 : 1;
}

/** The first failing seed of a world with this bug; null when all seeds pass. */
async function simulateWith(mutation: Mutation): Promise<Finding | null> {
  const copy = await mkdtemp(join(tmpdir(), "flotilla-mutation-"));
  try {
    for (const part of ["package.json", "cluster", "test/sim", "scripts/simulate.ts"]) {
      await cp(join(root, part), join(copy, part), { recursive: true });
    }
    await plant(mutation, copy, true);
    const output = await runSimulator(copy);
    const line = output.split("\n").find((each) => each.startsWith("{"));
    return line === undefined ? null : parseFinding(line);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/** Applies the patches below `directory`, or only checks that each of them fits. */
async function plant(mutation: Mutation, directory: string, mayWrite: boolean): Promise<void> {
  for (const { file, find, replace } of mutation.patches) {
    const path = join(directory, file);
    const text = replaceOnce(mutation.name, await readFile(path, "utf8"), find, replace);
    if (mayWrite) {
      await writeFile(path, text);
    }
  }
}

function runSimulator(directory: string): Promise<string> {
  const script = join(directory, "scripts", "simulate.ts");
  const options = ["--json", "--seeds", values.seeds, "--from", values.from];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...options], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0 || output.includes("{")) {
        resolve(output);
      } else {
        reject(new Error(`the simulator did not run: ${errors}`));
      }
    });
  });
}

function parseFinding(line: string): Finding {
  const value: unknown = JSON.parse(line);
  const fields = new Map<string, unknown>(Object.entries(value ?? {}));
  const invariant = fields.get("invariant");
  return {
    seed: Number(fields.get("seed")),
    invariant: typeof invariant === "string" ? invariant : null,
    message: String(fields.get("message")),
  };
}

/** A sentence, then blocks of `file:`, `find:` and `replace:`, whose texts end at the next of these words. */
function parseMutation(fileName: string, text: string): Mutation {
  const [sentence = "", ...blocks] = text.split(/^file: /m);
  const patches = blocks.map((block) => {
    const parts = block.match(/^(\S+)\nfind:\n([^]*?)\nreplace:\n?([^]*)$/);
    const [, file, find, replace] = parts ?? [];
    if (file === undefined || find === undefined || replace === undefined) {
      throw new Error(`${fileName}: a block is file, find, replace`);
    }
    return { file, find, replace: replace.trimEnd() };
  });
  if (patches.length === 0) {
    throw new Error(`${fileName} plants nothing`);
  }
  return { name: basename(fileName, ".txt"), sentence: sentence.trim(), patches };
}

function replaceOnce(name: string, text: string, find: string, replace: string): string {
  const parts = text.split(find);
  if (parts.length !== 2) {
    throw new Error(`${name}: found ${parts.length - 1} times, not once:\n${find}`);
  }
  return parts.join(replace);
}
