import Type from "typebox";
import type { FastifyReply } from "fastify";
import type { HealthReport } from "../health.ts";
import type { SlowRequest } from "../slow-requests.ts";
import { errorPage, landingPage } from "./pages.ts";
import { queryForm, switchParameter } from "./query.ts";
import { splitTarget } from "./percent.ts";
import type { RouteDocs, Routes } from "./route-kit.ts";

/** What the process tells of itself. */
export interface NodeInsight {
  /** Is the process worth keeping? Never a question of quorum. */
  liveness(): HealthReport;
  /** Should clients be sent here? */
  readiness(): HealthReport;
  /** Prometheus' text format. */
  metrics(): Promise<string>;
  readonly metricsContentType: string;
  slowRequests(): readonly SlowRequest[];
}

const tags = ["operations"];
const verboseForm = queryForm({
  verbose: switchParameter("Show every check, also when all is well."),
});
const reportSchema = Type.Object({
  ok: Type.Boolean(),
  checks: Type.Array(
    Type.Object({
      name: Type.String(),
      ok: Type.Boolean(),
      detail: Type.String(),
      shard: Type.Union([Type.Integer(), Type.Null()]),
    }),
  ),
});

/** /livez, /readyz, /metrics, /v1/debug/slow and the pages for people. They answer whatever the load. */
export function probeRoutes(insight: NodeInsight, version: string): Routes {
  return (app, kit) => {
    app.get("/livez", { config: { docs: probeDocs("Is the process alive?") } }, (request, reply) =>
      sendReport(reply, insight.liveness(), request.raw.url ?? ""),
    );
    app.get("/readyz", { config: { docs: probeDocs("May clients come?") } }, (request, reply) =>
      sendReport(reply, insight.readiness(), request.raw.url ?? ""),
    );
    app.get("/metrics", { config: { docs: metricsDocs } }, async (_request, reply) => {
      const text = await insight.metrics();
      return reply.header("content-type", insight.metricsContentType).send(text);
    });
    app.get("/v1/debug/slow", { config: { docs: slowDocs } }, () => ({
      threshold_ms: kit.config.slowRequestMs,
      requests: insight.slowRequests().map(jsonSlowRequest),
    }));
    app.get("/", (_request, reply) =>
      reply
        .header("content-type", "text/html; charset=utf-8")
        .send(landingPage(kit.config.nodeId, version)),
    );
    app.get("/errors", (_request, reply) =>
      reply.header("content-type", "text/html; charset=utf-8").send(errorPage()),
    );
  };
}

function sendReport(reply: FastifyReply, report: HealthReport, target: string): FastifyReply {
  const { verbose } = verboseForm.parse(splitTarget(target).query);
  const body = verbose || !report.ok ? report : { ok: true };
  return reply
    .code(report.ok ? 200 : 503)
    .header("cache-control", "no-store")
    .send(body);
}

function jsonSlowRequest(slow: SlowRequest) {
  return {
    at: slow.at,
    request_id: slow.requestId,
    trace_id: slow.traceId,
    method: slow.method,
    route: slow.route,
    status: slow.code,
    duration_ms: slow.durationMs,
    stages_ms: slow.stages,
  };
}

function probeDocs(summary: string): RouteDocs {
  const content = { "application/json": Type.Partial(reportSchema) };
  return {
    summary,
    tags,
    query: verboseForm,
    responses: {
      200: { description: "Yes.", content },
      503: { description: "No; the checks say why.", content },
    },
  };
}

const metricsDocs: RouteDocs = {
  summary: "Metrics for Prometheus",
  tags,
  responses: {
    200: { description: "See docs/metrics.md.", content: { "text/plain": Type.String() } },
  },
};

const slowDocs: RouteDocs = {
  summary: "The last slow requests",
  description: "Newest first, with the time each stage took.",
  tags,
  responses: {
    200: {
      description: "Requests that took longer than --slow-request-ms.",
      content: {
        "application/json": Type.Object({
          threshold_ms: Type.Number(),
          requests: Type.Array(
            Type.Object({
              at: Type.String(),
              request_id: Type.String(),
              trace_id: Type.Union([Type.String(), Type.Null()]),
              method: Type.String(),
              route: Type.String(),
              status: Type.Integer(),
              duration_ms: Type.Number(),
              stages_ms: Type.Record(Type.String(), Type.Number()),
            }),
          ),
        }),
      },
    },
  },
};
