import { hash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { Revision } from "../../cluster/types.ts";
import type { Condition, Fence, IdempotencyKey, KeyMetadata } from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { decodePercent } from "./percent.ts";

/** The precondition of `If-Match` or `If-None-Match`; null when there is none. It is judged when the command is applied, not here. */
export function conditionOf(headers: IncomingHttpHeaders): Condition | null {
  const match = headers["if-match"];
  const noneMatch = headers["if-none-match"];
  if (match === undefined && noneMatch === undefined) {
    return null;
  }
  if (match !== undefined && noneMatch !== undefined) {
    throw new ServiceError("bad_request", "If-Match and If-None-Match exclude each other here");
  }
  if (match !== undefined) {
    return match.trim() === "*"
      ? { type: "present" }
      : { type: "revision_in", revisions: revisionsOf("If-Match", match, "strong") };
  }
  const text = noneMatch ?? "";
  return text.trim() === "*"
    ? { type: "absent" }
    : { type: "revision_not_in", revisions: revisionsOf("If-None-Match", text, "weak") };
}

/** Whether a condition holds for what a read has found. */
export function holds(condition: Condition, record: KeyMetadata | null): boolean {
  switch (condition.type) {
    case "absent":
      return record === null;
    case "present":
      return record !== null;
    case "revision_in":
      return record !== null && condition.revisions.includes(record.modRevision);
    case "revision_not_in":
      return record === null || !condition.revisions.includes(record.modRevision);
  }
}

/**
 * Entity tags of a list. Tags that no revision can have are well-formed but match nothing, so they are left out. A weak tag, which proxies
 * make of a strong one when they compress, is equal to it only where the comparison is weak (RFC 9110, 13.1.1 and 13.1.2).
 */
function revisionsOf(
  header: string,
  list: string,
  comparison: "strong" | "weak",
): readonly Revision[] {
  const revisions: Revision[] = [];
  for (const each of list.split(",")) {
    const tag = /^(W\/)?"([\x21\x23-\x7e]*)"$/.exec(each.trim());
    if (tag === null) {
      throw new ServiceError(
        "bad_request",
        `${header} must be * or a list of entity tags in quotes, such as "42", as ETag gave them`,
      );
    }
    const [, weak, text = ""] = tag;
    if ((weak === undefined || comparison === "weak") && isRevision(text)) {
      revisions.push(Revision(Number(text)));
    }
  }
  return revisions;
}

/** Whether text is a revision in decimal, as the API writes it. */
export function isRevision(text: string): boolean {
  return /^(0|[1-9]\d{0,15})$/.test(text) && Number.isSafeInteger(Number(text));
}

/** `Flotilla-Fence: lock=token`, the lock's name percent-encoded; null when there is none. */
export function fenceOf(headers: IncomingHttpHeaders): Fence | null {
  const header = headers["flotilla-fence"];
  if (header === undefined) {
    return null;
  }
  const match = typeof header === "string" ? /^(.+)=(\d+)$/.exec(header.trim()) : null;
  const lock = decodePercent(match?.[1] ?? "", false);
  const token = match?.[2] ?? "";
  if (lock === null || lock.length === 0 || !isRevision(token)) {
    throw new ServiceError(
      "bad_request",
      "Flotilla-Fence must be lock=token: the lock's name percent-encoded, and the token that acquiring it gave",
    );
  }
  return { lock, token: Revision(Number(token)) };
}

/** What makes two requests with one idempotency key the same request. */
export interface RequestIdentity {
  readonly method: string;
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** The client's `Idempotency-Key`, with a fingerprint of what it asks for; null when it sent none. */
export function idempotencyOf(request: RequestIdentity): IdempotencyKey | null {
  const key = request.headers["idempotency-key"];
  if (key === undefined) {
    return null;
  }
  if (typeof key !== "string" || !/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw new ServiceError(
      "bad_request",
      "Idempotency-Key must be 1 to 255 printable ASCII characters without spaces",
    );
  }
  const { headers } = request;
  const head = JSON.stringify([
    request.method,
    request.target,
    headers["content-type"],
    headers["if-match"],
    headers["if-none-match"],
    headers["flotilla-fence"],
  ]);
  const digest = hash(
    "sha256",
    Buffer.concat([Buffer.from(`${head}\n`), request.body]),
    "base64url",
  );
  return { key, fingerprint: digest.slice(0, 22) };
}
