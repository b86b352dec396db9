import type { IncomingMessage, ServerResponse } from "node:http";
import type { ErrorCode, ServiceError } from "../errors.ts";
import { parseTraceparent } from "../trace-context.ts";
import type { Span, Tracer } from "../tracing.ts";
import type { Admission } from "./admission.ts";
import type { RequestContext } from "./service.ts";

/** Told of every request. Routes are templates: `/v1/kv/*`. */
export interface RequestObserver {
  onRequest(): void;
  /** Something was refused before it was taken on: the node is at a limit, or what came in is not even HTTP. */
  onRefused(code: ErrorCode): void;
  onAnswer(answer: Answer): void;
}

/** One request that is over. */
export interface Answer {
  readonly method: string;
  readonly route: string;
  /** 499: the client left before it was answered. */
  readonly code: number;
  readonly durationMs: number;
  readonly requestId: string;
  readonly trace: string;
  readonly timings: ReadonlyMap<string, number>;
}

/** What all exchanges of a server share. */
export interface ExchangeOptions {
  readonly admission: Admission;
  readonly observer: RequestObserver | null;
  readonly tracer: Tracer | null;
  /** The connection of an answered request is free again, or gone. */
  readonly onFree: () => void;
}

const clientLeft = 499;

/** What is no traceparent goes no further: it is echoed, logged and sent to other nodes. */
function soundTraceparent(header: string): string {
  return header === "" || parseTraceparent(header) === null ? "" : header;
}

/** One request and its answer, from the head's arrival until its work is over and the connection is free again. */
export class Exchange {
  readonly startedMs = performance.now();
  readonly timings = new Map<string, number>();
  readonly id: string;
  /** Traceparent for everything that this request causes, or empty. */
  readonly trace: string;
  readonly #response: ServerResponse;
  readonly #options: ExchangeOptions;
  readonly #span: Span | null;
  #admittedBytes: number | null = null;
  #isHandled = true;
  #isWatching = false;
  #gone: AbortController | null = null;

  constructor(
    id: string,
    request: IncomingMessage,
    response: ServerResponse,
    route: () => string,
    options: ExchangeOptions,
  ) {
    this.id = id;
    this.#response = response;
    this.#options = options;
    const header = request.headers["traceparent"];
    const traceparent = typeof header === "string" ? header : "";
    this.#span = options.tracer?.beginRequest(`HTTP ${request.method}`, traceparent) ?? null;
    this.trace = this.#span?.traceparent ?? soundTraceparent(traceparent);
    options.observer?.onRequest();
    response.once("close", () => this.#close(request.method ?? "", route()));
  }

  /** Counts the request in before its body is read, or answers why not. */
  admit(bodyBytes: number): ServiceError | null {
    const refusal = this.#options.admission.enter(bodyBytes);
    if (refusal === null) {
      this.#admittedBytes = bodyBytes;
    }
    return refusal;
  }

  /** Its work begins, and is over when `handling` settles: also when the client leaves before, so that what is under way is bounded. */
  handle(handling: Promise<unknown>): void {
    this.#isHandled = false;
    const settled = (): void => {
      this.#isHandled = true;
      if (this.#response.closed) {
        this.#leave();
      }
    };
    handling.then(settled, settled);
  }

  /** From here on the request waits for something to happen: it no longer counts as work, but as a watcher. */
  becomeWatcher(): void {
    if (this.#isWatching) {
      return;
    }
    this.#options.admission.enterWatcher();
    this.#isWatching = true;
    this.#leaveWork();
  }

  /** What the node below HTTP needs to know. `signal` is only made for requests that wait. */
  context(timeoutMs: number, signal: AbortSignal | null = null): RequestContext {
    return {
      requestId: this.id,
      deadlineMs: performance.now() + timeoutMs,
      signal,
      trace: this.trace,
      timings: this.timings,
    };
  }

  /** Aborted when the connection is gone or the answer complete. */
  get gone(): AbortSignal {
    this.#gone ??= new AbortController();
    if (this.#response.closed) {
      this.#gone.abort();
    }
    return this.#gone.signal;
  }

  /** `route;dur=0.1, raft;dur=1.3`, or empty when nobody took the time. */
  serverTiming(): string {
    if (this.timings.size === 0) {
      return "";
    }
    const parts = [...this.timings].map(([stage, ms]) => `${stage};dur=${ms.toFixed(3)}`);
    parts.push(`total;dur=${(performance.now() - this.startedMs).toFixed(3)}`);
    return parts.join(", ");
  }

  #leave(): void {
    this.#leaveWork();
    if (this.#isWatching) {
      this.#options.admission.leaveWatcher();
    }
  }

  #leaveWork(): void {
    if (this.#admittedBytes !== null) {
      this.#options.admission.leave(this.#admittedBytes);
      this.#admittedBytes = null;
    }
  }

  #close(method: string, route: string): void {
    if (this.#isHandled) {
      this.#leave();
    }
    this.#gone?.abort();
    this.#options.onFree();
    const code = this.#response.headersSent ? this.#response.statusCode : clientLeft;
    if (this.#span !== null) {
      this.#span.set({ "http.route": route, "http.response.status_code": code });
      this.#span.end(code >= 500 ? `answered ${code}` : null);
    }
    this.#options.observer?.onAnswer({
      method,
      route,
      code,
      durationMs: performance.now() - this.startedMs,
      requestId: this.id,
      trace: this.trace,
      timings: this.timings,
    });
  }
}

const acceptedId = /^[A-Za-z0-9._:/+=-]{1,128}$/;

/** Makes request ids: the client's own `X-Request-Id` where it is harmless, else one that no other process makes. */
export function requestIds(prefix: string): (request: IncomingMessage) => string {
  let count = 0;
  return (request) => {
    const given = request.headers["x-request-id"];
    if (typeof given === "string" && acceptedId.test(given)) {
      return given;
    }
    count += 1;
    return `${prefix}-${count.toString(36)}`;
  };
}
