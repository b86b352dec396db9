import { createWriteStream, mkdirSync, type WriteStream } from "node:fs";
import { join } from "node:path";
import { LocalCluster } from "../../scripts/lib/local-cluster.ts";
import { usageOf } from "../../scripts/lib/process-usage.ts";
import { freePorts } from "../e2e/support.ts";
import type { Prng } from "../sim/prng.ts";
import type { Scene } from "./faults.ts";
import { FaultyNetwork } from "./network.ts";
import type { Plan } from "./plan.ts";
import type { Footprint } from "./record.ts";
import { SmallDisks } from "./small-disks.ts";

/** How long a node may take to be ready: it replays its log on a busy machine. */
const readyMs = 60_000;

/** What a node says when it ends as it should: because its disk is full. */
const saysDiskFull = /disk_full|disk is full/;

/** What a run needs of a cluster, whatever its nodes are. */
export interface Trial extends Pick<
  Scene,
  "ids" | "cluster" | "network" | "disks" | "isolate" | "mayEnd" | "restart"
> {
  readonly urls: readonly string[];
  footprints(): readonly Footprint[];
  /** Undoes whatever was done; resolves when all nodes are ready. */
  heal(): Promise<void>;
  /** Ends all of it in order and gives back what it had. */
  stop(): Promise<void>;
}

/** A cluster of real processes in a directory of its own, with the network and disks that the plan's faults need. */
export class TrialCluster implements Trial {
  readonly #local: LocalCluster;
  readonly cluster: Trial["cluster"];
  readonly isolate = null;
  readonly network: FaultyNetwork | null;
  readonly disks: SmallDisks | null;
  /** Nodes that may end by themselves now. */
  readonly mayEnd = new Set<string>();
  readonly #logs = new Map<string, WriteStream>();
  readonly #lastErrors = new Map<string, string>();
  readonly #onSurprise: (what: string) => void;
  /** When this program ends in the middle of it, nothing stays behind. */
  readonly #onExit = (): void => {
    for (const { pid } of this.#local.nodes) {
      if (pid !== null) {
        process.kill(pid, "SIGKILL");
      }
    }
    this.disks?.unmountAll();
  };

  private constructor(
    plan: Plan,
    directory: string,
    firstPort: number,
    random: Prng,
    onSurprise: (what: string) => void,
  ) {
    const { nodes, shards, replicationFactor, retainedEntries, snapshotChunkBytes } = plan;
    this.#onSurprise = onSurprise;
    const publicPort = (id: string): number => firstPort + 2 * nodes + Number(id.slice(1)) - 1;
    const dataDirectory = join(directory, "data");
    mkdirSync(dataDirectory, { recursive: true });
    this.#local = new LocalCluster({
      nodes,
      shards,
      replicationFactor,
      basePort: firstPort,
      peerBasePort: firstPort + nodes,
      dataDirectory,
      fresh: false,
      flags: [
        `--log-retained-entries=${retainedEntries}`,
        `--snapshot-chunk-bytes=${snapshotChunkBytes}`,
      ],
      ...(plan.usesProxies ? { peerAddressOf: (id: string) => `127.0.0.1:${publicPort(id)}` } : {}),
      onLine: (id, line) => this.#said(id, line),
      onExit: (id, how, expected) => this.#ended(id, how, expected),
    });
    const local = this.#local;
    this.cluster = {
      kill: async (id) => void (await local.kill(id)),
      stop: async (id) => void (await local.stop(id)),
      pause: (id) => local.pause(id),
      resume: (id) => local.resume(id),
      restart: async (id) => void (await local.restart(id)),
      isRunning: (id) => local.nodes.some((node) => node.id === id && node.pid !== null),
    };
    const networkNodes = this.#local.nodes.map((node) => ({
      id: node.id,
      port: Number(node.peer.split(":")[1]),
      publicPort: publicPort(node.id),
      pid: () => node.pid,
    }));
    this.network = plan.usesProxies ? new FaultyNetwork(networkNodes, random) : null;
    this.disks = plan.usesSmallDisks ? new SmallDisks(dataDirectory) : null;
    for (const id of this.ids) {
      this.#logs.set(id, createWriteStream(join(directory, `${id}.log`)));
    }
    // Before anybody removes the directory that the processes write into.
    process.prependListener("exit", this.#onExit);
  }

  /** Starts it and waits until all nodes are ready. */
  static async start(
    plan: Plan,
    directory: string,
    random: Prng,
    onSurprise: (what: string) => void,
  ): Promise<TrialCluster> {
    const firstPort = await freePorts(3 * plan.nodes);
    const trial = new TrialCluster(plan, directory, firstPort, random, onSurprise);
    try {
      for (const id of trial.ids) {
        trial.disks?.mount(id);
        await trial.network?.up(id);
      }
      await trial.#local.start();
      await trial.#local.ready(readyMs);
    } catch (error) {
      await trial.stop();
      throw error;
    }
    return trial;
  }

  get ids(): readonly string[] {
    return this.#local.nodes.map(({ id }) => id);
  }

  get urls(): readonly string[] {
    return this.#local.nodes.map(({ url }) => url);
  }

  /** What each running process holds now. Nothing on systems without /proc. */
  footprints(): readonly Footprint[] {
    if (process.platform !== "linux") {
      return [];
    }
    return this.#local.nodes.flatMap(({ id, pid }) => {
      if (pid === null) {
        return [];
      }
      const { ownMiB, openFiles } = usageOf(pid);
      return [{ node: id, ownMiB, openFiles }];
    });
  }

  /** Starts those of the nodes that do not run; resolves when all of them are ready. */
  async restart(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      await this.network?.up(id);
      if (this.#local.nodes.some((node) => node.id === id && node.pid === null)) {
        await this.#local.restart(id);
      }
    }
    await this.#local.ready(readyMs, [...ids]);
  }

  /** Undoes whatever was done; resolves when all nodes are ready. */
  async heal(): Promise<void> {
    this.network?.heal();
    for (const id of this.ids) {
      this.#local.resume(id);
      this.disks?.free(id);
    }
    await this.restart(this.ids);
    this.mayEnd.clear();
  }

  /** Stops all processes in order and gives back what they had. */
  async stop(): Promise<void> {
    await this.#local.stopAll();
    this.network?.close();
    this.disks?.unmountAll();
    this.#logs.forEach((log) => log.end());
    process.off("exit", this.#onExit);
  }

  #said(id: string, line: string): void {
    this.#logs.get(id)?.write(`${line}\n`);
    if (/"level":[56]0/.test(line)) {
      this.#lastErrors.set(id, line);
    }
  }

  #ended(id: string, how: string, isExpected: boolean): void {
    this.network?.down(id);
    this.#logs.get(id)?.write(`--- ${id} ended: ${how}\n`);
    const last = this.#lastErrors.get(id) ?? "";
    const isRight = isExpected
      ? how === "SIGKILL" || how === "exit code 0"
      : this.mayEnd.has(id) && saysDiskFull.test(last);
    if (!isRight) {
      this.#onSurprise(`${id} ended: ${how} ${last}`);
    }
  }
}
