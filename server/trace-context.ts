/**
 * W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/): which trace a request belongs to, and which span called.
 * It travels as one string, `00-<32 hex>-<16 hex>-<2 hex>`, from HTTP through every node that takes part.
 */
export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  /** The caller records this trace and asks everybody to do so too. */
  readonly isSampled: boolean;
}

const traceparentPattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const noTrace = "0".repeat(32);
const noSpan = "0".repeat(16);
const sampledFlag = 1;

/**
 * Reads a traceparent header; null when it is not one, as the standard says to go on then: as if none had come. Versions of the
 * future may carry more fields after the four that are known, version 00 may not.
 */
export function parseTraceparent(header: string): TraceContext | null {
  const match = traceparentPattern.exec(header);
  if (match === null) {
    return null;
  }
  const [, version = "", traceId = "", spanId = "", flags = "", rest] = match;
  if (version === "ff" || (version === "00" && rest !== undefined)) {
    return null;
  }
  if (traceId === noTrace || spanId === noSpan) {
    return null;
  }
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & sampledFlag) !== 0 };
}

/** Writes version 00, with the one flag that it defines. */
export function formatTraceparent(context: TraceContext): string {
  return `00-${context.traceId}-${context.spanId}-${context.isSampled ? "01" : "00"}`;
}

/** Hex digits of chance; all zeros is not a valid id and is never returned. */
export function randomId(digits: 16 | 32, random: () => number): string {
  let id = "";
  while (id.length < digits) {
    id += Math.floor(random() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, "0");
  }
  return /[1-9a-f]/.test(id) ? id : id.replace(/0$/, "1");
}
