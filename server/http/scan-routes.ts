import { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { problemOf, ServiceError } from "../errors.ts";
import type { LiveRecord, ScanItem } from "../../storage/queries.ts";
import { jsonKey, jsonLiveRecord } from "./json-values.ts";
import { keyAfter, MergedScan, prefixEnd } from "./merged-scan.ts";
import { decodeBase64Url } from "./percent.ts";
import { asServiceError } from "./problems.ts";
import {
  bytesParameter,
  numberParameter,
  queryForm,
  switchParameter,
  textParameter,
} from "./query.ts";
import { commonHeaders, sendJson } from "./responses.ts";
import { consistencyOf, contextOf, readParameters, type RouteKit } from "./route-kit.ts";

/** Query form of `GET /v1/kv` without key64. */
export function scanForm(kit: RouteKit) {
  const { keyBytesMax, pageItemsDefault, pageItemsMax, pageBytesMax } = kit.config;
  return queryForm({
    ...readParameters(kit.config),
    prefix: bytesParameter("Only keys that begin with these bytes.", keyBytesMax),
    start: bytesParameter("Only keys from this one on.", keyBytesMax),
    end: bytesParameter("Only keys before this one.", keyBytesMax),
    delimiter: bytesParameter(
      "Keys that share what goes up to its next occurrence after the prefix are listed once, in `prefixes`.",
      keyBytesMax,
    ),
    limit: numberParameter({
      description: `Keys and prefixes on a page, ${pageItemsDefault} if not given. A stream of lines has no limit unless one is given.`,
      otherwise: null,
      min: 1,
      max: pageItemsMax,
    }),
    max_bytes: numberParameter({
      description: "Bytes of keys and values after which a page ends; it has one key at least.",
      otherwise: pageBytesMax,
      min: 1,
      max: pageBytesMax,
    }),
    keys_only: switchParameter("Leave out the values."),
    cursor: textParameter({
      description: "`next_cursor` of the page before, with the other parameters unchanged.",
      allowed: "what next_cursor said",
      otherwise: null,
      read: (text) => text,
    }),
  });
}

type ScanForm = ReturnType<ReturnType<typeof scanForm>["parse"]>;

/** What is between two answers of a scan: a key, or all keys with a common prefix. */
type Listed =
  | { readonly type: "item"; readonly key: Uint8Array; readonly record: LiveRecord }
  | { readonly type: "prefix"; readonly prefix: Uint8Array };

/** A page of keys as JSON, or all of them as lines of JSON when the client accepts `application/x-ndjson`. */
export async function scan(
  kit: RouteKit,
  form: ScanForm,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const wantsLines = request.headers.accept?.includes("application/x-ndjson") === true;
  const limit = form.limit ?? (wantsLines ? Infinity : kit.config.pageItemsDefault);
  const listing = new Listing(kit, form, request, Math.min(limit, kit.config.pageItemsMax));
  if (wantsLines) {
    // The first answer decides whether there is a stream at all.
    await listing.hasMore();
    sendLines(request, reply, listing, limit);
    return;
  }
  const items: object[] = [];
  const prefixes: object[] = [];
  let bytes = 0;
  while (items.length + prefixes.length < limit && bytes < form.max_bytes) {
    const listed = await listing.next();
    if (listed === null) {
      break;
    }
    if (listed.type === "item") {
      items.push(jsonItem(listed, !form.keys_only));
      bytes += listed.key.length + listed.record.value.length;
    } else {
      prefixes.push(jsonKey(listed.prefix));
      bytes += listed.prefix.length;
    }
  }
  const more = await listing.hasMore();
  const cursor = more ? writeCursor(listing.position) : null;
  sendJson(
    reply,
    request.exchange,
    200,
    {
      items,
      ...(form.delimiter === null ? {} : { prefixes }),
      more,
      ...(cursor === null ? {} : { next_cursor: cursor }),
    },
    cursor === null ? [] : ["Link", `<${nextTarget(request.raw.url ?? "", cursor)}>; rel="next"`],
  );
}

/** Walks a range, with keys below a delimiter folded into one. */
class Listing {
  readonly #scan: MergedScan;
  readonly #prefixLength: number;
  readonly #delimiter: Uint8Array | null;
  /** Where the next page would start. */
  position: Uint8Array;

  constructor(kit: RouteKit, form: ScanForm, request: FastifyRequest, limit: number) {
    const prefix = form.prefix ?? new Uint8Array(0);
    const end = lower(form.end, prefixEnd(prefix));
    const start = form.cursor === null ? form.start : readCursor(form.cursor, prefix, end);
    this.position = higher(prefix, start);
    this.#prefixLength = prefix.length;
    this.#delimiter =
      form.delimiter === null || form.delimiter.length === 0 ? null : form.delimiter;
    const consistency = consistencyOf(form.consistency, request.headers);
    this.#scan = new MergedScan({
      service: kit.service,
      start: this.position,
      end,
      keysOnly: form.keys_only,
      limit,
      bytesMax: form.max_bytes,
      consistency,
      context: () => contextOf(kit, request, form.timeout),
    });
  }

  async hasMore(): Promise<boolean> {
    return (await this.#scan.peek()) !== null;
  }

  async next(): Promise<Listed | null> {
    const item = await this.#scan.peek();
    if (item === null) {
      return null;
    }
    const folded = this.#fold(item);
    if (folded === null) {
      await this.#scan.take();
      this.position = keyAfter(item.key);
      return { type: "item", ...item };
    }
    const end = prefixEnd(folded);
    if (end === null) {
      await this.#takeAll();
    } else {
      await this.#scan.skipTo(end);
      this.position = end;
    }
    return { type: "prefix", prefix: folded };
  }

  #fold({ key }: ScanItem): Uint8Array | null {
    if (this.#delimiter === null) {
      return null;
    }
    const at = Buffer.from(key.buffer, key.byteOffset, key.byteLength).indexOf(
      this.#delimiter,
      this.#prefixLength,
    );
    return at < 0 ? null : key.subarray(0, at + this.#delimiter.length);
  }

  /** Of a prefix of nothing but 0xff, after which there can be no other key. */
  async #takeAll(): Promise<void> {
    while ((await this.#scan.peek()) !== null) {
      await this.#scan.take();
    }
  }
}

function sendLines(
  request: FastifyRequest,
  reply: FastifyReply,
  listing: Listing,
  limit: number,
): void {
  const withValues = !/[?&]keys_only(=(1|true)?)?(&|$)/.test(request.raw.url ?? "");
  const headers = commonHeaders(request.exchange);
  headers.push("Content-Type", "application/x-ndjson");
  reply.hijack();
  reply.raw.writeHead(200, headers);
  // Destroyed with the connection: the scan ends when nobody reads it any more.
  Readable.from(lines(request.id, listing, limit, withValues)).pipe(reply.raw);
}

async function* lines(
  requestId: string,
  listing: Listing,
  limit: number,
  withValues: boolean,
): AsyncGenerator<string> {
  try {
    for (let count = 0; count < limit; count++) {
      const listed = await listing.next();
      if (listed === null) {
        return;
      }
      const line =
        listed.type === "item" ? jsonItem(listed, withValues) : { prefix: jsonKey(listed.prefix) };
      yield `${JSON.stringify(line)}\n`;
    }
  } catch (error) {
    // The status is sent already: the last line tells that the answer is not complete.
    yield `${JSON.stringify({ error: problemOf(asServiceError(error), requestId) })}\n`;
  }
}

function jsonItem(item: ScanItem, withValue: boolean): object {
  return { ...jsonKey(item.key), ...jsonLiveRecord(item.record, withValue) };
}

const cursorVersion = 1;

function writeCursor(position: Uint8Array): string {
  return Buffer.concat([Buffer.from([cursorVersion]), position]).toString("base64url");
}

function readCursor(cursor: string, prefix: Uint8Array, end: Uint8Array | null): Uint8Array {
  const bytes = decodeBase64Url(cursor);
  const position = bytes?.subarray(1);
  if (
    position === undefined ||
    bytes?.[0] !== cursorVersion ||
    Buffer.compare(position, prefix) < 0 ||
    (end !== null && Buffer.compare(position, end) > 0)
  ) {
    throw new ServiceError(
      "bad_cursor",
      "the cursor does not belong to this query; begin again without one",
    );
  }
  return position;
}

function nextTarget(target: string, cursor: string): string {
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const kept = (mark < 0 ? "" : target.slice(mark + 1))
    .split("&")
    .filter((pair) => pair !== "" && !pair.startsWith("cursor="));
  return `${path}?${[...kept, `cursor=${cursor}`].join("&")}`;
}

function higher(a: Uint8Array, b: Uint8Array | null): Uint8Array {
  return b !== null && Buffer.compare(b, a) > 0 ? b : a;
}

function lower(a: Uint8Array | null, b: Uint8Array | null): Uint8Array | null {
  if (a === null || b === null) {
    return a ?? b;
  }
  return Buffer.compare(a, b) < 0 ? a : b;
}
