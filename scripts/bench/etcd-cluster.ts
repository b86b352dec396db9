import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { endChild } from "../lib/end-child.ts";

/** Whether there is an etcd to compare with. */
export function hasEtcd(): boolean {
  return spawnSync("etcd", ["--version"]).status === 0;
}

/** A fresh etcd cluster of three on loopback, with its standard settings. */
export class EtcdCluster {
  readonly urls: readonly string[];
  readonly #children: ChildProcess[] = [];
  readonly #directory: string;
  readonly #basePort: number;

  /** Uses six ports from `basePort` on. */
  constructor(directory: string, basePort: number) {
    this.#directory = directory;
    this.#basePort = basePort;
    this.urls = [0, 1, 2].map((at) => `http://127.0.0.1:${basePort + at}`);
  }

  get pids(): readonly number[] {
    return this.#children.map((child) => child.pid ?? 0);
  }

  async start(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
    await mkdir(this.#directory, { recursive: true });
    const peers = [0, 1, 2].map((at) => `http://127.0.0.1:${this.#basePort + 3 + at}`);
    const cluster = peers.map((peer, at) => `e${at}=${peer}`).join(",");
    for (const at of [0, 1, 2]) {
      const [client, peer] = [this.urls[at] ?? "", peers[at] ?? ""];
      const flags = [
        `--name=e${at}`,
        `--data-dir=${join(this.#directory, `e${at}`)}`,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${peer}`,
        `--initial-advertise-peer-urls=${peer}`,
        `--initial-cluster=${cluster}`,
        "--initial-cluster-state=new",
        "--log-level=error",
      ];
      this.#children.push(spawn("etcd", flags, { stdio: "ignore" }));
    }
    for (const url of this.urls) {
      await healthy(url);
    }
  }

  async stop(): Promise<void> {
    for (const child of this.#children.splice(0)) {
      await endChild(child, "SIGKILL");
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}

async function healthy(url: string): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    try {
      const response = await fetch(`${url}/health`);
      const body = await response.text();
      if (body.includes("true")) {
        return;
      }
    } catch {
      // Not listening yet.
    }
    await delay(100);
  }
  throw new Error(`etcd at ${url} did not become healthy`);
}
