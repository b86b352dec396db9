import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { settingsTable } from "../../server/config.ts";
import { errorsTable } from "../../server/errors.ts";

// One row per line, not aligned by the formatter: a new row changes one line.
const unformatted = ["<!-- prettier-ignore-start -->", "<!-- prettier-ignore-end -->"] as const;

/** Compares a table in a page of docs with the one that the code makes; UPDATE=1 rewrites it. */
function checkTable(page: string, name: string, table: string): void {
  const url = new URL(`../../docs/${page}`, import.meta.url);
  const text = readFileSync(url, "utf8");
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  assert.ok(text.includes(begin) && text.includes(end), `${page} has the markers of ${name}`);
  const before = text.slice(0, text.indexOf(begin) + begin.length);
  const after = text.slice(text.indexOf(end));
  const wanted = `${before}\n${unformatted[0]}\n\n${table}\n\n${unformatted[1]}\n${after}`;
  if (process.env["UPDATE"] === "1") {
    writeFileSync(url, wanted);
  } else {
    assert.equal(text, wanted, `run: UPDATE=1 node --test test/server/docs.test.ts`);
  }
}

test("docs/configuration.md lists exactly the settings that exist", () => {
  checkTable("configuration.md", "settings", settingsTable());
});

test("docs/errors.md lists exactly the errors that exist", () => {
  checkTable("errors.md", "errors", errorsTable());
});
