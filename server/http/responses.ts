import type { FastifyReply } from "fastify";
import type { Exchange } from "./exchange.ts";

/** Header names and values, alternating: the form that Node writes without another look. */
export type HeaderList = string[];

/** Headers of every answer with content: nobody may keep a copy of what can change at any moment. */
export function commonHeaders(exchange: Exchange): HeaderList {
  const headers = ["Cache-Control", "no-store", "X-Request-Id", exchange.id];
  if (exchange.trace !== "") {
    headers.push("Traceresponse", exchange.trace);
  }
  const timing = exchange.serverTiming();
  if (timing !== "") {
    headers.push("Server-Timing", timing);
  }
  return headers;
}

/**
 * Node sends the head and a body of bytes in two parts, but the head and a body of text in one, which the kernel takes faster. Latin-1
 * keeps every byte. For large bodies the copy costs more than it saves.
 */
const oneWriteBytesMax = 8 * 1024;

/**
 * Sends a whole answer past Fastify's own machinery, which costs more than the answer itself. `body` null: nothing to send, as for HEAD
 * and 304.
 */
export function sendRaw(
  reply: FastifyReply,
  status: number,
  headers: HeaderList,
  body: Uint8Array | null,
): void {
  reply.hijack();
  reply.raw.writeHead(status, headers);
  if (body === null) {
    reply.raw.end();
  } else if (body.length > oneWriteBytesMax) {
    reply.raw.end(body);
  } else {
    const buffer = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    reply.raw.end(buffer.toString("latin1"), "latin1");
  }
}

/** Sends a small JSON document. */
export function sendJson(
  reply: FastifyReply,
  exchange: Exchange,
  status: number,
  document: object,
  more: HeaderList = [],
): void {
  const body = Buffer.from(JSON.stringify(document));
  const headers = commonHeaders(exchange);
  headers.push("Content-Type", "application/json", "Content-Length", String(body.length), ...more);
  sendRaw(reply, status, headers, body);
}
