import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeId, ShardId } from "../../cluster/types.ts";
import { errorDefinitions, problemOf, ServiceError } from "../../server/errors.ts";
import { createLog } from "../../server/log.ts";
import { startServer } from "./support.ts";

test("only 500 and 504 leave open whether something was applied", () => {
  for (const [code, { status, applied }] of Object.entries(errorDefinitions)) {
    assert.equal(applied === "unknown", status === 500 || status === 504, code);
    assert.ok(status >= 400 && status < 600, code);
  }
});

test("a problem carries shard, leader and when to retry", () => {
  const error = new ServiceError("no_leader", "nobody leads", {
    shard: ShardId(3),
    leader: NodeId("n2"),
    retryAfterMs: 1500,
  });
  assert.deepEqual(problemOf(error, "r1"), {
    type: "/errors#no_leader",
    title: "The shard has no reachable leader",
    status: 503,
    detail: "nobody leads",
    code: "no_leader",
    retryable: true,
    applied: "no",
    request_id: "r1",
    shard: 3,
    leader: "n2",
    retry_after_ms: 1500,
  });
});

test("a failure inside is logged with its request's id and shown without its reason", async () => {
  const server = await startServer();
  server.service.intercept = () => {
    throw new Error("secret of the house");
  };
  const response = await server.request({ url: "/v1/kv/a", headers: { "x-request-id": "me-1" } });
  assert.equal(response.statusCode, 500);
  assert.equal(response.json<{ code: string }>().code, "internal");
  assert.ok(!response.payload.includes("secret"));
  const line = server.logged.find((each) => each.includes("request failed")) ?? "";
  assert.match(line, /"request":"me-1"/);
  assert.match(line, /secret of the house/);
  await server.close();
});

test("errors of the service reach the client with Retry-After in whole seconds", async () => {
  const server = await startServer();
  server.service.intercept = () => {
    throw new ServiceError("no_leader", "nobody", { shard: ShardId(1), retryAfterMs: 1200 });
  };
  const response = await server.request({ method: "PUT", url: "/v1/kv/a", payload: "x" });
  assert.equal(response.statusCode, 503);
  assert.equal(response.headers["retry-after"], "2");
  assert.equal(response.headers["content-type"], "application/problem+json");
  await server.close();
});

test("an unknown outcome is 504 and says so", async () => {
  const server = await startServer();
  server.service.intercept = () => {
    throw new ServiceError("outcome_unknown", "no answer in time");
  };
  const response = await server.request({ method: "PUT", url: "/v1/kv/a", payload: "x" });
  assert.equal(response.statusCode, 504);
  assert.equal(response.json<{ applied: string }>().applied, "unknown");
  await server.close();
});

test("logs carry the node's id and no secrets", () => {
  const lines: string[] = [];
  const log = createLog({
    node: NodeId("n7"),
    level: "info",
    destination: { write: (line) => void lines.push(line) },
  });
  log.info({ headers: { authorization: "Bearer abc", cookie: "abc" }, value: "abc" }, "said");
  log.debug({}, "not said");
  assert.equal(lines.length, 1);
  assert.ok(!lines[0]?.includes("abc"));
  assert.match(lines[0] ?? "", /"node":"n7"/);
});
