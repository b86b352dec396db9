import type { Config } from "./config.ts";
import { type HealthLimits, type HealthReport, liveness, readiness } from "./health.ts";
import type { ErrorCode } from "./errors.ts";
import type { Answer, RequestObserver } from "./http/exchange.ts";
import type { NodeInsight } from "./http/probe-routes.ts";
import type { Log } from "./log.ts";
import { MetricsCollector } from "./metrics-collector.ts";
import type { Metrics } from "./metrics.ts";
import type { Observation } from "./observation.ts";
import type { ShardObserver } from "./shard-observer.ts";
import { type SlowRequest, SlowRequests } from "./slow-requests.ts";
import { parseTraceparent } from "./trace-context.ts";

/** The parts of a node that know something worth telling. */
export interface InsightOptions {
  readonly config: Config;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly observation: Observation;
  readonly observer: ShardObserver;
  readonly clock: () => number;
}

/** A follower that is further behind what it knows to be committed is still catching up. */
const applyLagMaxEntries = 1000;

/** Why requests are refused most: they count from zero, because Prometheus does not see the first step of a series that begins with it. */
const refusals: readonly ErrorCode[] = ["overloaded", "body_too_large", "too_many_watchers"];

/** What the process tells of itself over HTTP, and what it learns from each request. */
export class Insight implements NodeInsight, RequestObserver {
  readonly #options: InsightOptions;
  readonly #collector: MetricsCollector;
  readonly #slow: SlowRequests;
  readonly #limits: HealthLimits;

  constructor(options: InsightOptions) {
    this.#options = options;
    const { config, metrics, observation, observer } = options;
    this.#collector = new MetricsCollector(metrics, observation, observer);
    this.#slow = new SlowRequests(config.slowRequestMs, config.slowRequestsKept);
    const electionMs = config.electionTicks * config.tickMs;
    this.#limits = { tickSilenceMaxMs: 10 * electionMs, applyLagMaxEntries };
    for (const code of refusals) {
      metrics.instruments.httpRejected.inc({ code }, 0);
    }
  }

  liveness(): HealthReport {
    return liveness(this.#options.observation.health(), this.#limits);
  }

  readiness(): HealthReport {
    return readiness(this.#options.observation.health(), this.#limits);
  }

  metrics(): Promise<string> {
    return this.#collector.scrape(this.#options.clock());
  }

  get metricsContentType(): string {
    return this.#options.metrics.contentType;
  }

  slowRequests(): readonly SlowRequest[] {
    return this.#slow.list();
  }

  onRequest(): void {
    this.#options.metrics.instruments.httpRequestsInFlight.inc(1);
  }

  onRefused(code: ErrorCode): void {
    this.#options.metrics.instruments.httpRejected.inc({ code }, 1);
  }

  onAnswer(answer: Answer): void {
    const { metrics, config, log } = this.#options;
    metrics.instruments.httpRequestsInFlight.inc(-1);
    metrics.httpRequest(answer.method, answer.route, answer.code, answer.durationMs / 1000);
    this.#slow.note(answer.durationMs, () => describeSlow(answer));
    if (config.logRequests) {
      const { method, route, code, requestId } = answer;
      const traceId = traceIdOf(answer);
      const durationMs = Number(answer.durationMs.toFixed(3));
      log.info({ method, route, code, requestId, traceId, durationMs }, "request answered");
    }
  }
}

function describeSlow(answer: Answer): Omit<SlowRequest, "durationMs"> {
  const { method, route, code, requestId, timings } = answer;
  return {
    at: new Date().toISOString(),
    requestId,
    traceId: traceIdOf(answer),
    method,
    route,
    code,
    stages: Object.fromEntries(timings),
  };
}

function traceIdOf({ trace }: Answer): string | null {
  return trace === "" ? null : (parseTraceparent(trace)?.traceId ?? null);
}
