import type { Finding } from "../../cluster/multiraft/state-comparison.ts";
import type { NodeId, ShardId } from "../../cluster/types.ts";
import { ClusterNode } from "../../server/cluster-node.ts";
import type { Config } from "../../server/config.ts";
import type { Log } from "../../server/log.ts";
import type { ShardChanges } from "../../server/watch-hub.ts";
import type { Prng } from "../sim/prng.ts";
import { MemoryTransport } from "../transport/memory-transport.ts";
import type { Disk, EndKind } from "./disk.ts";
import type { Network } from "./network.ts";
import { ProcessLoop } from "./process-loop.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface MachineOptions {
  readonly config: Config;
  readonly address: string;
  readonly time: VirtualTime;
  readonly network: Network;
  readonly disk: Disk;
  readonly random: Prng;
  readonly drift: number;
  readonly events: MachineEvents;
}

/** What a machine tells the world that it is part of. */
export interface MachineEvents {
  readonly note: (what: string) => void;
  readonly onUncaught: (node: NodeId, error: unknown) => void;
  /** The process must stop: its store failed, or it broke a promise to itself. */
  readonly onFatal: (node: NodeId, error: Error) => void;
  readonly onChanges: (node: NodeId, changes: ShardChanges) => void;
  readonly onStatesDiffer: (node: NodeId, shard: ShardId, finding: Finding) => void;
  /** A replica has gone on from a snapshot. */
  readonly onSnapshot: (node: NodeId, shard: ShardId) => void;
}

/** One process: it lives from `start` to `end`. */
export interface Process {
  readonly loop: ProcessLoop;
  readonly node: ClusterNode;
  readonly transport: MemoryTransport;
}

/** One machine of the cluster: a disk, a clock of its own, and a server process that comes and goes. */
export class Machine {
  readonly id: NodeId;
  readonly disk: Disk;
  readonly #options: MachineOptions;
  #process: Process | null = null;
  #isStarting = false;
  #starts = 0;
  /** What arrived for a process that is paused. */
  readonly #arrivals: (() => void)[] = [];

  constructor(options: MachineOptions) {
    this.id = options.config.nodeId;
    this.disk = options.disk;
    this.#options = options;
  }

  /** The process, or null while there is none. */
  get process(): Process | null {
    return this.#process;
  }

  get isUp(): boolean {
    return this.#process !== null;
  }

  /** Starts a process, unless there is one. */
  async start(): Promise<void> {
    if (this.#process !== null || this.#isStarting) {
      return;
    }
    this.#isStarting = true;
    const { time, random, drift, disk, events } = this.#options;
    this.#starts += 1;
    events.note(`${this.id} starts`);
    const loop = new ProcessLoop({
      time,
      rate: 1 + (random.next() * 2 - 1) * drift,
      startMs: 1000 + random.next() * 1e6,
      soonMs: () => 0.005 + random.next() * 0.05,
      onUncaught: (error) => events.onUncaught(this.id, error),
    });
    const home = await disk.open(loop);
    const transport: MemoryTransport = new MemoryTransport({
      network: this.#options.network.memory,
      address: this.#options.address,
      own: () => node.hello(),
    });
    const node = new ClusterNode({
      config: this.#options.config,
      home,
      transport,
      log: this.#log(),
      clock: loop.clock,
      timers: loop,
      schedule: loop.soon,
      random: () => random.next(),
      addresses: () => ({ peer: this.#options.address, http: this.#options.address }),
      stalenessMs: () => 0,
      events: {
        onFatal: (error) => events.onFatal(this.id, error),
        onLeaderChange: () => {},
        onPeerFrame: () => {},
        onWrite: () => {},
        onTick: () => {},
        onStatesDiffer: (shard, finding) => events.onStatesDiffer(this.id, shard, finding),
        onSnapshot: (shard, operation, error) => {
          if (operation === "install" && error === null) {
            events.onSnapshot(this.id, shard);
          }
        },
      },
    });
    node.hub.listen((changes) => events.onChanges(this.id, changes));
    this.#process = { loop, node, transport };
    this.#isStarting = false;
    await transport.start(node.transportHandlers());
    node.start().catch((error: unknown) => {
      if (!loop.isDead) {
        events.onFatal(this.id, error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  /** Ends the process: others see that it is gone when it was killed, but not when the machine has no power. */
  end(kind: EndKind): void {
    const process = this.#process;
    if (process === null) {
      return;
    }
    this.#options.events.note(`${this.id} ends: ${kind}`);
    this.#process = null;
    process.loop.kill();
    process.transport.kill();
    this.disk.end(kind);
    this.#takeArrivals();
  }

  pause(): void {
    this.#options.events.note(`${this.id} is paused`);
    this.#process?.loop.pause();
  }

  resume(): void {
    if (this.#process?.loop.isPaused === true) {
      this.#options.events.note(`${this.id} goes on`);
      this.#process.loop.resume();
      this.#takeArrivals();
    }
  }

  /** Something from the network: it waits while the process is paused, and finds nobody when there is none. */
  arrive(run: () => void): void {
    if (this.#process?.loop.isPaused === true) {
      this.#arrivals.push(run);
      return;
    }
    this.#guard(run);
  }

  #takeArrivals(): void {
    for (const run of this.#arrivals.splice(0)) {
      this.#options.time.after(0.001, () => this.arrive(run));
    }
  }

  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#options.events.onUncaught(this.id, error);
    }
  }

  #log(): Log {
    const { events } = this.#options;
    const write = (fields: object, message: string): void => {
      const { error, ...rest } = fields as { error?: unknown };
      const text = error instanceof Error ? ` ${error.message}` : "";
      events.note(`${this.id} ${message} ${JSON.stringify(rest)}${text}`);
    };
    return { debug: () => {}, info: write, warn: write, error: write, fatal: write };
  }
}
