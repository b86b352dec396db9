import { Tracer } from "./tracing.ts";

/** Tracing while it is on. */
export interface Tracing {
  readonly tracer: Tracer;
  /** Sends what is queued, and ends. */
  stop(): Promise<void>;
}

/** Who is traced, how often, and who is told of the exports. */
export interface TracingOptions {
  readonly nodeId: string;
  readonly version: string;
  readonly onResult: (result: "exported" | "failed", spans: number, error: Error | null) => void;
}

/**
 * Turns tracing on when the environment names a collector (OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT); null
 * otherwise, and then nothing of OpenTelemetry is loaded. Throws when its packages were not installed.
 */
export async function startTracing(options: TracingOptions): Promise<Tracing | null> {
  // Read here and not by server/config.ts: these are OpenTelemetry's own variables, and its SDK reads the rest of them itself.
  const endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
  if (endpoints.every((name) => (process.env[name] ?? "") === "")) {
    return null;
  }
  const { OtlpExporter } = await import("./otlp-exporter.ts").catch((cause: unknown) => {
    throw new Error(
      "OTEL_EXPORTER_OTLP_ENDPOINT is set but the OpenTelemetry packages are missing: run npm ci",
      { cause },
    );
  });
  const exporter = new OtlpExporter(options);
  const tracer = new Tracer({
    export: (span) => exporter.export(span),
    sampleRatio: sampleRatio(process.env["OTEL_TRACES_SAMPLER_ARG"] ?? ""),
    random: Math.random,
    now: () => performance.timeOrigin + performance.now(),
  });
  return { tracer, stop: () => exporter.stop() };
}

/** Share of the requests without a traceparent of their own that are traced; all of them, as the standard says, when not given. */
function sampleRatio(written: string): number {
  const ratio = written === "" ? 1 : Number(written);
  if (!(ratio >= 0 && ratio <= 1)) {
    throw new Error(
      `OTEL_TRACES_SAMPLER_ARG is ${JSON.stringify(written)}; it must be a number from 0 to 1`,
    );
  }
  return ratio;
}
