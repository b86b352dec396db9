import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";

/** One command of a golden script, and what it printed when somebody last read it and found it right. */
interface Block {
  /** Comments and blank lines before the command, kept as they are. */
  readonly lead: readonly string[];
  readonly command: string;
  readonly expected: readonly string[];
}

/**
 * Runs a golden script: commands, each followed by `----` and its expected output up to a blank line. Lines that begin with `#` are
 * comments. With `UPDATE=1` in the environment the file is rewritten with what the commands print now: read the difference.
 *
 * @param run executes one command and returns the lines that it prints
 */
export function runGolden(path: string, run: (command: string) => readonly string[]): void {
  const { blocks, tail } = parse(readFileSync(path, "utf8"));
  const out: string[] = [];
  for (const block of blocks) {
    const actual = run(block.command);
    if (process.env["UPDATE"] === "1") {
      const comments = block.lead.filter((line) => line !== "");
      out.push(
        ...comments,
        ...(out.length === 0 ? [""] : []),
        block.command,
        "----",
        ...actual,
        "",
      );
    } else {
      assert.deepEqual(actual, block.expected, `${path}: after "${block.command}"`);
    }
  }
  if (process.env["UPDATE"] === "1") {
    writeFileSync(
      path,
      [...out, ...tail.filter((line) => line !== "")].join("\n").trimEnd() + "\n",
    );
  }
}

function parse(text: string): { blocks: readonly Block[]; tail: readonly string[] } {
  const blocks: Block[] = [];
  const lines = text.trimEnd().split("\n");
  let lead: string[] = [];
  let position = 0;
  while (position < lines.length) {
    const line = lines[position] ?? "";
    position += 1;
    if (line === "" || line.startsWith("#")) {
      lead.push(line);
      continue;
    }
    const expected: string[] = [];
    if (lines[position] === "----") {
      position += 1;
      while (position < lines.length && lines[position] !== "") {
        expected.push(lines[position] ?? "");
        position += 1;
      }
      position += 1;
    }
    blocks.push({ lead, command: line, expected });
    lead = [];
  }
  return { blocks, tail: lead };
}
