import type { FinishedSpan, SpanAttributes, SpanKind } from "./tracing.ts";

/**
 * Sends spans to an OpenTelemetry collector as OTLP/HTTP with JSON bodies (opentelemetry-proto 1.x, trace service). Loaded only when
 * an endpoint is set.
 *
 * Written out instead of using the OpenTelemetry SDK: that is 18 packages and 28 MB, which together with the other dependencies would
 * exceed the 90 MB that the image may add to its base, for what is one POST of a JSON document.
 */
export class OtlpExporter {
  readonly #options: OtlpExporterOptions;
  readonly #queue: FinishedSpan[] = [];
  readonly #timer: NodeJS.Timeout;
  #sending: Promise<void> | null = null;

  constructor(options: OtlpExporterOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.flush(), options.intervalMs);
    this.#timer.unref();
  }

  /** Queues a span; drops it when the collector cannot keep up, because a trace must never cost the cluster its memory. */
  export(span: FinishedSpan): void {
    if (this.#queue.length >= this.#options.queueMax) {
      this.#options.onResult("dropped", 1, null);
      return;
    }
    this.#queue.push(span);
  }

  /** Sends all that is queued now. Never rejects: a batch that the collector does not take is counted and forgotten. */
  async flush(): Promise<void> {
    while (this.#sending !== null || this.#queue.length > 0) {
      this.#sending ??= this.#send(this.#queue.splice(0, this.#options.batchMax)).then(() => {
        this.#sending = null;
      });
      await this.#sending;
    }
  }

  /** Sends what is queued and ends. Idempotent. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #send(spans: readonly FinishedSpan[]): Promise<void> {
    const { url, headers, timeoutMs, resource, onResult } = this.#options;
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json" },
        body: JSON.stringify(encodeSpans(spans, resource)),
        signal: AbortSignal.timeout(timeoutMs),
      });
      await response.arrayBuffer();
      if (!response.ok) {
        throw new Error(`the collector answered ${response.status}`);
      }
      onResult("exported", spans.length, null);
    } catch (error) {
      onResult("failed", spans.length, error instanceof Error ? error : new Error(String(error)));
    }
  }
}

export interface OtlpExporterOptions extends OtlpTarget {
  /** Spans go out this often. */
  readonly intervalMs: number;
  /** Spans that wait; more are dropped. */
  readonly queueMax: number;
  /** Spans of one POST. */
  readonly batchMax: number;
  /** Told what became of how many spans, for metrics and the log. Must not throw. */
  readonly onResult: (
    result: "exported" | "dropped" | "failed",
    count: number,
    error: Error | null,
  ) => void;
}

/** Where spans go and whose they are. */
export interface OtlpTarget {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Attributes of this process: service.name, service.instance.id, ... */
  readonly resource: SpanAttributes;
}

/**
 * Reads the standard variables (https://opentelemetry.io/docs/specs/otel/protocol/exporter/); null when no endpoint is set, that is:
 * tracing is off. Throws when one of them makes no sense.
 */
export function readOtlpTarget(
  env: Readonly<Record<string, string | undefined>>,
  nodeId: string,
): OtlpTarget | null {
  const endpoint = env["OTEL_EXPORTER_OTLP_ENDPOINT"] ?? "";
  const tracesEndpoint = env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] ?? "";
  if (endpoint === "" && tracesEndpoint === "") {
    return null;
  }
  const url = tracesEndpoint === "" ? `${endpoint.replace(/\/+$/, "")}/v1/traces` : tracesEndpoint;
  if (!URL.canParse(url)) {
    throw new Error(`OTEL_EXPORTER_OTLP_ENDPOINT is not a URL: ${url}`);
  }
  const timeoutMs = Number(env["OTEL_EXPORTER_OTLP_TIMEOUT"] ?? "10000");
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1) {
    throw new Error("OTEL_EXPORTER_OTLP_TIMEOUT must be a positive number of milliseconds");
  }
  return {
    url,
    timeoutMs,
    headers: readPairs(env["OTEL_EXPORTER_OTLP_HEADERS"] ?? ""),
    resource: {
      "service.name": env["OTEL_SERVICE_NAME"] ?? "flotilla",
      "service.instance.id": nodeId,
      ...readPairs(env["OTEL_RESOURCE_ATTRIBUTES"] ?? ""),
    },
  };
}

/** `a=1,b=2`, percent-encoded, as W3C Baggage writes it. */
function readPairs(text: string): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const part of text.split(",")) {
    const at = part.indexOf("=");
    if (at > 0) {
      pairs[part.slice(0, at).trim()] = decodeURIComponent(part.slice(at + 1).trim());
    }
  }
  return pairs;
}

const kindNumbers = { internal: 1, server: 2, client: 3 } as const satisfies Record<
  SpanKind,
  number
>;
const statusError = 2;

/** An ExportTraceServiceRequest in the protocol's JSON form: ids in hex, 64-bit numbers as decimal strings. */
export function encodeSpans(spans: readonly FinishedSpan[], resource: SpanAttributes): object {
  return {
    resourceSpans: [
      {
        resource: { attributes: encodeAttributes(resource) },
        scopeSpans: [{ scope: { name: "flotilla" }, spans: spans.map(encodeSpan) }],
      },
    ],
  };
}

function encodeSpan(span: FinishedSpan): object {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentSpanId === null ? {} : { parentSpanId: span.parentSpanId }),
    name: span.name,
    kind: kindNumbers[span.kind],
    startTimeUnixNano: unixNanoseconds(span.startMs),
    endTimeUnixNano: unixNanoseconds(span.endMs),
    attributes: encodeAttributes(span.attributes),
    status: span.error === null ? {} : { code: statusError, message: span.error },
  };
}

function encodeAttributes(attributes: SpanAttributes): object[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: encodeValue(value) }));
}

function encodeValue(value: string | number | boolean): object {
  if (typeof value === "string") {
    return { stringValue: value };
  }
  if (typeof value === "boolean") {
    return { boolValue: value };
  }
  return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}

/** A double of milliseconds since 1970 is exact to a quarter of a microsecond: more digits would be invented. */
function unixNanoseconds(milliseconds: number): string {
  return `${Math.round(milliseconds * 1000)}000`;
}
