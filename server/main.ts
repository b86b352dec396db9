#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { readConfig } from "./config.ts";
import { tuneEngine } from "./engine.ts";
import { createLog } from "./log.ts";
import { systemTimers } from "./timers.ts";

tuneEngine();

// Before the heavy modules are imported: a second start takes half the time.
enableCompileCache();

/** Longer than the orderly stop may take; then the process ends anyway. */
const stopGraceMs = 5000;

async function main(): Promise<void> {
  const version = packageVersion();
  const reading = readConfig(process.argv.slice(2), process.env, version);
  if (reading.type === "print") {
    console.log(reading.text);
    return;
  }
  if (reading.type === "errors") {
    console.error(reading.lines.join("\n"));
    console.error("flotilla cannot start with these settings; --help lists them all");
    process.exitCode = 2;
    return;
  }
  const { config } = reading;
  const log = createLog({ node: config.nodeId, level: config.logLevel });
  const die = (error: unknown, what: string): void => {
    log.fatal({ error }, what);
    process.exit(1);
  };
  process.on("uncaughtException", (error) => die(error, "unexpected error: the node stops"));
  process.on("unhandledRejection", (error) => die(error, "unexpected error: the node stops"));
  const { Node } = await import("./node.ts");
  const node = await Node.start(config, log, version, (error) =>
    die(error, "the node can no longer keep its promises and stops"),
  ).catch((error: unknown) => die(error, "the node could not start"));
  if (!node) {
    return;
  }
  const stop = (signal: string): void => {
    log.info({ signal }, "stopping");
    const timer = systemTimers.after(config.shutdownTimeoutMs + stopGraceMs, () =>
      die(null, "the node did not stop in time"),
    );
    node.stop().then(
      () => {
        timer.cancel();
        process.exit(0);
      },
      (error: unknown) => die(error, "the node could not stop in order"),
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

function packageVersion(): string {
  // The package lies one level above the sources and two above what is built.
  for (const path of ["../package.json", "../../package.json"]) {
    try {
      const text = readFileSync(new URL(path, import.meta.url), "utf8");
      return String(JSON.parse(text).version);
    } catch {
      // Not this layout.
    }
  }
  return "unknown";
}

await main();
