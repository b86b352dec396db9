import { Prng } from "../sim/prng.ts";
import type { ClientScenario } from "../workload/client.ts";

/** What can be done to a cluster of real processes. */
export const faultKinds = [
  "kill",
  "kill-all",
  "term",
  "pause",
  "partition",
  "one-way",
  "delay",
  "loss",
  "cut",
  "disk-full",
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** They need proxies between the nodes, which need Linux. */
export const networkKinds: readonly FaultKind[] = ["partition", "one-way", "delay", "loss", "cut"];

/** The engine can do these to containers. */
export const containerKinds: readonly FaultKind[] = [
  "kill",
  "kill-all",
  "term",
  "pause",
  "partition",
];

/** One run, as the seed draws it. Who is hit when depends on the cluster as well: real processes are never the same twice. */
export interface Plan {
  readonly seed: number;
  readonly kinds: readonly FaultKind[];
  /** How long clients work. */
  readonly seconds: number;
  readonly nodes: number;
  readonly shards: number;
  readonly replicationFactor: number;
  /** Few: followers that were away need a snapshot. */
  readonly retainedEntries: number;
  readonly snapshotChunkBytes: number;
  /** The three nodes of docker-compose.yml in containers, not processes. */
  readonly isInContainers: boolean;
  readonly usesProxies: boolean;
  readonly usesSmallDisks: boolean;
  readonly clients: ClientScenario;
  readonly watchers: number;
  /** Written before the clients begin. */
  readonly ballastWrites: number;
}

/** From this many seconds on a run is a soak: it begins with full caches, and its processes must not grow. */
export const soakSecondsMin = 600;

/** Parts of a run without faults. Longer at the start: fresh processes compile what they run, and are slow until they have. */
export const calmShares = { before: 0.2, after: 0.1 };

/** The run of a seed with these faults. */
export function drawPlan(seed: number, kinds: readonly FaultKind[], seconds: number): Plan {
  const random = new Prng(seed);
  const nodes = random.pick([3, 3, 5]);
  return {
    seed,
    kinds,
    seconds,
    nodes,
    shards: random.pick([2, 4, 8]),
    replicationFactor: nodes === 5 ? random.pick([3, 5]) : 3,
    retainedEntries: random.pick([100, 1000, 20_000]),
    snapshotChunkBytes: random.pick([4096, 262_144]),
    isInContainers: false,
    usesProxies: kinds.some((kind) => networkKinds.includes(kind)),
    usesSmallDisks: kinds.includes("disk-full"),
    clients: {
      count: random.between(8, 10),
      thinkMs: random.pick([8, 15]),
      keys: random.between(2, 4),
      timeoutMs: random.pick([800, 1500, 3000]),
      weights: { register: 5, counter: 2, text: 2, pair: 2, lock: 1, ttl: 1, retry: 2 },
      usesLeases: random.chance(0.5),
    },
    watchers: random.between(3, 6),
    ballastWrites: seconds >= soakSecondsMin ? 150_000 : 0,
  };
}

/** The same clients on the cluster of docker-compose.yml. */
export function inContainers(plan: Plan): Plan {
  return {
    ...plan,
    isInContainers: true,
    nodes: 3,
    shards: 8,
    replicationFactor: 3,
    usesProxies: false,
    usesSmallDisks: false,
  };
}

/** Nodes that may be hit at once: every shard keeps a quorum. */
export function victimsMax({ replicationFactor }: Plan): number {
  return Math.floor((replicationFactor - 1) / 2);
}
