import type { NodeId } from "../../cluster/types.ts";
import type { Prng } from "./prng.ts";
import { tickUnits } from "./schedule.ts";
import type { SimNode } from "./sim-node.ts";
import type { Surroundings } from "./surroundings.ts";

/** Clients that write and read, through whatever node they happen to know. */
export class Workload {
  readonly #around: Surroundings;
  readonly #random: Prng;
  #isOver = false;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#random = around.random.fork();
  }

  /** Begins. */
  start(): void {
    this.#scheduleNext();
  }

  stop(): void {
    this.#isOver = true;
  }

  #scheduleNext(): void {
    const { interval, silenceRate, silenceMax } = this.#around.scenario.workload;
    const isSilent = this.#random.chance(silenceRate);
    const delay = isSilent ? silenceMax : this.#random.between(1, 2 * interval);
    this.#around.schedule.after(delay, () => {
      if (!this.#isOver) {
        this.#operate();
        this.#scheduleNext();
      }
    });
  }

  #operate(): void {
    const { readRate, leaseRate, payloadMax } = this.#around.scenario.workload;
    const floor = this.#around.ledger.visibleIndex;
    if (this.#random.chance(readRate)) {
      const isLease = this.#random.chance(leaseRate);
      const node = isLease || this.#random.chance(0.5) ? this.#leader() : this.#anyNode();
      if (isLease) {
        node.serve((raft) => node.client.leaseRead(raft, floor, node.applied.index));
      } else {
        node.serve((raft) => node.client.read(raft, floor));
      }
      return;
    }
    const node = this.#random.chance(0.9) ? this.#leader() : this.#anyNode();
    const count = this.#random.chance(0.8) ? 1 : this.#random.between(2, 5);
    const lengths = Array.from({ length: count }, () => this.#random.between(4, payloadMax));
    node.serve((raft) => node.client.propose(raft, lengths));
  }

  /** Clients of one node ask it again and again while others write elsewhere: how a stale read would show. */
  watchClosely(node: SimNode, ticks: number): void {
    const delay = this.#random.between(1, tickUnits / 2);
    this.#around.schedule.after(delay, () => {
      if (this.#isOver) {
        return;
      }
      const { leaseRate, payloadMax } = this.#around.scenario.workload;
      const floor = this.#around.ledger.visibleIndex;
      if (this.#random.chance(leaseRate)) {
        node.serve((raft) => node.client.leaseRead(raft, floor, node.applied.index));
      } else {
        node.serve((raft) => node.client.read(raft, floor));
      }
      for (const other of this.#around.nodes.values()) {
        if (other !== node && other.raft?.isLeader) {
          other.serve((raft) => other.client.propose(raft, [this.#random.between(4, payloadMax)]));
        }
      }
      if (ticks * tickUnits > delay) {
        this.watchClosely(node, ticks - delay / tickUnits);
      }
    });
  }

  #anyNode(): SimNode {
    return this.#random.pick([...this.#around.nodes.values()]);
  }

  /** Any of the nodes that take themselves for the leader: deposed ones are the interesting ones. */
  #leader(): SimNode {
    const leaders = [...this.#around.nodes.values()].filter((node) => node.raft?.isLeader);
    return leaders.length === 0 ? this.#anyNode() : this.#random.pick(leaders);
  }
}

/** Asks every leader for one write every other tick until one is acknowledged; says so by `isAcknowledged`. */
export class FinalWrites {
  readonly #around: Surroundings;
  readonly #alive: ReadonlySet<NodeId>;
  readonly #before: number;

  constructor(around: Surroundings, alive: ReadonlySet<NodeId>) {
    this.#around = around;
    this.#alive = alive;
    this.#before = around.statistics.acknowledged;
  }

  start(): void {
    this.#around.schedule.after(2 * tickUnits, () => {
      for (const id of this.#alive) {
        const node = this.#around.nodes.get(id);
        if (node?.raft?.isLeader && !this.isAcknowledged) {
          node.serve((raft) => node.client.propose(raft, [8]));
        }
      }
      if (!this.isAcknowledged) {
        this.start();
      }
    });
  }

  /** Whether a write was acknowledged since. */
  get isAcknowledged(): boolean {
    return this.#around.statistics.acknowledged > this.#before;
  }
}
