import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runGolden } from "../golden.ts";
import { Script } from "./script.ts";

const folder = join(import.meta.dirname, "scripts");

for (const file of readdirSync(folder).filter((name) => name.endsWith(".txt"))) {
  test(`the replicas behave as written in ${file}`, () => {
    const script = new Script();
    runGolden(join(folder, file), (command) => script.run(command));
  });
}
