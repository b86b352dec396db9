// Compiles to dist/: JavaScript from TypeScript, and beside it the files that the program reads at run time.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const sourceFolders = ["client", "cluster", "server", "storage"];

/** What tsc does not carry over: the wire format, pages and pictures; not sources and not their documentation. */
function isAsset(path) {
  return !path.endsWith(".ts") && !path.endsWith(".md");
}

rmSync(`${root}dist`, { recursive: true, force: true });
const compiled = spawnSync(
  process.execPath,
  [`${root}node_modules/typescript/bin/tsc`, "-p", `${root}tsconfig.build.json`],
  { stdio: "inherit" },
);
if (compiled.status !== 0) {
  process.exit(compiled.status ?? 1);
}
for (const folder of [...sourceFolders, "proto"]) {
  if (existsSync(`${root}${folder}`)) {
    cpSync(`${root}${folder}`, `${root}dist/${folder}`, { recursive: true, filter: isAsset });
  }
}
