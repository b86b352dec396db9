import type { NodeId, ShardId } from "../cluster/types.ts";

/** What health is judged by: the node at one moment. */
export interface HealthSource {
  health(): HealthSnapshot;
}

/** What health is judged from. */
export interface HealthSnapshot {
  readonly nodeId: NodeId;
  /** Why the store stopped taking writes; null while it works. */
  readonly storeFailure: string | null;
  /** Milliseconds since the last turn or tick of the groups ended; null before the first. */
  readonly tickSilenceMs: number | null;
  /** The node is handing over its work before it ends. */
  readonly isStopping: boolean;
  /** Version of the cluster map; null before this node has one. */
  readonly epoch: number | null;
  readonly replicas: readonly ReplicaHealth[];
}

/** One local replica. */
export interface ReplicaHealth {
  readonly shard: ShardId;
  readonly leader: NodeId | null;
  readonly isLearner: boolean;
  readonly isQuarantined: boolean;
  readonly isReceivingSnapshot: boolean;
  readonly commitIndex: number;
  readonly appliedIndex: number;
}

/** When a node counts as alive and ready. */
export interface HealthLimits {
  /** A node whose groups have not ticked for this long hangs. */
  readonly tickSilenceMaxMs: number;
  /** A replica that is further behind what it knows to be committed is catching up. */
  readonly applyLagMaxEntries: number;
}

/** The answer of /livez and /readyz: ok when every check is. `?verbose` shows the checks, a failing probe always does. */
export interface HealthReport {
  readonly ok: boolean;
  readonly checks: readonly HealthCheck[];
}

/** One thing that was looked at. */
export interface HealthCheck {
  readonly name: string;
  readonly ok: boolean;
  /** What is wrong and for whom, or what is fine. One sentence. */
  readonly detail: string;
  /** The shard it is about, for checks of replicas. */
  readonly shard: number | null;
}

/**
 * Is the process worth keeping? Only what a restart can cure: a hanging loop, a store that refuses to write. Never the state of the
 * others: a healthy node without a quorum must not be killed for it.
 */
export function liveness(node: HealthSnapshot, limits: HealthLimits): HealthReport {
  const silence = node.tickSilenceMs;
  return report([
    check(
      "event-loop",
      silence === null || silence <= limits.tickSilenceMaxMs,
      silence === null ? "starting" : `last tick ${Math.round(silence)} ms ago`,
    ),
    check("store", node.storeFailure === null, node.storeFailure ?? "accepts writes"),
  ]);
}

/**
 * Should clients be sent here? The node knows the cluster map, and every local replica knows its leader and has applied what it
 * knows to be committed. Names each replica that is not ready, and why.
 */
export function readiness(node: HealthSnapshot, limits: HealthLimits): HealthReport {
  const hasMap = node.epoch !== null;
  return report([
    ...liveness(node, limits).checks,
    check("serving", !node.isStopping, node.isStopping ? "shutting down" : "takes requests"),
    check("map", hasMap, hasMap ? `epoch ${node.epoch}` : "no cluster map yet"),
    ...node.replicas.map((replica) => replicaCheck(replica, limits)),
  ]);
}

function replicaCheck(replica: ReplicaHealth, limits: HealthLimits): HealthCheck {
  const complaint = whyNotReady(replica, limits);
  const detail = complaint ?? `led by ${replica.leader}, applied ${replica.appliedIndex}`;
  return {
    name: `shard-${replica.shard}`,
    ok: complaint === null,
    detail,
    shard: replica.shard,
  };
}

function whyNotReady(replica: ReplicaHealth, limits: HealthLimits): string | null {
  if (replica.isQuarantined) {
    return "quarantined: it lost or differs in acknowledged entries and waits for a snapshot";
  }
  if (replica.isReceivingSnapshot) {
    return "receiving a snapshot";
  }
  if (replica.leader === null) {
    return "no leader known: fewer than a majority of its replicas may be reachable";
  }
  const lag = replica.commitIndex - replica.appliedIndex;
  if (lag > limits.applyLagMaxEntries) {
    return `catching up: ${lag} entries behind what is committed`;
  }
  return null;
}

function check(name: string, ok: boolean, detail: string): HealthCheck {
  return { name, ok, detail, shard: null };
}

function report(checks: readonly HealthCheck[]): HealthReport {
  return { ok: checks.every((each) => each.ok), checks };
}
