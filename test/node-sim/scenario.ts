import { Prng } from "../sim/prng.ts";
import type { ClientScenario } from "../workload/client.ts";

/** What can happen to a cluster, one thing at a time. */
export type FaultKind = (typeof faultKinds)[number];
export const faultKinds = [
  "kill",
  "killLeader",
  "power",
  "powerAll",
  "restart",
  "pause",
  "pauseLeader",
  "isolate",
  "isolateLeader",
  "partition",
  "strand",
  "oneWay",
  "link",
  "heal",
  "resetLink",
  "slowDisk",
  "fullDisk",
  "rot",
  "wipe",
  "diverge",
  "transfer",
  "storm",
  "move",
] as const;

/**
 * What one seed simulates. Swarm testing: every seed draws which faults exist at all and how often they come, because a world with every
 * fault at once hides the bugs that need one of them to be absent. Times in milliseconds, rates are probabilities.
 */
export interface Scenario {
  readonly seed: number;
  readonly nodes: number;
  readonly shards: number;
  readonly replicationFactor: number;
  readonly tickMs: number;
  readonly electionTicks: number;
  readonly electionJitterTicks: number;
  readonly heartbeatTicks: number;
  readonly retainedEntries: number;
  /** Of all shards of a node; a few times as much is how large a journal gets before quiet logs are written again. */
  readonly retainedBytes: number;
  /** Clocks run at 1 - drift to 1 + drift. */
  readonly drift: number;
  readonly network: NetworkScenario;
  /** Longest ordinary write. */
  readonly diskMs: number;
  readonly faultMs: number;
  /** Mean time between two faults; after the phase with faults the world is healed. */
  readonly faultEveryMs: number;
  readonly weights: Readonly<Record<FaultKind, number>>;
  readonly clients: ClientScenario;
  readonly watchers: number;
}

export interface NetworkScenario {
  readonly delayMs: number;
  readonly lossRate: number;
  readonly duplicateRate: number;
  /** How often a frame takes up to `slowMs` instead. */
  readonly slowRate: number;
  readonly slowMs: number;
  /** What goes from one node to another keeps its order, as on one connection. */
  readonly isOrdered: boolean;
}

/** The world of a seed. */
export function drawScenario(seed: number): Scenario {
  const random = new Prng(seed);
  const nodes = random.pick([1, 2, 3, 3, 3, 3, 4, 5, 5]);
  const isCalm = random.chance(0.1);
  // What came later is drawn apart, so that seeds keep most of their meaning.
  const late = new Prng(seed ^ 0x1a7e);
  return {
    seed,
    nodes,
    shards: random.between(1, 4),
    replicationFactor: random.pick([1, 2, 3, 3, 3, 3, 5]),
    tickMs: random.pick([10, 20, 50]),
    electionTicks: random.between(8, 14),
    electionJitterTicks: random.between(4, 10),
    heartbeatTicks: random.between(1, 3),
    retainedEntries: random.pick([4, 10, 40, 200]),
    retainedBytes: new Prng(seed ^ 0x10a1).pick([300, 2_000, 1_000_000]),
    drift: random.pick([0, 0.001, 0.01]),
    network: drawNetwork(random),
    diskMs: random.pick([0.5, 2, 8]),
    faultMs: random.between(5_000, 10_000),
    faultEveryMs: isCalm ? 100_000 : random.pick([150, 400, 800, 1500]),
    weights: {
      ...drawFaults(random, nodes),
      strand: late.chance(nodes > 3 ? 0.5 : 0) ? late.between(1, 6) : 0,
    },
    clients: {
      count: random.between(3, 7),
      thinkMs: random.pick([3, 15, 60]),
      keys: random.between(1, 3),
      timeoutMs: drawPatience(late, random.pick([400, 1200, 2500])),
      weights: drawWork(random),
      usesLeases: random.chance(0.5),
    },
    watchers: random.between(0, 3),
  };
}

/**
 * The world of a seed in which one replica goes wrong: what it holds is not what the others hold. Nobody loses data beside that, nor
 * needs a snapshot for another reason: a wrong state that has spread to a majority is a right one.
 */
export function drawOddScenario(seed: number): Scenario {
  const scenario = drawScenario(seed);
  return {
    ...scenario,
    nodes: Math.max(3, scenario.nodes),
    replicationFactor: Math.max(3, scenario.replicationFactor),
    retainedEntries: 1_000_000,
    retainedBytes: 1_000_000_000,
    faultEveryMs: Math.min(800, scenario.faultEveryMs),
    weights: { ...scenario.weights, rot: 0, wipe: 0, move: 0, diverge: 6 },
  };
}

/** Some clients turn away so soon that they ask a process that is paused again and again while others lead. */
function drawPatience(random: Prng, usualMs: number): number {
  return random.chance(0.25) ? 120 : usualMs;
}

function drawNetwork(random: Prng): NetworkScenario {
  return {
    delayMs: random.pick([0.3, 2, 15]),
    lossRate: random.pick([0, 0, 0.01, 0.05, 0.15]),
    duplicateRate: random.pick([0, 0, 0.02, 0.1]),
    slowRate: random.pick([0, 0, 0.02, 0.1]),
    slowMs: random.pick([30, 200, 800]),
    isOrdered: random.chance(0.4),
  };
}

function drawFaults(random: Prng, nodes: number): Omit<Scenario["weights"], "strand"> {
  const draw = (share: number): number => (random.chance(share) ? random.between(1, 6) : 0);
  return {
    kill: draw(0.5),
    killLeader: draw(0.5),
    power: draw(0.4),
    powerAll: draw(0.3) / 3,
    restart: draw(0.3),
    pause: draw(0.3),
    pauseLeader: draw(0.4),
    isolate: draw(0.3),
    isolateLeader: draw(0.4),
    partition: draw(0.4),
    oneWay: draw(0.4),
    link: draw(0.4),
    heal: draw(0.9),
    resetLink: draw(0.3),
    slowDisk: draw(0.3),
    fullDisk: draw(0.25),
    rot: nodes >= 3 ? draw(0.3) : 0,
    wipe: nodes >= 3 ? draw(0.3) : 0,
    diverge: 0,
    transfer: draw(0.4),
    storm: draw(0.3),
    move: draw(0.3),
  };
}

function drawWork(random: Prng): ClientScenario["weights"] {
  const draw = (share: number): number => (random.chance(share) ? random.between(1, 4) : 0);
  return {
    register: random.between(2, 5),
    counter: draw(0.5),
    text: draw(0.5),
    pair: draw(0.5),
    lock: draw(0.4),
    ttl: draw(0.4),
    retry: draw(0.4),
  };
}
