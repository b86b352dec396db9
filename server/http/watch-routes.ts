import type { FastifyReply, FastifyRequest } from "fastify";
import Type from "typebox";
import type { ChangeEvent } from "../../storage/commands.ts";
import { problemOf, ServiceError } from "../errors.ts";
import { decodePositions, encodePositions } from "../watch-positions.ts";
import { EventStream } from "./event-stream.ts";
import type { Heartbeats } from "./heartbeats.ts";
import { jsonKey, jsonRecord } from "./json-values.ts";
import { checkedKey, keyOfBase64 } from "./keys.ts";
import { splitTarget } from "./percent.ts";
import { asServiceError } from "./problems.ts";
import { bytesParameter, queryForm, switchParameter, textParameter } from "./query.ts";
import {
  commonProblems,
  key64Parameter,
  type RouteDocs,
  type RouteKit,
  type Routes,
} from "./route-kit.ts";
import type { WatchItem, WatchPositions, WatchRequest, WatchStream } from "./service.ts";

/** GET /v1/watch: changes as server-sent events, resumable on any node. */
export function watchRoutes(heartbeats: Heartbeats): Routes {
  return (app, kit) => {
    const form = watchForm(kit);
    app.get("/v1/watch", { config: { docs: watchDocs(form) } }, async (request, reply) => {
      const watch = watchRequestOf(kit, form, request);
      request.exchange.becomeWatcher();
      // Asked for before the head is sent: what fails at once is still an answer with a status.
      const stream = kit.service.watch(watch);
      await sendEvents(stream, watch, request, reply, heartbeats);
    });
  };
}

function watchForm(kit: RouteKit) {
  const { keyBytesMax } = kit.config;
  return queryForm({
    prefix: bytesParameter("Keys that begin with these bytes; all keys if not given.", keyBytesMax),
    key: bytesParameter("This one key.", keyBytesMax),
    key64: key64Parameter(),
    initial: switchParameter("The current state first, as put events, then `synced`."),
    prev: switchParameter("Tell what a key held before."),
    after: textParameter({
      description:
        "Resume after the event with this id, as Last-Event-ID does (which wins when both are there).",
      allowed: "the id of an event",
      otherwise: null,
      read: (text) => text,
    }),
  });
}

function watchRequestOf(
  kit: RouteKit,
  form: ReturnType<typeof watchForm>,
  request: FastifyRequest,
): WatchRequest {
  const { prefix, key, key64, initial, prev, after } = form.parse(
    splitTarget(request.raw.url ?? "").query,
  );
  if ([prefix, key, key64].filter((each) => each !== null).length > 1) {
    throw new ServiceError("bad_request", "take one of prefix, key and key64");
  }
  const { keyBytesMax } = kit.config;
  const given = key64 === null ? key : keyOfBase64(key64, keyBytesMax);
  const exact = given === null ? null : checkedKey(given, keyBytesMax);
  const header = request.headers["last-event-id"];
  const resume = typeof header === "string" && header !== "" ? header : after;
  return {
    prefix: exact ?? prefix ?? new Uint8Array(0),
    key: exact,
    after: resume === null ? null : positionsOf(resume),
    initial,
    wantPrevious: prev,
    signal: AbortSignal.any([request.exchange.gone, kit.closing]),
  };
}

function positionsOf(id: string): WatchPositions {
  const positions = decodePositions(id);
  if (positions === null) {
    throw new ServiceError(
      "bad_cursor",
      "Last-Event-ID (or ?after=) must be the id of an event of an earlier watch",
    );
  }
  return positions;
}

async function sendEvents(
  items: WatchStream,
  watch: WatchRequest,
  request: FastifyRequest,
  reply: FastifyReply,
  heartbeats: Heartbeats,
): Promise<void> {
  const stream = new EventStream(reply, request.exchange, watch.signal);
  heartbeats.add(stream);
  try {
    for await (const item of items) {
      if (watch.signal.aborted) {
        break;
      }
      const name = item.type === "change" ? item.event.kind : item.type;
      await stream.send(name, encodePositions(item.positions), dataOf(item, watch.wantPrevious));
      if (item.type === "lagged") {
        break;
      }
    }
  } catch (error) {
    // No id: the client resumes after the last event that it got.
    if (!watch.signal.aborted) {
      reply.raw.write(
        `event: error\ndata: ${JSON.stringify(problemOf(asServiceError(error), request.id))}\n\n`,
      );
    }
  } finally {
    heartbeats.remove(stream);
    stream.end();
  }
}

/** Changes as written for some watcher: thousands may get the same one. */
const written = new WeakMap<ChangeEvent, string>();
const writtenWithPrevious = new WeakMap<ChangeEvent, string>();

function dataOf(item: WatchItem, wantPrevious: boolean): string {
  if (item.type !== "change") {
    return "{}";
  }
  const cache = wantPrevious ? writtenWithPrevious : written;
  let data = cache.get(item.event);
  if (data === undefined) {
    const { kind, key, record, previous, revision } = item.event;
    data = JSON.stringify({
      kind,
      ...jsonKey(key),
      ...(record === null ? { revision: String(revision) } : jsonRecord(record)),
      ...(wantPrevious ? { previous: previous && jsonRecord(previous) } : {}),
    });
    cache.set(item.event, data);
  }
  return data;
}

function watchDocs(form: ReturnType<typeof watchForm>): RouteDocs {
  return {
    summary: "Changes as server-sent events",
    description:
      "Events: `put`, `delete`, `expire` with the change as JSON; `synced` when the initial state is complete; `progress` when only positions moved; `reset` when history is gone, followed by the current state as puts and `synced`; `lagged` when the reader was too slow, after which the stream ends. Each id resumes, on any node.",
    tags: ["watch"],
    query: form,
    headers: { "Last-Event-ID": "Resume after this event." },
    responses: {
      200: { description: "The stream.", content: { "text/event-stream": Type.String() } },
      ...commonProblems,
    },
  };
}
