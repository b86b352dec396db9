import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance, FastifySchema } from "fastify";
import Type from "typebox";
import type { ResponseDocs, RouteDocs } from "./route-kit.ts";

const referencePolicy =
  "default-src 'self'; base-uri 'self'; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'; style-src 'self' 'unsafe-inline'";

/** Describes the API: registers /openapi.json and the reference at /docs. Before the routes, which it collects. */
export async function describeApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    exposeHeadRoutes: true,
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Flotilla",
        version,
        description:
          "A replicated, sharded key-value store. Any node answers for any key. Errors are application/problem+json (RFC 9457) with a stable `code`; 503 means certainly not applied, 504 that nobody can tell.",
        license: { name: "Apache-2.0" },
      },
      tags: [
        { name: "keys", description: "Read and write single keys" },
        { name: "ranges", description: "Pages and streams of keys" },
        { name: "many", description: "Several keys in one request" },
        { name: "watch", description: "Changes as server-sent events" },
        { name: "locks", description: "Locks with fencing tokens" },
        { name: "cluster", description: "Nodes, shards, where a key lives" },
        { name: "operations", description: "Probes, metrics, diagnostics" },
      ],
    },
    transform: ({ schema, url, route }) => ({
      schema: withDocs(schema, route.config?.docs, url),
      url,
    }),
  });
  await app.register(swaggerUi, {
    routePrefix: "/docs",
    uiConfig: { docExpansion: "list", deepLinking: true, tryItOutEnabled: true },
    // Its own policy would upgrade to HTTPS, which this server does not speak.
    staticCSP: referencePolicy,
  });
}

/** The routes that answer with the description itself. */
export function openApiRoutes(app: FastifyInstance): void {
  app.get("/openapi.json", { schema: { hide: true } }, () => app.swagger());
}

function withDocs(
  schema: FastifySchema | undefined,
  docs: RouteDocs | undefined,
  url: string,
): FastifySchema {
  if (docs === undefined) {
    return { ...schema, hide: true };
  }
  const parameters = Object.entries(docs.query?.parameters ?? {});
  return {
    ...schema,
    summary: docs.summary,
    ...(docs.description === undefined ? {} : { description: docs.description }),
    tags: docs.tags,
    ...(parameters.length === 0
      ? {}
      : {
          querystring: Type.Object(
            Object.fromEntries(
              parameters.map(([name, each]) => [name, Type.Optional(each.schema)]),
            ),
          ),
        }),
    ...(docs.headers === undefined ? {} : { headers: headerSchema(docs.headers) }),
    ...pathSchema(url),
    ...(docs.rawBody === true
      ? { consumes: ["*/*"], body: Type.String({ format: "binary" }) }
      : {}),
    response: Object.fromEntries(
      Object.entries(docs.responses).map(([status, each]) => [status, responseSchema(each)]),
    ),
  };
}

function pathSchema(url: string): FastifySchema {
  const names = [...url.matchAll(/:([a-z]+)|\*/g)].map(([whole, name]) => name ?? whole);
  return names.length === 0
    ? {}
    : { params: Type.Object(Object.fromEntries(names.map((name) => [name, Type.String()]))) };
}

function headerSchema(headers: Readonly<Record<string, string>>) {
  return Type.Object(
    Object.fromEntries(
      Object.entries(headers).map(([name, description]) => [
        name,
        Type.Optional(Type.String({ description })),
      ]),
    ),
  );
}

function responseSchema({ description, content, headers }: ResponseDocs) {
  return {
    description,
    ...(headers === undefined
      ? {}
      : {
          headers: Object.fromEntries(
            Object.entries(headers).map(([name, says]) => [
              name,
              { type: "string", description: says },
            ]),
          ),
        }),
    ...(content === undefined
      ? { type: "null" }
      : {
          content: Object.fromEntries(
            Object.entries(content).map(([type, schema]) => [type, { schema }]),
          ),
        }),
  };
}
