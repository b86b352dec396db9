import type { FastifyInstance, FastifyRequest } from "fastify";
import Type, { type TSchema } from "typebox";
import type { Config } from "../config.ts";
import { ServiceError } from "../errors.ts";
import type { Admission } from "./admission.ts";
import type { Exchange } from "./exchange.ts";
import type { Parameter, QueryForm } from "./query.ts";
import { durationParameter, textParameter, wordParameter } from "./query.ts";
import { parseSession } from "./session-token.ts";
import type { Consistency, KeyValueService, RequestContext } from "./service.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** Set before anything else happens. */
    exchange: Exchange;
  }
  interface FastifyContextConfig {
    docs?: RouteDocs;
  }
}

/** What the API's description says of a route beyond its path. Only `body` is also checked; the query is by its own form. */
export interface RouteDocs {
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly query?: QueryForm<Readonly<Record<string, Parameter<unknown>>>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body is raw bytes of any content type. */
  readonly rawBody?: boolean;
  readonly responses: Readonly<Record<number, ResponseDocs>>;
}

/** What the description says of one status. */
export interface ResponseDocs {
  readonly description: string;
  /** Schema by content type; none: no content. */
  readonly content?: Readonly<Record<string, TSchema>>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What every file of routes works with. */
export interface RouteKit {
  readonly service: KeyValueService;
  readonly config: Config;
  readonly admission: Admission;
  /** host:port under which clients reach this node. */
  readonly advertisedAddress: () => string;
  /** Aborted when the node stops: whoever waits for something to happen ends. */
  readonly closing: AbortSignal;
}

/** One file of routes. */
export type Routes = (app: FastifyInstance, kit: RouteKit) => void;

/** Parameters that most routes share. */
export function commonParameters(config: Config) {
  return {
    timeout: durationParameter("Deadline of the request.", config.requestTimeoutMaxMs),
  };
}

/** Parameters of reads. */
export function readParameters(config: Config) {
  return {
    ...commonParameters(config),
    consistency: wordParameter(
      "How fresh the answer must be: linearizable (after every write acknowledged before), lease (the same, trusting clocks to run evenly), session (after everything in Flotilla-Session), stale (whatever this node has; see Flotilla-Staleness-Ms).",
      ["linearizable", "lease", "session", "stale"],
      "linearizable",
    ),
  };
}

/** `?key64=`. */
export function key64Parameter(): Parameter<string | null> {
  return textParameter({
    description: "The key in base64url, instead of a path: for keys that no path can carry.",
    allowed: "base64url",
    otherwise: null,
    read: (text) => text,
  });
}

/** The consistency that a request asks for. */
export function consistencyOf(
  word: Consistency["type"],
  headers: FastifyRequest["headers"],
): Consistency {
  if (word !== "session") {
    return plainConsistency[word];
  }
  const token = headers["flotilla-session"];
  return {
    type: "session",
    revisions: typeof token === "string" ? parseSession(token) : new Map(),
  };
}

const plainConsistency = {
  linearizable: { type: "linearizable" },
  lease: { type: "lease" },
  stale: { type: "stale" },
} as const;

/**
 * What the router needs to know of a request. Throws when the session that the answer will add to is malformed: after the operation it
 * would be too late to say so.
 */
export function contextOf(
  kit: RouteKit,
  request: FastifyRequest,
  timeoutMs: number | null,
  signal: AbortSignal | null = null,
): RequestContext {
  const session = request.headers["flotilla-session"];
  if (session !== undefined) {
    parseSession(String(session));
  }
  return request.exchange.context(timeoutMs ?? kit.config.requestTimeoutMs, signal);
}

/** A problem as documented. */
export const problemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.String({ description: "Stable; see docs/errors.md." }),
    retryable: Type.Boolean(),
    applied: Type.Union([Type.Literal("no"), Type.Literal("unknown")]),
    request_id: Type.Optional(Type.String()),
    shard: Type.Optional(Type.Integer()),
    leader: Type.Optional(Type.String()),
    retry_after_ms: Type.Optional(Type.Number()),
  },
  { additionalProperties: true },
);

/** Documents JSON answers. */
export function json(description: string, schema: TSchema): ResponseDocs {
  return { description, content: { "application/json": schema } };
}

/** Documents errors by status. */
export function problem(description: string): ResponseDocs {
  return { description, content: { "application/problem+json": problemSchema } };
}

/** Answers that every route can give. */
export const commonProblems: Readonly<Record<number, ResponseDocs>> = {
  400: problem("Malformed: code `bad_request`, `unknown_parameter`, `bad_key`."),
  503: problem("Certainly not applied: `no_leader`, `overloaded`, `starting`. See Retry-After."),
  504: problem("`outcome_unknown`: retry with the same Idempotency-Key."),
};

/** Refuses a body where there must be none. */
export function refuseBody(body: unknown, what: string): void {
  if (body instanceof Uint8Array && body.length > 0) {
    throw new ServiceError("bad_request", `${what} takes no body`);
  }
}
