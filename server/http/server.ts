import { Server as NetServer } from "node:net";
import { pause, soon, systemTimers as timers } from "../timers.ts";
import { type App, type AppOptions, buildApp } from "./app.ts";

/** How long idle connections may bring one more request after the node has stopped accepting new ones. */
const drainMaxMs = 2000;
const drainPollMs = 20;

/** A turn of the event loop that takes no longer has hardly anything to do. */
const quietTurnMs = 0.2;
/** Nobody connects for this long: clients have the connections that they need. */
const settleMs = 20;
const settleMaxMs = 500;

/** The listening side of HTTP: where it is, and how it ends without failing anybody. */
export class HttpServer {
  readonly #options: Omit<AppOptions, "advertisedAddress">;
  #app: App | null = null;
  #port = 0;
  #isDraining = false;
  #drained: Promise<void> | null = null;
  #stopped: Promise<void> | null = null;

  constructor(options: Omit<AppOptions, "advertisedAddress">) {
    this.#options = options;
  }

  /** `host:port` that is listened on; after `start`. */
  get address(): string {
    return `${this.#options.config.httpHost}:${this.#port}`;
  }

  /** `host:port` under which clients reach this node. */
  get advertisedAddress(): string {
    return this.#options.config.httpAdvertise ?? this.address;
  }

  /** Rejects when the port is taken. */
  async start(): Promise<void> {
    const { config } = this.#options;
    const app = await buildApp({
      ...this.#options,
      advertisedAddress: () => this.advertisedAddress,
    });
    this.#app = app;
    const { server } = app.fastify;
    server.prependListener("request", (_request, response) => {
      if (this.#isDraining) {
        response.setHeader("connection", "close");
      }
    });
    await app.fastify.listen({ host: config.httpHost, port: config.httpPort });
    const address = server.address();
    this.#port = typeof address === "object" && address !== null ? address.port : config.httpPort;
  }

  /**
   * Accepts no new connections. Those that are open are served, and told to close with their next answer: a connection that was cut
   * while idle could lose a request that is already on its way. Idempotent.
   */
  drain(): Promise<void> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  async #drain(): Promise<void> {
    if (this.#app === null) {
      return;
    }
    const { server } = this.#app.fastify;
    await quietMoment(server);
    // The listener alone: http.Server.close() would also cut idle connections.
    NetServer.prototype.close.call(server);
    // Not before: who is told to close connects again at once.
    this.#isDraining = true;
    for (let waitedMs = 0; waitedMs < drainMaxMs; waitedMs += drainPollMs) {
      if ((await connectionCount(server)) === 0) {
        return;
      }
      await pause(timers, drainPollMs);
    }
  }

  /** Ends watches, waits for requests under way, closes everything that is left after `timeoutMs`. Idempotent. */
  stop(timeoutMs: number): Promise<void> {
    this.#stopped ??= this.#stop(timeoutMs);
    return this.#stopped;
  }

  async #stop(timeoutMs: number): Promise<void> {
    const app = this.#app;
    if (app === null) {
      return;
    }
    const timer = timers.after(timeoutMs, () => app.fastify.server.closeAllConnections());
    try {
      await app.fastify.close();
    } finally {
      timer.cancel();
    }
  }
}

/**
 * Resolves when nobody has connected for a moment, after a turn of the event loop that took hardly any time: a listener that is closed
 * then resets nobody. The kernel resets connections that it holds and nobody has accepted, a turn accepts one of them, and clients tend to
 * connect right after an answer. Where connections keep coming, a turn that accepts none must do.
 */
async function quietMoment(server: NetServer): Promise<void> {
  const begunMs = performance.now();
  let acceptedMs = begunMs;
  const note = (): void => {
    acceptedMs = performance.now();
  };
  server.on("connection", note);
  let turnMs = performance.now();
  for (;;) {
    await new Promise<void>((resolve) => {
      soon(resolve);
    });
    const nowMs = performance.now();
    const isQuiet = acceptedMs < turnMs && nowMs - turnMs <= quietTurnMs;
    const isSettled = nowMs - acceptedMs >= settleMs || nowMs - begunMs >= settleMaxMs;
    if ((isQuiet && isSettled) || nowMs - begunMs >= 2 * settleMaxMs) {
      break;
    }
    turnMs = nowMs;
  }
  server.off("connection", note);
}

function connectionCount(server: NetServer): Promise<number> {
  return new Promise((resolve) => {
    server.getConnections((error, count) => resolve(error === null ? count : 0));
  });
}
