import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ComposeCluster, leaveEngine, whyNoContainers } from "../ops/support/compose-cluster.ts";
import type { Footprint } from "./record.ts";
import type { Trial } from "./trial.ts";

/** A cluster of docker-compose.yml in real containers: killed, stopped, paused and taken off their network by the engine. */
export class ContainerTrial implements Trial {
  readonly network = null;
  readonly disks = null;
  readonly mayEnd = new Set<string>();
  readonly #compose: ComposeCluster;
  readonly #directory: string;
  readonly #cutOff = new Set<string>();
  readonly #paused = new Set<string>();

  private constructor(compose: ComposeCluster, directory: string) {
    this.#compose = compose;
    this.#directory = directory;
  }

  /** Builds the image and waits until all nodes are ready. Rejects where no engine can run. */
  static async start(directory: string): Promise<ContainerTrial> {
    const reason = await whyNoContainers();
    if (reason !== null) {
      throw new Error(`there can be no containers here: ${reason}`);
    }
    const trial = new ContainerTrial(await ComposeCluster.create(), directory);
    try {
      await trial.#compose.build();
      await trial.#compose.up();
    } catch (error) {
      await trial.stop();
      throw error;
    }
    return trial;
  }

  get ids(): readonly string[] {
    return this.#compose.ids;
  }

  get urls(): readonly string[] {
    return this.ids.map((id) => this.#compose.url(id));
  }

  readonly cluster = {
    kill: (id: string) => this.#compose.kill(id),
    stop: (id: string) => this.#compose.stop(id),
    pause: async (id: string) => {
      await this.#compose.compose(["pause", id]);
      this.#paused.add(id);
    },
    resume: async (id: string) => {
      if (this.#paused.delete(id)) {
        await this.#compose.compose(["unpause", id]);
      }
    },
    restart: (id: string) => this.#compose.start(id),
    isRunning: () => true,
  };

  /** Takes nodes off the network of the peers, or brings them back; clients reach them all the time. */
  readonly isolate = async (ids: readonly string[], isCutOff: boolean): Promise<void> => {
    for (const id of ids) {
      if (isCutOff) {
        await this.#compose.disconnect(id);
        this.#cutOff.add(id);
      } else if (this.#cutOff.delete(id)) {
        await this.#compose.reconnect(id);
      }
    }
  };

  /** The engine keeps its own books. */
  footprints(): readonly Footprint[] {
    return [];
  }

  async restart(ids: readonly string[]): Promise<void> {
    await Promise.all(ids.map((id) => this.#compose.start(id)));
    await Promise.all(ids.map((id) => this.#compose.ready(id)));
  }

  async heal(): Promise<void> {
    await Promise.all(this.ids.map((id) => this.cluster.resume(id)));
    await this.isolate([...this.#cutOff], false);
    await this.restart(this.ids);
  }

  async stop(): Promise<void> {
    const logs = await this.#compose.compose(["logs", "--no-color"]);
    for (const id of this.ids) {
      writeFileSync(join(this.#directory, `${id}.log`), logs);
    }
    await this.#compose.down();
    await leaveEngine();
  }
}
