// Installs the locked dependencies when they are missing or older than the lock file, so that `npm start` and
// `npm test` work alone in a fresh clone. Plain JavaScript: it runs on whatever Node the system has.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const lock = new URL("../package-lock.json", import.meta.url);
const marker = new URL("../node_modules/.package-lock.json", import.meta.url);
const nodeBinary = new URL("../node_modules/.bin/node", import.meta.url);

const isInstalled =
  existsSync(marker) &&
  existsSync(nodeBinary) &&
  statSync(marker).mtimeMs >= statSync(lock).mtimeMs;
if (!isInstalled) {
  console.error("Installing dependencies (npm ci) ...");
  const result = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (result.status !== 0) {
    console.error(
      "npm ci failed: flotilla cannot run without its dependencies. Check the network and run npm ci again.",
    );
    process.exit(result.status ?? 1);
  }
  // Compiles the program once, so that the first start is as fast as the others. If that fails the start says why.
  const compile = 'require("node:module").enableCompileCache(); import("./server/node.ts");';
  spawnSync(fileURLToPath(nodeBinary), ["-e", compile], { cwd: root, stdio: "ignore" });
}
