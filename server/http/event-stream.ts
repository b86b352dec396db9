import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";
import { commonHeaders } from "./responses.ts";
import type { Exchange } from "./exchange.ts";

/** Writes server-sent events (WHATWG HTML, section 9.2), no faster than the client reads. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #signal: AbortSignal;
  #isFull = false;
  #isIdle = true;

  /** Sends the head. `signal` ends the wait for a slow client. */
  constructor(reply: FastifyReply, exchange: Exchange, signal: AbortSignal) {
    this.#response = reply.raw;
    this.#signal = signal;
    const headers = commonHeaders(exchange);
    // The last one keeps proxies from collecting events.
    headers.push("Content-Type", "text/event-stream", "X-Accel-Buffering", "no");
    reply.hijack();
    reply.raw.writeHead(200, headers);
    // An EventSource waits this long before it comes back, to this node or another.
    reply.raw.write("retry: 1000\n\n");
  }

  /** One event; resolves when there is room for the next. `data` is one line. */
  async send(event: string, id: string, data: string): Promise<void> {
    this.#isIdle = false;
    if (!this.#response.write(`event: ${event}\nid: ${id}\ndata: ${data}\n\n`)) {
      this.#isFull = true;
      try {
        await once(this.#response, "drain", { signal: this.#signal });
      } catch {
        // The client is gone or the node stops: the caller sees the signal.
      }
      this.#isFull = false;
    }
  }

  /** A comment when there was nothing to send since the last one: proxies and clients see that the stream lives. */
  beat(): void {
    if (this.#isIdle && !this.#isFull) {
      this.#response.write(": alive\n\n");
    }
    this.#isIdle = true;
  }

  end(): void {
    this.#response.end();
  }
}
