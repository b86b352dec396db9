import type { NodeId } from "../../cluster/types.ts";
import { Client } from "./client.ts";
import { Disk, noMembers } from "./disk.ts";
import { check } from "./failure.ts";
import { Housekeeping } from "./housekeeping.ts";
import { Ledger } from "./ledger.ts";
import { healthyQuorumIsLeft } from "./members-in-play.ts";
import { Membership } from "./membership.ts";
import { Nemesis } from "./nemesis.ts";
import { Network } from "./network.ts";
import { Prng } from "./prng.ts";
import { drawScenario } from "./scenario.ts";
import type { Scenario } from "./scenario.ts";
import { Schedule, tickUnits } from "./schedule.ts";
import { SimNode } from "./sim-node.ts";
import { noStatistics } from "./surroundings.ts";
import type { Statistics, Surroundings } from "./surroundings.ts";
import { Watch } from "./watch.ts";
import { FinalWrites, Workload } from "./workload.ts";

/** What a run without a failure was. */
export interface RunResult extends Statistics {
  readonly seed: number;
  /** Events that ran. */
  readonly steps: number;
  readonly elections: number;
  readonly committed: number;
  readonly messages: number;
  /** Ticks from the heal to an acknowledged write. */
  readonly healTicks: number;
  /** Equal runs have equal digests. */
  readonly digest: number;
}

/** Election timeouts within which a healed quorum must commit, and within twice of which all its members must agree. */
const healTimeouts = 20;

/**
 * Runs the world of a seed from its beginning to its end: a phase with faults, then a random quorum is healed, must elect a leader, commit,
 * and agree. Throws at the first broken invariant. The same seed gives the same run, line by line.
 */
export function simulate(seed: number, trace: ((line: string) => void) | null = null): RunResult {
  const scenario = drawScenario(seed);
  const around = build(scenario, trace);
  const membership = new Membership(around);
  const workload = new Workload(around);
  const nemesis = new Nemesis(around, membership, workload);
  nemesis.start();
  workload.start();
  around.schedule.runUntil(scenario.faultTicks * tickUnits, () => false);
  nemesis.stop();
  workload.stop();
  const healTicks = heal(around);
  const { schedule, ledger, watch, network, statistics } = around;
  const digest =
    ledger.digestAt(ledger.commitIndex) ^ (schedule.ran * 31) ^ (network.delivered * 17);
  return {
    ...statistics,
    seed,
    steps: schedule.ran,
    elections: watch.elections,
    committed: ledger.commitIndex,
    messages: network.delivered,
    healTicks,
    digest,
  };
}

function build(scenario: Scenario, trace: ((line: string) => void) | null): Surroundings {
  const random = new Prng(scenario.seed).fork();
  const schedule = new Schedule();
  const configuration = {
    ...noMembers,
    voters: scenario.initialVoters,
    learners: scenario.initialLearners,
  };
  const ledger = new Ledger(configuration);
  const nodes = new Map<NodeId, SimNode>();
  const statistics = noStatistics();
  const housekeeping = new Housekeeping();
  const around: Surroundings = {
    scenario,
    schedule,
    random,
    ledger,
    nodes,
    statistics,
    housekeeping,
    watch: new Watch(nodes, ledger),
    network: new Network(scenario.network, schedule, random.fork(), (message) =>
      nodes.get(message.to)?.receive(message),
    ),
    trace: trace === null ? null : (line) => trace(`${schedule.now} ${line}`),
  };
  housekeeping.join(around);
  around.trace?.(JSON.stringify(scenario));
  const numbers = { next: 1 };
  for (const id of scenario.nodes) {
    const client = new Client(ledger, statistics, numbers);
    nodes.set(id, new SimNode(id, new Disk(id, configuration), client, around));
  }
  for (const id of [...scenario.initialVoters, ...scenario.initialLearners]) {
    nodes.get(id)?.start();
  }
  return around;
}

/**
 * Liveness: a random quorum gets good disks, clocks and links, the rest stays dead. Returns the ticks until a write was acknowledged.
 * Without this phase a replica that never does anything would pass all checks.
 */
function heal(around: Surroundings): number {
  const { schedule, network, scenario, nodes, housekeeping } = around;
  housekeeping.want(null);
  const alive = chooseSurvivors(around);
  around.trace?.(`healed: ${[...alive].join(" ")}`);
  network.heal();
  for (const node of nodes.values()) {
    node.isHealed = true;
    if (!alive.has(node.id)) {
      if (node.isUp) {
        node.crash();
      }
    } else if (!node.isUp) {
      node.start();
    } else if (node.isPaused) {
      node.resume();
    }
  }
  tellWhoIsThere(around, alive);
  const start = schedule.now;
  const { electionTicks, electionJitterTicks } = scenario.raft;
  const limit = (healTimeouts * (electionTicks + electionJitterTicks) * tickUnits) | 0;
  const writes = new FinalWrites(around, alive);
  writes.start();
  schedule.runUntil(start + limit, () => writes.isAcknowledged);
  check(writes.isAcknowledged, "live", () => {
    return `no write within ${healTimeouts} election timeouts: ${describeNodes(around, alive)}`;
  });
  const healTicks = Math.round((schedule.now - start) / tickUnits);
  const target = around.ledger.commitIndex;
  schedule.runUntil(start + 3 * limit, () => haveAgreed(around, alive, target));
  check(haveAgreed(around, alive, target), "converges", () => {
    return `not all members have ${target}: ${describeNodes(around, alive)}`;
  });
  return healTicks;
}

/** All nodes that ever ran but some, such that what is left can decide under every configuration in play. */
function chooseSurvivors(around: Surroundings): ReadonlySet<NodeId> {
  const { nodes, random } = around;
  const started = [...nodes.values()].filter((node) => node.incarnation > 0).map(({ id }) => id);
  const alive = new Set(started);
  const isThere = (id: NodeId): boolean =>
    alive.has(id) && nodes.get(id)?.disk.isQuarantined === false;
  for (const id of random.sample(started, random.between(0, started.length))) {
    alive.delete(id);
    if (!healthyQuorumIsLeft(around, isThere)) {
      alive.add(id);
    }
  }
  return alive;
}

function tellWhoIsThere(around: Surroundings, alive: ReadonlySet<NodeId>): void {
  for (const id of alive) {
    for (const other of around.nodes.keys()) {
      if (other !== id) {
        around.nodes.get(id)?.learn(other, alive.has(other) ? "reachable" : "gone");
      }
    }
  }
}

/** Whether every living member has applied the log up to `target` and nobody is joint or quarantined any more. */
function haveAgreed(around: Surroundings, alive: ReadonlySet<NodeId>, target: number): boolean {
  const { voters, votersOutgoing, learners } = around.ledger.configuration;
  if (votersOutgoing.length > 0) {
    return false;
  }
  return [...voters, ...learners].every(
    (id) => !alive.has(id) || (around.nodes.get(id)?.applied.index ?? 0) >= target,
  );
}

function describeNodes(around: Surroundings, alive: ReadonlySet<NodeId>): string {
  const states = [...alive].map((id) => {
    const node = around.nodes.get(id);
    const { raft } = node ?? {};
    const log = `applied ${raft?.appliedIndex}, commit ${raft?.commitIndex}, last ${raft?.lastIndex}`;
    const configuration = JSON.stringify(raft?.configuration);
    return `${id} ${raft?.role} in term ${raft?.term}: ${log}, quarantined ${raft?.isQuarantined}, ${configuration}`;
  });
  return `${states.join("; ")}; committed: ${JSON.stringify(around.ledger.configuration)}`;
}
