import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { startServer, type TestServer } from "./support.ts";

interface Operation {
  readonly summary?: string;
  readonly tags?: readonly string[];
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, unknown>> };
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

describe("the API's description", () => {
  let server: TestServer;
  let document: Document;
  before(async () => {
    server = await startServer();
    document = (await server.request({ url: "/openapi.json" })).json<Document>();
  });
  after(() => server.close());

  test("lists every route of the API", () => {
    const routes = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    assert.deepEqual(
      new Set(routes),
      new Set([
        ...["GET", "HEAD", "PUT", "DELETE", "POST"].map((method) => `${method} /v1/kv/{*}`),
        ...["GET", "HEAD", "PUT", "DELETE", "POST"].map((method) => `${method} /v1/kv`),
        "POST /v1/batch",
        "POST /v1/txn",
        "GET /v1/watch",
        ...["GET", "PUT", "DELETE", "POST"].map((method) => `${method} /v1/locks/{*}`),
        ...["GET", "PUT", "DELETE", "POST"].map((method) => `${method} /v1/locks`),
        "GET /v1/cluster",
        "GET /v1/cluster/ring/{*}",
        "GET /v1/cluster/ring",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
        "GET /v1/debug/slow",
      ]),
    );
  });

  test("every operation has a summary, a tag and answers with schemas", () => {
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const where = `${method} ${path}`;
        assert.ok((operation.summary ?? "").length > 3, where);
        assert.equal(operation.tags?.length, 1, where);
        const good = Object.keys(operation.responses).filter((status) => status.startsWith("2"));
        assert.ok(good.length > 0, where);
        for (const status of good) {
          assert.ok(operation.responses[status]?.content !== undefined, `${where} ${status}`);
        }
        if (path.includes("{*}")) {
          assert.ok(
            operation.parameters?.some((each) => each.in === "path"),
            where,
          );
        }
      }
    }
  });

  test("the query parameters are those that are read", () => {
    const names = (path: string, method: string) =>
      (document.paths[path]?.[method]?.parameters ?? [])
        .filter((each) => each.in === "query")
        .map(({ name }) => name);
    assert.deepEqual(names("/v1/kv/{*}", "put"), ["timeout", "key64", "redirect", "ttl", "prev"]);
    assert.ok(names("/v1/kv", "get").includes("delimiter"));
    assert.ok(names("/v1/locks", "put").includes("key64"));
    assert.ok(names("/v1/locks", "get").includes("key64"));
    assert.ok(names("/v1/watch", "get").includes("after"));
  });

  test("answers are as described", async () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    const check = (path: string, method: string, status: number, body: unknown): void => {
      const content = document.paths[path]?.[method]?.responses[String(status)]?.content ?? {};
      const schema = Object.values(content)[0]?.schema;
      assert.ok(schema !== undefined, `${method} ${path} ${status}`);
      assert.ok(ajv.validate(schema, body), `${method} ${path}: ${ajv.errorsText()}`);
    };
    const json = { "content-type": "application/json" };
    const txn = {
      success: [
        { op: "get", key: "a" },
        { op: "put", key: "a", value: "", prev: true },
      ],
    };
    const requests = [
      ["/v1/kv/{*}", "put", "/v1/kv/a?prev=1", "x"],
      ["/v1/kv/{*}", "put", "/v1/kv/a?prev=1", "x"],
      ["/v1/kv/{*}", "post", "/v1/kv/n?op=increment", undefined],
      ["/v1/kv/{*}", "post", "/v1/kv/n?op=touch&ttl=5s", undefined],
      ["/v1/kv", "get", "/v1/kv", undefined],
      ["/v1/kv/{*}", "get", "/v1/kv/none", undefined],
      ["/v1/kv/{*}", "get", "/v1/kv/a?x=1", undefined],
      ["/v1/kv/{*}", "delete", "/v1/kv/a?prev=1", undefined],
      ["/v1/batch", "post", "/v1/batch", { operations: [{ op: "get", key: "a" }] }],
      ["/v1/txn", "post", "/v1/txn", txn],
      ["/v1/locks/{*}", "post", "/v1/locks/l", { owner: "a", ttl: "5s" }],
      ["/v1/locks/{*}", "post", "/v1/locks/l", { owner: "b", ttl: "5s" }],
      ["/v1/locks/{*}", "get", "/v1/locks/l", undefined],
      ["/v1/locks", "get", "/v1/locks", undefined],
      ["/v1/cluster", "get", "/v1/cluster", undefined],
      ["/v1/cluster/ring/{*}", "get", "/v1/cluster/ring/a", undefined],
      ["/readyz", "get", "/readyz?verbose", undefined],
      ["/v1/debug/slow", "get", "/v1/debug/slow", undefined],
    ] as const;
    for (const [path, method, url, body] of requests) {
      const response = await server.request({
        method,
        url,
        ...(body === undefined
          ? {}
          : { payload: typeof body === "string" ? body : JSON.stringify(body) }),
        ...(typeof body === "object" ? { headers: json } : {}),
      });
      check(path, method, response.statusCode, response.json());
    }
  });

  test("the reference page needs nothing from elsewhere", async () => {
    const page = await server.request({ url: "/docs" });
    assert.equal(page.statusCode, 200);
    assert.ok(!/(src|href)="(https?:)?\/\//.test(page.payload));
    const policy = String(page.headers["content-security-policy"]);
    assert.ok(!policy.includes("upgrade-insecure-requests"));
    for (const [, asset] of page.payload.matchAll(/(?:src|href)="(\/docs\/[^"]+)"/g)) {
      assert.equal((await server.request({ url: asset ?? "" })).statusCode, 200, asset);
    }
  });

  test("the landing page and the page of errors stand alone", async () => {
    for (const url of ["/", "/errors"]) {
      const page = await server.request({ url });
      assert.match(String(page.headers["content-type"]), /text\/html/);
      assert.ok(!/(src|href)="(https?:)?\/\//.test(page.payload));
    }
    assert.match((await server.request({ url: "/errors" })).payload, /id="outcome_unknown"/);
  });
});
