import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { endChild } from "./end-child.ts";

/** The entry of a node process, as it runs from the sources. */
const mainFile = fileURLToPath(new URL("../../server/main.ts", import.meta.url));

/**
 * How every node is started: the young generation of the heap would grow to 128 MB under load, and be no faster for it. Also in package.json
 * and the Dockerfile.
 */
export const nodeFlags: readonly string[] = ["--max-semi-space-size=16"];

/**
 * Where Node keeps what it has compiled, its own default. Nodes look there only from their first lines on; told in the environment, they need
 * not compile those either, and the compiler of types, 19 MB of memory, is not loaded at all from the second start on.
 */
const compileCache = join(tmpdir(), "node-compile-cache");

/** How many nodes, where they listen and keep their data, and who is told what they print. */
export interface LocalClusterOptions {
  readonly nodes: number;
  readonly shards: number;
  readonly replicationFactor: number;
  /** Node i listens on basePort + i - 1. */
  readonly basePort: number;
  readonly peerBasePort: number;
  readonly dataDirectory: string;
  /** Removes what the data directory holds before the first start. */
  readonly fresh: boolean;
  /** More flags for every node. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** More flags of Node.js itself for one node. */
  readonly nodeFlagsOf?: (id: string) => readonly string[];
  /** Where the others reach a node, when something stands between them; else where it listens. */
  readonly peerAddressOf?: (id: string) => string;
  /** One line that a node printed. */
  readonly onLine?: (id: string, line: string, stream: "stdout" | "stderr") => void;
  /** A node process ended; `expected` when this program asked for it. */
  readonly onExit?: (id: string, how: string, expected: boolean) => void;
}

/** One node of the cluster: where it listens and the process that runs it, if any. */
export interface LocalNode {
  readonly id: string;
  readonly url: string;
  readonly http: string;
  readonly peer: string;
  pid: number | null;
}

interface Running {
  readonly node: LocalNode;
  child: ChildProcess | null;
  isStopping: boolean;
}

/** Node processes on this machine's loopback, started, killed and paused one by one. Nothing of it is needed in production. */
export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #running: readonly Running[];

  constructor(options: LocalClusterOptions) {
    this.#options = options;
    this.#running = Array.from({ length: options.nodes }, (_, at) => ({
      node: {
        id: `n${at + 1}`,
        url: `http://127.0.0.1:${options.basePort + at}`,
        http: `127.0.0.1:${options.basePort + at}`,
        peer: `127.0.0.1:${options.peerBasePort + at}`,
        pid: null,
      },
      child: null,
      isStopping: false,
    }));
  }

  get nodes(): readonly LocalNode[] {
    return this.#running.map((running) => running.node);
  }

  /** Starts every node; resolves when the processes run, not when they are ready (see `ready`). */
  async start(): Promise<void> {
    const { dataDirectory, fresh } = this.#options;
    if (fresh) {
      await rm(dataDirectory, { recursive: true, force: true });
    }
    await mkdir(dataDirectory, { recursive: true });
    for (const running of this.#running) {
      this.#spawn(running);
    }
    await this.#describe();
  }

  /** Starts a node whose process has ended. */
  async restart(id: string): Promise<void> {
    const running = this.#find(id);
    if (running.child !== null) {
      await this.stop(id);
    }
    this.#spawn(running);
    await this.#describe();
  }

  /** SIGTERM: hands leadership over, drains, exits. Resolves when the process has ended. */
  async stop(id: string): Promise<void> {
    await this.#end(this.#find(id), "SIGTERM");
  }

  /** SIGKILL, as a crash. Resolves when the process has ended. */
  async kill(id: string): Promise<void> {
    await this.#end(this.#find(id), "SIGKILL");
  }

  pause(id: string): void {
    this.#find(id).child?.kill("SIGSTOP");
  }

  resume(id: string): void {
    this.#find(id).child?.kill("SIGCONT");
  }

  /** Stops all nodes at once. Idempotent. */
  async stopAll(): Promise<void> {
    await Promise.all(
      this.#running.map(async (running) => {
        running.child?.kill("SIGCONT");
        await this.#end(running, "SIGTERM");
      }),
    );
  }

  /** Whether the node says that it is ready to serve. */
  async isReady(id: string): Promise<boolean> {
    try {
      const url = `${this.#find(id).node.url}/readyz`;
      const response = await fetch(url, { signal: AbortSignal.timeout(1000) });
      await response.arrayBuffer();
      return response.ok;
    } catch {
      return false;
    }
  }

  /** Resolves when all nodes (or those named) are ready; rejects after `timeoutMs` or when a process ends. */
  async ready(timeoutMs: number, ids = this.nodes.map((node) => node.id)): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (const id of ids) {
      while (!(await this.isReady(id))) {
        const { child } = this.#find(id);
        if (child === null) {
          throw new Error(`${id} ended before it was ready`);
        }
        if (performance.now() > deadline) {
          throw new Error(`${id} was not ready after ${timeoutMs} ms`);
        }
        await delay(20);
      }
    }
  }

  #find(id: string): Running {
    const running = this.#running.find((candidate) => candidate.node.id === id);
    if (running === undefined) {
      const known = this.nodes.map((node) => node.id).join(", ");
      throw new Error(`there is no node ${id}; nodes: ${known}`);
    }
    return running;
  }

  #spawn(running: Running): void {
    const { node } = running;
    const { env, nodeFlagsOf } = this.#options;
    const ownFlags = nodeFlagsOf?.(node.id) ?? [];
    const args = [...nodeFlags, ...ownFlags, mainFile, ...this.#flags(node)];
    const child = spawn(process.execPath, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { NODE_COMPILE_CACHE: compileCache, ...process.env, ...env },
    });
    running.child = child;
    running.isStopping = false;
    node.pid = child.pid ?? null;
    for (const stream of ["stdout", "stderr"] as const) {
      eachLine(child[stream], (line) => this.#options.onLine?.(node.id, line, stream));
    }
    child.once("exit", (code, signal) => {
      running.child = null;
      node.pid = null;
      const how = signal === null ? `exit code ${code}` : signal;
      this.#options.onExit?.(node.id, how, running.isStopping);
    });
  }

  #flags(node: LocalNode): string[] {
    const { shards, replicationFactor, dataDirectory, flags, peerAddressOf } = this.#options;
    const initial = this.nodes
      .map(({ id, peer }) => `${id}=${peerAddressOf?.(id) ?? peer}`)
      .join(",");
    const [, httpPort] = node.http.split(":");
    const [, peerPort] = node.peer.split(":");
    return [
      `--node-id=${node.id}`,
      `--data=${join(dataDirectory, node.id)}`,
      `--http-port=${httpPort}`,
      `--peer-port=${peerPort}`,
      `--initial-cluster=${initial}`,
      `--shards=${shards}`,
      `--replication-factor=${replicationFactor}`,
      ...(flags ?? []),
    ];
  }

  async #end(running: Running, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const { child } = running;
    if (child === null) {
      return;
    }
    running.isStopping = true;
    await endChild(child, signal);
    await this.#describe();
  }

  /** Writes cluster.json: what other programs need to find the nodes. */
  async #describe(): Promise<void> {
    const nodes = this.nodes.map(({ id, pid, http, peer }) => ({ id, pid, http, peer }));
    const file = join(this.#options.dataDirectory, "cluster.json");
    await writeFile(file, `${JSON.stringify({ nodes }, null, 2)}\n`);
  }
}

function eachLine(stream: NodeJS.ReadableStream | null, onLine: (line: string) => void): void {
  let rest = "";
  stream?.setEncoding("utf8");
  stream?.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      onLine(line);
    }
  });
}
