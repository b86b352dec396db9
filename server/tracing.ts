import { formatTraceparent, parseTraceparent, randomId } from "./trace-context.ts";

/** What a span may say of itself. Keys and values of clients never. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** The role of a span in its call: it answers one, makes one, or is a step inside (OpenTelemetry's span kinds). */
export type SpanKind = "server" | "client" | "internal";

/** A piece of work that is over. */
export interface FinishedSpan {
  readonly name: string;
  readonly kind: SpanKind;
  readonly traceId: string;
  readonly spanId: string;
  /** Null for the first span of a trace. */
  readonly parentSpanId: string | null;
  /** Milliseconds since 1970, with fractions. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: SpanAttributes;
  /** What went wrong; null when nothing did. */
  readonly error: string | null;
}

/** Where spans go, how many requests are traced, and where time and chance come from. */
export interface TracerOptions {
  /** Takes finished spans, without waiting. */
  readonly export: (span: FinishedSpan) => void;
  /** Share of the requests that come without a traceparent for which a trace is begun. */
  readonly sampleRatio: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Milliseconds since 1970, with fractions. */
  readonly now: () => number;
}

/**
 * Begins spans for requests that are traced. When tracing is off there is no tracer (`null`), and nothing below runs; when a request
 * is not sampled there is no span (`null`) and so none below it: `tracer?.begin(...)`, `span?.end()` is all the code a caller has,
 * and all the cost.
 */
export class Tracer {
  readonly #options: TracerOptions;

  constructor(options: TracerOptions) {
    this.#options = options;
  }

  /** The first span of this cluster for a request from outside: continues the caller's trace, or begins one for a sample. */
  beginRequest(name: string, traceparent: string): Span | null {
    if (parseTraceparent(traceparent) !== null) {
      return this.begin(name, "server", traceparent);
    }
    const { random, sampleRatio } = this.#options;
    if (random() >= sampleRatio) {
      return null;
    }
    return this.#span(name, "server", randomId(32, random), null);
  }

  /** A span under `parent`, a traceparent; null unless that is sampled. */
  begin(name: string, kind: SpanKind, parent: string): Span | null {
    const context = parent === "" ? null : parseTraceparent(parent);
    if (context === null || !context.isSampled) {
      return null;
    }
    return this.#span(name, kind, context.traceId, context.spanId);
  }

  #span(name: string, kind: SpanKind, traceId: string, parentSpanId: string | null): Span {
    return new Span({
      name,
      kind,
      traceId,
      spanId: randomId(16, this.#options.random),
      parentSpanId,
      startMs: this.#options.now(),
      options: this.#options,
    });
  }
}

/** A sampled piece of work that is going on. */
export class Span {
  /** For everything that happens because of this span, here and on other nodes. */
  readonly traceparent: string;
  readonly #begun: BegunSpan;
  #attributes: Record<string, string | number | boolean> = {};
  #isEnded = false;

  constructor(begun: BegunSpan) {
    this.#begun = begun;
    this.traceparent = formatTraceparent({ ...begun, isSampled: true });
  }

  /** Adds facts; later ones win. */
  set(attributes: SpanAttributes): void {
    Object.assign(this.#attributes, attributes);
  }

  /** The work is over and the span on its way. Ending it again does nothing: the first end was the true one. */
  end(error: string | null = null): void {
    if (this.#isEnded) {
      return;
    }
    this.#isEnded = true;
    const { options, ...begun } = this.#begun;
    options.export({ ...begun, endMs: options.now(), attributes: this.#attributes, error });
  }
}

interface BegunSpan {
  readonly name: string;
  readonly kind: SpanKind;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | null;
  readonly startMs: number;
  readonly options: TracerOptions;
}
