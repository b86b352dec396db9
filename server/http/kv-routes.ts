import type { FastifyReply, FastifyRequest } from "fastify";
import { ServiceError } from "../errors.ts";
import { get, getForm } from "./kv-reads.ts";
import { kvDocs } from "./kv-docs.ts";
import { append, increment, put, remove, touch, writeForms } from "./kv-writes.ts";
import { keyOfRequest, namesKey } from "./keys.ts";
import { splitTarget } from "./percent.ts";
import type { RouteKit, Routes } from "./route-kit.ts";
import { sendRaw } from "./responses.ts";
import { scan, scanForm } from "./scan-routes.ts";

const bareRoute = "/v1/kv";

/**
 * One key: GET, HEAD, PUT, DELETE, POST. The key is the rest of the path, or `?key64=` where that is `/v1/kv` itself; `GET /v1/kv` without
 * key64 is a scan.
 */
export const kvRoutes: Routes = (app, kit) => {
  app.setErrorHandler((error) => {
    throw isBodyTooLarge(error) ? valueTooLarge(kit) : error;
  });
  app.removeAllContentTypeParsers();
  // Not "*", whose parser is looked for anew with every request; what a regular expression has found is remembered.
  app.addContentTypeParser(
    /^/,
    { parseAs: "buffer", bodyLimit: kit.config.valueBytesMax },
    (_request, body, done) => done(null, body),
  );
  const read = getForm(kit);
  const range = scanForm(kit);
  const forms = writeForms(kit);
  const bodyLimit = kit.config.valueBytesMax;

  const onGet = (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const { path, query } = splitTarget(request.raw.url ?? "");
    if (path === bareRoute && !namesKey(query)) {
      return scan(kit, range.parse(query), request, reply);
    }
    const form = read.parse(query);
    const key = keyOfRequest(path, bareRoute, form.key64, kit.config.keyBytesMax);
    return redirected(kit, request, reply, key, form.redirect)
      ? Promise.resolve()
      : get(kit, { request, reply, key, form });
  };
  const writing =
    (form: { parse(query: string): KeyChoice }, run: typeof put) =>
    (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      const { path, query } = splitTarget(request.raw.url ?? "");
      const { key64, redirect } = form.parse(query);
      const key = keyOfRequest(path, bareRoute, key64, kit.config.keyBytesMax);
      return redirected(kit, request, reply, key, redirect)
        ? Promise.resolve()
        : run(kit, forms, { request, reply, key, query });
    };
  const onPut = writing(forms.put, put);
  const onDelete = writing(forms.delete, remove);
  const operations: Readonly<Record<string, typeof onPut>> = {
    increment: writing(forms.increment, increment),
    append: writing(forms.append, append),
    touch: writing(forms.touch, touch),
  };
  const onPost = (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const name = /[?&]op=([a-z]*)(?:&|$)/.exec(request.raw.url ?? "")?.[1] ?? "";
    const operation = Object.hasOwn(operations, name) ? operations[name] : undefined;
    if (operation === undefined) {
      throw new ServiceError(
        "bad_request",
        "POST needs ?op=increment, ?op=append or ?op=touch; to store a value use PUT",
      );
    }
    return operation(request, reply);
  };

  const docs = kvDocs(read, range, forms);
  app.get("/v1/kv/*", { config: { docs: docs.get } }, onGet);
  app.get(bareRoute, { config: { docs: docs.scan } }, onGet);
  for (const url of ["/v1/kv/*", "/v1/kv"]) {
    app.head(url, { config: { docs: docs.head } }, onGet);
    app.put(url, { bodyLimit, config: { docs: docs.put } }, onPut);
    app.delete(url, { bodyLimit, config: { docs: docs.delete } }, onDelete);
    app.post(url, { bodyLimit, config: { docs: docs.post } }, onPost);
  }
};

function isBodyTooLarge(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "FST_ERR_CTP_BODY_TOO_LARGE";
}

function valueTooLarge({ config: { valueBytesMax } }: RouteKit): ServiceError {
  return new ServiceError(
    "value_too_large",
    `this node accepts values of up to ${valueBytesMax} bytes`,
    { extra: { limit_bytes: valueBytesMax } },
  );
}

interface KeyChoice {
  readonly key64: string | null;
  readonly redirect: boolean;
}

/** Sends the client to the leader of the key's shard, if it asked for that and this node is not the leader. */
function redirected(
  kit: RouteKit,
  request: FastifyRequest,
  reply: FastifyReply,
  key: Uint8Array,
  isWanted: boolean,
): boolean {
  const leader = isWanted ? kit.service.leaderAddress(kit.service.shardOf(key)) : null;
  if (leader === null || leader === kit.advertisedAddress()) {
    return false;
  }
  const base = leader.includes("://") ? leader : `http://${leader}`;
  const { path, query } = splitTarget(request.raw.url ?? "");
  sendRaw(
    reply,
    307,
    ["Location", `${base}${path}?${query}`, "Content-Length", "0", "Cache-Control", "no-store"],
    null,
  );
  return true;
}
