import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifySchema,
} from "fastify";
import Type from "typebox";
import type { ResponseDocs, RouteDocs, Routes } from "./route-kit.ts";

const referencePolicy =
  "default-src 'self'; base-uri 'self'; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'; style-src 'self' 'unsafe-inline'";

/**
 * /openapi.json and the reference at /docs. They are answered by an application of their own, which has the same routes and never listens,
 * built when it is first asked for: collecting and describing the routes costs as much as the rest of a start.
 */
export function referenceRoutes(
  version: string,
  addRoutes: (app: FastifyInstance) => void,
): Routes {
  let built: Promise<FastifyInstance> | null = null;
  const answer = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    built ??= buildReference(version, addRoutes);
    const app = await built;
    const { url, headers } = request;
    const page = await app.inject({ method: "GET", url, headers });
    await reply.code(page.statusCode).headers(page.headers).send(page.rawPayload);
  };
  return (app) => {
    for (const url of ["/openapi.json", "/docs", "/docs/*"]) {
      app.get(url, { schema: { hide: true } }, answer);
    }
  };
}

async function buildReference(
  version: string,
  addRoutes: (app: FastifyInstance) => void,
): Promise<FastifyInstance> {
  const app = fastify({ logger: false, exposeHeadRoutes: false });
  app.setValidatorCompiler(() => () => true);
  const { default: swagger } = await import("@fastify/swagger");
  const { default: swaggerUi } = await import("@fastify/swagger-ui");
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
  app.get("/openapi.json", { schema: { hide: true } }, () => app.swagger());
  addRoutes(app);
  await app.ready();
  return app;
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
