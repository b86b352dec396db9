import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { problemOf, ServiceError, type ErrorCode } from "../errors.ts";
import type { Log } from "../log.ts";

/** Answers any failure of any route as `application/problem+json`. The only error handler there is. */
export function answerProblem(
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Log,
): void {
  const error = asServiceError(thrown);
  if (error.status === 500) {
    log.error({ request: request.id, method: request.method, error: thrown }, "request failed");
  }
  const { retryAfterMs } = error.options;
  if (retryAfterMs !== undefined) {
    void reply.header("retry-after", String(Math.max(1, Math.ceil(retryAfterMs / 1000))));
  }
  const body = Buffer.from(JSON.stringify(problemOf(error, request.id)));
  void reply
    .code(error.status)
    .header("content-type", "application/problem+json")
    .header("cache-control", "no-store")
    .header("x-request-id", request.id)
    .send(body);
}

/** What Fastify itself refuses, in the words of the table. */
const fastifyCodes: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  FST_ERR_BAD_URL: [
    "bad_key",
    "the path has a broken % escape, or its bytes are not UTF-8; name such a key by ?key64=<base64url of its bytes>",
  ],
  FST_ERR_MAX_PARAM_LENGTH: ["key_too_long", "the path is longer than any key may be"],
  FST_ERR_CTP_BODY_TOO_LARGE: ["body_too_large", "the body is larger than this route accepts"],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    "unsupported_media_type",
    "Content-Type is missing or malformed; this route takes application/json",
  ],
  FST_ERR_CTP_EMPTY_JSON_BODY: ["bad_request", "the body is empty; this route takes JSON"],
  FST_ERR_CTP_INVALID_JSON_BODY: ["bad_request", "the body is not JSON, or nested too deep"],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    "bad_request",
    "the body does not have the length that Content-Length says",
  ],
};

/** Any thrown thing as an error that clients may see. What is not known stays in the log. */
export function asServiceError(thrown: unknown): ServiceError {
  if (thrown instanceof ServiceError) {
    return thrown;
  }
  if (isFastifyError(thrown)) {
    const known = fastifyCodes[thrown.code];
    if (known !== undefined) {
      return new ServiceError(known[0], known[1], { cause: thrown });
    }
    const status = thrown.statusCode ?? 500;
    if (thrown.validation !== undefined || (status >= 400 && status < 500)) {
      return new ServiceError("bad_request", messageOf(thrown), { cause: thrown });
    }
  }
  return new ServiceError("internal", "the request's id leads to the reason in this node's log", {
    cause: thrown,
  });
}

/** Ajv does not name the member that is too much. */
function messageOf({ message, validation }: FastifyError): string {
  const extra = validation?.[0]?.params["additionalProperty"];
  return typeof extra === "string" ? `${message}: ${JSON.stringify(extra)}` : message;
}

function isFastifyError(thrown: unknown): thrown is FastifyError {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string";
}

/** What Node's parser complains about, by its code. Everything else is a malformed request. */
const parserCodes: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  HPE_HEADER_OVERFLOW: ["headers_too_large", "the request line and headers exceed 16 KiB"],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ["body_too_large", "the chunk extensions exceed 16 KiB"],
  ERR_HTTP_REQUEST_TIMEOUT: ["request_timeout", "the request did not arrive in time"],
};

/**
 * Answers what is not even HTTP, and closes the connection: nothing after it can be trusted. Returns the code of the answer, or null when
 * there was nobody to answer.
 */
export function answerBrokenRequest(
  error: Error & { code?: string },
  socket: Socket,
): ErrorCode | null {
  if (error.code === "ECONNRESET" || socket.destroyed) {
    return null;
  }
  const [code, detail] = parserCodes[error.code ?? ""] ?? [
    "bad_request",
    "the request is not well-formed HTTP/1.1",
  ];
  if (socket.writable) {
    const problem = new ServiceError(code, detail);
    const body = JSON.stringify(problemOf(problem, null));
    socket.write(
      [
        `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
        "Content-Type: application/problem+json",
        `Content-Length: ${Buffer.byteLength(body)}`,
        "Cache-Control: no-store",
        "Connection: close",
        "",
        body,
      ].join("\r\n"),
    );
  }
  socket.destroySoon();
  return code;
}
