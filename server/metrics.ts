import prom from "prom-client";
import {
  HistogramTally,
  NumberTally,
  type HistogramSeries,
  type NumberSeries,
  type Sample,
} from "./tally.ts";

/**
 * Every metric of a node, declared once: the name, the help text, the labels and the type of the object that records it all
 * come from the same line. The only file that knows prom-client.
 *
 * Rules: base units and `_total` only on counters; a shard is a label of gauges and counters, never of a histogram (64 shards
 * times 14 buckets would be most of a scrape); keys and URLs are never labels; which node it is comes from Prometheus' target.
 */
export class Metrics {
  readonly instruments: Instruments;
  /** The table itself, for docs and for the test that dashboards and rules name nothing else. */
  readonly definitions: readonly MetricDefinition[];
  readonly #registry = new prom.Registry();

  constructor() {
    const definitions: MetricDefinition[] = [];
    this.instruments = declareAll(new Declarer(this.#registry, definitions));
    this.definitions = definitions;
  }

  /** Adds what the runtime knows of itself: process_* and nodejs_*. Its observers live as long as the process. */
  observeProcess(): void {
    // Its standard, a look every 10 ms, is a fifth of what an idle node costs. Ticks measure their own delay more finely.
    prom.collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: 50 });
  }

  /** Which build this is. */
  describeBuild(version: string, commit: string): void {
    const labels = { version, commit, node_version: process.version };
    this.instruments.buildInfo.set(labels, 1);
  }

  /** One answered request: the counter and the histogram of it. `route` is the template (`/v1/kv/*`), never the URL. */
  httpRequest(method: string, route: string, code: number, seconds: number): void {
    this.instruments.httpRequests.inc({ method, route, code: String(code) }, 1);
    this.instruments.httpRequestSeconds.observe({ method, route }, seconds);
  }

  /** The text of /metrics. Gauges of shards and peers are filled in before this by MetricsCollector.collect(). */
  render(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }
}

/** Prometheus' own types. */
export type MetricType = "counter" | "gauge" | "histogram";

/** What there is to know of a metric without its values. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly labels: readonly string[];
}

/** Every instrument by its name in the code. */
export type Instruments = ReturnType<typeof declareAll>;

/** Counts up. `reset` is for counters that mirror a count which is kept elsewhere. */
export type Counter<Name extends string> = Pick<NumberTally<Name>, "inc" | "reset">;
/** `reset` forgets all label values: shards and peers come and go. */
export type Gauge<Name extends string> = Pick<NumberTally<Name>, "set" | "inc" | "reset">;
/** Counts observations in buckets. */
export type Histogram<Name extends string> = Pick<HistogramTally<Name>, "observe">;
/** A counter without labels. */
export type PlainCounter = Pick<NumberSeries, "inc" | "reset">;
/** A gauge without labels. */
export type PlainGauge = Pick<NumberSeries, "set" | "inc">;
/** A histogram without labels. */
export type PlainHistogram = Pick<HistogramSeries, "observe">;

/** Declares metrics: each is counted by a Tally, and put into words by the registry when it is scraped. */
class Declarer {
  readonly #registry: prom.Registry;
  readonly #definitions: MetricDefinition[];

  constructor(registry: prom.Registry, definitions: MetricDefinition[]) {
    this.#registry = registry;
    this.#definitions = definitions;
  }

  counter<const Name extends string>(name: string, help: string, labels: Name[]): Counter<Name> {
    return this.#define("counter", name, help, labels, new NumberTally(labels));
  }

  gauge<const Name extends string>(name: string, help: string, labels: Name[]): Gauge<Name> {
    return this.#define("gauge", name, help, labels, new NumberTally(labels));
  }

  histogram<const Name extends string>(
    name: string,
    help: string,
    buckets: number[],
    labels: Name[],
  ): Histogram<Name> {
    return this.#define("histogram", name, help, labels, new HistogramTally(labels, buckets));
  }

  plainCounter(name: string, help: string): PlainCounter {
    return this.#define("counter", name, help, [], new NumberTally([])).of({});
  }

  plainGauge(name: string, help: string): PlainGauge {
    return this.#define("gauge", name, help, [], new NumberTally([])).of({});
  }

  plainHistogram(name: string, help: string, buckets: number[]): PlainHistogram {
    return this.#define("histogram", name, help, [], new HistogramTally([], buckets)).of({});
  }

  #define<AnyTally extends { samples(): Sample[] }>(
    type: MetricType,
    shortName: string,
    help: string,
    labels: string[],
    tally: AnyTally,
  ): AnyTally {
    const name = `flotilla_${shortName}`;
    this.#definitions.push({ name, type, help, labels });
    const get = () => {
      const values = tally.samples().map((sample) => promValue(name, sample));
      return Promise.resolve({ name, help, type, values });
    };
    // All that a registry asks of a metric when it renders one, in place of the library's own classes.
    this.#registry.registerMetric({ name, get } as unknown as prom.Metric);
    return tally;
  }
}

function promValue(name: string, { suffix, bound, shared, value }: Sample) {
  const labels = bound === null ? noLabels : { le: bound };
  return { metricName: name + suffix, labels, sharedLabels: shared, value };
}

const noLabels = {};

const requestSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const diskSeconds = [
  0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2,
];
const outageSeconds = [0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60];
const sizeBytes = [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
const counts = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

function declareAll(declare: Declarer) {
  return {
    ...declareProcess(declare),
    ...declareHttp(declare),
    ...declareKeyValue(declare),
    ...declareShards(declare),
    ...declareReplicas(declare),
    ...declareConsensus(declare),
    ...declarePeers(declare),
    ...declareSnapshots(declare),
    ...declareStorage(declare),
    ...declareRing(declare),
  };
}

function declareProcess(declare: Declarer) {
  return {
    buildInfo: declare.gauge(
      "build_info",
      "Always 1; the labels say which build runs on which Node.",
      ["version", "commit", "node_version"],
    ),
    startReplaySeconds: declare.plainGauge(
      "start_replay_duration_seconds",
      "How long the last start took to open the store and verify and replay its logs.",
    ),
    tickDelaySeconds: declare.plainHistogram(
      "tick_delay_seconds",
      "How much later than planned a tick ran: a stalled event loop or a paused process.",
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    ),
    traceSpans: declare.counter(
      "trace_spans_total",
      "Trace spans by fate: exported, failed (the collector refused them or was not there).",
      ["result"],
    ),
  };
}

function declareHttp(declare: Declarer) {
  return {
    httpRequests: declare.counter("http_requests_total", "Requests answered.", [
      "method",
      "route",
      "code",
    ]),
    httpRequestSeconds: declare.histogram(
      "http_request_duration_seconds",
      "From the request's head to the end of its answer.",
      requestSeconds,
      ["method", "route"],
    ),
    httpRequestsInFlight: declare.plainGauge(
      "http_requests_in_flight",
      "Requests that have no answer yet.",
    ),
    httpRejected: declare.counter(
      "http_rejected_total",
      "Requests refused before they were taken on, by the error's code: the node is at a limit, or they are not HTTP.",
      ["code"],
    ),
    forwardedRequests: declare.counter(
      "forwarded_requests_total",
      "Operations sent on to the node that can serve them, by how that ended.",
      ["peer", "result"],
    ),
    wrongShard: declare.plainCounter(
      "wrong_shard_total",
      "Operations that reached a replica which does not own the key: the sender's map was old.",
    ),
  };
}

function declareKeyValue(declare: Declarer) {
  return {
    operations: declare.counter("operations_total", "Operations on keys, by result.", [
      "op",
      "result",
    ]),
    operationSeconds: declare.histogram(
      "operation_duration_seconds",
      "Operations on keys, from the router's side: with forwarding and retries.",
      requestSeconds,
      ["op", "consistency"],
    ),
    valueBytes: declare.histogram("value_size_bytes", "Size of values.", sizeBytes, ["op"]),
    watchers: declare.plainGauge("watchers", "Open watches."),
    watchEvents: declare.plainCounter(
      "watch_events_total",
      "Changes, and records of the current state, told to watchers.",
    ),
    watchInterruptions: declare.counter(
      "watch_interruptions_total",
      "Watches that could not just go on: lagged (cut off, the reader was too slow), reset (told the whole state anew).",
      ["reason"],
    ),
    expiredKeys: declare.plainCounter(
      "expired_keys_total",
      "Keys ended by their time to live, as replicas here applied it: every replica of a shard counts, replayed entries too.",
    ),
  };
}

function declareShards(declare: Declarer) {
  return {
    shards: declare.gauge("shards", "Replicas on this node, by role.", ["role"]),
    shardLeaderlessSeconds: declare.plainHistogram(
      "shard_leaderless_seconds",
      "How long a shard had no leader as seen from here, from the last word of the old leader to the first of the new one.",
      outageSeconds,
    ),
    shardAvailability: declare.gauge(
      "shard_availability_ratio",
      "Share of the time since the replica opened during which it knew a leader.",
      ["shard"],
    ),
    shardUnavailableSeconds: declare.counter(
      "shard_unavailable_seconds_total",
      "Time during which the replica knew no leader.",
      ["shard"],
    ),
    digestMismatches: declare.counter(
      "digest_mismatches_total",
      "Times that replicas of the shard, seen from here, differed at the same applied index. Must stay 0.",
      ["shard"],
    ),
  };
}

function declareReplicas(declare: Declarer) {
  return {
    hasLeader: declare.gauge("raft_has_leader", "1 when the replica knows a leader.", ["shard"]),
    isLeader: declare.gauge("raft_is_leader", "1 when the replica leads.", ["shard"]),
    isQuarantined: declare.gauge(
      "raft_is_quarantined",
      "1 when the replica lost log entries or differs from the others, and may not vote.",
      ["shard"],
    ),
    term: declare.gauge("raft_term", "The replica's term.", ["shard"]),
    commitIndex: declare.gauge("raft_commit_index", "Last entry known to be committed.", ["shard"]),
    appliedIndex: declare.gauge("raft_applied_index", "Last entry applied.", ["shard"]),
    lastLogIndex: declare.gauge("raft_last_log_index", "Last entry in the log.", ["shard"]),
    logEntries: declare.gauge("raft_log_entries", "Entries in the log that are not compacted.", [
      "shard",
    ]),
    proposalsPending: declare.gauge(
      "raft_proposals_pending",
      "Proposals that wait for an answer.",
      ["shard"],
    ),
    followerLagEntries: declare.gauge(
      "raft_follower_lag_entries",
      "Entries that a member lacks, as its leader sees it.",
      ["shard", "peer"],
    ),
    followerLagSeconds: declare.gauge(
      "raft_follower_lag_seconds",
      "For how long a member has lacked something that its leader had; 0 when it kept up with the last sample.",
      ["shard", "peer"],
    ),
    leaderLastContactSeconds: declare.gauge(
      "raft_leader_last_contact_seconds",
      "Time since the replica heard from its leader; only of replicas that follow one.",
      ["shard"],
    ),
  };
}

function declareConsensus(declare: Declarer) {
  return {
    leaderChanges: declare.counter("raft_leader_changes_total", "New leaders seen.", ["shard"]),
    electionsWon: declare.plainCounter(
      "raft_elections_won_total",
      "Elections that replicas here have won, handed-over leaderships included.",
    ),
    handOvers: declare.counter(
      "raft_leadership_transfers_total",
      "Leaderships that this node began to hand over: preferred (the map wants another leader), leaving (it stops, or its disk hangs), odd (its state differs).",
      ["reason"],
    ),
    proposals: declare.counter(
      "raft_proposals_total",
      "Proposals made here, by fate: applied, refused and dropped (certainly not applied), unknown.",
      ["result"],
    ),
    commitSeconds: declare.plainHistogram(
      "raft_commit_duration_seconds",
      "From proposing to committed and applied, on the leader.",
      requestSeconds,
    ),
    readIndexSeconds: declare.plainHistogram(
      "raft_read_index_duration_seconds",
      "From asking for a read index to having applied it.",
      requestSeconds,
    ),
    readIndexFailures: declare.counter(
      "raft_read_index_failures_total",
      "Linearizable reads that found no leader to confirm them in time.",
      ["reason"],
    ),
  };
}

function declarePeers(declare: Declarer) {
  return {
    peerUp: declare.gauge("peer_up", "1 when the stream to the peer is open.", ["peer"]),
    peerSuspicion: declare.gauge(
      "peer_suspicion",
      "Phi-accrual suspicion: 1 means a 10 % chance that the peer is fine, 3 means 0.1 %.",
      ["peer"],
    ),
    peerRoundTripSeconds: declare.histogram(
      "peer_round_trip_seconds",
      "Round trips, measured on frames that travel anyway.",
      requestSeconds,
      ["peer"],
    ),
    peerQueueBytes: declare.gauge("peer_send_queue_bytes", "Bytes queued for the peer.", ["peer"]),
    peerFrames: declare.counter("peer_frames_total", "Frames exchanged with the peer.", [
      "peer",
      "direction",
    ]),
    peerBytes: declare.counter("peer_bytes_total", "Bytes exchanged with the peer.", [
      "peer",
      "direction",
    ]),
    peerDropped: declare.counter(
      "peer_dropped_frames_total",
      "Frames not sent: no connection, or a full queue.",
      ["peer"],
    ),
    peerReconnects: declare.counter("peer_stream_restarts_total", "Streams opened anew.", ["peer"]),
  };
}

function declareSnapshots(declare: Declarer) {
  return {
    snapshots: declare.counter("snapshots_total", "Snapshots sent, received and installed.", [
      "op",
    ]),
    snapshotFailures: declare.counter("snapshot_failures_total", "Snapshots given up.", ["op"]),
    snapshotSeconds: declare.histogram(
      "snapshot_duration_seconds",
      "Transfers of snapshots that succeeded, from the first byte to the last.",
      outageSeconds,
      ["op"],
    ),
    snapshotBytes: declare.counter(
      "snapshot_bytes_total",
      "Bytes of snapshots sent and received, failed transfers included.",
      ["op"],
    ),
    snapshotsInProgress: declare.gauge("snapshots_in_progress", "Snapshots on their way.", ["op"]),
  };
}

function declareStorage(declare: Declarer) {
  return {
    syncSeconds: declare.plainHistogram(
      "storage_sync_duration_seconds",
      "One synced write: the batch of one turn, over all shards.",
      diskSeconds,
    ),
    batchEntries: declare.plainHistogram(
      "storage_batch_entries",
      "Log entries in one synced write: how well load is batched.",
      counts,
    ),
    storageErrors: declare.counter(
      "storage_errors_total",
      "Failures of the store, by what was wrong; the node stops at the first.",
      ["code"],
    ),
    storageBytes: declare.plainGauge("storage_size_bytes", "Size of the data directory."),
    diskFreeBytes: declare.plainGauge(
      "storage_disk_free_bytes",
      "Space left for the node on the data directory's disk.",
    ),
    diskSizeBytes: declare.plainGauge(
      "storage_disk_size_bytes",
      "Size of the data directory's disk.",
    ),
  };
}

function declareRing(declare: Declarer) {
  return {
    clusterMembers: declare.gauge(
      "cluster_members",
      "Nodes in the cluster map, by whether they are connected.",
      ["state"],
    ),
    ringEpoch: declare.plainGauge("ring_epoch", "Version of the cluster map in use here."),
    ringOwnership: declare.gauge(
      "ring_ownership_ratio",
      "Share of the key space whose shards the node leads.",
      ["node"],
    ),
  };
}
