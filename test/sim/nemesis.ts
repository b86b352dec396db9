import type { NodeId } from "../../cluster/types.ts";
import { healthyQuorumIsLeft } from "./members-in-play.ts";
import type { Membership } from "./membership.ts";
import type { Prng } from "./prng.ts";
import { faultKinds } from "./scenario.ts";
import type { FaultKind } from "./scenario.ts";
import { tickUnits } from "./schedule.ts";
import type { SimNode } from "./sim-node.ts";
import type { Surroundings } from "./surroundings.ts";
import type { Workload } from "./workload.ts";

/** Breaks things, one at a time, as the scenario's weights say, until the world is healed. */
export class Nemesis {
  readonly #around: Surroundings;
  readonly #membership: Membership;
  readonly #workload: Workload;
  readonly #random: Prng;
  readonly #bag: readonly FaultKind[];
  /** When a node last learned something about a peer's process: connections tell in order. */
  readonly #learned = new Map<string, number>();
  #isOver = false;

  constructor(around: Surroundings, membership: Membership, workload: Workload) {
    this.#around = around;
    this.#workload = workload;
    this.#membership = membership;
    this.#random = around.random.fork();
    const { weights } = around.scenario.faults;
    this.#bag = faultKinds.flatMap((kind) => Array.from({ length: weights[kind] * 4 }, () => kind));
  }

  /** Begins. */
  start(): void {
    if (this.#bag.length > 0) {
      this.#scheduleNext();
    }
  }

  /** Nothing breaks any more, and what this nemesis wanted to do later does not happen. */
  stop(): void {
    this.#isOver = true;
  }

  #later(delay: number, event: () => void): void {
    this.#around.schedule.after(delay, () => {
      if (!this.#isOver) {
        event();
      }
    });
  }

  #scheduleNext(): void {
    const { interval } = this.#around.scenario.faults;
    this.#later(this.#random.between(1, 2 * interval), () => {
      this.#do(this.#random.pick(this.#bag));
      this.#scheduleNext();
    });
  }

  #do(kind: FaultKind): void {
    const node = this.#random.pick([...this.#around.nodes.values()]);
    const leader = this.#leader() ?? node;
    switch (kind) {
      case "crash":
        return this.#crash(node);
      case "crashLeader":
        return this.#crash(leader);
      case "crashAll":
        return [...this.#around.nodes.values()].forEach((each) => this.#crash(each));
      case "wipe":
        return this.#wipe(node);
      case "pause":
        return this.#pause(node);
      case "pauseLeader":
        return this.#pause(leader);
      case "isolate":
        return this.#isolate([node.id]);
      case "isolateLeader":
        return this.#isolate([leader.id]);
      case "partition":
        return this.#isolate(this.#someNodes());
      case "cutOneWay":
        return this.#cutOneWay(node);
      case "cutOneLink":
        return this.#cut([[node.id, this.#otherThan(node).id]], true);
      case "heal":
        return this.#around.network.mendAll();
      case "desertLeader":
        return this.#desertLeader(leader);
      case "transfer":
        return leader.serve((raft) => void raft.transferLeader(this.#otherThan(leader).id));
      case "campaign":
        return node.serve((raft) => raft.campaign());
      case "members":
        return this.#membership.change(leader, 1);
      case "membersTwice":
        return this.#membership.change(leader, 2);
      case "falseEvidence":
        return node.learn(this.#random.chance(0.7) ? leader.id : this.#otherThan(node).id, "gone");
    }
  }

  /** The running leader of the highest term. */
  #leader(): SimNode | null {
    let best: SimNode | null = null;
    for (const node of this.#around.nodes.values()) {
      if (node.isRunning && node.raft?.isLeader) {
        best = best === null || node.raft.term > (best.raft?.term ?? 0) ? node : best;
      }
    }
    return best;
  }

  #otherThan(node: SimNode): SimNode {
    return this.#random.pick(
      [...this.#around.nodes.values()]
        .filter((each) => each !== node)
        .concat(this.#around.nodes.size === 1 ? [node] : []),
    );
  }

  #someNodes(): NodeId[] {
    const all = [...this.#around.nodes.keys()];
    return this.#random.sample(all, this.#random.between(1, Math.max(1, all.length - 1)));
  }

  #crash(node: SimNode): void {
    if (!node.isUp) {
      return;
    }
    this.#around.statistics.crashes += 1;
    node.crash();
    this.#tellOthers(node, "gone");
    this.#restartLater(node);
  }

  #restartLater(node: SimNode): void {
    this.#later(this.#random.between(1, this.#around.scenario.faults.crashMax), () => {
      if (!node.isUp) {
        node.start();
        this.#tellOthers(node, "reachable");
      }
    });
  }

  /** The others see its connections close, or open again; not all of them, and not at once. */
  #tellOthers(node: SimNode, evidence: "gone" | "reachable"): void {
    const { network, nodes, schedule } = this.#around;
    for (const other of nodes.values()) {
      const key = `${other.id}<${node.id}`;
      if (other === node || (evidence === "gone" && this.#random.chance(0.2))) {
        continue;
      }
      const earliest = Math.max(schedule.now, this.#learned.get(key) ?? 0);
      const time = earliest + this.#random.between(1, tickUnits);
      this.#learned.set(key, time);
      this.#later(time - schedule.now, () => {
        if (network.isConnected(node.id, other.id)) {
          other.learn(node.id, evidence);
        }
      });
    }
  }

  /** A disk is lost, if enough are left for the group to go on. */
  #wipe(node: SimNode): void {
    const isBearable = healthyQuorumIsLeft(
      this.#around,
      (id) => id !== node.id && this.#around.nodes.get(id)?.disk.isQuarantined === false,
    );
    if (!isBearable) {
      return;
    }
    this.#around.trace?.(`${node.id} loses its log`);
    this.#around.statistics.wipes += 1;
    if (node.isUp) {
      node.crash();
      this.#tellOthers(node, "gone");
    }
    node.disk.wipe(this.#around.ledger.configuration, this.#random.chance(0.6));
    this.#around.network.drop(node.id);
    this.#restartLater(node);
  }

  #pause(node: SimNode): void {
    if (!node.isRunning) {
      return;
    }
    this.#around.statistics.pauses += 1;
    const { incarnation } = node;
    node.pause();
    this.#later(this.#random.between(tickUnits, this.#around.scenario.faults.pauseMax), () => {
      if (node.incarnation === incarnation && node.isPaused) {
        node.resume();
      }
    });
  }

  #isolate(group: readonly NodeId[]): void {
    const others = [...this.#around.nodes.keys()].filter((id) => !group.includes(id));
    const links = group.flatMap((id) => others.map((other): [NodeId, NodeId] => [id, other]));
    this.#cut(links, true);
  }

  /** The leader is the last to learn that it is replaced: what leases and ReadIndex must survive. */
  #desertLeader(leader: SimNode): void {
    const others = this.#random.sample([...this.#around.nodes.values()], Infinity);
    const followers = others.filter((node) => node !== leader);
    const last = followers.pop();
    if (last === undefined) {
      return;
    }
    this.#workload.watchClosely(leader, 3 * this.#around.scenario.raft.electionTicks);
    switch (this.#random.pick(["transfer", "mute", "restart", "restart"] as const)) {
      case "transfer":
        leader.serve((raft) => void raft.transferLeader(last.id));
        this.#later(this.#random.between(1, tickUnits), () => this.#isolate([leader.id]));
        return;
      case "mute":
        this.#cut(linksOf(leader, [...followers, last]), false);
        this.#cut(
          followers.map((node) => [node.id, leader.id]),
          false,
        );
        return;
      case "restart":
        this.#restartLastFollower(leader, last, followers);
    }
  }

  /**
   * As many as make a majority but for one vote have lost the leader for long and want another one; then the last follower restarts,
   * and does not find the leader again.
   */
  #restartLastFollower(leader: SimNode, last: SimNode, others: readonly SimNode[]): void {
    const deserters = others.slice(0, Math.floor((others.length + 2) / 2));
    this.#cut(linksOf(leader, deserters), true);
    const patience = this.#around.scenario.raft.electionTicks + this.#random.between(2, 10);
    this.#later(patience * tickUnits, () => {
      if (last.isUp) {
        last.crash();
      }
      this.#cut(linksOf(leader, [...others, last]), true);
      this.#later(this.#random.between(1, tickUnits / 4), () => {
        if (!last.isUp) {
          last.start();
        }
        for (const node of deserters) {
          const delay = this.#random.between(1, tickUnits / 2);
          this.#later(delay, () => node.serve((raft) => raft.campaign()));
        }
      });
    });
  }

  /** A node that hears but is not heard, or speaks and does not hear; towards one node or all. */
  #cutOneWay(node: SimNode): void {
    const all = [...this.#around.nodes.keys()].filter((id) => id !== node.id);
    const others = this.#random.chance(0.5) ? all : this.#random.sample(all, 1);
    const isDeaf = this.#random.chance(0.5);
    this.#cut(
      others.map((other) => (isDeaf ? [other, node.id] : [node.id, other])),
      false,
    );
  }

  /** Cuts links until some time later. The hosts may notice that a connection is lost; they cannot know why. */
  #cut(links: readonly (readonly [NodeId, NodeId])[], isSymmetric: boolean): void {
    const { network, statistics, nodes, scenario, trace } = this.#around;
    statistics.cuts += 1;
    trace?.(`cut: ${links.map((pair) => pair.join(isSymmetric ? "|" : ">")).join(" ")}`);
    for (const [from, to] of links) {
      network.cut(from, to);
      if (isSymmetric) {
        network.cut(to, from);
      }
      this.#later(this.#random.between(5, 20) * tickUnits, () => {
        if (!network.isConnected(from, to)) {
          nodes.get(from)?.learn(to, "lost");
          nodes.get(to)?.learn(from, "lost");
        }
      });
    }
    this.#later(this.#random.between(tickUnits, scenario.faults.partitionMax), () => {
      trace?.(`mended: ${links.map((pair) => pair.join("-")).join(" ")}`);
      for (const [from, to] of links) {
        network.mend(from, to);
        network.mend(to, from);
        nodes.get(from)?.learn(to, "reachable");
        nodes.get(to)?.learn(from, "reachable");
      }
    });
  }
}

function linksOf(
  node: SimNode,
  others: readonly SimNode[],
): readonly (readonly [NodeId, NodeId])[] {
  return others.map((other) => [node.id, other.id]);
}
