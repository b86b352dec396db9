import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** What the tests look at of a span in OTLP's JSON form. */
export interface ReceivedSpan {
  readonly service: string;
  readonly instance: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | null;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: bigint;
  readonly endTimeUnixNano: bigint;
  readonly attributes: ReadonlyMap<string, string>;
  readonly statusCode: number;
}

/** A collector that keeps what it gets: enough of OTLP/HTTP to see traces in a test. */
export class OtlpReceiver {
  readonly spans: ReceivedSpan[] = [];
  readonly headers: Record<string, string | string[] | undefined>[] = [];
  /** Answers with this from now on. */
  statusCode = 200;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Uint8Array[] = [];
      request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      request.on("end", () => {
        this.headers.push(request.headers);
        if (this.statusCode === 200 && request.url === "/v1/traces") {
          this.spans.push(...readSpans(JSON.parse(Buffer.concat(chunks).toString("utf8"))));
        }
        response.writeHead(request.url === "/v1/traces" ? this.statusCode : 404);
        response.end("{}");
      });
    });
  }

  /** Listens on loopback; resolves to the endpoint to put into OTEL_EXPORTER_OTLP_ENDPOINT. */
  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

interface OtlpAttribute {
  key: string;
  value: { stringValue?: string; intValue?: string; doubleValue?: number; boolValue?: boolean };
}

interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: OtlpAttribute[];
  status: { code?: number };
}

interface OtlpRequest {
  resourceSpans: {
    resource: { attributes: OtlpAttribute[] };
    scopeSpans: { spans: OtlpSpan[] }[];
  }[];
}

function readSpans(body: OtlpRequest): ReceivedSpan[] {
  return body.resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const of = readAttributes(resource.attributes);
    return scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        service: of.get("service.name") ?? "",
        instance: of.get("service.instance.id") ?? "",
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? null,
        name: span.name,
        kind: span.kind,
        startTimeUnixNano: BigInt(span.startTimeUnixNano),
        endTimeUnixNano: BigInt(span.endTimeUnixNano),
        attributes: readAttributes(span.attributes),
        statusCode: span.status.code ?? 0,
      })),
    );
  });
}

function readAttributes(attributes: OtlpAttribute[]): Map<string, string> {
  return new Map(attributes.map(({ key, value }) => [key, String(Object.values(value)[0] ?? "")]));
}
