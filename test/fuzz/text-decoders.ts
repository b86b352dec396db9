import fc from "fast-check";
import { ShardId } from "../../cluster/types.ts";
import { ServiceError } from "../../server/errors.ts";
import { conditionOf, fenceOf, idempotencyOf } from "../../server/http/conditions.ts";
import { parseDuration } from "../../server/http/duration.ts";
import { decodeBase64Url, decodePercent } from "../../server/http/percent.ts";
import { parseSession, sessionToken } from "../../server/http/session-token.ts";
import { formatTraceparent, parseTraceparent } from "../../server/trace-context.ts";
import { decodePositions, encodePositions } from "../../server/watch-positions.ts";
import { anyBytes, anyRevision, anyShard } from "./arbitraries.ts";
import { decoder, refused } from "./fuzz.ts";

const isServiceError = (error: unknown): boolean => error instanceof ServiceError;

/** Headers and parameters come as one character per byte. */
const latin1 = (bytes: Buffer): string => bytes.toString("latin1");

const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const anyPosition = fc.record({ index: fc.maxSafeNat(), events: fc.nat(999_999_999) });

/** Decoders of what clients write in parameters and headers. */
export const textDecoders = [
  decoder({
    name: "a watch cursor (Last-Event-ID)",
    any: fc
      .uniqueArray(fc.tuple(anyShard, anyPosition), { maxLength: 5, selector: ([id]) => id })
      .map((pairs) => new Map(pairs.sort(([a], [b]) => a - b))),
    encode: (positions) => Buffer.from(encodePositions(positions)),
    decode: (bytes) => decodePositions(latin1(bytes)) ?? refused,
  }),
  decoder({
    name: "a session token",
    any: fc
      .uniqueArray(fc.tuple(anyShard, anyRevision), {
        minLength: 1,
        maxLength: 5,
        selector: ([id]) => id,
      })
      .map((pairs) => new Map(pairs)),
    encode: (seen) => {
      let token: string | undefined;
      for (const [shard, revision] of seen) {
        token = sessionToken(token, shard, revision);
      }
      return Buffer.from(token ?? "");
    },
    decode: (bytes) => {
      const seen = parseSession(latin1(bytes));
      sessionToken(
        latin1(bytes),
        ShardId(1),
        seen.values().next().value ?? (fc.pre(false) as never),
      );
      return seen;
    },
    isTyped: isServiceError,
  }),
  decoder({
    name: "a fence",
    any: fc.record({ lock: fc.uint8Array({ minLength: 1, maxLength: 20 }), token: anyRevision }),
    encode: ({ lock, token }) => Buffer.from(`${percentEncoded(lock)}=${token}`),
    decode: (bytes) => fenceOf({ "flotilla-fence": latin1(bytes) }) ?? refused,
    isTyped: isServiceError,
  }),
  decoder({
    name: "an If-Match",
    any: fc.array(anyRevision, { minLength: 1, maxLength: 4 }),
    encode: (revisions) => Buffer.from(revisions.map((each) => `"${each}"`).join(", ")),
    decode: (bytes) => {
      const condition = conditionOf({ "if-match": latin1(bytes) });
      return condition?.type === "revision_in" ? condition.revisions : refused;
    },
    isTyped: isServiceError,
  }),
  decoder({
    name: "an Idempotency-Key",
    any: fc.string({ minLength: 1, maxLength: 40 }).map((text) => text.replaceAll(" ", "-")),
    encode: (key) => Buffer.from(key),
    decode: (bytes) => {
      const headers = { "idempotency-key": latin1(bytes) };
      const body = new Uint8Array(0);
      return idempotencyOf({ method: "PUT", target: "/", headers, body })?.key ?? refused;
    },
    isTyped: isServiceError,
  }),
  decoder({
    name: "a duration",
    any: fc
      .tuple(fc.nat(3650), fc.constantFrom("ms" as const, "s", "m", "h", "d"))
      .map(([count, unit]) => ({ text: `${count}${unit}`, ms: count * units[unit] })),
    encode: ({ text }) => Buffer.from(text),
    decode: (bytes) => {
      const text = latin1(bytes);
      const ms = parseDuration(text);
      return ms === null ? refused : { text, ms };
    },
  }),
  decoder({
    name: "a percent-encoded key",
    any: anyBytes,
    encode: (bytes) => Buffer.from(percentEncoded(bytes)),
    decode: (bytes) => decodePercent(latin1(bytes), true) ?? refused,
  }),
  decoder({
    name: "a key64",
    any: anyBytes,
    encode: (bytes) => Buffer.from(Buffer.from(bytes).toString("base64url")),
    decode: (bytes) => decodeBase64Url(latin1(bytes)) ?? refused,
  }),
  decoder({
    name: "a traceparent",
    any: fc.record({
      traceId: fc.constant("0af7651916cd43dd8448eb211c80319c"),
      spanId: fc.constantFrom("b7ad6b7169203331", "0000000000000001"),
      isSampled: fc.boolean(),
    }),
    encode: (context) => Buffer.from(formatTraceparent(context)),
    decode: (bytes) => parseTraceparent(latin1(bytes)) ?? refused,
  }),
];

function percentEncoded(bytes: Uint8Array): string {
  return [...bytes].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
}
