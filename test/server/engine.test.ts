import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { engineFlags } from "../../server/engine.ts";

test("V8 knows every flag that a node sets: it only prints a line about one that it does not know", () => {
  const known = execFileSync(process.execPath, ["--v8-options"], {
    encoding: "utf8",
    maxBuffer: 1e7,
  });
  for (const flag of engineFlags) {
    const name = flag.replace(/^--(no-)?/, "--").replace(/=.*$/, "");
    assert.match(known, new RegExp(`^ +${name} \\(`, "m"), flag);
  }
});
