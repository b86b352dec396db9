import assert from "node:assert/strict";
import { test } from "node:test";
import { dashboardFiles } from "../../scripts/dashboards/write.ts";
import { Metrics } from "../../server/metrics.ts";
import { startCluster } from "../e2e/support.ts";
import { clusterSeenBy, keyOfEachShard } from "./support/cluster-client.ts";
import { PrometheusServer, whyNoPrometheus } from "./support/prometheus-server.ts";
import { eventually } from "./support/run.ts";
import { Writers } from "./support/writers.ts";

const reason = await whyNoPrometheus();
if (reason !== null) {
  console.log(`the test with a real Prometheus is skipped: ${reason}`);
}

const alert = 'ALERTS{alertname="FlotillaShardWithoutLeader",alertstate="firing"}';

/** Metrics of what need not happen in a healthy cluster. */
const rare = [
  "flotilla_raft_leadership_transfers_total",
  "flotilla_raft_read_index_failures_total",
  "flotilla_snapshot_bytes_total",
  "flotilla_snapshot_duration_seconds",
  "flotilla_snapshot_failures_total",
  "flotilla_snapshots_total",
  "flotilla_storage_errors_total",
  "flotilla_trace_spans_total",
];

/** All queries of all dashboards, with Grafana's variables filled in. */
function dashboardQueries(): readonly { readonly dashboard: string; readonly expr: string }[] {
  return [...dashboardFiles()].flatMap(([dashboard, text]) => {
    const model = JSON.parse(text) as { panels: { targets?: { expr: string }[] }[] };
    return model.panels.flatMap(({ targets = [] }) =>
      targets.map(({ expr }) => ({
        dashboard,
        expr: expr
          .replaceAll("$__rate_interval", "15s")
          .replaceAll("$instance", ".*")
          .replaceAll("$shard", ".*"),
      })),
    );
  });
}

test(
  "a real Prometheus sees the nodes, fills the dashboards, and raises and ends the alarm",
  {
    skip: reason ?? false,
    timeout: 300_000,
  },
  async (context) => {
    const { cluster, urls } = await startCluster(context);
    const prometheus = await PrometheusServer.start(
      new Map(cluster.nodes.map(({ id, http }) => [id, http])),
    );
    context.after(() => prometheus.stop());
    const keys = await keyOfEachShard(urls[0] ?? "");
    const writers = new Writers(urls, keys.values());
    context.after(() => writers.stop());

    await eventually("three targets up", 30_000, async () =>
      (await prometheus.query("up == 1")).length === 3 ? true : null,
    );

    const queries = dashboardQueries();
    assert.ok(queries.length > 40);
    const empty = new Map(queries.map((query) => [query.expr, query.dashboard]));
    await eventually("every query of every dashboard answered with data", 60_000, async () => {
      for (const [expr] of empty) {
        if ((await prometheus.query(expr)).length > 0) {
          empty.delete(expr);
        }
      }
      return empty.size === 0 ? true : null;
    }).catch((error: unknown) => {
      throw new Error(
        `no data for ${[...empty].map(([expr, name]) => `${name}: ${expr}`).join("\n")}`,
        {
          cause: error,
        },
      );
    });
    context.diagnostic(`${queries.length} queries of the dashboards return data`);
    await writers.stop();
    for (const { name } of new Metrics().definitions.filter((each) => !rare.includes(each.name))) {
      const found = await prometheus.query(`{__name__=~"${name}(_count)?"}`);
      assert.ok(found.length > 0, `nobody feeds ${name}`);
    }
    assert.deepEqual(await prometheus.query(alert), []);

    const [survivor, ...majority] = cluster.nodes;
    assert.ok(survivor !== undefined);
    for (const { id } of majority) {
      await cluster.kill(id);
    }
    const firing = await eventually("the alarm", 90_000, async () => {
      const results = await prometheus.query(alert);
      return results.length > 0 ? results : null;
    });
    assert.equal(firing[0]?.metric["severity"], "critical");

    for (const { id } of majority) {
      await cluster.restart(id);
    }
    await cluster.ready(60_000);
    const { shards } = await clusterSeenBy(survivor.url);
    assert.ok(shards.every(({ leader }) => leader !== null));
    await eventually("the end of the alarm", 60_000, async () =>
      (await prometheus.query(alert)).length === 0 ? true : null,
    );
    const [recovery] = await eventually("a recorded recovery", 30_000, async () => {
      const results = await prometheus.query("flotilla:recovery_seconds:p99_1h > 0");
      return results.length > 0 ? results : null;
    });
    context.diagnostic(
      `the alarm fired and ended; recovery time recorded: ${recovery?.value[1]} s`,
    );
  },
);
