import type { Message } from "../../cluster/raft/message.ts";
import type { NodeId } from "../../cluster/types.ts";
import type { Prng } from "./prng.ts";
import type { NetworkScenario } from "./scenario.ts";
import type { Schedule } from "./schedule.ts";

/** Between every two nodes, in each direction, a link that loses, repeats, delays and reorders, and that can be cut. */
export class Network {
  readonly #scenario: NetworkScenario;
  readonly #schedule: Schedule;
  readonly #random: Prng;
  readonly #deliver: (message: Message) => void;
  readonly #cut = new Set<string>();
  /** On ordered links: when the latest message arrives. */
  readonly #latest = new Map<string, number>();
  /** How often all that a node had sent was dropped. */
  readonly #dropped = new Map<NodeId, number>();
  #isHealed = false;
  delivered = 0;
  lost = 0;

  constructor(
    scenario: NetworkScenario,
    schedule: Schedule,
    random: Prng,
    deliver: (message: Message) => void,
  ) {
    this.#scenario = scenario;
    this.#schedule = schedule;
    this.#random = random;
    this.#deliver = deliver;
  }

  /** Loses everything that goes from one node to another, also what is on its way. */
  cut(from: NodeId, to: NodeId): void {
    this.#cut.add(link(from, to));
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cut.has(link(from, to));
  }

  /** Whether the two can have a connection at all. */
  isConnected(one: NodeId, other: NodeId): boolean {
    return !this.isCut(one, other) && !this.isCut(other, one);
  }

  mend(from: NodeId, to: NodeId): void {
    this.#cut.delete(link(from, to));
  }

  /** Mends all links. */
  mendAll(): void {
    this.#cut.clear();
  }

  /** From now on nothing is lost, repeated or slow. */
  heal(): void {
    this.mendAll();
    this.#isHealed = true;
  }

  /** Loses all that is on its way from and to a node: its old connections are gone, see the caveats in cluster/raft/README.md. */
  drop(node: NodeId): void {
    this.#dropped.set(node, this.#dropsOf(node) + 1);
  }

  #dropsOf(node: NodeId): number {
    return this.#dropped.get(node) ?? 0;
  }

  send(message: Message): void {
    const { lossRate, duplicateRate } = this.#scenario;
    if (this.isCut(message.from, message.to)) {
      this.lost += 1;
      return;
    }
    if (!this.#isHealed && lossRate > 0 && this.#random.chance(lossRate)) {
      this.lost += 1;
      return;
    }
    this.#transmit(message);
    if (!this.#isHealed && duplicateRate > 0 && this.#random.chance(duplicateRate)) {
      this.#transmit(message);
    }
  }

  #transmit(message: Message): void {
    const { from, to } = message;
    const drops = this.#dropsOf(from) + this.#dropsOf(to);
    this.#schedule.after(this.#delay(message), () => {
      if (this.isCut(from, to) || drops !== this.#dropsOf(from) + this.#dropsOf(to)) {
        this.lost += 1;
      } else {
        this.delivered += 1;
        this.#deliver(message);
      }
    });
  }

  /** How long a message, or a part of a snapshot, takes. */
  #delay(message: Message): number {
    const { delayMax, slowRate, slowMax, isOrdered } = this.#scenario;
    if (this.#isHealed) {
      return this.#random.between(1, 5);
    }
    const isSlow = slowRate > 0 && this.#random.chance(slowRate);
    const delay = this.#random.between(1, isSlow ? slowMax : delayMax);
    if (!isOrdered) {
      return delay;
    }
    const key = link(message.from, message.to);
    const { now } = this.#schedule;
    const arrival = Math.max(now + delay, this.#latest.get(key) ?? 0);
    this.#latest.set(key, arrival);
    return arrival - now;
  }
}

function link(from: NodeId, to: NodeId): string {
  return `${from}>${to}`;
}
