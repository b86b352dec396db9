import {
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type HrTime,
  type SpanContext,
} from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
  type Resource,
} from "@opentelemetry/resources";
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from "@opentelemetry/sdk-trace";
import type { FinishedSpan } from "./tracing.ts";

/**
 * Sends finished spans to an OpenTelemetry collector over OTLP/HTTP. The only file that knows the OpenTelemetry SDK, which costs
 * 100 ms and 60 MB of memory at a start: server/tracing-start.ts imports it only when an endpoint is set.
 *
 * The SDK brings what matters at this edge: batches, a bounded queue, retries, and all the standard variables
 * (OTEL_EXPORTER_OTLP_*, OTEL_BSP_*, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES). Its tracer is not used: ours has no context to
 * carry around, and makes no object for a request that is not sampled.
 */
export class OtlpExporter {
  readonly #processor: BatchSpanProcessor;
  readonly #resource: Resource;

  constructor(options: OtlpExporterOptions) {
    this.#resource = defaultResource()
      .merge(
        resourceFromAttributes({
          "service.name": "flotilla",
          "service.instance.id": options.nodeId,
          "service.version": options.version,
        }),
      )
      .merge(detectResources({ detectors: [envDetector] }));
    const exporter = new CountingExporter(new OTLPTraceExporter(), options.onResult);
    this.#processor = new BatchSpanProcessor({ exporter });
  }

  /** Queues a span; the SDK drops it when the collector cannot keep up, so that a trace never costs the cluster its memory. */
  export(span: FinishedSpan): void {
    this.#processor.onEnd(readable(span, this.#resource));
  }

  /** Sends what is queued, and ends. Does not reject: what a collector refuses has been told to `onResult`. */
  async stop(): Promise<void> {
    await this.#processor.shutdown().catch(() => undefined);
  }
}

/** Who exports, and who is told how it went. */
export interface OtlpExporterOptions {
  readonly nodeId: string;
  readonly version: string;
  /** What became of a batch of spans. */
  readonly onResult: (result: SpanFate, spans: number, error: Error | null) => void;
}

/** `failed`: the collector refused them, or could not be reached for as long as the SDK retries. */
export type SpanFate = "exported" | "failed";

class CountingExporter implements SpanExporter {
  readonly #exporter: SpanExporter;
  readonly #onResult: OtlpExporterOptions["onResult"];

  constructor(exporter: SpanExporter, onResult: OtlpExporterOptions["onResult"]) {
    this.#exporter = exporter;
    this.#onResult = onResult;
  }

  export(...[spans, done]: Parameters<SpanExporter["export"]>): void {
    this.#exporter.export(spans, (result) => {
      // ExportResultCode.SUCCESS is 0; the enum lives in a package that is not ours to depend on.
      const fate = result.code === 0 ? "exported" : "failed";
      this.#onResult(fate, spans.length, result.error ?? null);
      done(result);
    });
  }

  async forceFlush(): Promise<void> {
    await this.#exporter.forceFlush?.();
  }

  shutdown(): Promise<void> {
    return this.#exporter.shutdown();
  }
}

const kinds = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
} as const;

function readable(span: FinishedSpan, resource: Resource): ReadableSpan {
  const context = (spanId: string): SpanContext => ({
    traceId: span.traceId,
    spanId,
    traceFlags: TraceFlags.SAMPLED,
  });
  return {
    name: span.name,
    kind: kinds[span.kind],
    spanContext: () => context(span.spanId),
    ...(span.parentSpanId === null ? {} : { parentSpanContext: context(span.parentSpanId) }),
    startTime: highResolution(span.startMs),
    endTime: highResolution(span.endMs),
    duration: highResolution(span.endMs - span.startMs),
    status:
      span.error === null
        ? { code: SpanStatusCode.UNSET }
        : { code: SpanStatusCode.ERROR, message: span.error },
    attributes: span.attributes,
    links: [],
    events: [],
    ended: true,
    resource,
    instrumentationScope: { name: "flotilla" },
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

/** Seconds and nanoseconds. A double of milliseconds since 1970 is exact to a quarter of a microsecond: more would be invented. */
function highResolution(milliseconds: number): HrTime {
  const microseconds = Math.round(milliseconds * 1000);
  return [Math.floor(microseconds / 1e6), (microseconds % 1e6) * 1000];
}
