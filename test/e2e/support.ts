import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { LocalCluster, type LocalClusterOptions } from "../../scripts/lib/local-cluster.ts";

/** A running cluster of real processes in a fresh directory, and what they printed. */
export interface TestCluster {
  readonly cluster: LocalCluster;
  readonly urls: readonly string[];
  readonly directory: string;
  /** The last lines of every node, for a failing test's message. */
  readonly lines: string[];
}

const linesMax = 400;

/** Starts a cluster on free ports; it is stopped and its directory removed when the test ends. */
export async function startCluster(
  context: TestContext,
  options: Partial<LocalClusterOptions> = {},
): Promise<TestCluster> {
  const directory = await mkdtemp(join(tmpdir(), "flotilla-e2e-"));
  const lines: string[] = [];
  const nodes = options.nodes ?? 3;
  const cluster = new LocalCluster({
    nodes,
    shards: 8,
    replicationFactor: 3,
    basePort: await freePorts(nodes),
    peerBasePort: await freePorts(nodes),
    dataDirectory: directory,
    fresh: false,
    onLine: (id, line) => {
      lines.push(`${id} | ${line}`);
      if (lines.length > linesMax) {
        lines.shift();
      }
    },
    onExit: (id, how, expected) => {
      lines.push(`${id} ended: ${how}`);
      if (!expected) {
        context.diagnostic(`${id} ended unexpectedly: ${how}\n${lines.slice(-40).join("\n")}`);
      }
    },
    ...options,
  });
  context.after(async () => {
    await cluster.stopAll();
    await rm(directory, { recursive: true, force: true });
  });
  await cluster.start();
  await cluster.ready(30_000);
  return { cluster, urls: cluster.nodes.map((node) => node.url), directory, lines };
}

/**
 * The first of `count` ports in a row that are free now. Below the range that the kernel hands out by itself, so that a client's
 * connection does not take one meanwhile.
 */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const first = 10_000 + Math.floor(Math.random() * 20_000);
    const areFree = await Promise.all(Array.from({ length: count }, (_, at) => isFree(first + at)));
    if (areFree.every(Boolean)) {
      return first;
    }
  }
  throw new Error("no free ports");
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
