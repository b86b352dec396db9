import type { RaftOptions } from "../../cluster/raft/options.ts";
import { NodeId } from "../../cluster/types.ts";
import { Prng } from "./prng.ts";
import { tickUnits } from "./schedule.ts";

/**
 * What one seed simulates. Swarm testing: every seed draws which faults exist at all and how often they come, because a world
 * with every fault at once hides the bugs that need one of them to be absent.
 *
 * Times are in time units (`tickUnits` to a tick) unless a name says ticks; rates are probabilities.
 */
export interface Scenario {
  readonly seed: number;
  /** Every node that may ever take part. */
  readonly nodes: readonly NodeId[];
  readonly initialVoters: readonly NodeId[];
  readonly initialLearners: readonly NodeId[];
  readonly raft: Omit<RaftOptions, "id" | "random" | "electionPriorityDelayTicks">;
  /** Length of the phase with faults; then the world is healed. */
  readonly faultTicks: number;
  readonly clock: ClockScenario;
  readonly network: NetworkScenario;
  readonly disk: DiskScenario;
  readonly faults: FaultScenario;
  readonly host: HostScenario;
  readonly workload: WorkloadScenario;
}

export interface ClockScenario {
  /** A node's tick lasts `tickUnits` times 1 - drift to 1 + drift. */
  readonly drift: number;
  /** How often a tick comes late by up to a tick, or is joined with the next one. */
  readonly stallRate: number;
}

export interface NetworkScenario {
  readonly lossRate: number;
  readonly duplicateRate: number;
  readonly delayMax: number;
  /** How often a message takes up to `slowMax` instead. */
  readonly slowRate: number;
  readonly slowMax: number;
  /** Messages between two nodes keep their order, as on one connection. */
  readonly isOrdered: boolean;
}

export interface DiskScenario {
  readonly syncMax: number;
  readonly slowRate: number;
  readonly slowMax: number;
}

export interface FaultScenario {
  /** Mean time between two faults. */
  readonly interval: number;
  /** Weight of every kind; 0 for kinds that this world does not know. */
  readonly weights: Readonly<Record<FaultKind, number>>;
  readonly crashMax: number;
  readonly pauseMax: number;
  readonly partitionMax: number;
}

/** What can happen to a world, one at a time. */
export type FaultKind = (typeof faultKinds)[number];
export const faultKinds = [
  "crash",
  "crashLeader",
  "crashAll",
  "wipe",
  "pause",
  "pauseLeader",
  "isolate",
  "isolateLeader",
  "partition",
  "cutOneWay",
  "cutOneLink",
  "heal",
  "desertLeader",
  "transfer",
  "campaign",
  "members",
  "membersTwice",
  "falseEvidence",
] as const;

export interface HostScenario {
  /** Applied entries that stay in the log; small, so that a follower that lags needs a snapshot. */
  readonly retainedMax: number;
  /** How often, per tick, applied state that nobody waits for is written. */
  readonly flushRate: number;
  readonly snapshotFailureRate: number;
  readonly snapshotMax: number;
  /** Ticks without work before a leader lets its group sleep; 0: never. */
  readonly quiesceTicks: number;
  /** Whether membership follows cluster/multiraft/supervisor.ts, or changes are proposed as they come. */
  readonly isSupervised: boolean;
  /** Whether leadership hints delay some nodes. */
  readonly hasPriorities: boolean;
}

export interface WorkloadScenario {
  /** Mean time between two client operations. */
  readonly interval: number;
  readonly payloadMax: number;
  /** Share of reads among operations. */
  readonly readRate: number;
  /** Share of lease reads among reads; 0 where clocks drift more than leases allow. */
  readonly leaseRate: number;
  /** How often clients fall silent for up to `silenceMax`. */
  readonly silenceRate: number;
  readonly silenceMax: number;
}

const nodesMax = 7;

/** The world of a seed. */
export function drawScenario(seed: number): Scenario {
  const random = new Prng(seed);
  const nodes = Array.from({ length: nodesMax }, (_, position) => NodeId(`n${position + 1}`));
  const size = random.pick([1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
  const hasMemberships = random.chance(0.5);
  const universe = hasMemberships ? Math.min(nodesMax, size + random.between(1, 3)) : size;
  const learners = random.chance(0.2) && universe > size ? 1 : 0;
  const driftKind = random.pick(["none", "small", "small", "wild"] as const);
  const hasFalseEvidence = random.chance(0.25);
  const isSleepy = random.chance(0.25);
  const mayLease = driftKind !== "wild" && !hasFalseEvidence;
  return {
    seed,
    nodes: nodes.slice(0, universe),
    initialVoters: nodes.slice(0, size),
    initialLearners: nodes.slice(size, size + learners),
    raft: drawRaft(random),
    faultTicks: random.between(300, 900),
    clock: {
      drift: { none: 0, small: 0.04, wild: 0.3 }[driftKind],
      stallRate: random.pick([0, 0, 0.02, 0.1]),
    },
    network: drawNetwork(random),
    disk: {
      syncMax: random.pick([5, 20, 60]),
      slowRate: random.pick([0, 0, 0.02, 0.1]),
      slowMax: random.pick([3, 10, 25]) * tickUnits,
    },
    faults: drawFaults(random, hasMemberships, hasFalseEvidence),
    host: {
      retainedMax: random.pick([0, 3, 10, 40]),
      flushRate: random.pick([0.02, 0.2, 0.6]),
      snapshotFailureRate: random.pick([0, 0.1, 0.4]),
      snapshotMax: random.pick([50, 300, 1500]),
      quiesceTicks: isSleepy ? random.between(4, 12) : 0,
      isSupervised: random.chance(0.5),
      hasPriorities: random.chance(0.2),
    },
    workload: {
      interval: random.pick([30, 60, 100, 200]),
      payloadMax: random.pick([12, 40, 120]),
      readRate: random.pick([0.1, 0.35, 0.6]),
      leaseRate: mayLease ? random.pick([0, 0.4, 0.8]) : 0,
      silenceRate: isSleepy ? 0.15 : random.pick([0, 0, 0.01]),
      silenceMax: random.pick([30, 60]) * tickUnits,
    },
  };
}

function drawRaft(random: Prng): Scenario["raft"] {
  const electionTicks = random.between(8, 12);
  return {
    electionTicks,
    electionJitterTicks: random.between(4, 10),
    heartbeatTicks: random.between(1, 3),
    fastElectionJitterTicks: random.between(0, 3),
    inflightMessagesMax: random.pick([1, 2, 4, 16]),
    inflightBytesMax: random.pick([64, 512, 8192]),
    appendBytesMax: random.pick([16, 200, 2000]),
    uncommittedBytesMax: random.pick([300, 2000, 8000]),
    pendingReadsMax: random.pick([2, 8, 64]),
    leaseMarginTicks: random.between(3, 4),
  };
}

function drawNetwork(random: Prng): NetworkScenario {
  return {
    lossRate: random.pick([0, 0, 0.02, 0.1, 0.25]),
    duplicateRate: random.pick([0, 0, 0.05, 0.2]),
    delayMax: random.pick([10, 50, 150]),
    slowRate: random.pick([0, 0, 0.02, 0.1]),
    slowMax: random.pick([5, 20, 60]) * tickUnits,
    isOrdered: random.chance(0.4),
  };
}

function drawFaults(
  random: Prng,
  hasMemberships: boolean,
  hasFalseEvidence: boolean,
): FaultScenario {
  const draw = (share: number): number => (random.chance(share) ? random.between(1, 6) : 0);
  return {
    interval: random.pick([3, 6, 12, 25]) * tickUnits,
    weights: {
      crash: draw(0.6),
      crashLeader: draw(0.5),
      crashAll: draw(0.2) / 4,
      wipe: draw(0.35),
      pause: draw(0.4),
      pauseLeader: draw(0.4),
      isolate: draw(0.4),
      isolateLeader: draw(0.4),
      partition: draw(0.5),
      cutOneWay: draw(0.4),
      cutOneLink: draw(0.4),
      heal: draw(0.9),
      desertLeader: draw(0.5),
      transfer: draw(0.4),
      campaign: draw(0.2),
      members: hasMemberships ? random.between(3, 10) : 0,
      membersTwice: hasMemberships ? draw(0.4) : 0,
      falseEvidence: hasFalseEvidence ? random.between(1, 6) : 0,
    },
    crashMax: random.pick([5, 20, 60]) * tickUnits,
    pauseMax: random.pick([6, 30, 60]) * tickUnits,
    partitionMax: random.pick([20, 60, 200]) * tickUnits,
  };
}
