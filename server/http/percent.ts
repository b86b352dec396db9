const percent = 0x25;
const plus = 0x2b;
const space = 0x20;

/**
 * Exactly the bytes that percent-encoded text stands for, decoded once; null when an escape is broken. `text` is as Node delivers a
 * request target: one character per byte. In a query (`plusIsSpace`) a plus is a space, as forms and URLSearchParams write it; in a
 * path it is a plus.
 */
export function decodePercent(text: string, plusIsSpace: boolean): Buffer | null {
  if (!text.includes("%") && !(plusIsSpace && text.includes("+"))) {
    return Buffer.from(text, "latin1");
  }
  const source = Buffer.from(text, "latin1");
  let length = 0;
  for (let at = 0; at < source.length; at++) {
    let byte = source[at] ?? 0;
    if (byte === percent) {
      byte = hexDigit(source[at + 1]) * 16 + hexDigit(source[at + 2]);
      if (Number.isNaN(byte)) {
        return null;
      }
      at += 2;
    } else if (plusIsSpace && byte === plus) {
      byte = space;
    }
    source[length] = byte;
    length += 1;
  }
  return source.subarray(0, length);
}

function hexDigit(code: number | undefined): number {
  if (code === undefined) {
    return NaN;
  }
  if (code >= 0x30 && code <= 0x39) {
    return code - 0x30;
  }
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : NaN;
}

/** base64url (padding optional) to bytes; null when it is not that. */
export function decodeBase64Url(text: string): Buffer | null {
  const match = /^([A-Za-z0-9_-]*)={0,2}$/.exec(text);
  const digits = match?.[1];
  return digits === undefined || digits.length % 4 === 1 ? null : Buffer.from(digits, "base64url");
}

/** Path and query of a request target, also when it is a whole URL. The query is without its `?`. */
export function splitTarget(target: string): { readonly path: string; readonly query: string } {
  const local = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/?#]*/i, "");
  const mark = local.indexOf("?");
  return mark < 0
    ? { path: local, query: "" }
    : { path: local.slice(0, mark), query: local.slice(mark + 1) };
}
