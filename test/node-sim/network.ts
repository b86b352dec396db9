import type { NodeId } from "../../cluster/types.ts";
import type { Prng } from "../sim/prng.ts";
import { MemoryNetwork } from "../transport/memory-transport.ts";
import type { NetworkScenario } from "./scenario.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface NetworkOptions {
  readonly scenario: NetworkScenario;
  readonly time: VirtualTime;
  readonly random: Prng;
  /** Runs what arrives at a node when that node can take it. */
  readonly arrive: (at: NodeId, run: () => void) => void;
}

/** Between every two nodes a link, in each direction, that delays, loses, repeats and reorders, and that can be cut. */
export class Network {
  readonly memory: MemoryNetwork;
  readonly #options: NetworkOptions;
  readonly #latest = new Map<string, number>();
  readonly #cuts = new Set<string>();
  #isHealed = false;
  #stormUntilMs = 0;
  /** What is scheduled next is a frame that may come twice. */
  #mayRepeat = false;
  #digests = 0;

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.memory = new MemoryNetwork({
      schedule: (from, to, event) => this.#schedule(from, to, event),
      passes: (_from, _to, frame) => {
        // One connection delivers once: only Raft's own messages are promised to be harmless when they come twice.
        this.#mayRepeat = frame.requests.length === 0;
        this.#digests += frame.digests.length;
        return this.#passes();
      },
    });
  }

  /** Digests of states that nodes told each other. */
  get digests(): number {
    return this.#digests;
  }

  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from} ${to}`);
    this.memory.cut(from, to);
  }

  mend(one: NodeId, other: NodeId): void {
    this.#cuts.delete(`${one} ${other}`);
    this.#cuts.delete(`${other} ${one}`);
    this.memory.mend(one, other);
  }

  /** Every cut, as `from to`. */
  get cuts(): readonly (readonly [NodeId, NodeId])[] {
    return [...this.#cuts].map((cut) => {
      const [from = "", to = ""] = cut.split(" ");
      return [from as NodeId, to as NodeId];
    });
  }

  /** A third of all frames is lost for a while. */
  storm(untilMs: number): void {
    this.#stormUntilMs = untilMs;
  }

  /** From now on nothing is cut, lost, repeated or slow. */
  heal(): void {
    this.#isHealed = true;
    this.#stormUntilMs = 0;
    for (const [from, to] of this.cuts) {
      this.mend(from, to);
    }
  }

  #passes(): boolean {
    const { random, scenario, time } = this.#options;
    if (time.now < this.#stormUntilMs) {
      return !random.chance(0.35);
    }
    return this.#isHealed || scenario.lossRate === 0 || !random.chance(scenario.lossRate);
  }

  #schedule(from: NodeId, to: NodeId, event: () => void): void {
    const { random, scenario, time, arrive } = this.#options;
    const run = (): void => arrive(to, event);
    time.after(this.#delay(from, to), run);
    const { duplicateRate } = scenario;
    const isRepeated = this.#mayRepeat && duplicateRate > 0 && random.chance(duplicateRate);
    this.#mayRepeat = false;
    if (isRepeated && !this.#isHealed) {
      time.after(this.#delay(from, to), run);
    }
  }

  #delay(from: NodeId, to: NodeId): number {
    const { random, scenario, time } = this.#options;
    const isSlow = !this.#isHealed && scenario.slowRate > 0 && random.chance(scenario.slowRate);
    const delay = 0.05 + random.next() * (isSlow ? scenario.slowMs : scenario.delayMs);
    if (!scenario.isOrdered && !this.#isHealed) {
      return delay;
    }
    const link = `${from} ${to}`;
    const arrival = Math.max(time.now + delay, this.#latest.get(link) ?? 0);
    this.#latest.set(link, arrival);
    return arrival - time.now;
  }
}
