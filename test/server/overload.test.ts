import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import type { Answer } from "../../server/http/exchange.ts";
import { startServer } from "./support.ts";

test("requests beyond the limit are refused before their body is read, and leave no trace", async () => {
  const server = await startServer({ inflightRequestsMax: 2 });
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  server.service.intercept = () => gate;
  const first = server.request({ method: "PUT", url: "/v1/kv/a", payload: "1" });
  const second = server.request({ url: "/v1/kv/b" });
  while (server.app.admission.load.requests < 2) {
    await new Promise(setImmediate);
  }
  const { port } = await server.listen();
  const refused = await new Promise<{ status: number; retry: string }>((resolve, reject) => {
    const request = httpRequest({ port, method: "PUT", path: "/v1/kv/c" }, (response) => {
      response.resume();
      const retry = String(response.headers["retry-after"]);
      resolve({ status: response.statusCode ?? 0, retry });
    });
    // The body is announced and never sent: the answer comes all the same.
    request.setHeader("content-length", "1000");
    request.flushHeaders();
    request.on("error", (error) => reject(error));
    request.on("response", () => request.destroy());
  });
  assert.deepEqual(refused, { status: 503, retry: "1" });
  // Looking at the node is never refused.
  assert.equal((await server.request({ url: "/livez" })).statusCode, 200);
  assert.equal((await server.request({ url: "/metrics" })).statusCode, 200);
  release();
  assert.equal((await first).statusCode, 201);
  assert.equal((await second).statusCode, 404);
  while (server.app.admission.load.requests > 0) {
    await new Promise(setImmediate);
  }
  assert.deepEqual(server.app.admission.load, { requests: 0, bodyBytes: 0, watchers: 0 });
  await server.close();
});

test("work whose client has left counts until it is over", async () => {
  const gone = Promise.withResolvers<Answer>();
  const observer = { onRequest: () => {}, onRefused: () => {}, onAnswer: gone.resolve };
  const server = await startServer({}, { observer });
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  server.service.intercept = () => {
    begun.resolve();
    return gate.promise;
  };
  const { url } = await server.listen();
  const impatient = new AbortController();
  const { signal } = impatient;
  const abandoned = fetch(`${url}/v1/kv/a`, { method: "PUT", body: "1", signal });
  await begun.promise;
  impatient.abort();
  await assert.rejects(abandoned);
  assert.equal((await gone.promise).code, 499);
  assert.deepEqual(server.app.admission.load, { requests: 1, bodyBytes: 1, watchers: 0 });
  gate.resolve();
  while (server.app.admission.load.requests > 0) {
    await new Promise(setImmediate);
  }
  assert.deepEqual(server.app.admission.load, { requests: 0, bodyBytes: 0, watchers: 0 });
  await server.close();
});

test("bodies under way are bounded in bytes, whatever their number", async () => {
  const server = await startServer({ inflightBytesMax: 1000 });
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  server.service.intercept = () => gate;
  const put = (bytes: number) =>
    server.request({ method: "PUT", url: "/v1/kv/a", payload: Buffer.alloc(bytes) });
  const first = put(600);
  while (server.app.admission.load.bodyBytes < 600) {
    await new Promise(setImmediate);
  }
  const refused = await put(401);
  assert.equal(refused.statusCode, 503);
  assert.equal(refused.json<{ code: string }>().code, "overloaded");
  const fits = put(400);
  release();
  assert.equal((await first).statusCode, 201);
  assert.equal((await fits).statusCode, 200);
  await server.close();
});

test("a body of unknown length counts as the largest that its route reads", async () => {
  const server = await startServer({ valueBytesMax: 1000, batchBytesMax: 3000 });
  const { port } = await server.listen();
  for (const [method, path, bytes] of [
    ["PUT", "/v1/kv/a", 1000],
    ["POST", "/v1/batch", 3000],
    ["POST", "/v1/txn", 3000],
  ] as const) {
    const headers = { "transfer-encoding": "chunked", "content-type": "application/json" };
    const request = httpRequest({ port, method, path, headers });
    request.on("error", () => {});
    request.flushHeaders();
    while (server.app.admission.load.requests < 1) {
      await new Promise(setImmediate);
    }
    assert.equal(server.app.admission.load.bodyBytes, bytes, path);
    request.destroy();
    while (server.app.admission.load.requests > 0) {
      await new Promise(setImmediate);
    }
  }
  await server.close();
});

test("a closing server finishes what it has begun and takes no more", async () => {
  const server = await startServer();
  const { url } = await server.listen();
  let release = (): void => {};
  let begun = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  const started = new Promise<void>((resolve) => (begun = resolve));
  server.service.intercept = () => {
    begun();
    return gate;
  };
  const pending = fetch(`${url}/v1/kv/a`, { method: "PUT", body: "x" });
  await started;
  const closed = server.close();
  release();
  assert.equal((await pending).status, 201);
  await closed;
  await assert.rejects(fetch(`${url}/v1/kv/a`));
});

test(
  "closing does not wait for a connection that has never brought a request",
  { timeout: 20_000 },
  async () => {
    const server = await startServer({ headersTimeoutMs: 60_000, bodyTimeoutMs: 60_000 });
    const { port } = await server.listen();
    const accepted = once(server.app.fastify.server, "connection");
    const socket = connect(port, "127.0.0.1");
    await accepted;
    const closed = once(socket, "close");
    await server.close();
    await closed;
  },
);

test("every answer is told to the observer once, with its route's template", async () => {
  const answers: Answer[] = [];
  let begun = 0;
  const server = await startServer(
    {},
    {
      observer: {
        onRequest: () => void (begun += 1),
        onRefused: () => assert.fail("nothing is refused here"),
        onAnswer: (answer) => void answers.push(answer),
      },
    },
  );
  await server.request({ method: "PUT", url: "/v1/kv/secret", payload: "x" });
  await server.request({ url: "/v1/kv/secret?tll=1" });
  await server.request({ url: "/v1/kv?limit=1" });
  await server.request({ url: "/livez" });
  while (answers.length < 4) {
    await new Promise(setImmediate);
  }
  assert.equal(begun, 4);
  assert.deepEqual(
    answers.map(({ method, route, code }) => [method, route, code]),
    [
      ["PUT", "/v1/kv/*", 201],
      ["GET", "/v1/kv/*", 400],
      ["GET", "/v1/kv", 200],
      ["GET", "/livez", 200],
    ],
  );
  assert.ok(!JSON.stringify(answers).includes("secret"));
  await server.close();
});

test("what is not taken on is told to the observer by its code", async () => {
  const refused: string[] = [];
  const server = await startServer(
    { inflightBytesMax: 100, inflightRequestsMax: 1, watchersMax: 0 },
    {
      observer: {
        onRequest: () => {},
        onRefused: (code) => void refused.push(code),
        onAnswer: () => {},
      },
    },
  );
  await server.request({ method: "PUT", url: "/v1/kv/a", payload: Buffer.alloc(101) });
  await server.request({ url: "/v1/watch" });
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  server.service.intercept = () => gate;
  const first = server.request({ url: "/v1/kv/a" });
  while (server.app.admission.load.requests < 1) {
    await new Promise(setImmediate);
  }
  await server.request({ url: "/v1/kv/b" });
  release();
  await first;
  const { port } = await server.listen();
  const socket = connect(port, "127.0.0.1");
  socket.end("this is not HTTP\r\n\r\n");
  socket.resume();
  await once(socket, "close");
  assert.deepEqual(refused, ["body_too_large", "too_many_watchers", "overloaded", "bad_request"]);
  await server.close();
});
