import type { Dashboard, Panel, Query, Row, Step, Variable } from "./panels.ts";

const nodeFilter = '{instance=~"$instance"}';
const goodWhenZero: readonly Step[] = [
  { from: null, color: "green" },
  { from: 1, color: "red" },
];
const goodWhenOne: readonly Step[] = [
  { from: null, color: "red" },
  { from: 1, color: "green" },
];
const availabilitySteps: readonly Step[] = [
  { from: null, color: "red" },
  { from: 0.99, color: "yellow" },
  { from: 0.999, color: "green" },
];
const recoverySteps: readonly Step[] = [
  { from: null, color: "green" },
  { from: 1, color: "yellow" },
  { from: 3, color: "red" },
];

/** Is it well, how much does it do, how fast? */
export const overview: Dashboard = {
  uid: "flotilla-overview",
  title: "Flotilla: overview",
  description: "Whether the cluster can do its work, how much it does, and how fast.",
  variables: [],
  rows: [
    row(
      "Is it well?",
      stat("Nodes up", "Nodes that Prometheus can scrape.", "short", "sum(up)", neutralSteps()),
      stat(
        "Shards without a leader",
        "They take neither writes nor linearizable reads.",
        "short",
        "count(max by (shard) (flotilla_raft_is_leader) == 0) or vector(0)",
        goodWhenZero,
      ),
      stat(
        "Availability, 5 min",
        "Share of the time during which shards had a leader.",
        "percentunit",
        "flotilla:availability:ratio_rate5m",
        availabilitySteps,
      ),
      stat(
        "Slowest failover, 1 h",
        "p99 of the time that shards were without a leader. Empty: there was none.",
        "s",
        "flotilla:recovery_seconds:p99_1h",
        recoverySteps,
      ),
      stat(
        "Replicas that differ",
        "Digest mismatches since start. Must be 0.",
        "short",
        "sum(flotilla_digest_mismatches_total) or vector(0)",
        goodWhenZero,
      ),
      stat(
        "Alerts firing",
        "See Prometheus for which.",
        "short",
        'count(ALERTS{alertstate="firing"}) or vector(0)',
        goodWhenZero,
      ),
    ),
    row(
      "Load",
      series("Requests", "Answered, by method.", "reqps", [
        {
          expr: "sum by (method) (rate(flotilla_http_requests_total[$__rate_interval]))",
          legend: "{{method}}",
        },
      ]),
      series("Failed requests", "Share of answers with 5xx.", "percentunit", [
        { expr: "flotilla:http_errors:ratio_rate5m", legend: "5xx" },
      ]),
      quantiles(
        "Latency",
        "From the request's head to the end of its answer.",
        "flotilla_http_request_duration_seconds",
        "method",
      ),
    ),
    row(
      "Who leads",
      series("Shards led", "Should be spread evenly, and move when a node is lost.", "short", [
        { expr: "sum by (instance) (flotilla_raft_is_leader)", legend: "{{instance}}" },
      ]),
      series("Leader changes", "New leaders seen, per minute, by shard.", "short", [
        {
          expr: "max by (shard) (rate(flotilla_raft_leader_changes_total[$__rate_interval])) * 60",
          legend: "shard {{shard}}",
        },
      ]),
      series("Time without a leader", "p50 and p99 of failovers in the last hour.", "s", [
        { expr: "flotilla:recovery_seconds:p50_1h", legend: "p50" },
        { expr: "flotilla:recovery_seconds:p99_1h", legend: "p99" },
      ]),
    ),
    row(
      "Machines",
      series("CPU", "Cores in use.", "short", [
        { expr: "rate(process_cpu_seconds_total[$__rate_interval])", legend: "{{instance}}" },
      ]),
      series("Memory", "Resident.", "bytes", [
        { expr: "process_resident_memory_bytes", legend: "{{instance}}" },
      ]),
      quantiles(
        "Synced writes",
        "Every write waits for this on a majority.",
        "flotilla_storage_sync_duration_seconds",
        "instance",
      ),
    ),
  ],
};

/** One line per shard: who leads, who lags, how long it was away. */
export const shards: Dashboard = {
  uid: "flotilla-shards",
  title: "Flotilla: shards",
  description: "Every shard is a Raft group of its own.",
  variables: [choice("shard", "Shard", "label_values(flotilla_raft_term, shard)")],
  rows: [
    row(
      "Leaders",
      timeline(
        "Has a leader",
        "Red where nobody leads the shard.",
        'max by (shard) (flotilla_raft_is_leader{shard=~"$shard"})',
        "shard {{shard}}",
      ),
      table(
        "Who leads",
        "The replica that leads, by shard.",
        'flotilla_raft_is_leader{shard=~"$shard"} == 1',
      ),
    ),
    row(
      "Availability",
      series("Availability, 5 min", "Share of the time with a leader.", "percentunit", [
        {
          expr: 'flotilla:shard_availability:ratio_rate5m{shard=~"$shard"}',
          legend: "shard {{shard}}",
        },
      ]),
      series(
        "Availability since start",
        "As the replica with the best view saw it.",
        "percentunit",
        [
          {
            expr: 'max by (shard) (flotilla_shard_availability_ratio{shard=~"$shard"})',
            legend: "shard {{shard}}",
          },
        ],
      ),
      series("Term", "Grows with every election.", "short", [
        { expr: 'max by (shard) (flotilla_raft_term{shard=~"$shard"})', legend: "shard {{shard}}" },
      ]),
    ),
    row(
      "Replication",
      series("Entries behind", "What members lack, as their leader sees it.", "short", [
        {
          expr: 'flotilla_raft_follower_lag_entries{shard=~"$shard"}',
          legend: "shard {{shard}} {{peer}}",
        },
      ]),
      series("Time behind", "For how long a member has lacked something.", "s", [
        {
          expr: 'flotilla_raft_follower_lag_seconds{shard=~"$shard"}',
          legend: "shard {{shard}} {{peer}}",
        },
      ]),
      series("Entries committed", "Per second.", "short", [
        {
          expr: 'max by (shard) (rate(flotilla_raft_commit_index{shard=~"$shard"}[$__rate_interval]))',
          legend: "shard {{shard}}",
        },
      ]),
    ),
    row(
      "Logs",
      series("Log length", "Entries that are not compacted.", "short", [
        {
          expr: 'max by (shard) (flotilla_raft_log_entries{shard=~"$shard"})',
          legend: "shard {{shard}}",
        },
      ]),
      series("Not applied yet", "Committed entries that a replica has yet to apply.", "short", [
        {
          expr: 'max by (shard) (flotilla_raft_commit_index{shard=~"$shard"} - flotilla_raft_applied_index)',
          legend: "shard {{shard}}",
        },
      ]),
      series("Waiting proposals", "Writes under way.", "short", [
        {
          expr: 'sum by (shard) (flotilla_raft_proposals_pending{shard=~"$shard"})',
          legend: "shard {{shard}}",
        },
      ]),
    ),
  ],
};

/** One process: its machine, its disk, its peers. */
export const node: Dashboard = {
  uid: "flotilla-node",
  title: "Flotilla: node",
  description: "One process: its machine, its disk, its peers.",
  variables: [choice("instance", "Node", "label_values(flotilla_build_info, instance)")],
  rows: [
    row(
      "Process",
      series("CPU", "Cores in use.", "short", [
        byNode("rate(process_cpu_seconds_total{$}[$__rate_interval])"),
      ]),
      series("Memory", "Resident, and the part that is the JavaScript heap.", "bytes", [
        { ...byNode("process_resident_memory_bytes{$}"), legend: "{{instance}} resident" },
        { ...byNode("nodejs_heap_size_used_bytes{$}"), legend: "{{instance}} heap" },
      ]),
      series(
        "Event loop",
        "p99 of the time between two looks at it, 50 ms when nothing is late: stalls cause elections.",
        "s",
        [byNode("nodejs_eventloop_lag_p99_seconds{$}")],
      ),
      quantiles(
        "Tick delay",
        "How late Raft's ticks ran.",
        "flotilla_tick_delay_seconds",
        "instance",
        true,
      ),
    ),
    row(
      "Disk",
      quantiles(
        "Synced writes",
        "One batch of one turn.",
        "flotilla_storage_sync_duration_seconds",
        "instance",
        true,
      ),
      series("Entries per write", "How well load is batched.", "short", [
        byNode(
          "rate(flotilla_storage_batch_entries_sum{$}[$__rate_interval]) / rate(flotilla_storage_batch_entries_count{$}[$__rate_interval])",
        ),
      ]),
      series("Space left", "A full disk stops the node.", "bytes", [
        byNode("flotilla_storage_disk_free_bytes{$}"),
      ]),
      series("Data", "Size of the data directory.", "bytes", [
        byNode("flotilla_storage_size_bytes{$}"),
      ]),
    ),
    row(
      "Peers",
      timeline(
        "Connected",
        "Red where the stream is down.",
        'flotilla_peer_up{instance=~"$instance"}',
        "{{instance}} to {{peer}}",
      ),
      series("Suspicion", "Phi-accrual: above 8 the peer is almost certainly gone.", "short", [
        { ...byNode("flotilla_peer_suspicion{$}"), legend: "{{instance}} of {{peer}}" },
      ]),
      series("Round trip", "p99, measured on frames that travel anyway.", "s", [
        {
          ...byNode(
            "histogram_quantile(0.99, sum by (instance, peer, le) (rate(flotilla_peer_round_trip_seconds_bucket{$}[$__rate_interval])))",
          ),
          legend: "{{instance}} to {{peer}}",
        },
      ]),
      series("Traffic", "Bytes per second.", "Bps", [
        {
          ...byNode("rate(flotilla_peer_bytes_total{$}[$__rate_interval])"),
          legend: "{{instance}} {{direction}} {{peer}}",
        },
      ]),
    ),
    row(
      "Work",
      series("Replicas", "By role.", "short", [
        { ...byNode("flotilla_shards{$}"), legend: "{{instance}} {{role}}" },
      ]),
      series("Requests under way", "", "short", [byNode("flotilla_http_requests_in_flight{$}")]),
      series("Watchers", "Open watches.", "short", [byNode("flotilla_watchers{$}")]),
      series("Snapshots under way", "Sent and received.", "short", [
        { ...byNode("flotilla_snapshots_in_progress{$}"), legend: "{{instance}} {{op}}" },
      ]),
    ),
    row(
      "Turned away",
      series("Requests refused", "Before they were taken on, by the error's code.", "reqps", [
        {
          ...byNode("rate(flotilla_http_rejected_total{$}[$__rate_interval])"),
          legend: "{{instance}} {{code}}",
        },
      ]),
      series("Watches interrupted", "Cut off as too slow, or told everything anew.", "short", [
        {
          ...byNode("rate(flotilla_watch_interruptions_total{$}[$__rate_interval])"),
          legend: "{{instance}} {{reason}}",
        },
      ]),
    ),
  ],
};

function row(title: string, ...panels: readonly Panel[]): Row {
  return { title, panels };
}

function stat(
  title: string,
  description: string,
  unit: string,
  expr: string,
  steps: readonly Step[],
): Panel {
  return { title, description, kind: "stat", unit, queries: [{ expr, legend: "" }], steps };
}

function series(
  title: string,
  description: string,
  unit: string,
  queries: readonly Query[],
): Panel {
  return { title, description, kind: "timeseries", unit, queries };
}

/** Red at 0, green at 1, over time. */
function timeline(title: string, description: string, expr: string, legend: string): Panel {
  const queries = [{ expr, legend }];
  return { title, description, kind: "state-timeline", unit: "short", queries, steps: goodWhenOne };
}

function table(title: string, description: string, expr: string): Panel {
  return { title, description, kind: "table", unit: "short", queries: [{ expr, legend: "" }] };
}

/** p50 and p99 of a histogram, by one label. */
function quantiles(
  title: string,
  description: string,
  histogram: string,
  label: string,
  ofChosenNodes = false,
): Panel {
  const filter = ofChosenNodes ? nodeFilter : "";
  const rate = `sum by (${label}, le) (rate(${histogram}_bucket${filter}[$__rate_interval]))`;
  return series(title, description, "s", [
    { expr: `histogram_quantile(0.5, ${rate})`, legend: `{{${label}}} p50` },
    { expr: `histogram_quantile(0.99, ${rate})`, legend: `{{${label}}} p99` },
  ]);
}

/** `{$}` stands for the nodes that were chosen at the top. */
function byNode(expr: string): Query {
  return { expr: expr.replaceAll("{$}", nodeFilter), legend: "{{instance}}" };
}

function choice(name: string, label: string, query: string): Variable {
  return { name, label, query };
}

function neutralSteps(): readonly Step[] {
  return [{ from: null, color: "green" }];
}
