import { isUtf8 } from "node:buffer";
import { ServiceError } from "../errors.ts";
import { decodeBase64Url, decodePercent } from "./percent.ts";

const useKey64 = "Name such a key by ?key64=<base64url of its bytes> instead.";

/**
 * The key that follows `route` in the path, as exact bytes. Refuses what a path cannot carry reliably: bytes that are not UTF-8, and
 * segments `.` and `..`, which clients and proxies remove before anybody sees them.
 */
export function keyOfPath(path: string, route: string, bytesMax: number): Uint8Array {
  if (!path.startsWith(route)) {
    throw new ServiceError(
      "no_such_route",
      `the path must begin with ${route}, written without escapes`,
    );
  }
  const key = decodePercent(path.slice(route.length), false);
  if (key === null) {
    throw new ServiceError(
      "bad_key",
      "the path has a % that is not followed by two hexadecimal digits; write % itself as %25",
    );
  }
  if (!isUtf8(key)) {
    throw new ServiceError("bad_key", `the path's bytes are not UTF-8. ${useKey64}`);
  }
  if (hasDotSegment(key)) {
    throw new ServiceError(
      "bad_key",
      `a key with the segment . or .. cannot be in a path. ${useKey64}`,
    );
  }
  return checkedKey(key, bytesMax);
}

/** Whether a query names a key: the bare route of a table is then about that key. */
export function namesKey(query: string): boolean {
  return /(^|&)key64=/.test(query);
}

/**
 * The key that a request names: the rest of the path behind `bareRoute`, or `?key64=` where the path is `bareRoute` itself. Naming it twice
 * is refused: one of the two would be ignored.
 */
export function keyOfRequest(
  path: string,
  bareRoute: string,
  key64: string | null,
  bytesMax: number,
): Uint8Array {
  if (path === bareRoute) {
    return keyOfBase64(key64 ?? "", bytesMax);
  }
  if (key64 !== null) {
    throw new ServiceError("bad_request", "the key is named twice: in the path and by key64");
  }
  return keyOfPath(path, `${bareRoute}/`, bytesMax);
}

/** The key of `?key64=`: any bytes. */
export function keyOfBase64(text: string, bytesMax: number): Uint8Array {
  const key = decodeBase64Url(text);
  if (key === null) {
    throw new ServiceError("bad_key", "key64 is not base64url (A-Z, a-z, 0-9, - and _)");
  }
  return checkedKey(key, bytesMax);
}

/** Checks a key's length. */
export function checkedKey(key: Uint8Array, bytesMax: number): Uint8Array {
  if (key.length === 0) {
    throw new ServiceError("bad_key", "the key is empty; keys have at least 1 byte");
  }
  if (key.length > bytesMax) {
    throw new ServiceError(
      "key_too_long",
      `the key has ${key.length} bytes; this node accepts up to ${bytesMax}`,
      { extra: { limit_bytes: bytesMax } },
    );
  }
  return key;
}

const dot = 0x2e;
const slash = 0x2f;

function hasDotSegment(key: Buffer): boolean {
  if (!key.includes(dot)) {
    return false;
  }
  for (let start = 0; start <= key.length;) {
    const end = key.indexOf(slash, start);
    const length = (end < 0 ? key.length : end) - start;
    if (length >= 1 && length <= 2 && key[start] === dot && key[start + length - 1] === dot) {
      return true;
    }
    start = end < 0 ? key.length + 1 : end + 1;
  }
  return false;
}
