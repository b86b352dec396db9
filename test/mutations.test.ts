import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

const root = join(import.meta.dirname, "..");
const folders = ["scripts/mutations", "test/node-sim/mutations", "test/node-sim/mutations/missed"];

// Whether the simulations find them is shown by `npm run mutate` and `mutate:node`, which take an hour; here only that they can still try.
describe("A planted bug finds the place that it is planted in, exactly once:", () => {
  for (const folder of folders) {
    for (const name of readdirSync(join(root, folder)).filter((each) => each.endsWith(".txt"))) {
      test(`${folder}/${name}`, () => {
        const [, ...blocks] = readFileSync(join(root, folder, name), "utf8").split(/^file: /m);
        assert.ok(blocks.length > 0);
        for (const block of blocks) {
          const [, file = "", find = ""] = block.match(/^(\S+)\nfind:\n([^]*?)\nreplace:\n/) ?? [];
          assert.equal(readFileSync(join(root, file), "utf8").split(find).length, 2, find);
        }
      });
    }
  }
});
