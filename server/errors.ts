import type { NodeId, ShardId } from "../cluster/types.ts";

/** Whether the operation was carried out: certainly not, or nobody can tell. */
export type Applied = "no" | "unknown";

interface ErrorDefinition {
  readonly status: number;
  readonly title: string;
  /** Sending the same request again may succeed without anything else having changed. */
  readonly retryable: boolean;
  readonly applied: Applied;
}

/**
 * Every error that a client can see: one row decides the HTTP status, the words, and what a client may do. Codes are part of the API:
 * they are never renamed. docs/errors.md is written from this table.
 */
export const errorDefinitions = {
  bad_request: refusal(400, "The request is malformed"),
  unknown_parameter: refusal(400, "The query has a parameter that this route does not know"),
  bad_key: refusal(400, "The key is malformed or missing"),
  bad_cursor: refusal(400, "The cursor is not one that this API gave out for this query"),
  not_found: refusal(404, "There is no such key"),
  no_such_route: refusal(404, "There is nothing at this path"),
  method_not_allowed: refusal(405, "The path exists, but not for this method"),
  request_timeout: refusal(408, "The request did not arrive in time", "retryable"),
  precondition_failed: refusal(412, "The key is not in the state that the request asked for"),
  lock_lost: refusal(412, "The lock is not held under this token any more"),
  value_too_large: refusal(413, "The value is larger than this node accepts or an answer holds"),
  body_too_large: refusal(413, "The body is larger than this node accepts"),
  key_too_long: refusal(414, "The key is longer than this node accepts"),
  unsupported_media_type: refusal(415, "The body's content type does not fit the route"),
  cross_shard: refusal(422, "The keys live on several shards"),
  not_a_number: refusal(422, "The value is not a decimal integer"),
  idempotency_mismatch: refusal(422, "The idempotency key was used for another request"),
  locked: refusal(423, "Somebody else holds the lock", "retryable"),
  headers_too_large: refusal(431, "The request's head is too large"),
  internal: mystery(500, "Something broke inside this node", "final"),
  no_leader: refusal(503, "The shard has no reachable leader", "retryable"),
  overloaded: refusal(503, "There is too much work queued", "retryable"),
  too_many_watchers: refusal(503, "This node serves as many watches as it may", "retryable"),
  starting: refusal(503, "This node is starting", "retryable"),
  shutting_down: refusal(503, "This node is shutting down", "retryable"),
  outcome_unknown: mystery(504, "The operation may or may not have been applied", "retryable"),
} as const satisfies Record<string, ErrorDefinition>;

/** Names one row of the table; what programs react to. */
export type ErrorCode = keyof typeof errorDefinitions;

/** What is known besides the code. Everything is optional: `undefined` and null are not shown. */
export interface ServiceErrorOptions {
  readonly cause?: unknown;
  readonly shard?: ShardId;
  readonly leader?: NodeId | null;
  /** When to try again; becomes Retry-After, rounded up to whole seconds. */
  readonly retryAfterMs?: number;
  /** Members of the problem that belong to this code alone. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Says what is true of this one case, where it is more certain than the table. */
  readonly applied?: Applied;
}

/** A failure with a meaning for clients. The only thing that code below HTTP throws on purpose. */
export class ServiceError extends Error {
  override readonly name = "ServiceError";
  readonly code: ErrorCode;
  readonly options: ServiceErrorOptions;

  constructor(code: ErrorCode, detail: string, options: ServiceErrorOptions = {}) {
    super(detail, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.options = options;
  }

  get status(): number {
    return errorDefinitions[this.code].status;
  }
}

/** The body of an error answer, `application/problem+json` (RFC 9457). */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly applied: Applied;
  readonly request_id?: string;
  readonly shard?: number;
  readonly leader?: string;
  readonly retry_after_ms?: number;
}

/** Renders an error for a client. `requestId` null: the request was too broken to have one. */
export function problemOf(error: ServiceError, requestId: string | null): Problem {
  const { status, title, retryable, applied }: ErrorDefinition = errorDefinitions[error.code];
  const { shard, leader, retryAfterMs, extra } = error.options;
  return {
    type: `/errors#${error.code}`,
    title,
    status,
    detail: error.message,
    code: error.code,
    retryable,
    applied: error.options.applied ?? applied,
    ...(requestId === null ? {} : { request_id: requestId }),
    ...(shard === undefined ? {} : { shard }),
    ...(leader === undefined || leader === null ? {} : { leader }),
    ...(retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs }),
    ...extra,
  };
}

/** The table of docs/errors.md. */
export function errorsTable(): string {
  const rows = Object.entries<ErrorDefinition>(errorDefinitions).map(
    ([code, { status, title, retryable, applied }]) =>
      `| \`${code}\` | ${status} | ${title} | ${retryable ? "yes" : "no"} | ${applied} |`,
  );
  return [
    "| code | status | meaning | retryable | applied |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}

function refusal(status: number, title: string, retryable?: "retryable"): ErrorDefinition {
  return { status, title, retryable: retryable !== undefined, applied: "no" };
}

function mystery(status: number, title: string, retryable: "retryable" | "final"): ErrorDefinition {
  return { status, title, retryable: retryable === "retryable", applied: "unknown" };
}
