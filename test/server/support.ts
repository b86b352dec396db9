import type { InjectOptions, LightMyRequestResponse } from "fastify";
import { NodeId } from "../../cluster/types.ts";
import { defaultConfig, type Config } from "../../server/config.ts";
import { buildApp, type App, type AppOptions } from "../../server/http/app.ts";
import { createLog } from "../../server/log.ts";
import { MemoryService } from "./memory-service.ts";

/** An HTTP server over a key space in memory. */
export interface TestServer {
  readonly app: App;
  readonly service: MemoryService;
  /** Lines that were logged. */
  readonly logged: string[];
  request(options: InjectOptions): Promise<LightMyRequestResponse>;
  /** Listens on a free port of this machine. */
  listen(): Promise<{ readonly port: number; readonly url: string }>;
  close(): Promise<void>;
}

const healthy = { ok: true, checks: [{ name: "test", ok: true, detail: "fine", shard: null }] };

/** Starts one with default settings, except for `changes`. */
export async function startServer(
  changes: Partial<Config> = {},
  options: Partial<AppOptions> = {},
): Promise<TestServer> {
  const config = defaultConfig(changes);
  const service = await MemoryService.create();
  const logged: string[] = [];
  const destination = { write: (line: string) => void logged.push(line) };
  const app = await buildApp({
    service,
    config,
    log: createLog({ node: NodeId("n1"), level: "info", destination }),
    version: "1.2.3",
    advertisedAddress: () => "127.0.0.1:8080",
    observer: null,
    tracer: null,
    insight: {
      liveness: () => healthy,
      readiness: () => healthy,
      metrics: () => Promise.resolve("# no metrics\n"),
      metricsContentType: "text/plain; version=0.0.4; charset=utf-8",
      slowRequests: () => [],
    },
    ...options,
  });
  return {
    app,
    service,
    logged,
    request: (request) => app.fastify.inject(request),
    async listen() {
      const url = await app.fastify.listen({ host: "127.0.0.1", port: 0 });
      return { url, port: Number(new URL(url).port) };
    },
    close: () => app.fastify.close(),
  };
}
