import { rmSync } from "node:fs";
import { join } from "node:path";
import { LocalCluster } from "../lib/local-cluster.ts";
import { EtcdCluster } from "./etcd-cluster.ts";
import type { Dialect } from "./wrk.ts";

/** A store under test: three nodes, whichever store it is. */
export interface Store {
  readonly dialect: Dialect;
  readonly urls: readonly string[];
  readonly pids: () => readonly number[];
}

/** How Flotilla's three nodes are set up. */
export interface FlotillaOptions {
  readonly directory: string;
  readonly shards: number;
  /** More settings of every node. */
  readonly flags?: readonly string[];
  /** Whether the first node listens to a debugger, at `inspectorPort`. */
  readonly isInspected?: boolean;
}

/** Where the first node listens to a debugger, when it does. */
export const inspectorPort = 18_099;

/** Runs `use` with a fresh cluster of three, which is stopped and removed afterwards in any case. */
export async function withFlotilla<T>(
  { directory, shards, flags, isInspected }: FlotillaOptions,
  use: (store: Store) => Promise<T>,
): Promise<T> {
  const cluster = new LocalCluster({
    nodes: 3,
    shards,
    replicationFactor: 3,
    basePort: 18_091,
    peerBasePort: 17_091,
    dataDirectory: join(directory, "flotilla"),
    fresh: true,
    flags: flags ?? [],
    nodeFlagsOf: (id) =>
      isInspected === true && id === "n1" ? [`--inspect=127.0.0.1:${inspectorPort}`] : [],
    onExit: (id, how, expected) => {
      if (!expected) {
        console.error(`${id} has ended: ${how}`);
      }
    },
  });
  const killAll = (): void => {
    for (const { pid } of cluster.nodes) {
      if (pid !== null) {
        process.kill(pid, "SIGKILL");
      }
    }
    rmSync(directory, { recursive: true, force: true });
  };
  // A program that is interrupted leaves neither nodes nor data behind.
  process.once("exit", killAll);
  try {
    await cluster.start();
    await cluster.ready(120_000);
    return await use({
      dialect: "flotilla",
      urls: cluster.nodes.map((node) => node.url),
      pids: () => cluster.nodes.map((node) => node.pid ?? 0),
    });
  } finally {
    await cluster.stopAll();
    process.off("exit", killAll);
  }
}

/** The same with etcd. */
export async function withEtcd<T>(
  directory: string,
  use: (store: Store) => Promise<T>,
): Promise<T> {
  const etcd = new EtcdCluster(join(directory, "etcd"), 18_191);
  try {
    await etcd.start();
    return await use({ dialect: "etcd", urls: etcd.urls, pids: () => etcd.pids });
  } finally {
    await etcd.stop();
  }
}
