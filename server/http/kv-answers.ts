import type { FastifyReply, FastifyRequest } from "fastify";
import type { Revision } from "../../cluster/types.ts";
import type { LiveRecord } from "../../storage/queries.ts";
import { jsonRecord } from "./json-values.ts";
import type { KeyRecord } from "../../storage/commands.ts";
import { commonHeaders, sendRaw, type HeaderList } from "./responses.ts";
import type { Served } from "./service.ts";
import { sessionToken } from "./session-token.ts";

/** Headers of an answer about one key: which shard, who, how fresh, and what the client has now seen. */
export function servedHeaders(
  request: FastifyRequest,
  served: Served<{ readonly revision: Revision }>,
): HeaderList {
  const headers = commonHeaders(request.exchange);
  const before = request.headers["flotilla-session"];
  headers.push(
    "Flotilla-Shard",
    String(served.shard),
    "Flotilla-Served-By",
    served.servedBy,
    "Flotilla-Session",
    sessionToken(
      typeof before === "string" ? before : undefined,
      served.shard,
      served.value.revision,
    ),
  );
  if (served.stalenessMs > 0) {
    headers.push("Flotilla-Staleness-Ms", String(Math.round(served.stalenessMs)));
  }
  return headers;
}

/** Headers that describe a record. */
export function recordHeaders(headers: HeaderList, record: LiveRecord): void {
  headers.push(
    "ETag",
    `"${record.modRevision}"`,
    "Flotilla-Revision",
    String(record.modRevision),
    "Flotilla-Create-Revision",
    String(record.createRevision),
    "Flotilla-Version",
    String(record.version),
  );
  if (record.expiresInMs !== null) {
    headers.push("Flotilla-Expires-In", String(Math.ceil(record.expiresInMs)));
  }
}

/** Sends what a change did: `revision` is the key's, and its new entity tag. */
export function sendChange(
  request: FastifyRequest,
  reply: FastifyReply,
  served: Served<{ readonly revision: Revision; readonly replayed: boolean }>,
  change: {
    readonly status: number;
    /** Null: the key is not there any more. */
    readonly etag: Revision | null;
    readonly body: string;
  },
): void {
  const body = Buffer.from(change.body);
  const headers = servedHeaders(request, served);
  headers.push("Content-Type", "application/json", "Content-Length", String(body.length));
  if (change.etag !== null) {
    headers.push("ETag", `"${change.etag}"`, "Flotilla-Revision", String(change.etag));
  }
  if (served.value.replayed) {
    headers.push("Idempotency-Replayed", "true");
  }
  sendRaw(reply, change.status, headers, body);
}

/** `,"previous":{...}` when the client asked for it. */
export function previousMember(wanted: boolean, previous: KeyRecord | null): string {
  return wanted ? `,"previous":${JSON.stringify(previous && jsonRecord(previous))}` : "";
}
