import { randomBytes } from "node:crypto";
import type { Server } from "node:http";
import type { Socket } from "node:net";
import fastify, { type FastifyInstance } from "fastify";
import type { Config } from "../config.ts";
import { ServiceError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Tracer } from "../tracing.ts";
import { Admission } from "./admission.ts";
import { Exchange, requestIds, type RequestObserver } from "./exchange.ts";
import { clusterRoutes } from "./cluster-routes.ts";
import { Heartbeats } from "./heartbeats.ts";
import { readJsonStrictly } from "./json-body.ts";
import { kvRoutes } from "./kv-routes.ts";
import { lockRoutes } from "./lock-routes.ts";
import { manyRoutes } from "./many-routes.ts";
import { answerMethodNotAllowed } from "./method-not-allowed.ts";
import { referenceRoutes } from "./openapi.ts";
import { answerBrokenRequest, answerProblem } from "./problems.ts";
import { probeRoutes, type NodeInsight } from "./probe-routes.ts";
import type { RouteKit, Routes } from "./route-kit.ts";
import type { KeyValueService } from "./service.ts";
import { lazyValidation, noCompilers } from "./validation.ts";
import { watchRoutes } from "./watch-routes.ts";

/** What HTTP needs of the process around it. */
export interface AppOptions {
  readonly service: KeyValueService;
  readonly config: Config;
  readonly log: Log;
  readonly version: string;
  /** host:port under which clients reach this node. */
  readonly advertisedAddress: () => string;
  readonly observer: RequestObserver | null;
  readonly tracer: Tracer | null;
  readonly insight: NodeInsight;
}

/** The HTTP server of a node. */
export interface App {
  readonly fastify: FastifyInstance;
  /** What is under way: requests, their bodies, watchers. */
  readonly admission: Admission;
}

const headersBytesMax = 16 * 1024;
/** Longer paths are refused by the router; no key needs one, percent-encoded or not. */
const pathCharactersMax = headersBytesMax;
const timeoutCheckMs = 1000;

/**
 * Builds the HTTP server of a node, ready to listen or to be injected into. `close()` ends watches and waits, lets the other requests
 * finish, and never hangs on a stream.
 */
export async function buildApp(options: AppOptions): Promise<App> {
  const { config, log } = options;
  const admission = new Admission(config, (code) => options.observer?.onRefused(code));
  const closing = new AbortController();
  const app = createFastify(options);
  const kit: RouteKit = {
    service: options.service,
    config,
    admission,
    advertisedAddress: options.advertisedAddress,
    closing: closing.signal,
  };
  const silent = silentConnections(app.server);
  app.addHook("preClose", (done) => {
    closing.abort();
    silent.forEach((socket) => socket.destroy());
    done();
  });
  app.setValidatorCompiler(lazyValidation());
  app.removeContentTypeParser("text/plain");
  readJsonStrictly(app);
  app.decorateRequest("exchange");
  app.setErrorHandler((error, request, reply) => answerProblem(error, request, reply, log));
  app.setNotFoundHandler((request) => {
    throw new ServiceError(
      "no_such_route",
      `there is no ${request.method} ${request.url}; see /docs`,
    );
  });
  const allowed = answerMethodNotAllowed(app);
  // Work is counted and may be refused; looking at the node never is.
  const work = [
    kvRoutes,
    manyRoutes,
    watchRoutes(new Heartbeats(config.watchHeartbeatMs)),
    lockRoutes,
    clusterRoutes,
  ];
  const probes = [probeRoutes(options.insight, options.version)];
  const reference = referenceRoutes(options.version, (described) => {
    for (const add of [...work, ...probes]) {
      add(described, kit);
    }
  });
  await addRoutes(app, kit, options, "admitted", work);
  await addRoutes(app, kit, options, "always", [...probes, reference]);
  allowed.addRoutes();
  await app.ready();
  return { fastify: app, admission };
}

/**
 * Connections that have not brought a request yet, as browsers and clients with pools open them. Node counts them as busy, and a server
 * that closes no longer looks whether their first head is overdue: it would wait for them for ever.
 */
function silentConnections(server: Server): ReadonlySet<Socket> {
  const silent = new Set<Socket>();
  server.on("connection", (socket) => {
    silent.add(socket);
    socket.once("close", () => silent.delete(socket));
  });
  server.prependListener("request", ({ socket }) => silent.delete(socket));
  return silent;
}

function createFastify({ config, log, observer }: AppOptions): FastifyInstance {
  const processId = randomBytes(4).toString("hex");
  return fastify({
    logger: false,
    genReqId: requestIds(`${config.nodeId}-${processId}`),
    requestIdHeader: false,
    exposeHeadRoutes: false,
    bodyLimit: config.batchBytesMax,
    requestTimeout: config.bodyTimeoutMs,
    keepAliveTimeout: config.keepAliveTimeoutMs,
    http: {
      headersTimeout: config.headersTimeoutMs,
      maxHeaderSize: headersBytesMax,
      connectionsCheckingInterval: timeoutCheckMs,
    },
    forceCloseConnections: "idle",
    // While the node drains it still serves what reaches it, and says `Connection: close`.
    return503OnClosing: false,
    schemaController: noCompilers,
    routerOptions: {
      maxParamLength: pathCharactersMax,
      // Routes read their own query, strictly: see query.ts.
      querystringParser: () => noQuery,
    },
    frameworkErrors: (error, request, reply) => answerProblem(error, request, reply, log),
    clientErrorHandler: (error, socket) => {
      const code = answerBrokenRequest(error, socket);
      if (code !== null) {
        observer?.onRefused(code);
      }
    },
  });
}

const noQuery = Object.freeze({});

async function addRoutes(
  app: FastifyInstance,
  kit: RouteKit,
  options: AppOptions,
  admittance: "admitted" | "always",
  files: readonly Routes[],
): Promise<void> {
  const { observer, tracer } = options;
  const onFree = (): void => {
    // What is idle when the server closes is closed; what gets its last answer later must be, too.
    if (kit.closing.aborted) {
      app.server.closeIdleConnections();
    }
  };
  const exchangeOptions = { admission: kit.admission, observer, tracer, onFree };
  await app.register((scope, _options, done) => {
    scope.addHook("onRequest", (request, reply, next) => {
      const route = () => request.routeOptions.url ?? "none";
      const exchange = new Exchange(request.id, request.raw, reply.raw, route, exchangeOptions);
      request.exchange = exchange;
      if (admittance === "always") {
        next();
        return;
      }
      const { headers } = request;
      const isChunked = headers["transfer-encoding"] !== undefined;
      // A body of unknown length counts as the largest that its route reads.
      const { bodyLimit = kit.config.batchBytesMax } = request.routeOptions;
      const bytes = isChunked ? bodyLimit : Number(headers["content-length"] ?? 0);
      const refusal = exchange.admit(bytes);
      if (refusal === null) {
        next();
      } else {
        next(refusal);
      }
    });
    scope.addHook("onRoute", (route) => {
      const { handler } = route;
      route.handler = function handle(request, reply) {
        const answer: unknown = handler.call(this, request, reply);
        if (answer instanceof Promise) {
          request.exchange.handle(answer);
        }
        return answer;
      };
    });
    for (const add of files) {
      void scope.register((inner, _inner, ready) => {
        add(inner, kit);
        ready();
      });
    }
    done();
  });
}
